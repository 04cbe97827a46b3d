//! The binary as its operators meet it: commands, signals, exit codes, a store in trouble. What a crash leaves is in `crash`.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use bamboohook::config::Config;
use bamboohook::event::Dialect;
use bamboohook::inbox::State;
use rusqlite::Connection;
use secrecy::ExposeSecret;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::mount::Mount;
use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::process::bamboohook;
use crate::support::process::command;
use crate::support::process::failed;
use crate::support::process::json_lines;
use crate::support::process::keys;
use crate::support::process::post;
use crate::support::process::stderr;
use crate::support::process::stdout;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::wait::eventually;

/// Every event of PROTOCOL.md 5.
const EIAM_EVENTS: [&str; 7] = [
    "CHECK_URL",
    "CREATE_USER",
    "UPDATE_USER",
    "DELETE_USER",
    "CREATE_ORGANIZATION",
    "UPDATE_ORGANIZATION",
    "DELETE_ORGANIZATION",
];
const CIAM_EVENTS: [&str; 13] = [
    "USER_LOGIN",
    "USER_REGISTER",
    "USER_CREATE",
    "USER_UPDATE_MOBILE",
    "USER_UPDATE_EMAIL",
    "USER_UPDATE_PWD",
    "USER_UPDATE",
    "USER_ENABLE",
    "USER_DISABLE",
    "USER_DELETE",
    "USER_SOCIAL_BIND",
    "USER_SOCIAL_UNBIND",
    "USER_SIGN_AGREEMENT",
];

async fn with_sink(sink: &Sink, lines: &str, server: &str) -> Process {
    let settings = Settings { server: server.to_owned(), ..Settings::default() };
    Process::start(settings.with_http_handler(sink.url(), lines)).await
}

/// A callback whose head and some of whose body the service has, and for the rest of which it waits.
struct HalfSent {
    stream: TcpStream,
    rest: String,
}

impl HalfSent {
    async fn new(process: &Process, event: &str, message: &str) -> Self {
        let callback = process.callback(Dialect::Ciam, event, message);
        let body = callback.body();
        let (half, rest) = body.split_at(body.len() / 2);
        let simulator = process.simulator(Dialect::Ciam);
        let head = format!(
            "POST /callback HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            simulator.authorization().expose_secret(),
            body.len()
        );
        let mut stream = TcpStream::connect(process.config().server.listen).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // It asks for the body when it reads it, so from here on the request runs.
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(half.as_bytes()).await.unwrap();
        Self { stream, rest: rest.to_owned() }
    }

    async fn finish(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_delivers_nothing_twice() {
    let sink = Sink::start().await;
    let mut process = with_sink(&sink, "concurrency = 1", "").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    for user in ["user-1", "user-2", "user-2"] {
        let callback = process.callback(Dialect::Ciam, "USER_LOGIN", user);
        assert_eq!(process.send(&callback).await.status, 200);
    }
    sink.wait_for(1).await;
    let half_sent = HalfSent::new(&process, "USER_LOGIN", "user-3").await;
    process.terminate();
    process.shutting_down().await;
    eventually("no new connections", async || {
        TcpStream::connect(process.config().server.listen).await.is_err().then_some(())
    })
    .await;
    let answer = half_sent.finish().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(process.readyz().await.unwrap().0, 503);
    gate.send_replace(true);
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(sink.count(), 1, "nothing was begun any more");
    process.restart().await;
    sink.wait_for(4).await;
    eventually("everything is delivered", async || {
        process.events().iter().all(|it| it.state == State::Done).then_some(())
    })
    .await;
    let ids: BTreeSet<String> =
        sink.received().iter().map(|it| it.json()["id"].to_string()).collect();
    assert_eq!((sink.count(), ids.len()), (4, 4), "each event came once");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let sink = Sink::start().await;
    let mut process = with_sink(&sink, "timeout = \"60s\"", "shutdown_timeout = \"60s\"").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    process.send(&process.callback(Dialect::Ciam, "USER_LOGIN", "user-1")).await;
    sink.wait_for(1).await;
    process.terminate();
    process.shutting_down().await;
    process.terminate();
    // Far below the time that the attempt would have been waited for.
    let code = process.ended().await.code();
    assert_eq!(code, Some(1));
    process.restart().await;
    let again = sink.wait_for(2).await;
    assert_eq!(again[0].json()["id"], again[1].json()["id"]);
    assert_eq!(again[1].json()["data"]["attempt"], 2);
}

#[tokio::test]
async fn a_shutdown_waits_no_longer_than_it_may() {
    let sink = Sink::start().await;
    let mut process = with_sink(&sink, "timeout = \"60s\"", "shutdown_timeout = \"300ms\"").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    process.send(&process.callback(Dialect::Ciam, "USER_LOGIN", "user-1")).await;
    sink.wait_for(1).await;
    let half_sent = HalfSent::new(&process, "USER_LOGIN", "user-2").await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    drop(half_sent);
    sink.answer(Told::status(200));
    process.restart().await;
    sink.wait_for(2).await;
    eventually("the attempt is made again", async || {
        let events = process.events();
        (events.len() == 1 && events[0].state == State::Done).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bad_settings_are_all_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("bad.toml");
    fs::write(
        &file,
        "[server]\nlisten = \"nowhere\"\nmax_bodi = \"1KiB\"\n[endpoints.default]\nsign_key = \"\"\n\
         encrypt_key = 16\n[handlers.x]\ntype = \"http\"\nurl = \"ftp://x\"\n",
    )
    .unwrap();
    for arguments in [["serve"], ["check-config"]] {
        let text = failed(&command(&file, &arguments).await, 1);
        for key in [
            "server.listen",
            "server.max_bodi",
            "endpoints.default.token",
            "endpoints.default.sign_key",
            "endpoints.default.encrypt_key",
            "handlers.x.url",
        ] {
            let named = text.lines().filter(|it| it.contains(key)).count();
            assert!(named >= 1, "{key} is not named: {text}");
        }
    }
    let missing = directory.path().join("missing.toml");
    let text = failed(&command(&missing, &["serve"]).await, 1);
    assert!(text.contains("missing.toml"), "{text}");
}

#[tokio::test]
async fn wrong_usage_is_told_apart_from_bad_news() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        bamboohook().current_dir(directory.path()).args(arguments).output().unwrap()
    };
    for arguments in [
        &[][..],
        &["nonsense"],
        &["serve", "--nonsense"],
        &["serve", "extra"],
        &["events"],
        &["events", "list", "--state", "odd"],
        &["events", "list", "--limit", "-1"],
        &["events", "list", "--since", "soon"],
        &["events", "list", "--until", "2026-13-01"],
        &["events", "show"],
        &["events", "show", "7"],
        &["send"],
        &["send", "PING", "--dialect", "odd"],
        &["send", "PING", "--count", "0"],
        &["identify"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["help", "send"], &["events", "list", "-h"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stderr(&output).is_empty() && !output.stdout.is_empty(), "{arguments:?}");
    }
}

/// The settings of a running process, with one text replaced, as a file of another.
fn other_settings(process: &Process, replaced: &[(String, String)]) -> std::path::PathBuf {
    let mut text = fs::read_to_string(process.config_file()).unwrap();
    for (from, to) in replaced {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let file = process.directory().join("other.toml");
    fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn an_address_in_use_is_named_by_its_setting() {
    let process = Process::start(Settings::default()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = TcpListener::bind(taken).unwrap();
    let taken_address = taken.local_addr().unwrap().to_string();
    let config = process.config();
    let any = "127.0.0.1:0".to_owned();
    for (key, callbacks, admin) in
        [("server.listen", &taken_address, &any), ("admin.listen", &any, &taken_address)]
    {
        let file = other_settings(
            &process,
            &[
                (config.server.listen.to_string(), callbacks.clone()),
                (config.admin.listen.to_string(), admin.clone()),
            ],
        );
        let text = failed(&command(&file, &["serve"]).await, 1);
        assert!(text.contains(key) && text.contains(&taken_address), "{text}");
    }
}

#[tokio::test]
async fn a_second_service_on_one_store_is_refused() {
    let process = Process::start(Settings::default()).await;
    let config = process.config();
    let any = "127.0.0.1:0".to_owned();
    let file = other_settings(
        &process,
        &[(config.server.listen.to_string(), any.clone()), (config.admin.listen.to_string(), any)],
    );
    let text = failed(&command(&file, &["serve"]).await, 1);
    assert!(text.contains("store.url"), "{text}");
    assert!(text.contains("another `bamboohook serve` uses this store"), "{text}");
    let callback = process.callback(Dialect::Ciam, "USER_LOGIN", "user-1");
    assert_eq!(process.send(&callback).await.status, 200, "the first is none the worse");
}

#[tokio::test]
async fn check_config_prints_what_is_in_force_and_no_secret() {
    let settings = Settings::default().with_http_handler(
        "http://127.0.0.1:9/hook",
        "secret = \"canary-hook-secret\"\nheaders = { Authorization = \"canary-header\" }",
    );
    let process = Process::start(settings).await;
    let output = process.command(&["check-config"]).await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for secret in ["canary", "process-token", "process-sign", "process-aes"] {
        assert!(!text.contains(secret) && !stderr(&output).contains(secret), "{secret}");
    }
    assert!(text.contains("\"<redacted>\""), "{text}");
    assert!(text.lines().any(|it| it.contains("listen") && it.contains("# file")), "{text}");
    assert!(
        text.lines().any(|it| it.contains("max_attempts = 15") && it.contains("# default")),
        "{text}"
    );
}

/// The lines of `events list --json` with these filters.
async fn list(process: &Process, filters: &[&str]) -> Vec<Value> {
    let arguments = [&["events", "list", "--json"], filters].concat();
    json_lines(&process.command(&arguments).await)
}

/// One event done, one dead, one that waits for another attempt, and one for nobody, in this order.
async fn with_events_of_every_state(sink: &Sink) -> Process {
    let tables = format!(
        "[handlers.later]\ntype = \"http\"\nurl = \"{}\"\nevents = [\"UPDATE_ORGANIZATION\"]\n\
         retry_first = \"1h\"\n",
        sink.url()
    );
    let settings = Settings { tables, ..Settings::default() };
    let lines = "max_attempts = 1\nevents = [\"*_USER\"]";
    let process = Process::start(settings.with_http_handler(sink.url(), lines)).await;
    sink.answer_with(|received| Told::status(if received.subject() == "fine" { 200 } else { 500 }));
    let eiam = Dialect::Eiam;
    for (event, message) in [
        ("UPDATE_USER", r#"{"id":"fine","mobile":"18998765432"}"#),
        ("UPDATE_USER", r#"{"id":"bad"}"#),
        ("UPDATE_ORGANIZATION", r#"{"id":"org"}"#),
        ("CHECK_URL", "2852325935078"),
    ] {
        assert_eq!(process.send(&process.callback(eiam, event, message)).await.status, 200);
    }
    eventually("all have been attempted", async || {
        let attempted = |it: &bamboohook::inbox::DeliverySummary| {
            it.attempts == 1 && it.state != State::Running
        };
        process.events().iter().all(|it| it.deliveries.iter().all(attempted)).then_some(())
    })
    .await;
    process
}

#[tokio::test]
async fn events_are_listed_by_any_filter_while_the_service_runs_and_when_it_does_not() {
    let sink = Sink::start().await;
    let mut process = with_events_of_every_state(&sink).await;
    for running in [true, false] {
        if !running {
            process.terminate();
            process.ended().await;
        }
        let subjects = async |filters: &[&str]| -> Vec<String> {
            let text = |it: &Value| it["subject"].as_str().unwrap_or("-").to_owned();
            list(&process, filters).await.iter().map(text).collect()
        };
        let all = ["-", "org", "bad", "fine"];
        assert_eq!(subjects(&[]).await, all, "newest first");
        for (filters, expected) in [
            (&["--state", "done"][..], &["-", "fine"][..]),
            (&["--state", "dead"], &["bad"]),
            (&["--state", "waiting"], &["org"]),
            (&["--state", "running"], &[]),
            (&["--event", "UPDATE_USER"], &["bad", "fine"]),
            (&["--event", "update_user"], &[]),
            (&["--endpoint", "default"], &all),
            (&["--endpoint", "other"], &[]),
            (&["--subject", "org"], &["org"]),
            (&["--handler", "later"], &["org"]),
            (&["--handler", "sink"], &["bad", "fine"]),
            (&["--since", "2h"], &all),
            (&["--until", "2h"], &[]),
            (&["--since", "2026-01-01T00:00:00Z", "--until", "2999-01-01T00:00:00+08:00"], &all),
            (&["--since", "2999-01-01T00:00:00Z"], &[]),
            (&["--limit", "2"], &["-", "org"]),
            (&["--limit", "0"], &[]),
            (&["--handler", "sink", "--state", "done", "--limit", "5"], &["fine"]),
            (&["--subject", "' OR 1=1 --"], &[]),
        ] {
            assert_eq!(subjects(filters).await, expected, "{filters:?}");
        }
    }
}

#[tokio::test]
async fn events_are_shown_with_the_promised_fields() {
    let sink = Sink::start().await;
    let process = with_events_of_every_state(&sink).await;
    let events = list(&process, &[]).await;
    let fields =
        ["deliveries", "dialect", "endpoint", "event", "id", "received_at", "state", "subject"];
    let delivery_fields = ["attempts", "handler", "last_error", "next_attempt_at", "state"];
    for event in &events {
        assert_eq!(keys(event), fields);
        for delivery in event["deliveries"].as_array().unwrap() {
            assert_eq!(keys(delivery), delivery_fields);
        }
    }
    let [check, org, bad, fine] = &*events else { panic!("{events:?}") };
    assert_eq!(
        (&check["state"], &check["deliveries"], &check["subject"]),
        (&json!("done"), &json!([]), &Value::Null)
    );
    assert_eq!(
        (&fine["endpoint"], &fine["dialect"], &fine["event"]),
        (&json!("default"), &json!("eiam"), &json!("UPDATE_USER"))
    );
    assert_eq!(
        bad["deliveries"],
        json!([{ "handler": "sink", "state": "dead", "attempts": 1, "next_attempt_at": null, "last_error": "HTTP 500" }])
    );
    assert_eq!(fine["deliveries"][0]["last_error"], Value::Null);
    let next: jiff::Timestamp =
        org["deliveries"][0]["next_attempt_at"].as_str().unwrap().parse().unwrap();
    let received: jiff::Timestamp = org["received_at"].as_str().unwrap().parse().unwrap();
    assert!((1700..3700).contains(&next.duration_since(received).as_secs()));

    let id = fine["id"].as_str().unwrap();
    let show = async |more: &[&str]| {
        let output = process.command(&[&["events", "show", id], more].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let shown: Value = serde_json::from_str(&show(&["--json"]).await).unwrap();
    let more = ["nonce", "status", "timestamp"];
    let mut all = [&fields[..], &more].concat();
    all.sort_unstable();
    assert_eq!(keys(&shown), all);
    assert_eq!(shown["status"], 200);
    assert_eq!(show(&["--json"]).await.lines().count(), 1);
    assert!(!show(&[]).await.contains("18998765432"));
    let with_message: Value =
        serde_json::from_str(&show(&["--json", "--show-message"]).await).unwrap();
    assert_eq!(with_message["message"], json!({ "id": "fine", "mobile": "18998765432" }));
    let unknown = "00000000-0000-7000-8000-000000000000";
    let text = failed(&process.command(&["events", "show", unknown]).await, 1);
    assert!(text.contains(unknown), "{text}");
    let plain = stdout(&process.command(&["events", "list"]).await);
    assert_eq!(plain.lines().count(), 4);
    assert!(plain.contains("HTTP 500") && !plain.contains("18998765432"), "{plain}");
}

#[tokio::test]
async fn a_missing_store_is_not_made_by_looking() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("bamboohook.toml");
    let store = directory.path().join("store.db");
    let settings = include_str!("../../config/development.toml")
        .replace("sqlite://bamboohook.db", &format!("sqlite://{}", store.display()));
    fs::write(&file, settings).unwrap();
    let show = ["events", "show", "00000000-0000-7000-8000-000000000000"];
    for arguments in [&["events", "list"][..], &show] {
        let text = failed(&command(&file, arguments).await, 1);
        assert!(text.contains("no store is there") && text.contains("store.url"), "{text}");
        assert!(!store.exists());
    }
}

#[tokio::test]
async fn healthcheck_says_what_readyz_says() {
    let mut process = Process::start(Settings::default()).await;
    assert_eq!(process.command(&["healthcheck"]).await.status.code(), Some(0));
    process.terminate();
    process.ended().await;
    let text = failed(&process.command(&["healthcheck"]).await, 1);
    assert!(text.contains("not ready"), "{text}");
}

#[tokio::test]
async fn every_documented_event_is_sent_and_answered() {
    let file = Some(include_str!("../../config/development.toml"));
    let process = Process::start(Settings { file, ..Settings::default() }).await;
    let both = EIAM_EVENTS.map(|it| (it, "eiam")).into_iter();
    let both: Vec<_> = both.chain(CIAM_EVENTS.map(|it| (it, "ciam"))).collect();
    for (event, _) in &both {
        let output = process.command(&["send", event]).await;
        assert_eq!(output.status.code(), Some(0), "{event}: {}", stderr(&output));
        assert!(stdout(&output).contains("HTTP status: 200"), "{event}");
    }
    let stored: Vec<(String, &str)> = process
        .events()
        .into_iter()
        .map(|it| (it.event.event, it.event.dialect.as_str()))
        .collect();
    let expected: Vec<_> =
        both.iter().map(|(event, dialect)| ((*event).to_owned(), *dialect)).collect();
    assert_eq!(stored, expected);
    for arguments in [
        &["send", "PING"][..],
        &["send", "PING", "--dialect", "ciam", "--data", "user-1"],
        &["send", "CREATE_USER ", "--data", r#"{"username":"R&D"}"#],
        &["send", "USER_LOGIN", "--count", "40", "--concurrency", "4"],
    ] {
        let output = process.command(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    }
    assert_eq!(process.events().len(), both.len() + 43);
}

#[tokio::test]
async fn send_fails_where_idaas_would() {
    let mut process = Process::start(Settings::default()).await;
    let wrong = |from: &str, to: &str| other_settings(&process, &[(from.into(), to.into())]);
    for (from, to, status) in [
        ("process-token-7f3b", "another-token-7f3b", "401"),
        ("process-sign-001", "another-sign-001", "401"),
        ("process-aes-0016", "another-aes-0016", "400"),
    ] {
        let output = command(&wrong(from, to), &["send", "CREATE_USER"]).await;
        let text = failed(&output, 1);
        assert!(stdout(&output).contains(&format!("HTTP status: {status}")), "{text}");
        assert!(text.contains("not a success") && !text.contains(to), "{text}");
    }
    let text = failed(&process.command(&["send", "PING", "--endpoint", "other"]).await, 1);
    assert!(text.contains("there is no endpoint"), "{text}");
    let elsewhere = format!("{}/", process.url());
    let output = process.command(&["send", "PING", "--url", &elsewhere]).await;
    failed(&output, 1);
    assert!(stdout(&output).contains("HTTP status: 404"));
    assert!(process.events().is_empty(), "nothing of it was stored");
    process.terminate();
    process.ended().await;
    let text = failed(&process.command(&["send", "PING"]).await, 1);
    assert!(text.contains("is `bamboohook serve` running"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_copies_at_once_one_is_taken_and_the_others_never_are() {
    let mut process = Process::start(Settings::default()).await;
    let callback = process.callback(Dialect::Eiam, "UPDATE_USER", r#"{"id":"user-1"}"#);
    let mut copies: JoinSet<u16> = (0..200)
        .map(|_| {
            let (client, url, callback) = (process.client(), process.url(), callback.clone());
            let simulator = process.simulator(Dialect::Eiam);
            async move { post(&client, &url, &simulator, &callback).await.unwrap().status }
        })
        .collect();
    let mut statuses = Vec::new();
    while let Some(status) = copies.join_next().await {
        statuses.push(status.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], statuses[199]), (200, 409, 409));
    process.terminate();
    process.ended().await;
    process.restart().await;
    let answer = process.send(&callback).await;
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("409")));
    process.kill9();
    process.restart().await;
    assert_eq!(process.send(&callback).await.status, 409);
    assert_eq!(process.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_is_busy_until_it_is_free() {
    let process = Process::start(Settings::default()).await;
    let lock = Connection::open(process.store()).unwrap();
    lock.busy_timeout(Duration::from_secs(10)).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let callback = process.callback(Dialect::Eiam, "UPDATE_USER", r#"{"id":"user-1"}"#);
    let answer = process.send(&callback).await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("503")));
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    let (status, body) = process.readyz().await.unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, body["reason"].is_string()), (503, true), "{body}");
    let text = failed(&process.command(&["healthcheck"]).await, 1);
    assert!(text.contains("503"), "{text}");
    let healthz = format!("http://{}/healthz", process.config().admin.listen);
    assert_eq!(process.client().get(healthz).send().await.unwrap().status(), 200);
    drop(lock);
    eventually("the service is ready again", async || {
        (process.readyz().await?.0 == 200).then_some(())
    })
    .await;
    assert_eq!(process.send(&callback).await.status, 200, "the same request may come again");
    assert_eq!(process.events().len(), 1);
    let failed: Vec<Value> =
        process.log().into_iter().filter(|it| it["outcome"] == "failed").collect();
    assert_eq!((failed.len(), &failed[0]["reason"]), (1, &json!("store_locked")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_busy_until_there_is_room() {
    let Some(mount) = Mount::new(4096) else { return };
    let sink = Sink::start().await;
    let store_path = Some(mount.path().join("store.db"));
    let settings = Settings { store_path, ..Settings::default() };
    let mut process = Process::start(settings.with_http_handler(sink.url(), "")).await;
    let ballast = mount.fill();
    let message = json!({ "id": "user-1", "x": "x".repeat(100_000) }).to_string();
    let callback = process.callback(Dialect::Eiam, "UPDATE_USER", &message);
    let answer = process.send(&callback).await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    assert!(process.events().is_empty() && sink.count() == 0);
    fs::remove_file(ballast).unwrap();
    eventually("the service is ready again", async || {
        (process.readyz().await?.0 == 200).then_some(())
    })
    .await;
    assert_eq!(process.send(&callback).await.status, 200);
    sink.wait_for(1).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_wait_are_busy_and_may_come_again() {
    const REQUESTS: usize = 3500;
    let files = std::process::Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    let files = stdout(&files);
    if files.trim().parse().is_ok_and(|files: usize| files < REQUESTS + 500) {
        eprintln!("skipped: only {} files may be open", files.trim());
        return;
    }
    let process = Process::start(Settings::default()).await;
    let lock = Connection::open(process.store()).unwrap();
    lock.busy_timeout(Duration::from_secs(10)).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let simulator = std::sync::Arc::new(process.simulator(Dialect::Ciam));
    let mut requests = JoinSet::new();
    for number in 0..REQUESTS {
        let callback = process.callback(Dialect::Ciam, "USER_LOGIN", &format!("user-{number}"));
        let (client, url, simulator) =
            (process.client(), process.url(), std::sync::Arc::clone(&simulator));
        requests.spawn(async move {
            let answer = post(&client, &url, &simulator, &callback).await;
            (callback, answer)
        });
    }
    let mut lock = Some(lock);
    let (mut accepted, mut refused) = (0, Vec::new());
    while let Some(request) = requests.join_next().await {
        let (callback, answer) = request.unwrap();
        let answer = answer.unwrap();
        match answer.status {
            200 => accepted += 1,
            503 => {
                assert!(answer.headers.contains_key("retry-after"));
                refused.push(callback);
            }
            status => panic!("{status}"),
        }
        let saturated = || process.log().iter().any(|it| it["reason"] == "store_saturated");
        if lock.is_some() && saturated() {
            lock = None;
        }
    }
    assert!(lock.is_none(), "never saturated");
    assert_eq!(process.events().len(), accepted);
    for callback in refused.iter().take(50) {
        assert_eq!(process.send(callback).await.status, 200);
    }
    assert_eq!(process.readyz().await.unwrap().0, 200);
}

#[tokio::test]
async fn the_log_is_json_and_names_no_secret_and_nobody() {
    let sink = Sink::start().await;
    let process = with_sink(&sink, "secret = \"canary-hook-secret\"", "").await;
    let message = r#"{"id":"user-1","mobile":"18998765432","password":"canary-password"}"#;
    process.send(&process.callback(Dialect::Eiam, "UPDATE_USER", message)).await;
    sink.wait_for(1).await;
    let line = eventually("the attempt is logged", async || {
        process.log().into_iter().find(|it| it["message"] == "delivery attempted")
    })
    .await;
    assert_eq!(
        (&line["handler"], &line["outcome"], &line["attempt"]),
        (&json!("sink"), &json!("done"), &json!(1))
    );
    let log = process.log();
    let line = log.iter().find(|it| it["message"] == "callback").unwrap();
    for field in [
        "timestamp",
        "level",
        "request_id",
        "endpoint",
        "event",
        "event_id",
        "outcome",
        "status",
        "latency_ms",
        "client",
    ] {
        assert!(!line[field].is_null(), "{field}: {line}");
    }
    let text = json!(log).to_string();
    for secret in ["18998765432", "canary", "process-token", "process-sign", "process-aes"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_a_shutdown() {
    let mut process = Process::start(Settings::default()).await;
    let callback = process.callback(Dialect::Ciam, "USER_LOGIN", "user-1");
    // The client keeps this connection, and the other has not said a word.
    assert_eq!(process.send(&callback).await.status, 200);
    let silent = TcpStream::connect(process.config().server.listen).await.unwrap();
    let began = Instant::now();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn the_development_settings_load() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/development.toml");
    Config::load(Some(&file), &std::collections::BTreeMap::new()).unwrap();
}
