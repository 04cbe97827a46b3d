//! Opens what one endpoint receives and seals what it answers, in the layout of the request. Trusts nobody's word for the layout.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::config;
use crate::crypto::Envelope;
use crate::crypto::Iv;
use crate::crypto::Key;
use crate::crypto::KeyLength;
use crate::crypto::Layout;
use crate::crypto::NoRandomness;

/// The keys and permitted layouts of one endpoint.
pub struct Codec {
    keys: Vec<Key>,
    gcm: Vec<Layout>,
    /// Tried only after every GCM layout has failed, whose tag leaves no doubt.
    unauthenticated: Vec<Layout>,
    /// `None` goes by the shape of the plaintext.
    envelope: Option<Envelope>,
    /// The GCM layout that fitted last; tried first, since a tenant keeps to one.
    last_gcm: AtomicUsize,
}

/// How a message was sealed, hence how its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    pub layout: Layout,
    pub envelope: Envelope,
    /// Position of the key in the settings.
    pub key: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    pub message: String,
    pub seal: Seal,
}

/// Not Base64, wrong key, bad tag, bad padding, bad UTF-8 or no envelope: never told apart, since an
/// answer that did would help to decrypt what was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("data cannot be decrypted")]
pub struct Unreadable;

impl Codec {
    /// `None` where the endpoint takes plaintext.
    pub fn new(settings: &config::Endpoint) -> Result<Option<Self>, KeyLength> {
        if settings.encrypt_key.is_empty() {
            return Ok(None);
        }
        let keys = settings.encrypt_key.iter().map(|key| Key::new(key.expose_secret().as_bytes()));
        let (gcm, unauthenticated) = layouts(settings.cipher, settings.iv);
        Ok(Some(Self {
            keys: keys.collect::<Result<_, _>>()?,
            gcm,
            unauthenticated,
            envelope: Envelope::fixed_by(settings.envelope),
            last_gcm: AtomicUsize::new(0),
        }))
    }

    /// Opens every layout and envelope that is known; for finding out what the settings have to be.
    pub fn of_any_layout(keys: &[SecretString]) -> Result<Self, KeyLength> {
        let keys = keys.iter().map(|key| Key::new(key.expose_secret().as_bytes()));
        let (gcm, unauthenticated) = layouts(config::CipherSetting::Auto, config::IvSetting::Auto);
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
            gcm,
            unauthenticated,
            envelope: None,
            last_gcm: AtomicUsize::new(0),
        })
    }

    pub fn open(&self, data: &str) -> Result<Opened, Unreadable> {
        let sealed = STANDARD.decode(data).map_err(|_not_base64| Unreadable)?;
        let last = self.last_gcm.load(Ordering::Relaxed);
        let layouts = || self.gcm.iter().copied().enumerate();
        for (position, layout) in layouts().skip(last).take(1).chain(layouts()) {
            for (key, schedules) in self.keys.iter().enumerate() {
                if let Some(plain) = schedules.decrypt(layout, &sealed) {
                    self.last_gcm.store(position, Ordering::Relaxed);
                    // The tag has spoken: where the text inside is wrong, no other layout is right.
                    return self.unwrap(plain, layout, key).ok_or(Unreadable);
                }
            }
        }
        self.open_unauthenticated(&sealed)
    }

    /// In the layout, envelope and key of the request, with a fresh random part and IV.
    pub fn seal(&self, seal: &Seal, message: &str) -> Result<String, NoRandomness> {
        let key = self.keys.get(seal.key).ok_or(NoRandomness)?;
        let plain = seal.envelope.wrap(message)?;
        Ok(STANDARD.encode(key.encrypt(seal.layout, plain.as_bytes())?))
    }

    /// Without a tag a wrong layout can leave readable text: a CBC message read with another IV differs
    /// in its first block only. So all candidates are opened and the most plausible wins.
    fn open_unauthenticated(&self, sealed: &[u8]) -> Result<Opened, Unreadable> {
        let mut best: Option<(u8, Opened)> = None;
        for layout in self.unauthenticated.iter().copied() {
            for (key, schedules) in self.keys.iter().enumerate() {
                let plain = schedules.decrypt(layout, sealed);
                let Some(opened) = plain.and_then(|plain| self.unwrap(plain, layout, key)) else {
                    continue;
                };
                let plausibility = plausibility(&opened);
                if best.as_ref().is_none_or(|(most, _)| plausibility > *most) {
                    best = Some((plausibility, opened));
                }
            }
        }
        best.map(|(_, opened)| opened).ok_or(Unreadable)
    }

    fn unwrap(&self, plain: Vec<u8>, layout: Layout, key: usize) -> Option<Opened> {
        let plain = String::from_utf8(plain).ok()?;
        let envelope = self.envelope.unwrap_or_else(|| Envelope::of(&plain));
        let message = envelope.unwrap(&plain)?.into_owned();
        Some(Opened { message, seal: Seal { layout, envelope, key } })
    }
}

/// What the settings permit, in the order in which it is tried: with a tag, without one.
fn layouts(cipher: config::CipherSetting, iv: config::IvSetting) -> (Vec<Layout>, Vec<Layout>) {
    let fixed = Iv::fixed_by(iv);
    let permitted = |iv: &Iv| fixed.is_none_or(|fixed| fixed == *iv);
    let gcm = Iv::ALL.into_iter().filter(permitted).map(Layout::Gcm).collect();
    let cbc = Iv::OF_CBC.into_iter().filter(permitted).map(Layout::Cbc);
    match cipher {
        config::CipherSetting::AesGcm => (gcm, Vec::new()),
        config::CipherSetting::AesEcb => (Vec::new(), vec![Layout::Ecb]),
        config::CipherSetting::AesCbc => (Vec::new(), cbc.collect()),
        config::CipherSetting::Auto => {
            let ecb = fixed.is_none().then_some(Layout::Ecb);
            (gcm, ecb.into_iter().chain(cbc).collect())
        }
    }
}

/// How much a plaintext looks like what IDaaS sends. Only compares candidates for one ciphertext.
fn plausibility(opened: &Opened) -> u8 {
    let message = &opened.message;
    let all = |fits: fn(char) -> bool| message.chars().all(fits);
    match opened.seal.envelope {
        Envelope::Delimited => 5,
        Envelope::Json => 4,
        Envelope::Bare if message.starts_with('{') && message.ends_with('}') => 3,
        Envelope::Bare if all(|it| it.is_ascii_alphanumeric() || it == '-') => 2,
        Envelope::Bare if all(|it| !it.is_control()) => 1,
        Envelope::Bare => 0,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::ProptestConfig;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::Codec;
    use super::Opened;
    use super::Seal;
    use super::layouts;
    use crate::config::CipherSetting;
    use crate::config::IvSetting;
    use crate::crypto::Envelope;
    use crate::crypto::Iv;
    use crate::crypto::Key;
    use crate::crypto::Layout;

    const KEYS: [&[u8]; 3] =
        [b"lOMoSAWlcZnQDVkN", b"lOMoSAWlcZnQDVkNlOMoSAWl", b"qfukhLLHDABrJjtLqfukhLLHDABrJjtL"];

    fn codec(cipher: CipherSetting, iv: IvSetting) -> Codec {
        let (gcm, unauthenticated) = layouts(cipher, iv);
        Codec {
            keys: KEYS.map(|key| Key::new(key).unwrap()).into(),
            gcm,
            unauthenticated,
            envelope: None,
            last_gcm: 0.into(),
        }
    }

    fn all_layouts() -> Vec<Layout> {
        let (gcm, rest) = layouts(CipherSetting::Auto, IvSetting::Auto);
        [gcm, rest].concat()
    }

    #[test]
    fn every_layout_is_found_and_answered_in_kind() {
        let codec = codec(CipherSetting::Auto, IvSetting::Auto);
        for message in ["20200223170310946-34EE-3403BF88A", "R&D", "{\"id\":\"1\"}", ""] {
            for layout in all_layouts() {
                for envelope in [Envelope::Delimited, Envelope::Json] {
                    for key in 0..KEYS.len() {
                        let seal = Seal { layout, envelope, key };
                        let opened = codec.open(&codec.seal(&seal, message).unwrap()).unwrap();
                        assert_eq!(opened, Opened { message: message.to_owned(), seal });
                    }
                }
            }
        }
    }

    #[test]
    fn a_bare_id_is_found_under_every_layout() {
        let codec = codec(CipherSetting::Auto, IvSetting::Auto);
        let message = "20200223170310946-34EE-3403BF88A";
        for layout in all_layouts() {
            let seal = Seal { layout, envelope: Envelope::Bare, key: 0 };
            let opened = codec.open(&codec.seal(&seal, message).unwrap()).unwrap();
            assert_eq!(opened.message, message, "{layout:?}");
        }
    }

    #[test]
    fn two_answers_to_one_request_differ() {
        let codec = codec(CipherSetting::AesGcm, IvSetting::Auto);
        for iv in Iv::ALL {
            let seal = Seal { layout: Layout::Gcm(iv), envelope: Envelope::Delimited, key: 0 };
            assert_ne!(codec.seal(&seal, "m").unwrap(), codec.seal(&seal, "m").unwrap());
        }
    }

    #[test]
    fn every_broken_ciphertext_is_unreadable() {
        let sealed = |layout| {
            let codec = codec(CipherSetting::Auto, IvSetting::Auto);
            let seal = Seal { layout, envelope: Envelope::Delimited, key: 0 };
            STANDARD.decode(codec.seal(&seal, "message").unwrap()).unwrap()
        };
        let gcm = codec(CipherSetting::AesGcm, IvSetting::Prefix12);
        let whole = sealed(Layout::Gcm(Iv::Prefix12));
        assert!(gcm.open(&STANDARD.encode(&whole)).is_ok());
        for length in 0..whole.len() {
            assert!(gcm.open(&STANDARD.encode(&whole[..length])).is_err(), "{length}");
            let mut flipped = whole.clone();
            flipped[length] ^= 1;
            assert!(gcm.open(&STANDARD.encode(&flipped)).is_err(), "{length}");
        }
        let ecb = codec(CipherSetting::AesEcb, IvSetting::Auto);
        for length in [0, 1, 15, 17, 31] {
            assert!(
                ecb.open(&STANDARD.encode(&sealed(Layout::Ecb)[..length])).is_err(),
                "{length}"
            );
        }
        for text in ["=", "AAA", "AAAA AAAA", "----", "A\n", "ä"] {
            assert!(gcm.open(text).is_err() && ecb.open(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paddings_that_are_not_pkcs7_are_unreadable() {
        use aes::cipher::BlockCipherEncrypt;
        use aes::cipher::KeyInit;
        let cipher = aes::Aes128::new_from_slice(KEYS[0]).unwrap();
        let codec = codec(CipherSetting::AesEcb, IvSetting::Auto);
        let with_padding = |padding: &[u8]| {
            let mut block = [b'x'; 16];
            block[16 - padding.len()..].copy_from_slice(padding);
            let mut block = block.into();
            cipher.encrypt_block(&mut block);
            STANDARD.encode(block)
        };
        for good in [&[1_u8][..], &[2, 2], &[16; 16]] {
            assert!(codec.open(&with_padding(good)).is_ok(), "{good:?}");
        }
        for bad in [&[0_u8][..], &[17], &[255], &[1, 2], &[3, 3, 2, 3], &[32; 16]] {
            assert!(codec.open(&with_padding(bad)).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_message_survives_any_layout(message in ".{0,80}", layout in 0_usize..11) {
            let layout = all_layouts()[layout];
            let codec = codec(CipherSetting::Auto, IvSetting::Auto);
            let seal = Seal { layout, envelope: Envelope::Delimited, key: 2 };
            let opened = codec.open(&codec.seal(&seal, &message).unwrap()).unwrap();
            prop_assert_eq!(opened, Opened { message, seal });
        }

        #[test]
        fn any_text_is_opened_or_refused_without_a_panic(data in "[A-Za-z0-9+/=]{0,200}") {
            let _either_way = codec(CipherSetting::Auto, IvSetting::Auto).open(&data);
        }
    }
}
