//! AES in the modes and IV layouts that are known of IDaaS (PROTOCOL.md 3). Knows nothing of what is inside.

use aes::Aes128;
use aes::Aes192;
use aes::Aes256;
use aes::cipher::Array;
use aes::cipher::BlockCipherDecrypt;
use aes::cipher::BlockCipherEncrypt;
use aes::cipher::BlockModeDecrypt;
use aes::cipher::BlockModeEncrypt;
use aes::cipher::BlockSizeUser;
use aes::cipher::InnerIvInit;
use aes::cipher::KeyInit;
use aes::cipher::consts::U12;
use aes::cipher::consts::U16;
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use ctutils::CtEq;
use ctutils::CtLt;
use zeroize::Zeroizing;

use crate::config;
use crate::crypto::envelope::NoRandomness;
use crate::crypto::envelope::random;

const TAG: usize = 16;
const BLOCK: usize = 16;

/// Where the IV of a message stands. The vendor publishes none of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iv {
    /// The first 12 bytes.
    Prefix12,
    /// The first 16 bytes.
    Prefix16,
    /// The last 12 bytes, behind the tag.
    Suffix12,
    /// 12 zero bytes; never sent.
    Zero12,
    /// 16 zero bytes; never sent.
    Zero16,
    /// The first 12 bytes of the key; never sent.
    Key12,
    /// The first 16 bytes of the key; never sent.
    Key16,
}

impl Iv {
    pub const ALL: [Self; 7] = [
        Self::Prefix12,
        Self::Prefix16,
        Self::Suffix12,
        Self::Zero12,
        Self::Zero16,
        Self::Key12,
        Self::Key16,
    ];

    /// CBC takes an IV of one block.
    pub const OF_CBC: [Self; 3] = [Self::Zero16, Self::Key16, Self::Prefix16];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix12 => "prefix12",
            Self::Prefix16 => "prefix16",
            Self::Suffix12 => "suffix12",
            Self::Zero12 => "zero12",
            Self::Zero16 => "zero16",
            Self::Key12 => "key12",
            Self::Key16 => "key16",
        }
    }

    /// The one that a setting insists on; `None` is `auto`.
    pub fn fixed_by(setting: config::IvSetting) -> Option<Self> {
        match setting {
            config::IvSetting::Auto => None,
            config::IvSetting::Prefix12 => Some(Self::Prefix12),
            config::IvSetting::Prefix16 => Some(Self::Prefix16),
            config::IvSetting::Suffix12 => Some(Self::Suffix12),
            config::IvSetting::Zero12 => Some(Self::Zero12),
            config::IvSetting::Zero16 => Some(Self::Zero16),
            config::IvSetting::Key12 => Some(Self::Key12),
            config::IvSetting::Key16 => Some(Self::Key16),
        }
    }

    fn length(self) -> usize {
        match self {
            Self::Prefix12 | Self::Suffix12 | Self::Zero12 | Self::Key12 => 12,
            Self::Prefix16 | Self::Zero16 | Self::Key16 => 16,
        }
    }
}

/// A cipher mode with the place of its IV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Gcm(Iv),
    Ecb,
    Cbc(Iv),
}

impl Layout {
    /// As the setting `cipher` names it.
    pub fn cipher(self) -> &'static str {
        match self {
            Self::Gcm(_) => "aes-gcm",
            Self::Ecb => "aes-ecb",
            Self::Cbc(_) => "aes-cbc",
        }
    }

    /// As the setting `iv` names it; ECB has none.
    pub fn iv(self) -> Option<&'static str> {
        match self {
            Self::Gcm(iv) | Self::Cbc(iv) => Some(iv.as_str()),
            Self::Ecb => None,
        }
    }
}

/// An AES key is 16, 24 or 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an encryption key must be 16, 24 or 32 bytes long")]
pub struct KeyLength;

/// One key with its key schedules, set up once. Shows nothing of itself.
pub struct Key(Schedules);

enum Schedules {
    Aes128(Modes<Aes128>),
    Aes192(Modes<Aes192>),
    Aes256(Modes<Aes256>),
}

impl Key {
    pub fn new(key: &[u8]) -> Result<Self, KeyLength> {
        Ok(Self(match key.len() {
            16 => Schedules::Aes128(Modes::new(key)?),
            24 => Schedules::Aes192(Modes::new(key)?),
            32 => Schedules::Aes256(Modes::new(key)?),
            _ => return Err(KeyLength),
        }))
    }

    /// The plaintext, padding removed. `None` says nothing about the step that failed.
    ///
    /// The time it takes for ECB and CBC does not depend on the padding, nor on where it is broken.
    pub fn decrypt(&self, layout: Layout, sealed: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Schedules::Aes128(modes) => modes.decrypt(layout, sealed),
            Schedules::Aes192(modes) => modes.decrypt(layout, sealed),
            Schedules::Aes256(modes) => modes.decrypt(layout, sealed),
        }
    }

    /// With a fresh IV where the layout sends one. With a fixed one the cipher is only as good as the
    /// envelope's random part; that is IDaaS's choice, and the answer has to follow it.
    pub fn encrypt(&self, layout: Layout, plain: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        match &self.0 {
            Schedules::Aes128(modes) => modes.encrypt(layout, plain),
            Schedules::Aes192(modes) => modes.encrypt(layout, plain),
            Schedules::Aes256(modes) => modes.encrypt(layout, plain),
        }
    }
}

struct Modes<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    block: C,
    gcm12: AesGcm<C, U12>,
    gcm16: AesGcm<C, U16>,
    /// The first 16 bytes of the key, for the layouts that use them as the IV.
    prefix: Zeroizing<[u8; BLOCK]>,
}

impl<C> Modes<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Clone,
{
    fn new(key: &[u8]) -> Result<Self, KeyLength> {
        let block = C::new_from_slice(key).map_err(|_length| KeyLength)?;
        Ok(Self {
            gcm12: AesGcm::from(block.clone()),
            gcm16: AesGcm::from(block.clone()),
            prefix: Zeroizing::new(*key.first_chunk().ok_or(KeyLength)?),
            block,
        })
    }

    fn decrypt(&self, layout: Layout, sealed: &[u8]) -> Option<Vec<u8>> {
        match layout {
            Layout::Gcm(iv) => {
                let (iv, sealed) = self.split(iv, sealed)?;
                let (sealed, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG)?)?;
                let mut plain = sealed.to_vec();
                let tag = tag.try_into().ok()?;
                let opened = match iv.len() {
                    12 => self.gcm12.decrypt_inout_detached(
                        iv.try_into().ok()?,
                        &[],
                        plain.as_mut_slice().into(),
                        tag,
                    ),
                    _ => self.gcm16.decrypt_inout_detached(
                        iv.try_into().ok()?,
                        &[],
                        plain.as_mut_slice().into(),
                        tag,
                    ),
                };
                opened.ok().map(|()| plain)
            }
            Layout::Ecb => {
                let mut plain = whole_blocks(sealed)?;
                self.block.decrypt_blocks(as_blocks(&mut plain));
                unpad(plain)
            }
            Layout::Cbc(iv) => {
                let (iv, sealed) = self.split(iv, sealed)?;
                let mut plain = whole_blocks(sealed)?;
                cbc::Decryptor::inner_iv_init(&self.block, iv.try_into().ok()?)
                    .decrypt_blocks(as_blocks(&mut plain));
                unpad(plain)
            }
        }
    }

    fn encrypt(&self, layout: Layout, plain: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        match layout {
            Layout::Gcm(place) => {
                let iv = self.fresh_iv(place)?;
                let mut sealed = plain.to_vec();
                let tag = match iv.first_chunk::<BLOCK>() {
                    None => {
                        let iv = iv.first_chunk::<12>().ok_or(NoRandomness)?.into();
                        self.gcm12.encrypt_inout_detached(iv, &[], sealed.as_mut_slice().into())
                    }
                    Some(iv) => self.gcm16.encrypt_inout_detached(
                        iv.into(),
                        &[],
                        sealed.as_mut_slice().into(),
                    ),
                }
                .map_err(|_longer_than_64_gib| NoRandomness)?;
                sealed.extend_from_slice(&tag);
                Ok(join(place, &iv, sealed))
            }
            Layout::Ecb => {
                let mut sealed = pad(plain);
                self.block.encrypt_blocks(as_blocks(&mut sealed));
                Ok(sealed)
            }
            Layout::Cbc(place) => {
                let iv = self.fresh_iv(place)?;
                let mut sealed = pad(plain);
                let iv_block = iv.first_chunk::<BLOCK>().ok_or(NoRandomness)?;
                cbc::Encryptor::inner_iv_init(&self.block, iv_block.into())
                    .encrypt_blocks(as_blocks(&mut sealed));
                Ok(join(place, &iv, sealed))
            }
        }
    }

    /// The IV and the rest of a sealed text.
    fn split<'a>(&'a self, iv: Iv, sealed: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        match iv {
            Iv::Prefix12 | Iv::Prefix16 => sealed.split_at_checked(iv.length()),
            Iv::Suffix12 => {
                let (rest, iv) = sealed.split_at_checked(sealed.len().checked_sub(iv.length())?)?;
                Some((iv, rest))
            }
            Iv::Zero12 | Iv::Zero16 => Some(([0; BLOCK].get(..iv.length())?, sealed)),
            Iv::Key12 | Iv::Key16 => Some((self.prefix.get(..iv.length())?, sealed)),
        }
    }

    fn fresh_iv(&self, place: Iv) -> Result<Vec<u8>, NoRandomness> {
        let mut iv = vec![0; place.length()];
        match place {
            Iv::Prefix12 | Iv::Prefix16 | Iv::Suffix12 => random(&mut iv)?,
            Iv::Zero12 | Iv::Zero16 => {}
            Iv::Key12 | Iv::Key16 => {
                for (byte, key) in iv.iter_mut().zip(self.prefix.iter()) {
                    *byte = *key;
                }
            }
        }
        Ok(iv)
    }
}

fn join(place: Iv, iv: &[u8], mut sealed: Vec<u8>) -> Vec<u8> {
    match place {
        Iv::Prefix12 | Iv::Prefix16 => [iv, &sealed].concat(),
        Iv::Suffix12 => {
            sealed.extend_from_slice(iv);
            sealed
        }
        Iv::Zero12 | Iv::Zero16 | Iv::Key12 | Iv::Key16 => sealed,
    }
}

fn whole_blocks(sealed: &[u8]) -> Option<Vec<u8>> {
    (!sealed.is_empty() && sealed.len().is_multiple_of(BLOCK)).then(|| sealed.to_vec())
}

fn as_blocks(bytes: &mut [u8]) -> &mut [Array<u8, U16>] {
    Array::slice_as_chunks_mut(bytes).0
}

/// PKCS#7, which the JDK calls `PKCS5Padding`.
fn pad(plain: &[u8]) -> Vec<u8> {
    let missing = BLOCK - plain.len() % BLOCK;
    let filler = u8::try_from(missing).unwrap_or_default();
    let mut padded = plain.to_vec();
    padded.resize(plain.len() + missing, filler);
    padded
}

/// Looks at all 16 bytes of the last block whatever they are, so that time tells nothing about them.
fn unpad(mut plain: Vec<u8>) -> Option<Vec<u8>> {
    let last: &[u8; BLOCK] = plain.last_chunk()?;
    let filler = last[BLOCK - 1];
    let mut fine = filler.ct_ne(&0) & filler.ct_lt(&17);
    for (distance, byte) in (0_u8..).zip(last.iter().rev()) {
        fine &= !distance.ct_lt(&filler) | byte.ct_eq(&filler);
    }
    if !fine.to_bool() {
        // The same work as for a good padding: a look at the whole text.
        std::hint::black_box(str::from_utf8(&plain).is_ok());
        return None;
    }
    plain.truncate(plain.len() - usize::from(filler));
    Some(plain)
}
