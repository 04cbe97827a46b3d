//! What is inside `data`: ciphertexts that do not open, envelopes and messages of every kind.

use std::fmt::Write;

use bamboohook::crypto::Iv;
use bamboohook::crypto::Key;
use bamboohook::crypto::Layout;
use bamboohook::event::Dialect;
use bamboohook::simulator::Callback;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::app::ENDPOINT;
use crate::support::app::PLAIN_ENDPOINT;
use crate::support::app::TestApp;
use crate::support::wire::HttpAnswer;

const KEY: &[u8] = b"aes-key-tests-16";

/// Signed, with `data` as given.
fn with_data(app: &TestApp, event: &str, data: impl Into<String>) -> Callback {
    let mut callback = app.callback(event, "");
    callback.data = data.into();
    app.sign(&mut callback);
    callback
}

fn sealed(layout: Layout, plain: &[u8]) -> Vec<u8> {
    Key::new(KEY).unwrap().encrypt(layout, plain).unwrap()
}

/// Sealed as `layout` says, envelope and all as given.
async fn deliver(
    app: &TestApp,
    event: &str,
    layout: Layout,
    plain: impl AsRef<[u8]>,
) -> HttpAnswer {
    app.deliver(&with_data(app, event, STANDARD.encode(sealed(layout, plain.as_ref())))).await
}

#[tokio::test]
async fn every_broken_ciphertext_is_answered_by_one_text() {
    let gcm = Layout::Gcm(Iv::Prefix12);
    let unsigned = ENDPOINT.replace("sign_key = \"sign-key-tests-1\"", "allow_unsigned = true");
    for (toml, cipher, layout) in [
        (ENDPOINT, "auto", gcm),
        (ENDPOINT, "aes-gcm", gcm),
        (ENDPOINT, "aes-ecb", Layout::Ecb),
        (&unsigned, "aes-gcm", gcm),
        (&unsigned, "aes-ecb", Layout::Ecb),
        (&unsigned, "aes-cbc", Layout::Cbc(Iv::Prefix16)),
    ] {
        let settings =
            [("endpoints.default.cipher", cipher), ("endpoints.default.envelope", "delimited")];
        let app = TestApp::start_with(toml, &settings).await;
        let plain = b"abcdefghijklmnop&a message of several blocks";
        let whole = sealed(layout, plain);
        let foreign = Key::new(b"another-key-0016").unwrap();
        let mut broken: Vec<String> =
            ["", "=", "A", "AAA", "AAAA", "----", "A A=", "AAAA\n", "ÄÄÄÄ", "\0\0\0\0"]
                .map(str::to_owned)
                .into();
        for length in [1, 12, 15, 16, 17, 28, 31, 32, 33, whole.len() - 16, whole.len() - 1] {
            broken.push(STANDARD.encode(&whole[..length]));
            let mut flipped = whole.clone();
            flipped[length] ^= 0x80;
            // In ECB and CBC a flipped bit garbles its block, whose text is then no UTF-8 or no envelope;
            // in the IV of CBC it changes one letter of the random part.
            broken.push(STANDARD.encode(&flipped));
        }
        broken.push(STANDARD.encode(sealed(layout, b"abcdefghijklmnop&\xff\xfe\xc0\x80")));
        broken.push(STANDARD.encode(sealed(layout, b"no envelope")));
        broken.push(STANDARD.encode(sealed(layout, b"")));
        broken.push(STANDARD.encode(foreign.encrypt(layout, plain).unwrap()));
        broken.push(STANDARD.encode(&whole).replacen('A', "\\u0000", 1) + "\n");
        broken.push(STANDARD.encode(vec![7; 100_000]));
        let mut bodies = Vec::new();
        for data in broken {
            let answer = app.deliver(&with_data(&app, "CREATE_USER", data)).await;
            answer.refused(400);
            bodies.push(answer.body);
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{cipher}");
        assert_eq!(app.events().len(), 0);
        deliver(&app, "CREATE_USER", layout, plain).await.accepted();
        app.stop().await;
    }
}

#[tokio::test]
async fn blocks_of_two_messages_put_together_do_not_pass_the_signature() {
    let app = TestApp::start(&[("endpoints.default.cipher", "aes-ecb")]).await;
    let (one, two) = (
        app.callback("DELETE_USER", r#"{"id":"one"}"#),
        app.callback("DELETE_USER", r#"{"id":"two"}"#),
    );
    let (first, second) =
        (STANDARD.decode(&one.data).unwrap(), STANDARD.decode(&two.data).unwrap());
    let data = STANDARD.encode([&first[..16], &second[16..]].concat());
    app.deliver(&Callback { data, ..one.clone() }).await.refused(401);
    app.deliver(&one).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn a_fixed_envelope_is_insisted_on() {
    let ecb = Layout::Ecb;
    let delimited = TestApp::start(&[("endpoints.default.envelope", "delimited")]).await;
    for plain in [
        "the text",
        "",
        "abcdefghijklmno&one letter short",
        "abcdefghijklmnopq&one letter long",
        "abcdefghijklmn-p&no letter",
        "&",
        "abcdefghijklmnop",
        r#"{"random":"abcdefghijklmnop","msg":"the text"}"#,
    ] {
        deliver(&delimited, "CHECK_URL", ecb, plain).await.refused(400);
    }
    let answer = deliver(&delimited, "CHECK_URL", ecb, "abcdefghijklmnop&R&D &amp; Sales&").await;
    answer.accepted();
    assert_eq!(delimited.events()[0].event.message.as_str(), "R&D &amp; Sales&");
    delimited.stop().await;
    let json = TestApp::start(&[("endpoints.default.envelope", "json")]).await;
    for plain in [
        "abcdefghijklmnop&the text",
        r#"{"msg":"the text"}"#,
        r#"{"random":"x","msg":"a","more":1}"#,
        r#"{"random":"x","msg":"a","msg":"b"}"#,
        r#"{"random":"x","random":"y","msg":"b"}"#,
    ] {
        deliver(&json, "CHECK_URL", ecb, plain).await.refused(400);
    }
    deliver(&json, "CHECK_URL", ecb, r#"{"random":"x","msg":"R&D"}"#).await.accepted();
    json.stop().await;
}

#[tokio::test]
async fn without_a_fixed_envelope_the_shape_of_the_plaintext_tells_it() {
    let app = TestApp::start(&[]).await;
    let plains = [
        ("abcdefghijklmnop&R&D", "R&D"),
        ("abcdefghijklmnop&", ""),
        ("no delimiter at all", "no delimiter at all"),
        ("short&text of more than a block", "short&text of more than a block"),
        (r#"{"random":"x","msg":{"id": 1}}"#, r#"{"id": 1}"#),
        (r#"{"random":"x","msg":"a","more":1}"#, r#"{"random":"x","msg":"a","more":1}"#),
    ];
    for (plain, _) in plains {
        deliver(&app, "CHECK_URL", Layout::Gcm(Iv::Suffix12), plain).await.accepted();
    }
    let read: Vec<String> =
        app.events().iter().map(|it| it.event.message.as_str().to_owned()).collect();
    assert_eq!(read, plains.map(|(_, message)| message));
    app.stop().await;
}

#[tokio::test]
async fn a_creation_takes_any_message_but_an_ambiguous_one() {
    let app = TestApp::start(&[("server.max_body", "8MiB")]).await;
    let mut many = "{".to_owned();
    for number in 0..100_000 {
        write!(many, "\"key{number}\":{number},").unwrap();
    }
    many.push_str("\"username\":\"zhangsan\"}");
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for message in [
        "",
        "not JSON",
        "[1,2]",
        "null",
        "{broken",
        "{}",
        "{\"username\":7}",
        "{\"name\":\"\\ud800\"}",
        &deep,
        &many,
    ] {
        let answer = app.deliver(&app.callback("CREATE_USER", message)).await;
        let id: serde_json::Value =
            serde_json::from_str(&app.read(Dialect::Eiam, &answer)).unwrap();
        assert!(id["id"].as_str().is_some_and(|it| !it.is_empty()));
    }
    let stored = app.events().len();
    for event in ["CREATE_USER", "UPDATE_USER", "DELETE_USER", "SOMETHING_NEW"] {
        for message in [r#"{"id":"1","id":"2"}"#, r#"{"id":"1","username":"a","\u0069d":"1"}"#] {
            let callback = app.idaas(Dialect::Eiam).callback(event, message, app.now()).unwrap();
            app.deliver(&callback).await.refused(400);
        }
    }
    assert_eq!(app.events().len(), stored);
    app.stop().await;
}

#[tokio::test]
async fn an_update_names_its_record_by_id_or_by_name() {
    let app = TestApp::start(&[]).await;
    for (event, message) in [
        ("UPDATE_USER", r#"{"mobile":"189"}"#),
        ("UPDATE_USER", r#"{"id":null,"username":" "}"#),
        ("UPDATE_USER", r#"{"id":"","code":"c"}"#),
        ("UPDATE_USER", r#"{"ID":"7","Username":"z"}"#),
        ("UPDATE_USER", r#"{"id":{"id":"7"}}"#),
        ("UPDATE_ORGANIZATION", r#"{"username":"z"}"#),
        ("UPDATE_USER", "not JSON"),
        ("UPDATE_USER", "[]"),
        ("UPDATE_USER", ""),
    ] {
        app.deliver(&app.callback(event, message)).await.refused(400);
    }
    assert_eq!(app.events().len(), 0);
    for (event, message, reply) in [
        ("UPDATE_USER", r#"{"id":"app-7"}"#, Some(r#"{"id":"app-7"}"#)),
        ("UPDATE_USER", r#"{"id":7}"#, Some(r#"{"id":"7"}"#)),
        ("UPDATE_USER", r#"{"username":"zhangsan"}"#, None),
        ("UPDATE_ORGANIZATION", r#"{"code":"R&D"}"#, None),
        ("DELETE_USER", r#"{"id":"unknown"}"#, Some("")),
        ("DELETE_USER", "not JSON", Some("")),
    ] {
        let answer = app.deliver(&app.callback(event, message)).await;
        let read = app.read(Dialect::Eiam, &answer);
        assert!(
            reply.is_none_or(|it| it == read) && (reply.is_some() || read.len() > 10),
            "{event} {message} {read}"
        );
    }
    app.stop().await;
}

#[tokio::test]
async fn a_message_comes_to_its_handlers_as_it_was_sent() {
    let mut app = TestApp::start(&[("server.max_body", "1MiB")]).await;
    let message = r#"{"id":"7", "big":1e400,"digits":123456789012345678901234567890.10,"text":"\u0041\ud83d\ude00 R&D"}"#;
    app.deliver(&app.callback("DELETE_USER", message)).await.accepted();
    let document = app.document().await;
    assert!(document.contains(&format!("\"message\":{message}")), "{document}");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    app.deliver(&app.callback("DELETE_USER", &deep)).await.accepted();
    let document: serde_json::Value = serde_json::from_str(&app.document().await).unwrap();
    assert_eq!(document["data"]["message"], deep, "what parsers refuse is handed on as text");
    app.stop().await;
}

#[tokio::test]
async fn an_unencrypted_message_may_be_text_or_an_object_and_has_no_envelope() {
    let toml = format!(
        "{}sign_key = \"sign-key-tests-1\"\n",
        PLAIN_ENDPOINT.replace("allow_unsigned = true\n", "")
    );
    let app = TestApp::start_with(&toml, &[]).await;
    let object = r#"{ "id" : "7", "n":1e400 }"#;
    let callback = with_data(&app, "DELETE_USER", object);
    let quoted = serde_json::to_string(object).unwrap();
    let body = callback.body().replace(&quoted, object);
    assert_ne!(body, callback.body());
    app.deliver_body(body.replace("{ \"id\"", "{\"id\"")).await.refused(401);
    app.deliver_body(&body).await.accepted();
    app.deliver(&callback).await.refused(409);
    let enveloped = "abcdefghijklmnop&text";
    let answer = app.deliver(&with_data(&app, "CHECK_URL", enveloped)).await;
    assert_eq!(app.read(Dialect::Eiam, &answer), enveloped);
    let events = app.events();
    assert_eq!(
        (events[0].event.message.as_str(), events[1].event.message.as_str()),
        (object, enveloped)
    );
    app.stop().await;
}
