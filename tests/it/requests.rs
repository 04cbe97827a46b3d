//! Methods, paths, media types and sizes: what is looked at before anyone reads the JSON.

use std::time::Duration;

use bamboohook::simulator::Callback;

use crate::support::app::TOKEN;
use crate::support::app::TestApp;
use crate::support::wire::post;

/// Longer than the service needs for a request that comes at once, even on a busy machine.
const READ_TIMEOUT: &str = "1s";

fn good(app: &TestApp) -> Callback {
    app.callback("USER_LOGIN", "20200223170310946-34EE-3403BF88A")
}

fn authorized(more: &str) -> String {
    format!("Authorization: Bearer {TOKEN}\r\n{more}")
}

#[tokio::test]
async fn only_post_is_answered() {
    let app = TestApp::start(&[]).await;
    let body = good(&app).body();
    for method in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post", "POSTX"]
    {
        let request = post("/callback", &authorized(""), &body);
        let request = [method.as_bytes(), &request[b"POST".len()..]].concat();
        let answer = app.deliver_raw(request).await;
        answer.refused(405);
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    let mut wire = app.connect().await;
    wire.send(format!("HEAD /callback HTTP/1.1\r\nHost: h\r\n{}\r\n", authorized(""))).await;
    let answer = wire.answer_without_body().await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    answer.request_id();
    for method in ["X-HTTP-Method-Override: POST\r\n", "X-HTTP-Method: POST\r\n"] {
        let request =
            format!("GET /callback?_method=POST HTTP/1.1\r\nHost: h\r\n{}\r\n", authorized(method));
        app.deliver_raw(request).await.refused(405);
    }
    assert_eq!(app.events().len(), 0);
    app.deliver_body(&body).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn every_other_spelling_of_the_path_is_another_path() {
    let app = TestApp::start(&[]).await;
    let body = good(&app).body();
    for path in [
        "/",
        "/callback/",
        "//callback",
        "/callback//",
        "/./callback",
        "/x/../callback",
        "/callback/.",
        "/Callback",
        "/callback%2f",
        "/%63allback",
        "/callback%00",
        "/callback;x=1",
        "/callback.",
        "/call",
        "/callback/default",
        "/callback%20",
        "/healthz",
        "/readyz",
        "/metrics",
        "/..%2fcallback",
        "*",
        "/callback\\",
    ] {
        let answer = app.deliver_raw(post(path, &authorized(""), &body)).await;
        answer.refused(404);
        assert_eq!(answer.header("allow"), None, "{path}");
    }
    let unknown = app.deliver_raw(post("/nothing", "", &body)).await.refused(404);
    assert!(!unknown.contains("callback"), "no path is given away");
    assert_eq!(app.events().len(), 0);
    app.stop().await;
}

#[tokio::test]
async fn a_query_the_absolute_form_and_any_host_reach_the_same_endpoint() {
    let app = TestApp::start(&[]).await;
    for target in [
        "/callback?",
        "/callback?a=b&c=%2f../",
        "/callback?x#y",
        "http://elsewhere.example/callback",
        "/callback??",
    ] {
        app.deliver_raw(post(target, &authorized(""), good(&app).body())).await.accepted();
    }
    for host in [
        "",
        "Host: evil.example\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: \r\n",
        "X-Forwarded-Host: b\r\n",
    ] {
        let request = post("/callback", &authorized(host), good(&app).body());
        let request = String::from_utf8(request).unwrap().replace("Host: hook.example\r\n", "");
        app.deliver_raw(request).await.accepted();
    }
    app.stop().await;
}

#[tokio::test]
async fn json_or_no_media_type_is_taken_and_nothing_else() {
    let app = TestApp::start(&[]).await;
    for fine in [
        "",
        "Content-Type: application/json\r\n",
        "Content-Type: application/json; charset=utf-8\r\n",
        "content-type: APPLICATION/JSON ;charset=\"gbk\"; x=y\r\n",
        "Content-Type: application/json;\r\n",
        "Accept: text/html\r\nAccept-Encoding: gzip\r\n",
    ] {
        let answer = app.deliver_raw(post("/callback", &authorized(fine), good(&app).body())).await;
        assert_eq!(answer.accepted(), "", "{fine}");
    }
    let body = good(&app).body();
    for wrong in [
        "Content-Type: text/json\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/json5\r\n",
        "Content-Type: application/jsonp\r\n",
        "Content-Type: application/problem+json\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: multipart/form-data; boundary=application/json\r\n",
        "Content-Type: application/json, text/plain\r\n",
        "Content-Type: json\r\n",
        "Content-Type:\r\n",
        "Content-Type: ;application/json\r\n",
        "Content-Type: application/json\r\nContent-Type: application/json\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
        "Content-Encoding: gzip\r\n",
        "Content-Encoding: identity\r\n",
        "Content-Encoding: deflate, gzip\r\n",
        "Content-Type: application/json\r\nContent-Encoding: br\r\n",
    ] {
        app.deliver_raw(post("/callback", &authorized(wrong), &body)).await.refused(415);
    }
    app.deliver_body(&body).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn the_size_is_judged_before_the_media_type_and_the_token_before_both() {
    let app = TestApp::start(&[("server.max_body", "1KiB")]).await;
    let large = "x".repeat(1025);
    let gzip = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    app.deliver_raw(post("/callback", gzip, &large)).await.refused(401);
    app.deliver_raw(post("/callback", &authorized(gzip), &large)).await.refused(413);
    app.deliver_raw(post("/callback", &authorized(gzip), &large[1..])).await.refused(415);
    app.deliver_raw(post("/callback", &authorized(""), &large[1..])).await.refused(400);
    app.deliver(&good(&app)).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let app = TestApp::start(&[("server.max_body", "1KiB")]).await;
    for chunked in [false, true] {
        for (size, status) in [(1024, 200), (1025, 413)] {
            let mut body = good(&app).body();
            body.push_str(&" ".repeat(size - body.len()));
            let answer = if chunked {
                let chunks: String = body.as_bytes().chunks(100).map(chunk).collect();
                let head = format!(
                    "POST /callback HTTP/1.1\r\nHost: h\r\n{}",
                    authorized("Transfer-Encoding: chunked\r\n")
                );
                app.deliver_raw(format!("{head}\r\n{chunks}0\r\n\r\n")).await
            } else {
                app.deliver_body(body).await
            };
            assert_eq!(answer.status, status, "{size} chunked: {chunked}");
        }
    }
    app.stop().await;
}

fn chunk(bytes: &[u8]) -> String {
    format!("{:x}\r\n{}\r\n", bytes.len(), str::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_sender_of_twenty_megabytes_reads_why_they_are_refused() {
    let app = TestApp::start(&[]).await;
    let large = "x".repeat(20_000_000);
    let wrong = "Authorization: Bearer wrong\r\n";
    for (status, head) in [(413, authorized("")), (401, wrong.to_owned())] {
        app.deliver_raw(post("/callback", &head, &large)).await.refused(status);
        let chunks = chunk(&large.as_bytes()[..1_000_000]).repeat(20);
        let request = format!(
            "POST /callback HTTP/1.1\r\nHost: h\r\n{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        );
        app.deliver_raw(request).await.refused(status);
    }
    app.deliver_raw(post("/nothing", "", &large)).await.refused(404);
    app.deliver(&good(&app)).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn a_length_that_is_not_kept_is_no_request() {
    let app = TestApp::start(&[]).await;
    let body = good(&app).body();
    let announced = |length: &str| {
        format!("POST /callback HTTP/1.1\r\nHost: h\r\n{}{length}\r\n{body}", authorized(""))
    };
    let mut wire = app.connect().await;
    wire.send(announced(&format!("Content-Length: {}\r\n", body.len() + 1))).await;
    wire.finish().await;
    if let Some(answer) = wire.answer_or_end().await {
        answer.refused(400);
    }
    app.deliver_raw(announced("Content-Length: 99999999999\r\n")).await.refused(413);
    for length in [
        "Content-Length: -1\r\n",
        "Content-Length: 1e3\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        let mut wire = app.connect().await;
        wire.send(announced(length)).await;
        let answer = wire.answer_or_end().await;
        assert!(answer.is_none_or(|it| it.status == 400), "{length}");
    }
    assert_eq!(app.events().len(), 0);
    app.deliver_body(&body).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let app = TestApp::start(&[]).await;
    let (first, second) = (good(&app).body(), good(&app).body());
    let smuggled = app.request(&second);
    for order in [0, 1] {
        let mut lengths = [
            format!("Content-Length: {}\r\n", chunk(first.as_bytes()).len() + 5 + smuggled.len()),
            "Transfer-Encoding: chunked\r\n".to_owned(),
        ];
        lengths.rotate_left(order);
        let head = authorized(&lengths.concat());
        let mut wire = app.connect().await;
        wire.send(format!(
            "POST /callback HTTP/1.1\r\nHost: h\r\n{head}\r\n{}0\r\n\r\n",
            chunk(first.as_bytes())
        ))
        .await;
        wire.try_send(&smuggled).await;
        let answer = wire.answer_or_end().await;
        assert!(answer.is_none_or(|it| [200, 400, 409].contains(&it.status)));
        assert!(
            wire.answer_or_end().await.is_none_or(|it| it.status == 400),
            "the connection is over"
        );
    }
    let nonces: Vec<String> = app.events().into_iter().map(|it| it.nonce).collect();
    assert!(!nonces.iter().any(|nonce| second.contains(&**nonce)));
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_given_up() {
    let app = TestApp::start(&[("server.read_timeout", READ_TIMEOUT)]).await;
    let body = good(&app).body();
    let request = app.request(&body);
    let (head, rest) = request.split_at(request.len() - body.len());
    let mut wire = app.connect().await;
    wire.send(head).await;
    let mut answer = None;
    for byte in rest.chunks(1) {
        if !wire.try_send(byte).await {
            break;
        }
        answer = wire.answer_within(Duration::from_millis(50)).await;
        if answer.is_some() {
            break;
        }
    }
    answer.expect("a body slower than read_timeout is answered").refused(408);
    assert!(wire.answer_or_end().await.is_none(), "the connection is over");
    app.deliver_body(&body).await.accepted();
    app.stop().await;
}
