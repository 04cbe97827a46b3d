//! The signature over the text as received, made and checked. Never shows an expected value, whole or in part.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ctutils::CtEq;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;

use crate::config;
use crate::protocol::Request;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    HmacSha256,
    /// The vendor documents SHA-256 only, but all its signed samples have the length of SHA-1 (PROTOCOL.md 2).
    HmacSha1,
}

impl Algorithm {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha1 => "hmac-sha1",
        }
    }
}

/// The text that is signed: literals and the fields of a request, in the order of `signature_message`.
#[derive(Debug, Clone)]
pub struct MessageTemplate(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Nonce,
    Timestamp,
    Event,
    Data,
}

impl MessageTemplate {
    /// Reads `{nonce}`, `{timestamp}`, `{event}` and `{data}`; all else stands for itself.
    pub fn new(template: &str) -> Self {
        let fields = [
            ("{nonce}", Piece::Nonce),
            ("{timestamp}", Piece::Timestamp),
            ("{event}", Piece::Event),
            ("{data}", Piece::Data),
        ];
        let mut pieces = Vec::new();
        let mut rest = template;
        while !rest.is_empty() {
            let field =
                fields.iter().find_map(|(name, piece)| Some((rest.strip_prefix(name)?, piece)));
            if let Some((after, piece)) = field {
                pieces.push(piece.clone());
                rest = after;
                continue;
            }
            let mut characters = rest.chars();
            let Some(character) = characters.next() else { break };
            match pieces.last_mut() {
                Some(Piece::Literal(text)) => text.push(character),
                _ => pieces.push(Piece::Literal(character.to_string())),
            }
            rest = characters.as_str();
        }
        Self(pieces)
    }

    fn feed(&self, request: &Request<'_>, mut update: impl FnMut(&[u8])) {
        for piece in &self.0 {
            update(match piece {
                Piece::Literal(text) => text.as_bytes(),
                Piece::Nonce => request.nonce.as_bytes(),
                Piece::Timestamp => request.timestamp.as_str().as_bytes(),
                Piece::Event => request.event.as_bytes(),
                Piece::Data => request.data.as_str().as_bytes(),
            });
        }
    }
}

/// One signing key with its key schedules, which cost more to set up than a request costs to check.
#[derive(Clone)]
pub struct Signer {
    sha256: Hmac<Sha256>,
    sha1: Hmac<Sha1>,
}

impl Signer {
    pub fn new(key: &SecretString) -> Option<Self> {
        let key = key.expose_secret().as_bytes();
        Some(Self {
            sha256: Hmac::new_from_slice(key).ok()?,
            sha1: Hmac::new_from_slice(key).ok()?,
        })
    }

    /// The MAC in standard Base64, as IDaaS sends it.
    pub fn sign(
        &self,
        algorithm: Algorithm,
        template: &MessageTemplate,
        request: &Request<'_>,
    ) -> String {
        match self.mac(algorithm, template, request) {
            (mac, 20) => STANDARD.encode(mac.first_chunk::<20>().unwrap_or(&[0; 20])),
            (mac, _) => STANDARD.encode(mac),
        }
    }

    /// The MAC and its length. A shorter MAC is filled up with zeros, so that MACs compare at one width.
    fn mac(
        &self,
        algorithm: Algorithm,
        template: &MessageTemplate,
        request: &Request<'_>,
    ) -> ([u8; 32], usize) {
        match algorithm {
            Algorithm::HmacSha256 => {
                let mut mac = self.sha256.clone();
                template.feed(request, |bytes| mac.update(bytes));
                (mac.finalize().into_bytes().into(), 32)
            }
            Algorithm::HmacSha1 => {
                let mut mac = self.sha1.clone();
                template.feed(request, |bytes| mac.update(bytes));
                (widened(mac.finalize().into_bytes().into()), 20)
            }
        }
    }
}

/// What the signature of one endpoint has to be.
pub struct SignatureCheck {
    template: MessageTemplate,
    signers: Vec<Signer>,
    /// Said by the settings, not concluded from a lack of keys.
    unsigned: bool,
    algorithm: config::SignatureAlgorithm,
}

/// A request whose signature is right, or whose endpoint asks for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Tells the request from every other: its MAC, or the SHA-256 of the signed text where nothing is
    /// signed. The spelling of the signature does not enter into it.
    pub replay_key: [u8; 32],
    /// Absent where nothing is signed.
    pub by: Option<(Algorithm, usize)>,
}

/// Missing, malformed, of another algorithm or simply wrong: one error, so that none helps a forger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is missing or wrong")]
pub struct BadSignature;

impl SignatureCheck {
    pub fn new(settings: &config::Endpoint) -> Self {
        Self {
            template: MessageTemplate::new(&settings.signature_message),
            signers: settings.sign_key.iter().filter_map(Signer::new).collect(),
            unsigned: settings.allow_unsigned,
            algorithm: settings.signature_algorithm,
        }
    }

    /// Checks against every key, in constant time, whichever fits.
    pub fn check(&self, request: &Request<'_>) -> Result<Verified, BadSignature> {
        if self.unsigned {
            let mut hash = Sha256::new();
            self.template.feed(request, |bytes| hash.update(bytes));
            return Ok(Verified { replay_key: hash.finalize().into(), by: None });
        }
        let text = request.signature.as_deref().ok_or(BadSignature)?;
        let (presented, algorithm) = decode(text).ok_or(BadSignature)?;
        let allowed = match self.algorithm {
            config::SignatureAlgorithm::Auto => true,
            config::SignatureAlgorithm::HmacSha256 => algorithm == Algorithm::HmacSha256,
            config::SignatureAlgorithm::HmacSha1 => algorithm == Algorithm::HmacSha1,
        };
        if !allowed {
            return Err(BadSignature);
        }
        let mut fitting = None;
        for (position, signer) in self.signers.iter().enumerate() {
            let (mac, _) = signer.mac(algorithm, &self.template, request);
            if mac.ct_eq(&presented).to_bool() {
                fitting = fitting.or(Some((mac, position)));
            }
        }
        let (replay_key, position) = fitting.ok_or(BadSignature)?;
        Ok(Verified { replay_key, by: Some((algorithm, position)) })
    }
}

/// Reads Base64 or hex text of a MAC; the length of the text tells which of the four it is.
///
/// Base64 has to be canonical: one MAC has one spelling in it. Hex is taken in either case.
fn decode(text: &str) -> Option<([u8; 32], Algorithm)> {
    match text.len() {
        64 => Some((hex(text)?, Algorithm::HmacSha256)),
        44 => Some((STANDARD.decode(text).ok()?.try_into().ok()?, Algorithm::HmacSha256)),
        40 => Some((widened(hex(text)?), Algorithm::HmacSha1)),
        28 => Some((widened(STANDARD.decode(text).ok()?.try_into().ok()?), Algorithm::HmacSha1)),
        _ => None,
    }
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?;
    }
    Some(bytes)
}

fn widened(mac: [u8; 20]) -> [u8; 32] {
    let mut wide = [0; 32];
    for (wide, byte) in wide.iter_mut().zip(mac) {
        *wide = byte;
    }
    wide
}
