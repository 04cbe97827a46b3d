//! What `kill -9` leaves: everything acknowledged, in order, at least once. Orderly ends are in `process`.

use std::collections::HashMap;
use std::time::Duration;

use bamboohook::clock::Clock;
use bamboohook::clock::SystemClock;
use bamboohook::event::Dialect;
use bamboohook::inbox::State;
use bamboohook::outbound;
use bamboohook::simulator::Simulator;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::process::post;
use crate::support::sink::Received;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::wait::eventually;

const SUBJECTS: usize = 20;
const KILLS: u32 = 10;

/// Promised for SQLite; on top of it comes what it takes this machine to start a process.
const RESUMED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_order_holds_over_ten_crashes() {
    let sink = Sink::start().await;
    sink.answer(Told::status(204).after(Duration::from_millis(2)));
    let settings = Settings::default().with_http_handler(sink.url(), "concurrency = 16");
    let mut process = Process::start(settings).await;
    let (address, _) = watch::channel(process.url());
    let (end, _) = watch::channel(false);
    let (tell, mut told) = watch::channel(());
    let mut senders: JoinSet<u64> = (0..SUBJECTS)
        .map(|subject| {
            let simulator = process.simulator(Dialect::Eiam);
            send_in_order(subject, simulator, address.subscribe(), end.subscribe(), tell.clone())
        })
        .collect();
    for kill in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(random(50, 600))).await;
        // At any moment, or at the worst: when somebody has just read that an event is safe.
        if kill % 2 == 0 {
            told.mark_unchanged();
            told.changed().await.unwrap();
        }
        process.kill9();
        process.restart().await;
        address.send_replace(process.url());
    }
    end.send_replace(true);
    let mut sent = 0;
    while let Some(acknowledged) = senders.join_next().await {
        sent += acknowledged.unwrap();
    }
    assert!(sent >= u64::from(KILLS) * 20, "only {sent} events were sent");
    eventually("everything is delivered", async || {
        process.events().iter().all(|it| it.state == State::Done).then_some(())
    })
    .await;
    let stored: HashMap<String, u64> =
        process.events().into_iter().fold(HashMap::new(), |mut counts, it| {
            *counts.entry(it.event.subject.unwrap()).or_default() += 1;
            counts
        });
    assert_eq!(stored.values().sum::<u64>(), sent, "each request was stored once");
    let first_seen = first_occurrences(&sink.received());
    assert_eq!(first_seen.len(), SUBJECTS);
    for (subject, numbers) in first_seen {
        let expected: Vec<u64> = (0..stored[&subject]).collect();
        assert_eq!(numbers, expected, "{subject}");
    }
}

/// Sends one subject's events one after another, each until it is acknowledged, and says how many.
async fn send_in_order(
    subject: usize,
    simulator: Simulator,
    address: watch::Receiver<String>,
    ending: watch::Receiver<bool>,
    tell: watch::Sender<()>,
) -> u64 {
    let client = outbound::client("http://").unwrap();
    let mut number = 0;
    while !*ending.borrow() {
        let message = json!({ "id": format!("user-{subject}"), "number": number }).to_string();
        let callback = simulator.callback("UPDATE_USER", &message, SystemClock.now()).unwrap();
        let mut unanswered = false;
        loop {
            let url = address.borrow().clone();
            match post(&client, &url, &simulator, &callback).await {
                Ok(answer) if answer.status == 200 => {
                    tell.send_replace(());
                    break;
                }
                // The answer to an earlier attempt was lost, the event was not.
                Ok(answer) if answer.status == 409 && unanswered => break,
                Ok(answer) => {
                    panic!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))
                }
                Err(_) => unanswered = true,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        number += 1;
    }
    number
}

/// The numbers of each subject in the order in which each was first received.
fn first_occurrences(received: &[Received]) -> HashMap<String, Vec<u64>> {
    let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
    for received in received {
        let number = received.json()["data"]["message"]["number"].as_u64().unwrap();
        let numbers = seen.entry(received.subject()).or_default();
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    seen
}

fn random(from: u64, below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    from + u64::from_ne_bytes(bytes) % (below - from)
}

#[tokio::test]
async fn what_ran_and_what_waited_resumes_within_two_seconds() {
    let sink = Sink::start().await;
    let settings = Settings::default().with_http_handler(sink.url(), "concurrency = 1");
    let mut process = Process::start(settings).await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    for number in 0..5 {
        let message = json!({ "id": "user-1", "number": number }).to_string();
        let callback = process.callback(Dialect::Eiam, "UPDATE_USER", &message);
        assert_eq!(process.send(&callback).await.status, 200);
    }
    sink.wait_for(1).await;
    process.kill9();
    sink.answer(Told::status(200));
    process.restart().await;
    let ready = Instant::now();
    let received = sink.wait_for(2).await;
    assert!(ready.elapsed() < RESUMED_WITHIN, "{:?}", ready.elapsed());
    assert_eq!(received[0].json()["id"], received[1].json()["id"]);
    assert_eq!(received[1].json()["data"]["attempt"], 2);
    let received = sink.wait_for(6).await;
    assert_eq!(first_occurrences(&received)["user-1"], [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_planned_retry_outlives_a_crash() {
    let sink = Sink::start().await;
    let lines = "retry_first = \"1h\"\nretry_max = \"1h\"";
    let settings = Settings::default().with_http_handler(sink.url(), lines);
    let mut process = Process::start(settings).await;
    sink.answer(Told::status(503));
    process.send(&process.callback(Dialect::Ciam, "USER_LOGIN", "user-1")).await;
    let planned = eventually("the retry is planned", async || {
        let delivery = process.events().swap_remove(0).deliveries.swap_remove(0);
        (delivery.attempts == 1).then_some(delivery.next_attempt_at).flatten()
    })
    .await;
    process.kill9();
    process.restart().await;
    let delivery = process.events().swap_remove(0).deliveries.swap_remove(0);
    assert_eq!((delivery.state, delivery.attempts), (State::Waiting, 1));
    assert_eq!(delivery.next_attempt_at, Some(planned));
    assert_eq!(delivery.last_error.as_deref(), Some("HTTP 503"));
    assert_eq!(sink.count(), 1, "a crash does not make it due");
}
