//! Replicas that die or stand still: what they had is done by the others, in order. What the database does is in `outage`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use bamboohook::event::Dialect;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::fleet;
use crate::support::load::Load;
use crate::support::postgres::Database;
use crate::support::postgres::stored;
use crate::support::postgres::unfinished;
use crate::support::process::Process;
use crate::support::sink::Received;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::wait::eventually;
use crate::support::wait::within;

const REPLICAS: usize = 3;
const KILLS: usize = 6;
const CONCURRENCY: usize = 8;

/// 25 senders for 20 subjects each, 40 events of every subject.
const SENDERS: usize = 25;
const SUBJECTS_EACH: usize = 20;
const ROUNDS: u64 = 40;
const EVENTS: u64 = 20_000;

/// For the whole stream, on a busy machine.
const STREAM_WITHIN: Duration = Duration::from_mins(3);

/// Promised for what a lost replica had taken.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_three_replicas_survives_six_kills_complete_and_in_order() {
    let Some(database) = Database::create().await else { return };
    let sink = Sink::start().await;
    sink.answer(Told::status(204).after(Duration::from_millis(5)));
    let lines = format!("concurrency = {CONCURRENCY}");
    let mut fleet = fleet::three(&database.url(), &sink, &lines).await;
    let simulator = || fleet[0].simulator(Dialect::Eiam);
    let load = Load::start(fleet::urls(&fleet), simulator, SENDERS, SUBJECTS_EACH, ROUNDS);
    // In turn, so that the life with the number `kill` ends and the next of its replica has the number after all.
    for kill in 0..KILLS {
        // Early, so that most leases of the dead end while the stream still runs.
        let begun = EVENTS / 20 * (kill as u64 + 1);
        within(STREAM_WITHIN, "the stream goes on", async || {
            (load.acknowledged() >= begun).then_some(())
        })
        .await;
        let victim = &mut fleet[kill % REPLICAS];
        victim.kill9();
        let next = fleet::with_sink(&database.url(), kill + REPLICAS, &sink, &lines);
        victim.restart_with(next).await;
        load.urls.send_replace(fleet::urls(&fleet));
    }
    let sent = load.ended().await;
    assert_eq!(sent.count(), EVENTS);
    let client = database.client().await;
    within(STREAM_WITHIN, "everything is delivered", async || {
        (unfinished(&client).await == 0).then_some(())
    })
    .await;
    assert_eq!(stored(&client).await, i64::try_from(EVENTS).unwrap(), "each was stored once");
    let received = sink.received();
    sent.came_in_order(&received);
    let repeated = repeated(&received);
    for (life, count) in &repeated {
        assert!(*life < KILLS, "life {life}, which was not killed, delivered what others did too");
        assert!(*count <= CONCURRENCY, "life {life} had {count} deliveries running at its end");
    }
    let first_times = received.len() - repeated.values().sum::<usize>();
    assert_eq!(u64::try_from(first_times).unwrap(), EVENTS);
}

/// How many deliveries each life has made that were made again later.
fn repeated(received: &[Received]) -> BTreeMap<usize, usize> {
    let mut last: BTreeMap<String, (u64, usize)> = BTreeMap::new();
    let mut repeated = BTreeMap::new();
    for received in received {
        let body = received.json();
        let attempt = body["data"]["attempt"].as_u64().unwrap();
        let this = (attempt, fleet::maker(received));
        let id = body["id"].as_str().unwrap().to_owned();
        if let Some((earlier, life)) = last.insert(id, this) {
            assert!(earlier < attempt, "the same attempt twice: {body}");
            *repeated.entry(life).or_default() += 1;
        }
    }
    repeated
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_replica_held_is_delivered_by_another_within_thirty_seconds() {
    let Some(database) = Database::create().await else { return };
    let sink = Sink::start().await;
    let (gate, _) = watch::channel(false);
    let settings = |number| fleet::with_sink(&database.url(), number, &sink, "concurrency = 2");
    sink.answer_with(move |received| {
        let told = Told::status(204);
        if fleet::maker(received) == 0 { told.once(&gate) } else { told }
    });
    let mut first = Process::start(settings(0)).await;
    for number in 0..3 {
        for subject in 0..5 {
            let message = json!({ "id": format!("user-{subject}"), "number": number }).to_string();
            let callback = first.callback(Dialect::Eiam, "UPDATE_USER", &message);
            assert_eq!(first.send(&callback).await.status, 200);
        }
    }
    // Two attempts run, the first deliveries of the other subjects are taken and wait their turn.
    sink.wait_for(2).await;
    let _second = Process::start(settings(1)).await;
    first.kill9();
    let killed = Instant::now();
    let client = database.client().await;
    within(TAKEN_OVER_WITHIN, "the other replica has done it all", async || {
        (unfinished(&client).await == 0).then_some(())
    })
    .await;
    let received = sink.received();
    assert_eq!(received.len(), 2 + 15, "{:?}", killed.elapsed());
    let second: Vec<Value> = received[2..].iter().map(Received::json).collect();
    assert!(received[2..].iter().all(|it| fleet::maker(it) == 1));
    for subject in 0..5 {
        let of_subject = second.iter().filter(|it| it["subject"] == format!("user-{subject}"));
        let numbers: Vec<&Value> = of_subject.map(|it| &it["data"]["message"]["number"]).collect();
        assert_eq!(numbers, [0, 1, 2], "user-{subject}");
    }
    for received in &received[..2] {
        let again = second.iter().find(|it| it["id"] == received.json()["id"]).unwrap();
        assert_eq!(again["data"]["attempt"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stood_still_beyond_its_lease_changes_nothing_when_it_goes_on() {
    let Some(database) = Database::create().await else { return };
    let sink = Sink::start().await;
    let (gate, _) = watch::channel(false);
    // The late answer is a failure: were it recorded, there would be another attempt.
    let late = Told::status(500).once(&gate);
    sink.answer_with(
        move |received| {
            if fleet::maker(received) == 0 { late.clone() } else { Told::status(204) }
        },
    );
    let settings = |number| fleet::with_sink(&database.url(), number, &sink, "timeout = \"10m\"");
    let first = Process::start(settings(0)).await;
    let callback = first.callback(Dialect::Eiam, "UPDATE_USER", r#"{"id":"user-1"}"#);
    assert_eq!(first.send(&callback).await.status, 200);
    sink.wait_for(1).await;
    let second = Process::start(settings(1)).await;
    first.stand_still();
    let client = database.client().await;
    within(TAKEN_OVER_WITHIN, "the other replica has delivered it", async || {
        (unfinished(&client).await == 0).then_some(())
    })
    .await;
    gate.send_replace(true);
    first.go_on();
    eventually("the first replica says that it was late", async || {
        let said = |line: &Value| {
            line["message"].as_str().unwrap().starts_with("the lease of a delivery ended before")
        };
        first.log().iter().any(said).then_some(())
    })
    .await;
    assert_eq!(unfinished(&client).await, 0);
    let received = sink.received();
    assert_eq!(received.len(), 2);
    assert_eq!(
        (fleet::maker(&received[1]), &received[1].json()["data"]["attempt"]),
        (1, &json!(2))
    );
    // It is as good as the other again.
    for process in [&first, &second] {
        let callback = process.callback(Dialect::Eiam, "UPDATE_USER", r#"{"id":"user-1"}"#);
        assert_eq!(process.send(&callback).await.status, 200);
    }
    sink.answer(Told::status(204));
    sink.wait_for(4).await;
}

/// Where it holds the store's turn just then, the server gives up on it before the others do on the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stands_still_in_its_turn_refuses_nobody_elsewhere() {
    let Some(database) = Database::create().await else { return };
    let start = |_| Process::start(fleet::settings(&database.url()));
    let (first, second) = tokio::join!(start(0), start(1));
    let load = |process: &Process| {
        Load::start(vec![process.url()], || process.simulator(Dialect::Eiam), 8, 1, u64::MAX)
    };
    let (still, lively) = (load(&first), load(&second));
    for _ in 0..3 {
        let before = (still.acknowledged(), lively.acknowledged());
        eventually("both are busy", async || {
            let now = (still.acknowledged(), lively.acknowledged());
            (now.0 > before.0 + 50 && now.1 > before.1 + 50).then_some(())
        })
        .await;
        first.stand_still();
        let before = lively.acknowledged();
        eventually("the other goes on", async || {
            (lively.acknowledged() > before + 500).then_some(())
        })
        .await;
        first.go_on();
    }
    let statuses: BTreeSet<_> = lively.end().await.tries.iter().map(|it| it.status).collect();
    assert_eq!(statuses, BTreeSet::from([Some(200)]));
    still.end().await;
}
