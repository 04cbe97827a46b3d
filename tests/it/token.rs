//! The Bearer token, by everything that is nearly right.

use crate::support::app::TOKEN;
use crate::support::app::TestApp;
use crate::support::wire::post;

const SEVERAL_TOKENS: &str = r#"
[endpoints.default]
token = ["new-token-of-the-tests-0123456789", "old-token-of-the-tests-0123456789"]
sign_key = "sign-key-tests-1"
encrypt_key = "aes-key-tests-16"

[endpoints.other]
path = "/other"
token = "other-token-of-the-tests-01234567"
sign_key = "sign-key-tests-1"
encrypt_key = "aes-key-tests-16"
"#;

#[tokio::test]
async fn nothing_but_the_whole_token_behind_one_bearer_header_is_let_in() {
    let app = TestApp::start(&[]).await;
    let body = app.callback("USER_LOGIN", "id").body();
    let refusals = [
        String::new(),
        "Authorization: Bearer wrong\r\n".to_owned(),
        "Authorization:\r\n".to_owned(),
        "Authorization: Bearer\r\n".to_owned(),
        format!("Authorization: Bearer {}\r\n", &TOKEN[..TOKEN.len() - 1]),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer x{TOKEN}\r\n"),
        format!("Authorization: Bearer {}\r\n", TOKEN.to_uppercase()),
        format!("Authorization: Bearer \"{TOKEN}\"\r\n"),
        format!("Authorization: Bearer {TOKEN},\r\n"),
        format!("Authorization: Bearer {TOKEN} {TOKEN}\r\n"),
        format!("Authorization: Bearer\t{TOKEN}\r\n"),
        format!("Authorization: Bearer{TOKEN}\r\n"),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: Token {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Authorization: Bearer Bearer {TOKEN}\r\n"),
        format!("X-Authorization: Bearer {TOKEN}\r\n"),
        format!("Proxy-Authorization: Bearer {TOKEN}\r\n"),
        format!("Cookie: token={TOKEN}\r\n"),
        format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}\r\n"),
        format!("Authorization: Bearer {TOKEN}\r\nAuthorization: Bearer wrong\r\n"),
        format!("Authorization: Bearer wrong\r\nauthorization: Bearer {TOKEN}\r\n"),
        "Authorization: Bearer tök€n-\u{202e}\r\n".to_owned(),
        format!("Authorization: Bearer {}\r\n", "t".repeat(32 * 1024)),
    ];
    for head in refusals {
        let answer = app.deliver_raw(post("/callback", &head, &body)).await;
        assert_eq!(answer.refused(401), "authentication failed", "{head}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(app.events().len(), 0);
    app.deliver_body(&body).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn the_case_of_the_scheme_and_blanks_behind_it_do_not_matter() {
    let app = TestApp::start(&[]).await;
    for head in [
        "Authorization: Bearer",
        "authorization: bearer",
        "AUTHORIZATION:BEARER",
        "Authorization: bEARER   ",
    ] {
        let body = app.callback("USER_LOGIN", "id").body();
        app.deliver_raw(post("/callback", &format!("{head} {TOKEN} \r\n"), &body)).await.accepted();
    }
    app.stop().await;
}

#[tokio::test]
async fn a_token_in_the_query_lets_nobody_in() {
    let app = TestApp::start(&[]).await;
    let body = app.callback("USER_LOGIN", "id").body();
    for name in ["token", "access_token", "Authorization"] {
        let target = format!("/callback?{name}={TOKEN}");
        app.deliver_raw(post(&target, "", &body)).await.refused(401);
        app.deliver_raw(post(&target, "Authorization: Bearer wrong\r\n", &body)).await.refused(401);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_refused_and_hurts_nobody() {
    let app = TestApp::start(&[]).await;
    let mut wire = app.connect().await;
    let head = format!("Authorization: Bearer {}\r\n", "t".repeat(1 << 20));
    wire.try_send(post("/callback", &head, "{}")).await;
    if let Some(answer) = wire.answer_or_end().await {
        assert_eq!(answer.status, 431);
    }
    app.deliver(&app.callback("USER_LOGIN", "id")).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn each_token_of_a_list_is_right_and_those_of_other_endpoints_are_not() {
    let app = TestApp::start_with(SEVERAL_TOKENS, &[]).await;
    let deliver = async |path: &str, token: &str| {
        let body = app.callback("USER_LOGIN", "id").body();
        app.deliver_raw(post(path, &format!("Authorization: Bearer {token}\r\n"), body)).await
    };
    let (new, old) = ("new-token-of-the-tests-0123456789", "old-token-of-the-tests-0123456789");
    let other = "other-token-of-the-tests-01234567";
    deliver("/callback", new).await.accepted();
    deliver("/callback", old).await.accepted();
    deliver("/other", other).await.accepted();
    deliver("/callback", other).await.refused(401);
    deliver("/other", new).await.refused(401);
    deliver("/callback", &format!("{new},{old}")).await.refused(401);
    app.stop().await;
}
