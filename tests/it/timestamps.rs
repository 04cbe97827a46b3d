//! Freshness: the edges of the window, and timestamps that are none.

use bamboohook::event::Dialect;
use bamboohook::simulator::Callback;

use crate::support::app::TestApp;

const TOLERANCE: i64 = 5 * 60 * 1000;

/// Signed as it stands.
fn at(app: &TestApp, timestamp: &str) -> Callback {
    let mut callback = app.callback("DELETE_USER", r#"{"id":"7"}"#);
    timestamp.clone_into(&mut callback.timestamp);
    app.sign(&mut callback);
    callback
}

#[tokio::test]
async fn the_window_is_closed_at_both_edges() {
    let app = TestApp::start(&[]).await;
    for (moved, fresh) in [
        (TOLERANCE - 1, true),
        (TOLERANCE, true),
        (TOLERANCE + 1, false),
        (-TOLERANCE, true),
        (-TOLERANCE - 1, false),
        (0, true),
    ] {
        let callback = app.callback("DELETE_USER", r#"{"id":"7"}"#);
        app.clock.move_by(moved);
        let answer = app.deliver(&callback).await;
        if fresh {
            answer.accepted();
        } else {
            let message = answer.refused(401);
            assert!(message.contains("timestamp"), "{message}");
            assert_ne!(message, "authentication failed");
        }
        app.clock.move_by(-moved);
        if !fresh {
            app.deliver(&callback).await.accepted();
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn seconds_and_milliseconds_as_number_and_as_text_are_one_time() {
    let app = TestApp::start(&[]).await;
    let now = app.callback("USER_LOGIN", "id").timestamp.parse::<i64>().unwrap();
    let seconds = now.to_string();
    let milliseconds = format!("{now}000");
    for timestamp in [
        seconds.clone(),
        milliseconds.clone(),
        format!("\"{seconds}\""),
        format!("\"{milliseconds}\""),
        format!("\"000{seconds}\""),
    ] {
        app.deliver(&at(&app, &timestamp)).await.accepted();
    }
    let events = app.events();
    assert!(events.iter().all(|it| it.event.requested_at.as_second() == now));
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_timestamp_is_malformed_and_what_is_far_away_is_stale() {
    let app = TestApp::start(&[]).await;
    for timestamp in
        ["0", "1", "99999999999", "100000000000", "9223372036854775807", "18446744073709551615"]
    {
        let message = app.deliver(&at(&app, timestamp)).await.refused(401);
        assert!(message.contains("timestamp"), "{timestamp}: {message}");
    }
    let body = at(&app, "1783611176476").body();
    for timestamp in [
        "-0",
        "-1",
        "1.0",
        "1.783611176476e12",
        "1783611176476.0",
        "1e13",
        "1E3",
        "18446744073709551616",
        "\"\"",
        "\" 1783611176476\"",
        "\"1783611176476 \"",
        "\"+1783611176476\"",
        "\"0x19\"",
        "\"1_000\"",
        "\"\u{661}\u{662}\"",
        "\"now\"",
        "\"2026-07-09T15:32:56Z\"",
        "null",
        "true",
        "[1783611176476]",
        "{}",
        "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999",
    ] {
        let bad = body.replace("1783611176476", timestamp);
        let message = app.deliver_body(bad).await.refused(400);
        assert!(message.contains("timestamp"), "{timestamp}: {message}");
    }
    assert_eq!(app.events().len(), 0);
    app.deliver_body(body).await.accepted();
    app.stop().await;
}

#[tokio::test]
async fn without_a_tolerance_every_age_is_taken_and_a_repetition_still_is_one() {
    let app = TestApp::start(&[("endpoints.default.timestamp_tolerance", "off")]).await;
    for timestamp in ["0", "18446744073709551615", "9223372036854775807"] {
        let callback = at(&app, timestamp);
        app.deliver(&callback).await.accepted();
        app.clock.move_by(29 * 24 * 3600 * 1000);
        app.deliver(&callback).await.refused(409);
        app.clock.move_by(-29 * 24 * 3600 * 1000);
    }
    let written = app.events();
    assert_eq!(written[2].timestamp, "9223372036854775807", "the digits are kept as they came");
    assert!(written.iter().all(|it| it.event.dialect == Dialect::Eiam));
    app.stop().await;
}
