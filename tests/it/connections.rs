//! Connections: slow, idle, pipelined, too many, and heads of every size.

use std::time::Duration;

use crate::support::app::TOKEN;
use crate::support::app::TestApp;
use crate::support::wire::Wire;
use crate::support::wire::post;

/// Longer than the service needs for a request that comes at once, even on a busy machine.
const READ_TIMEOUT: &str = "1s";
const LONGER: Duration = Duration::from_millis(1300);

fn good(app: &TestApp) -> Vec<u8> {
    app.request(app.callback("USER_LOGIN", "20200223170310946-34EE-3403BF88A").body())
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_ends_the_connection() {
    let app = TestApp::start(&[("server.read_timeout", READ_TIMEOUT)]).await;
    let mut silent = app.connect().await;
    let mut half = app.connect().await;
    half.send("POST /callback HTTP/1.1\r\nHost: h\r\n").await;
    let mut dripping = app.connect().await;
    let request = good(&app);
    let mut ended = false;
    for byte in request.chunks(1) {
        ended = !dripping.try_send(byte).await
            || dripping
                .answer_within(Duration::from_millis(50))
                .await
                .is_some_and(|it| it.status == 408);
        if ended {
            break;
        }
    }
    assert!(ended, "a head slower than read_timeout is not read to its end");
    for wire in [&mut silent, &mut half] {
        let answer = wire.answer_or_end().await;
        assert!(answer.is_none_or(|it| it.status == 408));
    }
    app.deliver_raw(request).await.accepted();
    app.stop().await;
}

/// The wait is what is tested: it is longer than `read_timeout`, and that much longer never makes it fail.
#[tokio::test]
async fn an_idle_connection_outlives_the_time_for_a_request() {
    let app = TestApp::start(&[("server.read_timeout", READ_TIMEOUT)]).await;
    let mut after_success = app.connect().await;
    after_success.send(good(&app)).await;
    after_success.answer().await.accepted();
    let mut after_refusal = app.connect().await;
    let refused = post("/callback", "", "a body that nobody wants");
    let (head, body) = refused.split_at(refused.len() - 24);
    after_refusal.send(head).await;
    after_refusal.answer().await.refused(401);
    after_refusal.send(body).await;
    assert!(after_success.answer_within(LONGER).await.is_none());
    for wire in [&mut after_success, &mut after_refusal] {
        wire.send(good(&app)).await;
        wire.answer().await.accepted();
    }
    app.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let app = TestApp::start(&[]).await;
    let (one, two, three) = (good(&app), good(&app), good(&app));
    let not_found = post("/nothing", "", "body");
    let mut wire = app.connect().await;
    wire.send([&one[..], &one, &not_found, &two, &app.request("{"), &three].concat()).await;
    for status in [200, 409, 404, 200, 400, 200] {
        assert_eq!(wire.answer().await.status, status);
    }
    assert_eq!(app.events().len(), 3);
    app.stop().await;
}

#[tokio::test]
async fn who_waits_for_100_continue_is_told_to_go_on_or_why_not() {
    let app = TestApp::start(&[]).await;
    let body = app.callback("USER_LOGIN", "id").body();
    let head = |token: &str, length: usize| {
        format!(
            "POST /callback HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut wire = app.connect().await;
    wire.send(head(TOKEN, body.len())).await;
    assert_eq!(wire.answer().await.status, 100);
    wire.send(&body).await;
    wire.answer().await.accepted();
    for (token, length, status) in [("wrong", body.len(), 401), (TOKEN, 10_000_000, 413)] {
        let mut wire = app.connect().await;
        wire.send(head(token, length)).await;
        wire.answer().await.refused(status);
    }
    app.stop().await;
}

#[tokio::test]
async fn heads_of_any_size_are_answered_or_refused_and_the_service_goes_on() {
    let app = TestApp::start(&[]).await;
    let headers = |count: usize, size: usize| -> String {
        (0..count).map(|it| format!("X-{it}: {}\r\n", "v".repeat(size))).collect()
    };
    for (head, path, fine) in [
        (headers(50, 100), "/callback".to_owned(), true),
        (headers(1, 30_000), "/callback".to_owned(), true),
        (headers(1_000, 1), "/callback".to_owned(), false),
        (headers(50_000, 20), "/callback".to_owned(), false),
        (headers(1, 2_000_000), "/callback".to_owned(), false),
        (String::new(), format!("/callback?{}", "q".repeat(1_000_000)), false),
        (format!("{}: v\r\n", "n".repeat(100_000)), "/callback".to_owned(), false),
        ("no colon\r\n".to_owned(), "/callback".to_owned(), false),
        ("X: a\0b\r\n".to_owned(), "/callback".to_owned(), false),
        (" folded: x\r\n".to_owned(), "/callback".to_owned(), false),
        ("X : y\r\n".to_owned(), "/callback".to_owned(), false),
    ] {
        let head = format!("{head}Authorization: Bearer {TOKEN}\r\n");
        let body = app.callback("USER_LOGIN", "id").body();
        let mut wire = app.connect().await;
        wire.try_send(post(&path, &head, body)).await;
        let status = wire.answer_or_end().await.map(|it| it.status);
        let expected = if fine {
            status == Some(200)
        } else {
            status.is_none_or(|it| [400, 414, 431].contains(&it))
        };
        assert!(expected, "{status:?} {}", &head[..50.min(head.len())]);
    }
    for garbage in [
        &b"\r\n\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        &[0; 4096],
    ] {
        let mut wire = app.connect().await;
        wire.try_send(garbage).await;
        wire.finish().await;
        assert!(wire.answer_or_end().await.is_none_or(|it| it.status >= 400));
    }
    app.deliver_raw(good(&app)).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_and_the_next_one_after_it_is_served() {
    let app = TestApp::start(&[("server.max_connections", "2")]).await;
    let mut held = [app.connect().await, app.connect().await];
    for wire in &mut held {
        wire.send(good(&app)).await;
        wire.answer().await.accepted();
    }
    for _ in 0..5 {
        let mut beyond = app.connect().await;
        beyond.try_send(good(&app)).await;
        assert!(beyond.answer_or_end().await.is_none());
    }
    for wire in &mut held {
        wire.send(good(&app)).await;
        wire.answer().await.accepted();
    }
    drop(held);
    // The service learns of the two closings in its own time.
    let recovered = async {
        loop {
            let mut wire = Wire::connect(app.address).await;
            if wire.try_send(good(&app)).await
                && let Some(answer) = wire.answer_or_end().await
            {
                break answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recovered).await.unwrap().accepted();
    app.stop().await;
}

/// A request whose handling has begun and whose body is still to come.
async fn half_sent(app: &TestApp, body: &str) -> Wire {
    let mut wire = app.connect().await;
    let head = format!("Authorization: Bearer {TOKEN}\r\nExpect: 100-continue\r\n");
    let request = post("/callback", &head, body);
    wire.send(&request[..request.len() - body.len()]).await;
    assert_eq!(wire.answer().await.status, 100);
    wire
}

#[tokio::test]
async fn a_service_that_stops_finishes_what_runs_and_begins_nothing() {
    let mut app = TestApp::start(&[]).await;
    let body = app.callback("USER_LOGIN", "id").body();
    let mut running = half_sent(&app, &body).await;
    let mut idle = app.connect().await;
    idle.send(good(&app)).await;
    idle.answer().await.accepted();
    app.ask_to_stop();
    assert!(idle.answer_or_end().await.is_none(), "an idle connection is closed");
    let mut probe = Wire::connect(app.admin).await;
    probe.send("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let readiness = probe.answer().await;
    assert_eq!(readiness.status, 503);
    assert!(readiness.text().contains("shutting down"));
    assert!(tokio::net::TcpStream::connect(app.address).await.is_err());
    running.send(&body).await;
    running.answer().await.accepted();
    assert!(running.answer_or_end().await.is_none());
    let app = app.restart().await;
    assert_eq!(app.events().len(), 2);
    app.deliver_body(&body).await.refused(409);
    app.stop().await;
}

#[tokio::test]
async fn a_service_that_stops_waits_for_nobody_longer_than_it_says() {
    let app = TestApp::start(&[("server.shutdown_timeout", "200ms")]).await;
    let body = app.callback("USER_LOGIN", "id").body();
    let mut never_finished = half_sent(&app, &body).await;
    let stopped = tokio::time::timeout(Duration::from_secs(5), app.stop()).await;
    stopped.expect("it stops before the read_timeout of 10 s");
    assert!(never_finished.answer_or_end().await.is_none(), "nothing of it runs on");
}

#[tokio::test]
async fn a_sender_that_leaves_in_the_middle_hurts_nobody() {
    let app = TestApp::start(&[]).await;
    let request = good(&app);
    for length in (1..request.len()).step_by(37) {
        let mut wire = app.connect().await;
        wire.send(&request[..length]).await;
    }
    assert_eq!(app.events().len(), 0);
    app.deliver_raw(request).await.accepted();
    app.stop().await;
}
