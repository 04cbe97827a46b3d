//! Works out from one captured request what the settings of its endpoint have to be. Prints nothing, least of all a key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use crate::crypto::Codec;
use crate::crypto::Envelope;
use crate::crypto::Layout;
use crate::crypto::Seal;
use crate::event::Dialect;
use crate::event::Message;
use crate::protocol::Data;
use crate::protocol::Request;
use crate::protocol::RequestError;
use crate::simulator::SignedText;
use crate::verifier::Algorithm;
use crate::verifier::Signer;

/// All keys that may fit; none of a kind means that the tenant uses none.
#[derive(Debug, Clone, Default)]
pub struct CaptureKeys {
    pub sign: Vec<SecretString>,
    pub encrypt: Vec<SecretString>,
}

/// What could be told from one request; its parts are found independently of each other.
#[derive(Debug)]
pub struct Capture {
    pub dialect: Dialect,
    /// `None` is an unsigned request.
    pub signing: Result<Option<Signing>, SignatureFault>,
    /// `None` is an unencrypted message.
    pub sealing: Result<Option<Sealing>, DataFault>,
    /// Absent where `sealing` failed.
    pub message: Option<Message>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    pub algorithm: Algorithm,
    pub text: SignedText,
    /// Signed is the decrypted message, which no setting can say: bamboohook verifies before it decrypts.
    pub over_message: bool,
    /// The order of the fields may be that of their values in this request alone.
    pub may_be_sorted: bool,
    /// Position among the signing keys that were given.
    pub key: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealing {
    pub layout: Layout,
    pub envelope: Envelope,
    /// One block of ECB is one block of CBC with an IV of zeros: a longer message tells them apart.
    pub ambiguous: bool,
    /// Position among the encryption keys that were given.
    pub key: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error(
        "a signing key was given, but the request carries no signature; leave the key out if signing is off in IDaaS"
    )]
    Unsigned,
    #[error("the request is signed; give the signing key")]
    NoKey,
    #[error("the signature is neither hex nor canonical Base64")]
    Encoding,
    #[error(
        "the signature is {0} bytes long, which is neither HMAC-SHA256 (32) nor HMAC-SHA1 (20)"
    )]
    Length(usize),
    #[error("none of {forms} texts, signed with {}, gives this signature; is it the signing key of this very application, \
             and the body exactly as received?", Keys(*keys))]
    NoMatch { forms: usize, keys: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DataFault {
    #[error("data looks encrypted; give the encryption key")]
    NoKey,
    #[error(
        "an encryption key was given, but data is not standard Base64; leave the key out if encryption is off in IDaaS"
    )]
    NotSealed,
    #[error("an encryption key must be 16, 24 or 32 bytes long")]
    KeyLength,
    #[error("aes-gcm and aes-cbc in every IV layout and aes-ecb, with {}, do not open data; is it the encryption key of \
             this very application?", Keys(*keys))]
    NoMatch { keys: usize },
}

/// Takes a body with white space around it, or a whole HTTP request as captured, head and body.
pub fn identify(capture: &[u8], keys: &CaptureKeys) -> Result<Capture, RequestError> {
    let request = Request::parse(body(capture), None)?;
    let opened = sealing(&request, &keys.encrypt);
    let message = opened.as_ref().ok().map(|(message, _)| message.clone());
    let signing = signing(&request, &keys.sign, message.as_ref());
    Ok(Capture {
        dialect: request.dialect,
        signing,
        sealing: opened.map(|(_, sealing)| sealing),
        message,
    })
}

impl Capture {
    /// The lines of `[endpoints.NAME]`, without any key; `None` where something was not found or no setting says it.
    pub fn settings(&self, endpoint: &str) -> Option<String> {
        let mut lines = vec![format!("[endpoints.{}]", table_name(endpoint))];
        let mut line = |key: &str, value: &str| lines.push(format!("{key} = \"{value}\""));
        line("dialect", self.dialect.as_str());
        match self.signing.as_ref().ok()? {
            None => lines.push("allow_unsigned = true".to_owned()),
            Some(Signing { over_message: true, .. }) => return None,
            Some(signing) => {
                line("signature_algorithm", signing.algorithm.as_str());
                line("signature_message", &signing.text.setting()?);
                lines.push("# sign_key_file = \"/path/to/the/signing/key\"".to_owned());
            }
        }
        match self.sealing.as_ref().ok()? {
            None => lines.push("allow_plaintext = true".to_owned()),
            Some(sealing) => {
                let mut line = |key: &str, value: &str| lines.push(format!("{key} = \"{value}\""));
                line("cipher", sealing.layout.cipher());
                if let Some(iv) = sealing.layout.iv() {
                    line("iv", iv);
                }
                line("envelope", sealing.envelope.as_str());
                lines.push("# encrypt_key_file = \"/path/to/the/encryption/key\"".to_owned());
            }
        }
        lines.push(String::new());
        Some(lines.join("\n"))
    }
}

fn signing(
    request: &Request<'_>,
    keys: &[SecretString],
    message: Option<&Message>,
) -> Result<Option<Signing>, SignatureFault> {
    let Some(signature) = request.signature.as_deref() else {
        return if keys.is_empty() { Ok(None) } else { Err(SignatureFault::Unsigned) };
    };
    if keys.is_empty() {
        return Err(SignatureFault::NoKey);
    }
    let presented = unhex(signature).or_else(|| STANDARD.decode(signature).ok());
    let presented = presented.ok_or(SignatureFault::Encoding)?;
    let algorithm = match presented.len() {
        32 => Algorithm::HmacSha256,
        20 => Algorithm::HmacSha1,
        other => return Err(SignatureFault::Length(other)),
    };
    let presented = STANDARD.encode(presented);
    let forms = SignedText::all(request.dialect);
    let with_message =
        message.filter(|it| it.as_str() != request.data.as_str()).map(|it| Request {
            dialect: request.dialect,
            nonce: request.nonce.clone(),
            timestamp: request.timestamp.clone(),
            event: request.event.clone(),
            data: Data::Text(it.as_str().into()),
            signature: None,
        });
    for (over_message, request) in [(false, Some(request)), (true, with_message.as_ref())] {
        let Some(request) = request else { continue };
        for (position, key) in keys.iter().enumerate() {
            let Some(signer) = Signer::new(key) else { continue };
            let fits =
                |form: &&SignedText| form.sign(algorithm, &signer, key, request) == presented;
            if let Some(text) = forms.iter().find(fits) {
                return Ok(Some(Signing {
                    algorithm,
                    text: text.clone(),
                    over_message,
                    may_be_sorted: text.may_be_sorted(request, key),
                    key: position,
                }));
            }
        }
    }
    let rounds = if with_message.is_some() { 2 } else { 1 };
    Err(SignatureFault::NoMatch { forms: forms.len() * rounds, keys: keys.len() })
}

fn sealing(
    request: &Request<'_>,
    keys: &[SecretString],
) -> Result<(Message, Option<Sealing>), DataFault> {
    let data = request.data.as_str();
    let bytes = match &request.data {
        Data::Text(text) => STANDARD.decode(text.as_bytes()).ok(),
        Data::Object(_) => None,
    };
    if keys.is_empty() {
        let sealed = bytes.is_some_and(|it| it.len() >= 16 && str::from_utf8(&it).is_err());
        return if sealed { Err(DataFault::NoKey) } else { Ok((Message::new(data), None)) };
    }
    let bytes = bytes.ok_or(DataFault::NotSealed)?;
    let codec = Codec::of_any_layout(keys).map_err(|_length| DataFault::KeyLength)?;
    let opened = codec.open(data).map_err(|_unreadable| DataFault::NoMatch { keys: keys.len() })?;
    let ambiguous = bytes.len() == 16 && opened.seal.layout == Layout::Ecb;
    let Seal { layout, envelope, key } = opened.seal;
    let sealing = Sealing { layout, envelope, ambiguous, key };
    Ok((Message::new(opened.message), Some(sealing)))
}

fn body(capture: &[u8]) -> &[u8] {
    let capture = capture.trim_ascii();
    if capture.starts_with(b"{") {
        return capture;
    }
    let blank_line = |ending: &[u8]| capture.windows(ending.len()).position(|it| it == ending);
    let start = blank_line(b"\r\n\r\n").or_else(|| blank_line(b"\n\n"));
    start.and_then(|start| capture.get(start..)).map_or(capture, <[u8]>::trim_ascii)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    if !matches!(text.len(), 40 | 64) {
        return None;
    }
    let pairs = text.as_bytes().as_chunks::<2>().0;
    pairs.iter().map(|[high, low]| u8::try_from(digit(high)? * 16 + digit(low)?).ok()).collect()
}

/// A name that TOML takes as it stands, else in quotes.
fn table_name(name: &str) -> String {
    let bare = |it: char| it.is_ascii_alphanumeric() || it == '-' || it == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

struct Keys(usize);

impl std::fmt::Display for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            1 => f.write_str("the one key given"),
            keys => write!(f, "the {keys} keys given"),
        }
    }
}
