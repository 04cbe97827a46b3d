//! Requests that others made, sent to a running service. The rooms that judge them are tested in `vectors`.

use std::fmt::Write;

use bamboohook::event::Action;
use bamboohook::event::Dialect;
use bamboohook::simulator::Simulator;
use serde::Deserialize;
use serde_json::Value;

use crate::support::app::TOKEN;
use crate::support::app::TestApp;
use crate::support::wire::HttpAnswer;
use crate::support::wire::post;
use crate::vectors::Settings;
use crate::vectors::Vector;
use crate::vectors::vectors;

#[derive(Deserialize)]
struct VendorSample {
    name: String,
    body: String,
    answer: Option<Value>,
}

/// As an operator would write them, the ways of signing and sealing left to the request.
fn table(settings: &Settings) -> String {
    let mut table = format!(
        "[endpoints.default]\ntoken = \"{TOKEN}\"\ntimestamp_tolerance = \"off\"\nsignature_message = \"{}\"\n",
        settings.signature_message
    );
    match &settings.sign_key {
        Some(key) => writeln!(table, "sign_key = \"{key}\"").unwrap(),
        None => table.push_str("allow_unsigned = true\n"),
    }
    match &settings.encrypt_key {
        Some(key) => writeln!(table, "encrypt_key = \"{key}\"").unwrap(),
        None => table.push_str("allow_plaintext = true\n"),
    }
    table
}

async fn deliver(app: &TestApp, body: &str) -> HttpAnswer {
    let head = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    app.deliver_raw(post("/callback", &head, body)).await
}

#[tokio::test]
async fn every_vector_is_answered_as_its_sender_expects() {
    for Vector { name, settings, body, expect, event, message } in vectors() {
        let app = TestApp::start_with(&table(&settings), &[]).await;
        let answer = deliver(&app, &body).await;
        match &*expect {
            "accept" => {
                answer.accepted();
                let dialect: Dialect = settings.dialect.parse().unwrap();
                let idaas = Simulator::new(&settings.explicit(), dialect).unwrap();
                let read = idaas.read_answer(answer.status, &answer.body).unwrap();
                if Action::of(dialect, &event) == Action::CheckUrl {
                    assert_eq!(read.data.as_deref(), Some(&*message), "{name}");
                }
                assert_eq!(app.events()[0].event.message.as_str(), message, "{name}");
                deliver(&app, &body).await.refused(409);
            }
            "signature" => assert_eq!(answer.refused(401), "authentication failed", "{name}"),
            "decrypt" => assert_eq!(answer.refused(400), "data cannot be decrypted", "{name}"),
            other => panic!("{name}: {other}"),
        }
        let stored = usize::from(expect == "accept");
        assert_eq!(app.events().len(), stored, "{name}");
        app.stop().await;
    }
}

#[tokio::test]
async fn the_vendors_own_samples_are_answered_as_its_pages_say() {
    let samples: Vec<VendorSample> =
        serde_json::from_str(include_str!("../fixtures/vendor-samples.json")).unwrap();
    let open = "[endpoints.default]\ntoken = \"token-of-the-tests-0123456789abcdef\"\n\
                timestamp_tolerance = \"off\"\nallow_unsigned = true\nallow_plaintext = true\n";
    let signed = "[endpoints.default]\ntoken = \"token-of-the-tests-0123456789abcdef\"\n\
                  timestamp_tolerance = \"off\"\nsign_key = \"0123456789abcdef\"\nencrypt_key = \"0123456789abcdef\"\n";
    let (open, signed) =
        (TestApp::start_with(open, &[]).await, TestApp::start_with(signed, &[]).await);
    for VendorSample { name, body, answer } in samples {
        deliver(&signed, &body).await.refused(401);
        if !name.ends_with("plain") {
            continue;
        }
        let served = deliver(&open, &body).await;
        // An event that nobody knows is answered with nothing, though the sample's answer echoes it.
        let nothing = serde_json::json!({ "code": "200", "message": "success", "data": "" });
        let sample = answer.unwrap_or(nothing);
        assert_eq!(
            served.accepted(),
            format!(
                "{{\"code\":{},\"message\":{},\"data\":{}}}",
                sample["code"], sample["message"], sample["data"]
            ),
            "{name}"
        );
    }
    assert!(signed.events().is_empty());
    signed.stop().await;
    open.stop().await;
}
