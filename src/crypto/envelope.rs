//! What surrounds a message inside the ciphertext: nothing, a random part and `&`, or JSON. Encrypts nothing.

use std::borrow::Cow;

use serde::Deserialize;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::config;

/// Letters of the random part (PROTOCOL.md, head: "16 random letters").
const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_PART: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// 16 letters or digits, `&`, message. What EIAM documents.
    Delimited,
    /// `{"random":"…","msg":"…"}`. How some integrations read the prose.
    Json,
    /// The message alone. What CIAM documents.
    Bare,
}

/// The operating system gave no random bytes, so nothing can be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

impl Envelope {
    pub const ALL: [Self; 3] = [Self::Delimited, Self::Json, Self::Bare];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delimited => "delimited",
            Self::Json => "json",
            Self::Bare => "bare",
        }
    }

    /// The one that a setting insists on; `None` is `auto`.
    pub fn fixed_by(setting: config::EnvelopeSetting) -> Option<Self> {
        match setting {
            config::EnvelopeSetting::Auto => None,
            config::EnvelopeSetting::Delimited => Some(Self::Delimited),
            config::EnvelopeSetting::Json => Some(Self::Json),
            config::EnvelopeSetting::Bare => Some(Self::Bare),
        }
    }

    /// Which envelope a plaintext has, by its shape.
    pub fn of(plain: &str) -> Self {
        [Self::Delimited, Self::Json]
            .into_iter()
            .find(|envelope| envelope.unwrap(plain).is_some())
            .unwrap_or(Self::Bare)
    }

    /// The message inside, or `None` where the plaintext has another envelope.
    pub fn unwrap(self, plain: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Delimited => {
                // Split once: a message may contain the delimiter, the random part may not.
                let (random, message) = plain.split_once('&')?;
                let fine = random.len() == RANDOM_PART
                    && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
                fine.then_some(Cow::Borrowed(message))
            }
            Self::Json => {
                let envelope: JsonEnvelope<'_> = serde_json::from_str(plain).ok()?;
                let message = envelope.msg.get();
                if message.starts_with('"') {
                    return serde_json::from_str(message).ok().map(Cow::Owned);
                }
                Some(Cow::Borrowed(message))
            }
            Self::Bare => Some(Cow::Borrowed(plain)),
        }
    }

    /// With a fresh random part.
    pub fn wrap(self, message: &str) -> Result<String, NoRandomness> {
        Ok(match self {
            Self::Delimited => format!("{}&{message}", random_letters()?),
            Self::Json => {
                let sealed = WrappedJson { random: &random_letters()?, msg: message };
                serde_json::to_string(&sealed).unwrap_or_default()
            }
            Self::Bare => message.to_owned(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonEnvelope<'a> {
    #[serde(borrow, rename = "random")]
    _random: &'a RawValue,
    #[serde(borrow)]
    msg: &'a RawValue,
}

#[derive(Serialize)]
struct WrappedJson<'a> {
    random: &'a str,
    msg: &'a str,
}

pub(crate) fn random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(|_cause| NoRandomness)
}

/// 16 random letters, all equally likely.
pub(crate) fn random_letters() -> Result<String, NoRandomness> {
    let mut letters = String::with_capacity(RANDOM_PART);
    while letters.len() < RANDOM_PART {
        let mut bytes = [0; 32];
        random(&mut bytes)?;
        // 208 is the largest multiple of 52 in a byte; what lies above would favour the first letters.
        let fair = bytes.into_iter().filter(|byte| *byte < 208).map(|byte| usize::from(byte) % 52);
        for letter in fair.filter_map(|index| LETTERS.get(index)).take(RANDOM_PART - letters.len())
        {
            letters.push(char::from(*letter));
        }
    }
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::Envelope;

    #[test]
    fn an_envelope_is_told_by_its_shape() {
        for (plain, envelope, message) in [
            ("abcdefghijklmno1&R&D & Sales", Envelope::Delimited, "R&D & Sales"),
            ("abcdefghijklmno1&", Envelope::Delimited, ""),
            ("abcdefghijklmn1&short", Envelope::Bare, "abcdefghijklmn1&short"),
            ("abcdefghijklmnop1&long", Envelope::Bare, "abcdefghijklmnop1&long"),
            ("abcdefghijklmn-1&no", Envelope::Bare, "abcdefghijklmn-1&no"),
            ("no delimiter", Envelope::Bare, "no delimiter"),
            ("", Envelope::Bare, ""),
            (r#"{"random":"x","msg":"m\"&"}"#, Envelope::Json, "m\"&"),
            (r#"{"msg":{"id": 1},"random":"x"}"#, Envelope::Json, r#"{"id": 1}"#),
            (
                r#"{"random":"x","msg":"m","more":1}"#,
                Envelope::Bare,
                r#"{"random":"x","msg":"m","more":1}"#,
            ),
            (r#"{"msg":"m"}"#, Envelope::Bare, r#"{"msg":"m"}"#),
        ] {
            assert_eq!(Envelope::of(plain), envelope, "{plain}");
            assert_eq!(envelope.unwrap(plain).unwrap(), message);
        }
    }

    proptest! {
        #[test]
        fn what_is_wrapped_comes_out_again(message in ".{0,60}") {
            for envelope in Envelope::ALL {
                let plain = envelope.wrap(&message).unwrap();
                prop_assert_eq!(envelope.unwrap(&plain).unwrap(), message.as_str());
                if envelope != Envelope::Bare {
                    prop_assert_eq!(Envelope::of(&plain), envelope);
                }
            }
        }
    }
}
