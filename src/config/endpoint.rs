//! Reads `[endpoints.NAME]`. Judges one endpoint by itself; what endpoints owe each other stands with all settings.

use secrecy::SecretString;

use crate::config::CheckUrlReply;
use crate::config::CipherSetting;
use crate::config::Endpoint;
use crate::config::EnvelopeSetting;
use crate::config::IvSetting;
use crate::config::OnDuplicate;
use crate::config::OnUnknownEvent;
use crate::config::SignatureAlgorithm;
use crate::config::address;
use crate::config::secret;
use crate::config::section::Refused;
use crate::config::section::Section;
use crate::event::Dialect;

const DIALECTS: &[(&str, Option<Dialect>)] =
    &[("auto", None), ("eiam", Some(Dialect::Eiam)), ("ciam", Some(Dialect::Ciam))];
const PATH: &str = "must start with / and hold only what stands in a URL's path as it is: ASCII letters, digits and \
    -._~!$&'()*+,;=:@/";
const SIGNATURE_MESSAGE: &str = "must hold {nonce}, {timestamp} and {data} once each and {event} at most once, with at \
    least one character between any two of them, and beside them printable ASCII without braces";

pub(super) fn read(mut section: Section<'_>) -> Result<Endpoint, Refused> {
    let path = section.parsed("path", PATH, |text| address::is_path(text).then(|| text.to_owned()));
    let dialect = section.choice("dialect", DIALECTS);
    let token = token(&mut section);
    let sign_key = section.secrets("sign_key", secret::fault);
    let signature_algorithm = section.choice("signature_algorithm", SignatureAlgorithm::WORDS);
    let signature_message = section.parsed("signature_message", SIGNATURE_MESSAGE, |text| {
        is_signature_message(text).then(|| text.to_owned())
    });
    let encrypt_key = section.secrets("encrypt_key", secret::key_fault);
    let cipher = section.choice("cipher", CipherSetting::WORDS);
    let iv = section.choice("iv", IvSetting::WORDS);
    let envelope = section.choice("envelope", EnvelopeSetting::WORDS);
    let allow_unsigned = section.flag("allow_unsigned");
    let allow_plaintext = section.flag("allow_plaintext");
    let timestamp_tolerance = section.duration_or_off("timestamp_tolerance");
    let on_duplicate = section.choice("on_duplicate", OnDuplicate::WORDS);
    let on_unknown_event = section.choice("on_unknown_event", OnUnknownEvent::WORDS);
    let check_url_reply = section.choice("check_url_reply", CheckUrlReply::WORDS);
    let reply_timeout = section.duration("reply_timeout");
    check_key(&mut section, "sign_key", &sign_key, "allow_unsigned", allow_unsigned);
    check_key(&mut section, "encrypt_key", &encrypt_key, "allow_plaintext", allow_plaintext);
    if let (Ok(cipher), Ok(iv), Ok(allow_unsigned), Ok(encrypt_key)) =
        (cipher, iv, allow_unsigned, &encrypt_key)
    {
        check_cipher(&mut section, cipher, iv, allow_unsigned, !encrypt_key.is_empty());
    }
    section.finish();
    Ok(Endpoint {
        path: path?,
        dialect: dialect?,
        token: token?,
        sign_key: sign_key?,
        signature_algorithm: signature_algorithm?,
        signature_message: signature_message?,
        encrypt_key: encrypt_key?,
        cipher: cipher?,
        iv: iv?,
        envelope: envelope?,
        allow_unsigned: allow_unsigned?,
        allow_plaintext: allow_plaintext?,
        timestamp_tolerance: timestamp_tolerance?,
        on_duplicate: on_duplicate?,
        on_unknown_event: on_unknown_event?,
        check_url_reply: check_url_reply?,
        reply_timeout: reply_timeout?,
    })
}

fn token(section: &mut Section<'_>) -> Result<Vec<SecretString>, Refused> {
    let token = section.secrets("token", secret::fault)?;
    if token.is_empty() { Err(section.missing_secret("token", "")) } else { Ok(token) }
}

/// A key, or the consent to go without it: never neither, never both.
fn check_key(
    section: &mut Section<'_>,
    key: &str,
    given: &Result<Vec<SecretString>, Refused>,
    consent: &str,
    consented: Result<bool, Refused>,
) {
    let (Ok(given), Ok(consented)) = (given, consented) else { return };
    match (given.is_empty(), consented) {
        (true, false) => {
            section.missing_secret(
                key,
                &format!(", or allow what goes without it by {consent} = true"),
            );
        }
        (false, true) => {
            section.wrong(
                consent,
                &format!("must not be true together with {key}; remove one of them"),
            );
        }
        (true, true) | (false, false) => {}
    }
}

/// The signature vouches for the ciphertext while the cipher is being found out (CONTRACT.md 2).
fn check_cipher(
    section: &mut Section<'_>,
    cipher: CipherSetting,
    iv: IvSetting,
    unsigned: bool,
    encrypted: bool,
) {
    if cipher == CipherSetting::Auto && encrypted && unsigned {
        let text = "must not be \"auto\" with an encrypt_key and without a signature; \
                    name the cipher (\"aes-gcm\" if you can choose), or set sign_key and remove allow_unsigned";
        section.wrong("cipher", text);
    }
    let twelve_bytes = matches!(
        iv,
        IvSetting::Prefix12 | IvSetting::Suffix12 | IvSetting::Zero12 | IvSetting::Key12
    );
    if cipher == CipherSetting::AesCbc && twelve_bytes {
        section.wrong("iv", "is 12 bytes, but aes-cbc takes 16; use \"auto\", \"prefix16\", \"zero16\" or \"key16\"");
    }
    if cipher == CipherSetting::AesEcb && iv != IvSetting::Auto {
        section.wrong(
            "iv",
            "does not go with aes-ecb, which has no IV; remove it or set it to \"auto\"",
        );
    }
}

fn is_signature_message(template: &str) -> bool {
    let mut count = [0_usize; 4];
    let mut rest = template;
    let mut first = true;
    while let Some((literal, after)) = rest.split_once('{') {
        let Some((name, tail)) = after.split_once('}') else { return false };
        let [nonce, timestamp, event, data] = &mut count;
        match name {
            "nonce" => *nonce += 1,
            "timestamp" => *timestamp += 1,
            "event" => *event += 1,
            "data" => *data += 1,
            _ => return false,
        }
        // Without anything between them, two different requests could have one text to sign.
        if !is_literal(literal) || (literal.is_empty() && !first) {
            return false;
        }
        first = false;
        rest = tail;
    }
    is_literal(rest) && matches!(count, [1, 1, 0 | 1, 1])
}

fn is_literal(text: &str) -> bool {
    text.bytes().all(|it| (b' '..=b'~').contains(&it) && it != b'{' && it != b'}')
}

#[cfg(test)]
mod tests {
    use super::is_signature_message;

    #[test]
    fn a_signature_message_names_each_part_once() {
        for text in [
            "{nonce}&{timestamp}&{event}&{data}",
            "{timestamp}.{nonce}.{data}",
            "v1:{data} {event}/{timestamp}|{nonce}!",
        ] {
            assert!(is_signature_message(text), "{text}");
        }
        for text in [
            "",
            "{nonce}&{timestamp}&{event}",
            "{nonce}&{timestamp}&{data}&{data}",
            "{event}&{nonce}&{timestamp}&{event}&{data}",
            "{nonce}{timestamp}&{event}&{data}",
            "{nonce}&{timestamp}&{event}{data}",
            "{nonce}&{timestamp}&{data}&{body}",
            "{nonce}&{timestamp}&{data}&{",
            "{nonce}&{timestamp}&{data}}",
            "{{nonce}}&{timestamp}&{data}",
            "{nonce}&{timestamp}&{data}\n",
            "{nonce}&{timestamp}＆{data}",
            "{ nonce }&{timestamp}&{data}",
        ] {
            assert!(!is_signature_message(text), "{text}");
        }
    }
}
