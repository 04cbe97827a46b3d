//! Requests that others made, against the rooms that judge them. Knows nothing of HTTP.

use std::collections::BTreeMap;

use bamboohook::config::Config;
use bamboohook::config::Endpoint;
use bamboohook::crypto::Codec;
use bamboohook::crypto::Opened;
use bamboohook::event::Dialect;
use bamboohook::event::routed;
use bamboohook::protocol::Request;
use bamboohook::protocol::success;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use bamboohook::verifier::SignatureCheck;
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) settings: Settings,
    pub(crate) body: String,
    pub(crate) expect: String,
    pub(crate) event: String,
    pub(crate) message: String,
}

#[derive(Deserialize)]
pub(crate) struct Settings {
    pub(crate) dialect: String,
    token: String,
    pub(crate) sign_key: Option<String>,
    pub(crate) signature_algorithm: String,
    pub(crate) signature_message: String,
    signature_encoding: String,
    pub(crate) encrypt_key: Option<String>,
    pub(crate) cipher: String,
    pub(crate) iv: Option<String>,
    pub(crate) envelope: String,
}

impl Settings {
    /// As the environment would set them, with every choice spelled out.
    pub(crate) fn explicit(&self) -> Endpoint {
        let mut choices = vec![("DIALECT", &self.dialect), ("ENVELOPE", &self.envelope)];
        if self.sign_key.is_some() {
            choices.push(("SIGNATURE_ALGORITHM", &self.signature_algorithm));
        }
        if self.encrypt_key.is_some() {
            choices.push(("CIPHER", &self.cipher));
        }
        choices.extend(self.iv.as_ref().map(|iv| ("IV", iv)));
        self.endpoint(&choices)
    }

    /// With every choice left to the request.
    pub(crate) fn auto(&self) -> Endpoint {
        self.endpoint(&[])
    }

    fn endpoint(&self, choices: &[(&str, &String)]) -> Endpoint {
        let mut settings =
            vec![("TOKEN", &*self.token), ("SIGNATURE_MESSAGE", &*self.signature_message)];
        settings.push(match &self.sign_key {
            Some(key) => ("SIGN_KEY", key),
            None => ("ALLOW_UNSIGNED", "true"),
        });
        settings.push(match &self.encrypt_key {
            Some(key) => ("ENCRYPT_KEY", key),
            None => ("ALLOW_PLAINTEXT", "true"),
        });
        settings.extend(choices.iter().map(|(key, value)| (*key, value.as_str())));
        endpoint(&settings)
    }
}

pub(crate) fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../fixtures/protocol.json")).unwrap()
}

/// One endpoint with these settings, checked as at start.
pub(crate) fn endpoint(settings: &[(&str, &str)]) -> Endpoint {
    let name = |key: &str| format!("BAMBOOHOOK__ENDPOINTS__DEFAULT__{key}");
    let env: BTreeMap<String, String> =
        settings.iter().map(|(key, value)| (name(key), (*value).to_owned())).collect();
    Config::load(None, &env).unwrap().config.endpoints.remove("default").unwrap()
}

/// What the service concludes before it stores anything: the message, or the step that refuses.
pub(crate) fn judge(
    endpoint: &Endpoint,
    body: &str,
) -> Result<(String, Option<Opened>), &'static str> {
    let request = Request::parse(body.as_bytes(), endpoint.dialect).map_err(|_cause| "parse")?;
    SignatureCheck::new(endpoint).check(&request).map_err(|_cause| "signature")?;
    let Some(codec) = Codec::new(endpoint).unwrap() else {
        return Ok((request.data.as_str().to_owned(), None));
    };
    let opened = codec.open(request.data.as_str()).map_err(|_cause| "decrypt")?;
    Ok((opened.message.clone(), Some(opened)))
}

#[test]
fn every_vector_is_judged_as_expected_with_explicit_and_with_auto_settings() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 33);
    for Vector { name, settings, body, expect, event, message } in vectors {
        for (kind, endpoint) in [("explicit", settings.explicit()), ("auto", settings.auto())] {
            let verdict = judge(&endpoint, &body);
            if expect != "accept" {
                assert_eq!(verdict.unwrap_err(), expect, "{name} {kind}");
                continue;
            }
            let (read, opened) = verdict.unwrap_or_else(|step| panic!("{name} {kind}: {step}"));
            assert_eq!(read, message, "{name} {kind}");
            let request = Request::parse(body.as_bytes(), None).unwrap();
            assert_eq!(request.dialect.as_str(), settings.dialect, "{name} {kind}");
            assert_eq!(routed(&request.event), event, "{name} {kind}");
            if let Some(Opened { seal, .. }) = opened {
                assert_eq!(seal.layout.cipher(), settings.cipher, "{name} {kind}");
                assert_eq!(seal.layout.iv(), settings.iv.as_deref(), "{name} {kind}");
                assert_eq!(seal.envelope.as_str(), settings.envelope, "{name} {kind}");
            }
        }
    }
}

#[test]
fn a_wrong_key_refuses_every_vector() {
    for Vector { name, mut settings, body, expect, .. } in vectors() {
        settings.encrypt_key = settings.encrypt_key.map(|_| "0123456789abcdef".to_owned());
        if settings.encrypt_key.is_some() && expect == "accept" {
            assert_eq!(judge(&settings.explicit(), &body).unwrap_err(), "decrypt", "{name}");
        }
        settings.sign_key = settings.sign_key.map(|_| "another sign key".to_owned());
        if settings.sign_key.is_some() {
            assert_eq!(judge(&settings.explicit(), &body).unwrap_err(), "signature", "{name}");
        }
    }
}

#[test]
fn the_simulator_signs_as_the_makers_of_the_vectors_did() {
    for Vector { name, settings, body, .. } in
        vectors().into_iter().filter(|it| it.expect == "accept")
    {
        let request = Request::parse(body.as_bytes(), None).unwrap();
        let mut callback = Callback {
            dialect: request.dialect,
            nonce: request.nonce.to_string(),
            timestamp: request.timestamp.as_str().to_owned(),
            event: request.event.to_string(),
            data: request.data.as_str().to_owned(),
            signature: "none yet".to_owned(),
        };
        let simulator = Simulator::new(&settings.explicit(), request.dialect).unwrap();
        simulator.sign(&mut callback).unwrap();
        let original = request.signature.as_deref().unwrap_or_default();
        if settings.signature_encoding == "base64" {
            assert_eq!(callback.signature, original, "{name}");
        }
        assert!(judge(&settings.auto(), &callback.body()).is_ok(), "{name}");
    }
}

#[test]
fn a_simulated_callback_is_accepted_and_its_answer_is_read() {
    let at = Timestamp::from_millisecond(1_783_611_176_476).unwrap();
    for Vector { name, settings, event, message, .. } in vectors() {
        let endpoint = settings.explicit();
        let simulator = Simulator::new(&endpoint, endpoint.dialect.unwrap()).unwrap();
        let callback = simulator.callback(&event, &message, at).unwrap();
        for endpoint in [settings.explicit(), settings.auto()] {
            let (read, opened) = judge(&endpoint, &callback.body()).unwrap();
            assert_eq!(read, message, "{name}");
            let answer = match opened {
                Some(opened) => {
                    Codec::new(&endpoint).unwrap().unwrap().seal(&opened.seal, "R&D").unwrap()
                }
                None => "R&D".to_owned(),
            };
            let answer = simulator.read_answer(200, success(&answer).as_bytes()).unwrap();
            let expected = (simulator.dialect() == Dialect::Eiam).then_some("R&D");
            assert_eq!(answer.data.as_deref(), expected, "{name}");
        }
        let tampered = Callback { nonce: "other".to_owned(), ..callback };
        if settings.sign_key.is_some() {
            assert_eq!(
                judge(&settings.explicit(), &tampered.body()).unwrap_err(),
                "signature",
                "{name}"
            );
        }
    }
}

#[derive(Deserialize)]
struct VendorSample {
    name: String,
    body: String,
    message: Option<String>,
}

#[test]
fn the_vendors_signed_samples_are_read_and_refused_for_their_signature() {
    let samples: Vec<VendorSample> =
        serde_json::from_str(include_str!("../fixtures/vendor-samples.json")).unwrap();
    let signed = endpoint(&[
        ("TOKEN", "token"),
        ("SIGN_KEY", "0123456789abcdef"),
        ("ALLOW_PLAINTEXT", "true"),
    ]);
    let open = endpoint(&[
        ("TOKEN", "token"),
        ("ALLOW_UNSIGNED", "true"),
        ("ALLOW_PLAINTEXT", "true"),
        ("TIMESTAMP_TOLERANCE", "off"),
    ]);
    assert_eq!(samples.len(), 6);
    for VendorSample { name, body, message } in samples {
        let request = Request::parse(body.as_bytes(), None).unwrap();
        assert!(name.starts_with(request.dialect.as_str()), "{name}");
        assert_eq!(judge(&signed, &body).unwrap_err(), "signature", "{name}");
        if name.ends_with("plain") {
            assert_eq!(judge(&open, &body).unwrap().0, message.unwrap(), "{name}");
        }
    }
}
