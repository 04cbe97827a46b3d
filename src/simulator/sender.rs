//! IDaaS as one endpoint knows it: seals, signs, reads answers. Sends nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::config;
use crate::crypto::Envelope;
use crate::crypto::Iv;
use crate::crypto::Key;
use crate::crypto::KeyLength;
use crate::crypto::Layout;
use crate::crypto::NoRandomness;
use crate::crypto::random_letters;
use crate::event::Dialect;
use crate::protocol::Data;
use crate::protocol::Request;
use crate::protocol::RequestTime;
use crate::protocol::TimestampError;
use crate::simulator::Answer;
use crate::simulator::AnswerError;
use crate::simulator::Callback;
use crate::simulator::answer;
use crate::verifier::Algorithm;
use crate::verifier::MessageTemplate;
use crate::verifier::Signer;

/// What CIAM states (PROTOCOL.md 1).
pub const CONTENT_TYPE: &str = "application/json; charset=utf-8";

/// Speaks as IDaaS would to one endpoint, with the first of each of its keys.
///
/// Where a setting is `auto` it does what the vendor documents: HMAC-SHA256 for both dialects; EIAM
/// AES-GCM with the IV in the first 12 bytes and the delimited envelope, CIAM AES-ECB and none.
pub struct Simulator {
    dialect: Dialect,
    authorization: SecretString,
    signing: Option<SigningKey>,
    sealing: Option<SealingKey>,
}

struct SigningKey {
    signer: Signer,
    algorithm: Algorithm,
    template: MessageTemplate,
}

struct SealingKey {
    key: Key,
    layout: Layout,
    envelope: Envelope,
}

#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error(transparent)]
    EncryptKey(#[from] KeyLength),
    #[error("the signing key cannot be used")]
    SignKey,
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// Before 1970, or put into a callback by hand.
    #[error(transparent)]
    Timestamp(#[from] TimestampError),
}

impl Simulator {
    pub fn new(endpoint: &config::Endpoint, dialect: Dialect) -> Result<Self, SimulatorError> {
        let token = endpoint.token.first().map(ExposeSecret::expose_secret).unwrap_or_default();
        let signing = match endpoint.sign_key.first() {
            None => None,
            Some(key) => Some(SigningKey {
                signer: Signer::new(key).ok_or(SimulatorError::SignKey)?,
                algorithm: match endpoint.signature_algorithm {
                    config::SignatureAlgorithm::HmacSha1 => Algorithm::HmacSha1,
                    config::SignatureAlgorithm::Auto | config::SignatureAlgorithm::HmacSha256 => {
                        Algorithm::HmacSha256
                    }
                },
                template: MessageTemplate::new(&endpoint.signature_message),
            }),
        };
        let sealing = match endpoint.encrypt_key.first() {
            None => None,
            Some(key) => Some(SealingKey {
                key: Key::new(key.expose_secret().as_bytes())?,
                layout: layout(endpoint, dialect),
                envelope: Envelope::fixed_by(endpoint.envelope).unwrap_or(match dialect {
                    Dialect::Eiam => Envelope::Delimited,
                    Dialect::Ciam => Envelope::Bare,
                }),
            }),
        };
        let authorization = SecretString::from(format!("Bearer {token}"));
        Ok(Self { dialect, authorization, signing, sealing })
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The value of the `Authorization` header.
    pub fn authorization(&self) -> &SecretString {
        &self.authorization
    }

    /// With a fresh nonce, so that no two callbacks are the same request.
    pub fn callback(
        &self,
        event: &str,
        message: &str,
        at: Timestamp,
    ) -> Result<Callback, SimulatorError> {
        self.callback_with(event, message, at, nonce()?)
    }

    pub fn callback_with(
        &self,
        event: &str,
        message: &str,
        at: Timestamp,
        nonce: impl Into<String>,
    ) -> Result<Callback, SimulatorError> {
        self.sealed_callback(event, self.seal(message)?, at, nonce)
    }

    /// Takes `data` as [`Simulator::seal`] made it; cheaper than sealing anew for each of many callbacks.
    pub fn sealed_callback(
        &self,
        event: &str,
        data: impl Into<String>,
        at: Timestamp,
        nonce: impl Into<String>,
    ) -> Result<Callback, SimulatorError> {
        let timestamp = match self.dialect {
            Dialect::Eiam => at.as_millisecond(),
            Dialect::Ciam => at.as_second(),
        };
        let mut callback = Callback {
            dialect: self.dialect,
            nonce: nonce.into(),
            timestamp: timestamp.to_string(),
            event: event.to_owned(),
            data: data.into(),
            signature: String::new(),
        };
        self.sign(&mut callback)?;
        Ok(callback)
    }

    /// `message` as it is sent in `data`: sealed, or itself where the endpoint takes plaintext.
    pub fn seal(&self, message: &str) -> Result<String, SimulatorError> {
        let Some(SealingKey { key, layout, envelope }) = &self.sealing else {
            return Ok(message.to_owned());
        };
        let plain = envelope.wrap(message)?;
        Ok(STANDARD.encode(key.encrypt(*layout, plain.as_bytes())?))
    }

    /// Signs a callback as it stands; empties the signature where the endpoint is unsigned.
    pub fn sign(&self, callback: &mut Callback) -> Result<(), SimulatorError> {
        let Some(SigningKey { signer, algorithm, template }) = &self.signing else {
            callback.signature.clear();
            return Ok(());
        };
        let request = Request {
            dialect: callback.dialect,
            nonce: (&callback.nonce).into(),
            timestamp: RequestTime::new(callback.timestamp.trim_matches('"'))?,
            event: (&callback.event).into(),
            data: Data::Text((&callback.data).into()),
            signature: None,
        };
        callback.signature = signer.sign(*algorithm, template, &request);
        Ok(())
    }

    /// Whether IDaaS would call an answer a success, without opening its `data`.
    pub fn judge_answer(&self, status: u16, body: &[u8]) -> Result<(), AnswerError> {
        answer::accepted(self.dialect, status, body).map(|_data| ())
    }

    /// Whether IDaaS would call an answer a success, and what it then reads in it.
    ///
    /// It opens `data` in the one layout that it sends; a literal `""` is never sealed.
    pub fn read_answer(&self, status: u16, body: &[u8]) -> Result<Answer, AnswerError> {
        let data = answer::accepted(self.dialect, status, body)?;
        if self.dialect == Dialect::Ciam {
            return Ok(Answer { data: None });
        }
        let Some(SealingKey { key, layout, envelope }) =
            self.sealing.as_ref().filter(|_| !data.is_empty())
        else {
            return Ok(Answer { data: Some(data) });
        };
        let open = || {
            let plain = key.decrypt(*layout, &STANDARD.decode(&data).ok()?)?;
            Some(envelope.unwrap(str::from_utf8(&plain).ok()?)?.into_owned())
        };
        Ok(Answer { data: Some(open().ok_or(AnswerError::Unreadable)?) })
    }
}

/// 16 random letters, as in the vendor's samples.
pub fn nonce() -> Result<String, NoRandomness> {
    random_letters()
}

/// An explicit IV says GCM where the cipher is `auto`: no other documented cipher has one.
fn layout(endpoint: &config::Endpoint, dialect: Dialect) -> Layout {
    let iv = Iv::fixed_by(endpoint.iv);
    match endpoint.cipher {
        config::CipherSetting::AesGcm => Layout::Gcm(iv.unwrap_or(Iv::Prefix12)),
        config::CipherSetting::AesEcb => Layout::Ecb,
        config::CipherSetting::AesCbc => Layout::Cbc(iv.unwrap_or(Iv::Prefix16)),
        config::CipherSetting::Auto => match (iv, dialect) {
            (Some(iv), _) => Layout::Gcm(iv),
            (None, Dialect::Eiam) => Layout::Gcm(Iv::Prefix12),
            (None, Dialect::Ciam) => Layout::Ecb,
        },
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::Simulator;
    use super::layout;
    use crate::config::CipherSetting;
    use crate::config::Config;
    use crate::config::Endpoint;
    use crate::config::IvSetting;
    use crate::crypto::Iv;
    use crate::crypto::Layout;
    use crate::event::Dialect;
    use crate::simulator::AnswerError;

    fn endpoint() -> Endpoint {
        let name = |key: &str| format!("BAMBOOHOOK__ENDPOINTS__DEFAULT__{key}");
        let env = [
            (name("TOKEN"), "the-token".to_owned()),
            (name("SIGN_KEY"), "QZIhHzGDRvUTLtlX".to_owned()),
            (name("ENCRYPT_KEY"), "lOMoSAWlcZnQDVkN".to_owned()),
        ];
        Config::load(None, &env.into()).unwrap().config.endpoints.remove("default").unwrap()
    }

    #[test]
    fn auto_is_what_the_vendor_documents_and_explicit_settings_win() {
        use CipherSetting::AesCbc;
        use CipherSetting::AesEcb;
        use CipherSetting::Auto;
        for (cipher, iv, dialect, expected) in [
            (Auto, IvSetting::Auto, Dialect::Eiam, Layout::Gcm(Iv::Prefix12)),
            (Auto, IvSetting::Auto, Dialect::Ciam, Layout::Ecb),
            (Auto, IvSetting::Key16, Dialect::Ciam, Layout::Gcm(Iv::Key16)),
            (AesEcb, IvSetting::Auto, Dialect::Eiam, Layout::Ecb),
            (AesCbc, IvSetting::Auto, Dialect::Eiam, Layout::Cbc(Iv::Prefix16)),
            (AesCbc, IvSetting::Zero16, Dialect::Eiam, Layout::Cbc(Iv::Zero16)),
            (CipherSetting::AesGcm, IvSetting::Auto, Dialect::Ciam, Layout::Gcm(Iv::Prefix12)),
        ] {
            assert_eq!(layout(&Endpoint { cipher, iv, ..endpoint() }, dialect), expected);
        }
    }

    #[test]
    fn two_callbacks_differ_though_their_message_does_not() {
        let simulator = Simulator::new(&endpoint(), Dialect::Eiam).unwrap();
        let callback = || simulator.callback("CREATE_USER", "{}", Timestamp::UNIX_EPOCH).unwrap();
        let (first, second) = (callback(), callback());
        assert!(first.nonce != second.nonce && first.data != second.data);
        assert!(first.nonce.len() == 16 && first.signature != second.signature);
    }

    #[test]
    fn an_answer_is_opened_in_the_layout_of_the_request_alone() {
        let sender = |iv| Simulator::new(&Endpoint { iv, ..endpoint() }, Dialect::Eiam).unwrap();
        let (simulator, other) = (sender(IvSetting::Auto), sender(IvSetting::Suffix12));
        let answer = |data: &str| {
            let body = crate::protocol::success(data);
            simulator.read_answer(200, body.as_bytes()).map(|answer| answer.data.unwrap())
        };
        assert_eq!(answer(&simulator.seal("R&D").unwrap()), Ok("R&D".to_owned()));
        assert_eq!(answer(""), Ok(String::new()));
        for data in ["plain", &other.seal("R&D").unwrap()] {
            assert_eq!(answer(data), Err(AnswerError::Unreadable));
        }
    }
}
