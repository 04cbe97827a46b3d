//! The same signed request again: at once, later, after a restart, in another spelling.

use bamboohook::event::Dialect;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::task::JoinSet;

use crate::support::app::PLAIN_ENDPOINT;
use crate::support::app::TOKEN;
use crate::support::app::TestApp;
use crate::support::hex;
use crate::support::wire::Wire;
use crate::support::wire::post;

const USER: &str = r#"{"username":"zhangsan"}"#;
const TOLERANCE: i64 = 5 * 60 * 1000;

/// A second endpoint with the very same secrets.
const TWINS: &str = r#"
[endpoints.default]
token = "token-of-the-tests-0123456789abcdef"
sign_key = "sign-key-tests-1"
encrypt_key = "aes-key-tests-16"

[endpoints.twin]
path = "/twin"
token = "token-of-the-tests-0123456789abcdef"
sign_key = "sign-key-tests-1"
encrypt_key = "aes-key-tests-16"
"#;

fn in_hex(callback: &Callback) -> Callback {
    let signature = hex(&STANDARD.decode(&callback.signature).unwrap()).to_uppercase();
    Callback { signature, ..callback.clone() }
}

#[tokio::test]
async fn a_request_that_was_accepted_is_refused_from_then_on_also_after_a_restart() {
    let app = TestApp::start(&[]).await;
    let callback = app.callback("CREATE_USER", USER);
    app.deliver(&callback).await.accepted();
    app.deliver(&callback).await.refused(409);
    let app = app.restart().await;
    app.deliver(&callback).await.refused(409);
    assert_eq!(app.events().len(), 1);
    app.deliver(&app.callback("CREATE_USER", USER)).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn of_two_hundred_copies_at_once_exactly_one_is_accepted() {
    let app = TestApp::start(&[]).await;
    let request = app.request(app.callback("CREATE_USER", USER).body());
    let mut copies = JoinSet::new();
    for _ in 0..200 {
        let (address, request) = (app.address, request.clone());
        copies.spawn(async move {
            let mut wire = Wire::connect(address).await;
            wire.send(request).await;
            wire.answer().await.status
        });
    }
    let statuses = copies.join_all().await;
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!((count(200), count(409)), (1, 199));
    assert_eq!(app.events().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn another_spelling_of_a_request_is_the_same_request() {
    let app = TestApp::start(&[]).await;
    let callback = app.callback("CREATE_USER", USER);
    let body = callback.body();
    app.deliver(&in_hex(&callback)).await.accepted();
    app.deliver_body(&body).await.refused(409);
    let time = &callback.timestamp;
    for respelled in [
        body.replace(time, &format!("\"{time}\"")),
        body.replace("\"data\"", "\"d\\u0061ta\""),
        body.replace("CREATE_USER", "CREATE\\u005fUSER"),
        body.replace("{\"nonce\"", "  {\n \"more\" : [1], \"nonce\""),
    ] {
        assert_ne!(respelled, body);
        app.deliver_body(&respelled).await.refused(409);
    }
    assert_eq!(app.events().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn the_same_nonce_with_another_event_time_or_message_is_another_request() {
    let app = TestApp::start(&[]).await;
    let first = app.callback("CREATE_USER", USER);
    app.deliver(&first).await.accepted();
    let signed = |change: fn(&mut Callback)| {
        let mut callback = first.clone();
        change(&mut callback);
        app.sign(&mut callback);
        callback
    };
    let resealed = app.callback("CREATE_USER", USER).data;
    let mut other_message = first.clone();
    other_message.data = resealed;
    app.sign(&mut other_message);
    for callback in [
        signed(|it| it.event = "CREATE_ORGANIZATION".to_owned()),
        signed(|it| it.event.push(' ')),
        signed(|it| it.timestamp.truncate(10)),
        other_message,
    ] {
        assert_eq!(callback.nonce, first.nonce);
        app.deliver(&callback).await.accepted();
        app.deliver(&callback).await.refused(409);
    }
    assert_eq!(app.events().len(), 5);
    app.stop().await;
}

#[tokio::test]
async fn each_endpoint_remembers_for_itself() {
    let app = TestApp::start_with(TWINS, &[]).await;
    let callback = app.callback("CREATE_USER", USER);
    let head = format!("Authorization: Bearer {TOKEN}\r\n");
    let twin = post("/twin", &head, callback.body());
    app.deliver(&callback).await.accepted();
    app.deliver_raw(&twin).await.accepted();
    app.deliver_raw(&twin).await.refused(409);
    let endpoints: Vec<String> = app.events().into_iter().map(|it| it.event.endpoint).collect();
    assert_eq!(endpoints, ["default", "twin"]);
    app.stop().await;
}

#[tokio::test]
async fn nobody_can_use_up_the_nonce_of_another() {
    let app = TestApp::start(&[]).await;
    let victim = app.callback("CREATE_USER", USER);
    let body = victim.body();
    let unsigned = body.replace(&victim.signature, "");
    let forged = Callback { data: app.callback("CREATE_USER", "{}").data, ..victim.clone() };
    let undecipherable = {
        let mut callback = Callback { data: "AAAA".to_owned(), ..victim.clone() };
        app.sign(&mut callback);
        callback
    };
    app.deliver_raw(post("/callback", "", &body)).await.refused(401);
    app.deliver_raw(post("/callback", "Authorization: Bearer wrong\r\n", &body)).await.refused(401);
    app.deliver_body(&unsigned).await.refused(401);
    app.deliver(&forged).await.refused(401);
    app.deliver(&undecipherable).await.refused(400);
    app.clock.move_by(TOLERANCE + 1);
    app.deliver_body(&body).await.refused(401);
    app.clock.move_by(-TOLERANCE - 1);
    app.deliver(&victim).await.accepted();
    assert_eq!(app.events().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_repetition_is_recognised_for_as_long_as_its_timestamp_is_fresh() {
    let app = TestApp::start(&[]).await;
    let now = app.clock.now_in_milliseconds();
    let mut callback = app.callback("CREATE_USER", USER);
    callback.timestamp = (now + TOLERANCE).to_string();
    app.sign(&mut callback);
    app.deliver(&callback).await.accepted();
    for (moved, status) in [(TOLERANCE, 409), (TOLERANCE - 1, 409), (1, 409), (1, 401)] {
        app.clock.move_by(moved);
        app.deliver(&callback).await.refused(status);
    }
    app.clock.move_by(-TOLERANCE);
    app.deliver(&callback).await.refused(409);
    assert_eq!(app.events().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn a_repetition_can_be_answered_as_the_first_was_sealed_anew() {
    let app = TestApp::start(&[("endpoints.default.on_duplicate", "answer")]).await;
    let callback = app.callback("CREATE_USER", USER);
    let first = app.deliver(&callback).await;
    let second = app.deliver(&in_hex(&callback)).await;
    assert_eq!(app.read(Dialect::Eiam, &first), app.read(Dialect::Eiam, &second));
    assert_ne!(first.body, second.body, "the random part and the IV are fresh");
    let app = app.restart().await;
    let third = app.deliver(&callback).await;
    assert_eq!(app.read(Dialect::Eiam, &first), app.read(Dialect::Eiam, &third));
    let ciam = app.callback("USER_LOGIN", "id");
    app.deliver(&ciam).await.accepted();
    assert_eq!(app.deliver(&ciam).await.accepted(), "");
    assert_eq!(app.events().len(), 2);
    app.stop().await;
}

#[tokio::test]
async fn an_unsigned_repetition_is_recognised_by_the_text_that_would_be_signed() {
    let app = TestApp::start_with(PLAIN_ENDPOINT, &[]).await;
    let callback = app.callback("CREATE_USER", USER);
    let body = callback.body();
    app.deliver_body(&body).await.accepted();
    app.deliver_body(&body).await.refused(409);
    app.deliver_body(body.replace("\"signature\":\"\"", "\"signature\":\"x\"")).await.refused(409);
    app.deliver_body(body.replace("{\"nonce\":\"", "{\"nonce\":\"x")).await.accepted();
    app.deliver_body(body.replace("zhangsan", "lisi")).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn a_repetition_signed_with_another_of_the_keys_is_another_request() {
    let toml =
        TWINS.replacen("\"sign-key-tests-1\"", "[\"sign-key-tests-1\", \"sign-key-tests-2\"]", 1);
    let app = TestApp::start_with(&toml, &[]).await;
    let mut callback = app.callback("CREATE_USER", USER);
    app.deliver(&callback).await.accepted();
    let mut endpoint = app.endpoint("default");
    endpoint.sign_key.remove(0);
    Simulator::new(&endpoint, Dialect::Eiam).unwrap().sign(&mut callback).unwrap();
    app.deliver(&callback).await.accepted();
    app.deliver(&callback).await.refused(409);
    app.stop().await;
}
