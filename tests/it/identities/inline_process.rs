//! Inline handlers of the real binary: crashes, shutdowns and crowds between the handler and the commit, and the log.

use bamboohook::event::Dialect;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::process::id_in;
use crate::support::process::post;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::store::rows;
use crate::support::wait::eventually;

const ID: &str = r#"{"id":"7"}"#;
const USER: &str = r#"{"username":"zhangsan"}"#;

/// With the sink as its inline handler, and one that is queued.
async fn deciding(sink: &Sink, endpoint: &str) -> Process {
    let settings = Settings {
        endpoint: endpoint.to_owned(),
        tables: "[handlers.queued]\ntype = \"log\"\n".to_owned(),
        ..Settings::default()
    };
    Process::start(settings.with_http_handler(sink.url(), "mode = \"inline\"")).await
}

#[tokio::test]
async fn a_crash_between_handler_and_commit_leaves_the_request_acceptable() {
    let sink = Sink::start().await;
    let mut process = deciding(&sink, "on_duplicate = \"answer\"").await;
    let before = rows(&process.store());
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).saying(ID).once(&gate));
    let callback = process.callback(Dialect::Eiam, "CREATE_USER", USER);
    for crash in 1..=3 {
        tokio::select! {
            answer = process.send(&callback) => panic!("answered {}", answer.status),
            _ = sink.wait_for(crash) => {}
        }
        assert_eq!(
            process.send(&callback).await.refused(409),
            "the same signed request is being handled"
        );
        process.kill9();
        process.restart().await;
        assert_eq!(rows(&process.store()), before, "as if it had never come");
    }
    gate.send_replace(true);
    let answer = process.send(&callback).await;
    assert_eq!(id_in(&process.simulator(Dialect::Eiam), &answer), "7");
    assert_eq!((process.events().len(), sink.count()), (1, 4));
    process.kill9();
    process.restart().await;
    let answer = process.send(&callback).await;
    assert_eq!(id_in(&process.simulator(Dialect::Eiam), &answer), "7", "the stored answer");
    assert_eq!((process.events().len(), sink.count()), (1, 4));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_handler_and_answers() {
    let sink = Sink::start().await;
    let mut process = deciding(&sink, "reply_timeout = \"20s\"").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).saying(ID).once(&gate));
    let callback = process.callback(Dialect::Eiam, "CREATE_USER", USER);
    let (answer, ()) = tokio::join!(process.send(&callback), async {
        sink.wait_for(1).await;
        process.terminate();
        process.shutting_down().await;
        gate.send_replace(true);
    });
    assert_eq!(id_in(&process.simulator(Dialect::Eiam), &answer), "7");
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(process.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_copies_the_handler_sees_one() {
    let sink = Sink::start().await;
    let process = deciding(&sink, "").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).saying(ID).once(&gate));
    let callback = process.callback(Dialect::Eiam, "CREATE_USER", USER);
    let mut copies: JoinSet<u16> = (0..100)
        .map(|_| {
            let (client, url, callback) = (process.client(), process.url(), callback.clone());
            let simulator = process.simulator(Dialect::Eiam);
            async move { post(&client, &url, &simulator, &callback).await.unwrap().status }
        })
        .collect();
    for _ in 0..99 {
        assert_eq!(copies.join_next().await.unwrap().unwrap(), 409);
    }
    gate.send_replace(true);
    assert_eq!(copies.join_next().await.unwrap().unwrap(), 200);
    assert_eq!((sink.count(), process.events().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_creates_of_one_name_get_the_handlers_one_id() {
    let sink = Sink::start().await;
    sink.answer(Told::status(200).saying(ID));
    let process = deciding(&sink, "").await;
    let answers: JoinSet<_> =
        (0..100)
            .map(|_| {
                let callback = process.callback(Dialect::Eiam, "CREATE_USER", USER);
                let (client, url) = (process.client(), process.url());
                let simulator = process.simulator(Dialect::Eiam);
                async move {
                    id_in(&simulator, &post(&client, &url, &simulator, &callback).await.unwrap())
                }
            })
            .collect();
    assert!(answers.join_all().await.iter().all(|it| it == "7"));
    assert_eq!((sink.count(), process.events().len()), (100, 100));
}

#[tokio::test]
async fn the_log_says_why_an_answer_is_no_success() {
    let sink = Sink::start().await;
    let process = deciding(&sink, "").await;
    sink.answer(Told::status(200).saying(ID));
    process.id_of("CREATE_USER", USER).await;
    let differs = r#"{"id":"7","username":"zhangsan"}"#;
    for (told, event, message, status, reason) in [
        (
            Told::status(200).saying(ID),
            "CREATE_USER",
            r#"{"username":"canary"}"#,
            500,
            "inline_id_taken",
        ),
        (
            Told::status(200).saying(r#"{"id":"canary"}"#),
            "UPDATE_USER",
            differs,
            500,
            "inline_id_differs",
        ),
        (Told::status(404), "UPDATE_USER", differs, 404, "inline_missing"),
        (Told::status(503).saying("canary"), "UPDATE_USER", differs, 500, "inline_failed"),
        (
            Told::status(200),
            "UPDATE_USER",
            r#"{"id":"8","username":"zhangsan"}"#,
            400,
            "name_taken",
        ),
        (Told::status(200), "UPDATE_USER", r#"{"name":"canary"}"#, 400, "nameless"),
    ] {
        sink.answer(told);
        process.send(&process.callback(Dialect::Eiam, event, message)).await.refused(status);
        let line = eventually(&format!("{reason} is logged"), async || {
            process.log().into_iter().find(|it| it["reason"] == reason)
        })
        .await;
        let outcome = if status == 500 { "failed" } else { "rejected" };
        assert_eq!((&line["message"], &line["outcome"]), (&json!("callback"), &json!(outcome)));
        assert_eq!((&line["status"], &line["event"]), (&json!(status), &json!(event)));
    }
    let calls: Vec<Value> =
        process.log().into_iter().filter(|it| it["message"] == "inline handler called").collect();
    let outcomes: Vec<_> = calls.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "done", "done", "missing", "failed"]);
    assert_eq!(calls[4]["reason"], "HTTP 503");
    assert!(process.log().iter().all(|it| !it.to_string().contains("canary")));
}
