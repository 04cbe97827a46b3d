//! `events retry` and `events discard` beside the running service: what they mean, ask, change and leave alone.

use std::process::Stdio;
use std::time::Duration;

use bamboohook::event::Dialect;
use bamboohook::inbox::DeliverySummary;
use bamboohook::inbox::State;
use rusqlite::Connection;
use serde_json::Value;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::process::failed;
use crate::support::process::json_lines;
use crate::support::process::stderr;
use crate::support::process::stdout;
use crate::support::sink::Received;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::store::rows;
use crate::support::wait::eventually;

/// Attempts at what is not dead come an hour apart, so that only a command can bring one about.
const LATER: &str = "retry_first = \"1h\"\nretry_max = \"1h\"";

async fn with_sink(sink: &Sink, lines: &str) -> Process {
    Process::start(Settings::default().with_http_handler(sink.url(), lines)).await
}

/// One numbered event of a user.
async fn update(process: &Process, id: &str, number: u32) {
    let message = json!({ "id": id, "number": number }).to_string();
    process.id_of("UPDATE_USER", &message).await;
}

fn number(received: &Received) -> u64 {
    received.json()["data"]["message"]["number"].as_u64().unwrap()
}

fn numbers(sink: &Sink) -> Vec<u64> {
    sink.received().iter().map(number).collect()
}

/// The first delivery of each event, oldest first, once no attempt runs and every event fits.
async fn settled(process: &Process, fits: impl Fn(&DeliverySummary) -> bool) {
    eventually("the deliveries are settled", async || {
        let events = process.events();
        let mut deliveries = events.iter().flat_map(|it| &it.deliveries);
        deliveries.all(|it| it.state != State::Running && fits(it)).then_some(())
    })
    .await;
}

fn states(process: &Process) -> Vec<(State, u32)> {
    let events = process.events();
    events.iter().flat_map(|it| &it.deliveries).map(|it| (it.state, it.attempts)).collect()
}

fn id(process: &Process, event: usize) -> String {
    process.events()[event].event.id.to_string()
}

/// With `--yes --json`: how many match and how many were changed.
async fn change(process: &Process, arguments: &[&str]) -> (u64, u64) {
    let arguments = [&["events"], arguments, &["--yes", "--json"]].concat();
    let [line] = &*json_lines(&process.command(&arguments).await) else { panic!("one line") };
    (line["matching"].as_u64().unwrap(), line["changed"].as_u64().unwrap())
}

#[tokio::test]
async fn a_dead_delivery_starts_anew_within_a_second_of_being_retried() {
    let sink = Sink::start().await;
    let process = with_sink(&sink, "max_attempts = 2\nretry_first = \"10ms\"").await;
    sink.answer(Told::status(500));
    update(&process, "user-1", 1).await;
    settled(&process, |it| it.state == State::Dead).await;
    assert_eq!((states(&process), sink.count()), (vec![(State::Dead, 2)], 2));
    let mut fastest = Duration::MAX;
    for round in 1..=3 {
        let dead = sink.count();
        let output = process.command(&["events", "retry", &id(&process, 0), "--yes"]).await;
        let told = Instant::now();
        assert_eq!(stdout(&output), "1 deliveries match\n1 deliveries: retry\n", "{round}");
        let received = sink.wait_for(dead + 1).await;
        fastest = fastest.min(told.elapsed());
        assert_eq!(received[dead].json()["data"]["attempt"], 1, "its attempts begin anew");
        settled(&process, |it| it.state == State::Dead).await;
        assert_eq!((states(&process), sink.count()), (vec![(State::Dead, 2)], dead + 2));
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    sink.answer(Told::status(200));
    assert_eq!(change(&process, &["retry", "--state", "dead"]).await, (1, 1));
    settled(&process, |it| it.state == State::Done).await;
    let ids: Vec<Value> = sink.received().iter().map(|it| it.json()["id"].clone()).collect();
    assert!(ids.iter().all(|it| *it == ids[0]), "it is the same event");
}

#[tokio::test]
async fn nothing_is_changed_without_being_named_and_agreed_to() {
    let sink = Sink::start().await;
    let process = with_sink(&sink, "max_attempts = 1").await;
    sink.answer(Told::status(500));
    for number in 0..3 {
        update(&process, &format!("user-{number}"), number).await;
    }
    settled(&process, |it| it.state == State::Dead).await;
    let before = rows(&process.store());
    for verb in ["retry", "discard"] {
        for arguments in
            [&["events", verb][..], &["events", verb, "--yes"], &["events", verb, "--json"]]
        {
            let output = process.command(arguments).await;
            assert!(failed(&output, 2).contains("by id or by a filter"), "{arguments:?}");
            assert_eq!(stdout(&output), "");
        }
        failed(&process.command(&["events", verb, "7", "--yes"]).await, 2);
        let output = process.command(&["events", verb, "--state", "dead"]).await;
        assert!(failed(&output, 1).contains("--yes"), "{}", stderr(&output));
        assert_eq!(stdout(&output), "3 deliveries match\n");
        let output = process.command(&["events", verb, &id(&process, 1), "--json"]).await;
        assert!(failed(&output, 1).contains("--yes"), "{}", stderr(&output));
        let unknown = "00000000-0000-7000-8000-000000000000";
        assert_eq!(change(&process, &[verb, unknown]).await, (0, 0));
        let output = process.command(&["events", verb, unknown]).await;
        assert_eq!(
            (output.status.code(), stdout(&output)),
            (Some(0), "0 deliveries match\n".to_owned())
        );
    }
    assert_eq!((rows(&process.store()), sink.count()), (before, 3));
}

/// Runs a command on a terminal of its own, which `script` makes, and types this.
async fn on_a_terminal(process: &Process, arguments: &str, typed: &str) -> (Option<i32>, String) {
    let config = process.config_file();
    let command = format!(
        "{} events {arguments} --config {}",
        env!("CARGO_BIN_EXE_bamboohook"),
        config.display()
    );
    let mut script = tokio::process::Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = script.stdin.take().unwrap();
    stdin.write_all(typed.as_bytes()).await.unwrap();
    let output = script.wait_with_output().await.unwrap();
    (output.status.code(), stdout(&output))
}

#[tokio::test]
async fn on_a_terminal_it_asks_and_takes_only_yes_for_an_answer() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: no `script` to make a terminal with");
        return;
    }
    let sink = Sink::start().await;
    let process = with_sink(&sink, "max_attempts = 1").await;
    sink.answer(Told::status(500));
    update(&process, "user-1", 1).await;
    settled(&process, |it| it.state == State::Dead).await;
    let before = rows(&process.store());
    for typed in ["n\n", "\n", "yess\n"] {
        let (code, text) = on_a_terminal(&process, "discard --state dead", typed).await;
        assert!(text.contains("discard 1 deliveries? [y/N]"), "{text}");
        assert!(text.contains("nothing was changed"), "{text}");
        assert_eq!(code, Some(1));
        assert_eq!(rows(&process.store()), before);
    }
    let (code, text) = on_a_terminal(&process, "discard --state dead", "y\n").await;
    assert!(code == Some(0) && text.contains("1 deliveries: discard"), "{text}");
    assert_eq!(states(&process), [(State::Done, 1)]);
}

/// Two handlers; `later` waits for its second attempt where `sink` is dead or done.
async fn with_two_handlers(sink: &Sink) -> Process {
    let tables = format!("[handlers.later]\ntype = \"http\"\nurl = \"{}\"\n{LATER}\n", sink.url());
    let settings = Settings { tables, ..Settings::default() };
    let process = Process::start(settings.with_http_handler(sink.url(), "max_attempts = 1")).await;
    sink.answer(Told::status(500));
    for (number, user) in [(1, "user-1"), (2, "user-2")] {
        update(&process, user, number).await;
    }
    process.id_of("UPDATE_ORGANIZATION", r#"{"id":"org","number":3}"#).await;
    settled(&process, |it| it.attempts == 1).await;
    process
}

#[tokio::test]
async fn the_filters_choose_the_same_events_as_those_of_the_list() {
    let sink = Sink::start().await;
    let mut process = with_two_handlers(&sink).await;
    process.terminate();
    process.ended().await;
    let before = rows(&process.store());
    let output = async |filters: &[&str]| {
        let output = process.command(&[&["events", "discard"], filters].concat()).await;
        let text = stdout(&output);
        text.split(' ').next().unwrap().parse::<u32>().unwrap()
    };
    let (first, second) = (id(&process, 0), id(&process, 1));
    for (filters, matching) in [
        (&["--endpoint", "default"][..], 6),
        (&["--endpoint", "other"], 0),
        (&["--handler", "sink"], 3),
        (&["--handler", "later"], 3),
        (&["--handler", "other"], 0),
        (&["--event", "UPDATE_USER"], 4),
        (&["--event", "UPDATE_USER", "--handler", "later"], 2),
        (&["--subject", "user-2"], 2),
        (&["--since", "2h"], 6),
        (&["--until", "2h"], 0),
        (&["--limit", "1"], 2),
        (&["--limit", "2", "--handler", "sink"], 2),
        (&["--limit", "0"], 0),
        (&[&first], 2),
        (&[&first, &second, &first], 4),
        (&[&first, "--handler", "later"], 1),
        (&[&first, "--subject", "user-2"], 0),
        // A state means the deliveries in it, and no others of the same event.
        (&["--state", "dead"], 3),
        (&["--state", "dead", "--handler", "later"], 0),
        (&["--state", "done"], 0),
        (&["--state", "running"], 0),
    ] {
        assert_eq!(output(filters).await, matching, "{filters:?}");
    }
    assert_eq!(rows(&process.store()), before);
}

#[tokio::test]
async fn discarding_the_dead_leaves_what_still_waits() {
    let sink = Sink::start().await;
    let process = with_two_handlers(&sink).await;
    assert_eq!(change(&process, &["discard", "--state", "dead"]).await, (3, 3));
    let expected = [(State::Waiting, 1), (State::Done, 1)].repeat(3);
    assert_eq!(states(&process), expected);
    let event = process.events().swap_remove(0);
    assert_eq!(event.deliveries[1].last_error.as_deref(), Some("discarded: HTTP 500"));
    assert_eq!(change(&process, &["discard", "--state", "waiting"]).await, (3, 3));
    assert!(process.events().iter().all(|it| it.state == State::Done));
    assert_eq!(sink.count(), 6, "nothing was delivered");
}

#[tokio::test]
async fn a_retried_delivery_comes_before_the_later_ones_of_its_subject() {
    let sink = Sink::start().await;
    // The first event is dead at once, by an answer that no attempt changes; the others wait for an hour.
    let process = with_sink(&sink, LATER).await;
    let store = Connection::open(process.store()).unwrap();
    sink.answer(Told::status(500));
    update(&process, "user-1", 1).await;
    settled(&process, |it| it.attempts == 1).await;
    store.execute("UPDATE deliveries SET state = 3, next_attempt_at = NULL", []).unwrap();
    update(&process, "user-1", 2).await;
    settled(&process, |it| it.attempts == 1).await;
    update(&process, "user-1", 3).await;
    update(&process, "user-2", 4).await;
    eventually("the other subject is not held up", async || (sink.count() == 3).then_some(()))
        .await;
    settled(&process, |_| true).await;
    sink.answer_with(|it| Told::status(if number(it) == 4 { 500 } else { 200 }));
    assert_eq!(change(&process, &["retry", "--state", "dead"]).await, (1, 1));
    sink.wait_for(6).await;
    assert_eq!(numbers(&sink)[3..], [1, 2, 3]);
    eventually("the subject is done", async || {
        (states(&process)[..3] == [(State::Done, 1), (State::Done, 2), (State::Done, 1)])
            .then_some(())
    })
    .await;
    assert_eq!(states(&process)[3], (State::Waiting, 1));
}

/// The first event of the subject is dead and the second one's attempt runs until the gate opens.
async fn with_the_second_running(sink: &Sink, gate: &watch::Sender<bool>) -> Process {
    let process = with_sink(sink, &format!("{LATER}\ntimeout = \"60s\"")).await;
    let store = Connection::open(process.store()).unwrap();
    sink.answer(Told::status(500));
    update(&process, "user-1", 1).await;
    settled(&process, |it| it.attempts == 1).await;
    store.execute("UPDATE deliveries SET state = 3, next_attempt_at = NULL", []).unwrap();
    sink.answer(Told::status(500).once(gate));
    update(&process, "user-1", 2).await;
    sink.wait_for(2).await;
    assert_eq!(change(&process, &["retry", &id(&process, 0)]).await, (1, 1));
    assert_eq!(change(&process, &["retry", &id(&process, 1)]).await, (0, 0), "it runs");
    process
}

#[tokio::test]
async fn a_retried_delivery_does_not_wait_for_the_retries_of_a_later_one() {
    let sink = Sink::start().await;
    let (gate, _) = watch::channel(false);
    let process = with_the_second_running(&sink, &gate).await;
    sink.answer(Told::status(200));
    gate.send_replace(true);
    sink.wait_for(4).await;
    assert_eq!(numbers(&sink), [1, 2, 1, 2]);
    settled(&process, |it| it.state == State::Done).await;
}

#[tokio::test]
async fn a_retried_delivery_comes_first_after_a_crash() {
    let sink = Sink::start().await;
    let (gate, _) = watch::channel(false);
    let mut process = with_the_second_running(&sink, &gate).await;
    process.kill9();
    sink.answer(Told::status(200));
    process.restart().await;
    sink.wait_for(4).await;
    assert_eq!(numbers(&sink), [1, 2, 1, 2]);
    settled(&process, |it| it.state == State::Done).await;
}

#[tokio::test]
async fn a_discarded_delivery_lets_the_next_one_of_its_subject_through() {
    let sink = Sink::start().await;
    let process = with_sink(&sink, LATER).await;
    sink.answer_with(|it| Told::status(if number(it) == 1 { 500 } else { 200 }));
    update(&process, "user-1", 1).await;
    settled(&process, |it| it.attempts == 1).await;
    update(&process, "user-1", 2).await;
    assert_eq!(change(&process, &["discard", &id(&process, 0)]).await, (1, 1));
    sink.wait_for(2).await;
    settled(&process, |it| it.state == State::Done).await;
    assert_eq!((states(&process), numbers(&sink)), (vec![(State::Done, 1); 2], vec![1, 2]));
    let shown = process.command(&["events", "show", &id(&process, 0), "--json"]).await;
    let delivery = &json_lines(&shown)[0]["deliveries"][0];
    assert_eq!(delivery["last_error"], "discarded: HTTP 500");
    assert_eq!(delivery["next_attempt_at"], Value::Null);
}

#[tokio::test]
async fn what_is_done_can_be_delivered_again_on_request() {
    let sink = Sink::start().await;
    let process = with_sink(&sink, LATER).await;
    for number in 1..=3 {
        update(&process, "user-1", number).await;
    }
    settled(&process, |it| it.state == State::Done).await;
    assert_eq!(change(&process, &["retry", &id(&process, 0)]).await, (0, 0), "it has to be said");
    assert_eq!(
        change(&process, &["retry", "--state", "done", "--subject", "user-1"]).await,
        (3, 3)
    );
    let received = sink.wait_for(6).await;
    assert_eq!(numbers(&sink), [1, 2, 3, 1, 2, 3]);
    assert_eq!(received[3].json()["id"], received[0].json()["id"]);
    assert_eq!(received[3].json()["data"]["attempt"], 1);
    settled(&process, |it| it.state == State::Done).await;
}

#[tokio::test]
async fn events_for_nobody_are_all_due_at_once() {
    let sink = Sink::start().await;
    let process = with_sink(&sink, "max_attempts = 1").await;
    sink.answer(Told::status(500));
    for _ in 0..5 {
        let callback = process.callback(Dialect::Eiam, "PING", r#"{"number":1}"#);
        assert_eq!(process.send(&callback).await.status, 200);
    }
    settled(&process, |it| it.state == State::Dead).await;
    sink.answer(Told::status(200));
    assert_eq!(change(&process, &["retry", "--event", "PING"]).await, (5, 5));
    settled(&process, |it| it.state == State::Done).await;
    assert_eq!(sink.count(), 10);
}

#[tokio::test]
async fn more_events_than_a_statement_has_parameters_are_changed_at_once() {
    const EVENTS: u64 = 40_000;
    let mut process = Process::start(Settings::default()).await;
    process.terminate();
    process.ended().await;
    let store = Connection::open(process.store()).unwrap();
    store
        .execute_batch(&format!(
            "BEGIN;
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {EVENTS})
             INSERT INTO events
             SELECT i, unhex(printf('%032x', i)), 'default', 'eiam', 'PING', NULL, 'n', '1', 1, 1, '', ''
             FROM n;
             INSERT INTO deliveries (sequence, handler, state, attempts)
             SELECT sequence, 'a', 3, 1 FROM events;
             COMMIT"
        ))
        .unwrap();
    drop(store);
    let most = EVENTS.to_string();
    assert_eq!(change(&process, &["discard", "--limit", &most]).await, (EVENTS, EVENTS));
}
