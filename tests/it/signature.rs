//! Signatures that are nearly right, and texts that could be signed twice.

use bamboohook::config::SignatureAlgorithm;
use bamboohook::event::Dialect;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::general_purpose::URL_SAFE;
use secrecy::SecretString;

use crate::support::app::PLAIN_ENDPOINT;
use crate::support::app::TestApp;
use crate::support::hex;

const USER: &str = r#"{"id":"7"}"#;

const SEVERAL_KEYS: &str = r#"
[endpoints.default]
token = "token-of-the-tests-0123456789abcdef"
sign_key = ["sign-key-tests-2", "sign-key-tests-1"]
encrypt_key = ["aes-key-tests-32-bytes-long-key!", "aes-key-tests-16"]
"#;

/// As the endpoint would sign with another algorithm.
fn signed_by(app: &TestApp, algorithm: SignatureAlgorithm) -> Callback {
    let mut endpoint = app.endpoint("default");
    endpoint.signature_algorithm = algorithm;
    let idaas = Simulator::new(&endpoint, Dialect::Eiam).unwrap();
    idaas.callback("DELETE_USER", USER, app.now()).unwrap()
}

async fn refuse(app: &TestApp, callback: &Callback, signature: &str) {
    let callback = Callback { signature: signature.to_owned(), ..callback.clone() };
    let message = app.deliver(&callback).await.refused(401);
    assert_eq!(message, "authentication failed", "{signature:?}");
}

#[tokio::test]
async fn a_signature_cut_short_or_drawn_out_is_refused_at_every_length() {
    let app = TestApp::start(&[]).await;
    for algorithm in [SignatureAlgorithm::HmacSha256, SignatureAlgorithm::HmacSha1] {
        let good = signed_by(&app, algorithm);
        let mac = STANDARD.decode(&good.signature).unwrap();
        for right in [good.signature.clone(), hex(&mac)] {
            for length in 0..right.len() {
                refuse(&app, &good, &right[..length]).await;
            }
            for tail in ["0", "=", "A", "AA==", " ", &right] {
                refuse(&app, &good, &format!("{right}{tail}")).await;
            }
        }
        for length in 0..mac.len() {
            refuse(&app, &good, &STANDARD.encode(&mac[..length])).await;
        }
        refuse(&app, &good, &STANDARD.encode([&mac[..], &[0; 12]].concat())).await;
        app.deliver(&good).await.accepted();
    }
    app.stop().await;
}

#[tokio::test]
async fn every_single_wrong_character_is_refused() {
    let app = TestApp::start(&[]).await;
    let good = signed_by(&app, SignatureAlgorithm::Auto);
    for position in 0..good.signature.len() {
        let mut wrong = good.signature.clone().into_bytes();
        wrong[position] = if wrong[position] == b'A' { b'B' } else { b'A' };
        refuse(&app, &good, str::from_utf8(&wrong).unwrap()).await;
    }
    app.deliver(&good).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn other_spellings_than_base64_and_hex_are_refused() {
    let app = TestApp::start(&[]).await;
    // A MAC with both of the characters that the URL-safe alphabet replaces.
    let good = std::iter::repeat_with(|| signed_by(&app, SignatureAlgorithm::Auto))
        .find(|it| it.signature.contains('+') && it.signature.contains('/'))
        .unwrap();
    let right = &good.signature;
    let mac = STANDARD.decode(right).unwrap();
    // 32 bytes leave two bits of the last character unused; set, they spell the same bytes.
    let (front, last) = right[..43].split_at(42);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let loose = alphabet.as_bytes()[alphabet.find(last).unwrap() + 1];
    for wrong in [
        URL_SAFE.encode(&mac),
        STANDARD_NO_PAD.encode(&mac),
        format!("{right}\n"),
        format!(" {right}"),
        format!("{front}{}=", char::from(loose)),
        format!("0x{}", hex(&mac)),
        format!("sha256={}", hex(&mac)),
        hex(&mac).replacen(|it: char| it.is_ascii_digit(), "g", 1),
        STANDARD.encode(hex(&mac)),
        hex(right.as_bytes()),
        right.to_lowercase(),
        right.replace('=', "A"),
        right.replace('=', "\u{ff1d}"),
        "=".repeat(44),
        "\0".repeat(44),
    ] {
        refuse(&app, &good, &wrong).await;
    }
    app.deliver(&good).await.accepted();
    for spell in [hex, |mac: &[u8]| hex(mac).to_uppercase()] {
        let mut callback = signed_by(&app, SignatureAlgorithm::Auto);
        callback.signature = spell(&STANDARD.decode(&callback.signature).unwrap());
        app.deliver(&callback).await.accepted();
    }
    app.stop().await;
}

#[tokio::test]
async fn the_right_mac_of_another_algorithm_is_refused_where_one_is_fixed() {
    let (sha256, sha1) = (SignatureAlgorithm::HmacSha256, SignatureAlgorithm::HmacSha1);
    for (setting, right, wrong) in [("hmac-sha256", sha256, sha1), ("hmac-sha1", sha1, sha256)] {
        let app = TestApp::start(&[("endpoints.default.signature_algorithm", setting)]).await;
        let callback = signed_by(&app, wrong);
        refuse(&app, &callback, &callback.signature).await;
        let mac = STANDARD.decode(&callback.signature).unwrap();
        refuse(&app, &callback, &hex(&mac)).await;
        refuse(&app, &callback, &STANDARD.encode([&mac[..], &[0; 32]].concat().split_at(32).0))
            .await;
        app.deliver(&signed_by(&app, right)).await.accepted();
        app.stop().await;
    }
}

#[tokio::test]
async fn no_field_can_swallow_the_separator_of_the_next() {
    let app = TestApp::start(&[]).await;
    let good = app.callback("DELETE_USER", USER);
    let time = &good.timestamp;
    let shifted = |nonce: String, timestamp: &str, event: String, data: String| Callback {
        nonce,
        timestamp: timestamp.to_owned(),
        event,
        data,
        ..good.clone()
    };
    // All of these give the text that was signed for `good`.
    for callback in [
        shifted(format!("{}&{time}", good.nonce), "\"\"", good.event.clone(), good.data.clone()),
        shifted(good.nonce.clone(), time, format!("{}&{}", good.event, good.data), String::new()),
        shifted(
            good.nonce.clone(),
            &format!("\"{time}&{}\"", good.event),
            good.data.clone(),
            String::new(),
        ),
        shifted(
            format!("{}&{time}&{}", good.nonce, good.event),
            time,
            String::new(),
            good.data.clone(),
        ),
    ] {
        app.deliver(&callback).await.refused(400);
    }
    app.deliver(&good).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn every_part_of_a_request_is_under_the_signature() {
    let app = TestApp::start(&[]).await;
    let good = app.callback("DELETE_USER", USER);
    let other = app.callback("DELETE_USER", USER);
    for forged in [
        Callback { nonce: other.nonce.clone(), ..good.clone() },
        Callback { data: other.data.clone(), ..good.clone() },
        Callback { event: "UPDATE_USER".to_owned(), ..good.clone() },
        Callback { event: "DELETE_USER ".to_owned(), ..good.clone() },
        Callback { timestamp: format!("0{}", good.timestamp), ..good.clone() },
        Callback {
            timestamp: format!("{}", good.timestamp.parse::<i64>().unwrap() + 1),
            ..good.clone()
        },
        Callback { signature: other.signature.clone(), ..good.clone() },
    ] {
        let status = app.deliver(&forged).await.status;
        // A JSON number has no leading zero: as text it is signed as it stands.
        assert!(matches!(status, 400 | 401), "{forged:?}");
    }
    app.deliver(&good).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn each_key_of_a_list_is_right_and_the_answer_is_sealed_with_the_key_of_the_request() {
    let app = TestApp::start_with(SEVERAL_KEYS, &[]).await;
    for sign in ["sign-key-tests-1", "sign-key-tests-2"] {
        for encrypt in ["aes-key-tests-16", "aes-key-tests-32-bytes-long-key!"] {
            let mut endpoint = app.endpoint("default");
            endpoint.sign_key = vec![SecretString::from(sign)];
            endpoint.encrypt_key = vec![SecretString::from(encrypt)];
            let idaas = Simulator::new(&endpoint, Dialect::Eiam).unwrap();
            let callback = idaas.callback("CHECK_URL", "a check", app.now()).unwrap();
            let answer = app.deliver(&callback).await;
            let read = idaas.read_answer(answer.status, &answer.body).unwrap();
            assert_eq!(read.data.as_deref(), Some("a check"), "{sign} {encrypt}");
        }
    }
    let mut endpoint = app.endpoint("default");
    endpoint.sign_key = vec![SecretString::from("sign-key-tests-0")];
    let retired = Simulator::new(&endpoint, Dialect::Eiam).unwrap();
    app.deliver(&retired.callback("CHECK_URL", "a check", app.now()).unwrap()).await.refused(401);
    app.stop().await;
}

#[tokio::test]
async fn an_unsigned_endpoint_takes_any_signature_but_not_any_type() {
    let app = TestApp::start_with(PLAIN_ENDPOINT, &[]).await;
    for signature in ["\"\"", "null", "\"whatever\""] {
        let body = app.callback("DELETE_USER", USER).body();
        let body = body.replace("\"signature\":\"\"", &format!("\"signature\":{signature}"));
        app.deliver_body(body).await.accepted();
    }
    let body = app.callback("DELETE_USER", USER).body();
    app.deliver_body(body.replace(",\"signature\":\"\"", "")).await.accepted();
    app.deliver_body(body.replace("\"signature\":\"\"", "\"signature\":7")).await.refused(400);
    app.stop().await;
}

#[tokio::test]
async fn another_order_of_the_signed_text_is_a_setting_and_never_guessed() {
    let template = "{timestamp}|{nonce}|{data}";
    let app = TestApp::start(&[("endpoints.default.signature_message", template)]).await;
    let good = app.callback("DELETE_USER", USER);
    let mut endpoint = app.endpoint("default");
    endpoint.signature_message = "{nonce}&{timestamp}&{event}&{data}".to_owned();
    let usual = Simulator::new(&endpoint, Dialect::Eiam).unwrap();
    app.deliver(&usual.callback("DELETE_USER", USER, app.now()).unwrap()).await.refused(401);
    app.deliver(&good).await.accepted();
    app.stop().await;
}
