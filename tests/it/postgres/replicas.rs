//! What several services on one database promise together: one acceptance, one id, one set of deliveries.

use std::collections::BTreeSet;
use std::sync::Arc;

use bamboohook::event::Dialect;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::fleet;
use crate::support::postgres::Database;
use crate::support::postgres::stored;
use crate::support::process::Answer;
use crate::support::process::Process;
use crate::support::process::id_in;
use crate::support::process::json_lines;
use crate::support::process::post;
use crate::support::process::stderr;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::wait::eventually;

/// Promised for what the command line changes.
const NOTICED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Sends each to the next of the replicas, all at one moment.
async fn all_at_once(
    fleet: &[Process],
    callbacks: Vec<bamboohook::simulator::Callback>,
) -> Vec<Answer> {
    let start = Arc::new(Barrier::new(callbacks.len()));
    let mut requests = JoinSet::new();
    for (callback, process) in callbacks.into_iter().zip(fleet.iter().cycle()) {
        let (client, url) = (process.client(), process.url());
        let simulator = process.simulator(callback.dialect);
        let start = Arc::clone(&start);
        requests.spawn(async move {
            start.wait().await;
            post(&client, &url, &simulator, &callback).await.unwrap()
        });
    }
    requests.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_copies_spread_over_three_replicas_exactly_one_is_accepted() {
    let Some(database) = Database::create().await else { return };
    let sink = Sink::start().await;
    let fleet = fleet::three(&database.url(), &sink, "").await;
    let callback = fleet[0].callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"zhangsan"}"#);
    let answers = all_at_once(&fleet, vec![callback.clone(); 200]).await;
    let count = |status| answers.iter().filter(|it| it.status == status).count();
    assert_eq!((count(200), count(409)), (1, 199));
    for process in &fleet {
        process.send(&callback).await.refused(409);
    }
    assert_eq!(stored(&database.client().await).await, 1);
    sink.wait_for(1).await;
    eventually("the delivery is done", async || {
        let events = json_lines(&fleet[1].command(&["events", "list", "--json"]).await);
        (events[0]["state"] == "done").then_some(())
    })
    .await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_creations_of_one_name_over_three_replicas_all_get_one_id() {
    let Some(database) = Database::create().await else { return };
    let sink = Sink::start().await;
    let fleet = fleet::three(&database.url(), &sink, "").await;
    let callbacks = (0..60).map(|number| {
        let name = if number % 2 == 0 { "zhangsan" } else { "ZhangSan" };
        let message = json!({ "username": name, "number": number }).to_string();
        fleet[0].callback(Dialect::Eiam, "CREATE_USER", &message)
    });
    let answers = all_at_once(&fleet, callbacks.collect()).await;
    let simulator = fleet[0].simulator(Dialect::Eiam);
    let ids: BTreeSet<String> = answers.iter().map(|it| id_in(&simulator, it)).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids.first().unwrap();
    for process in &fleet {
        assert_eq!(process.id_of("CREATE_USER", r#"{"username":"ZHANGSAN"}"#).await, *id);
        let users = json_lines(&process.command(&["directory", "users", "--json"]).await);
        let known: Vec<&str> = users.iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert_eq!(known, [id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_the_settings_of_one_replica_wakes_whichever_runs() {
    let Some(database) = Database::create().await else { return };
    let sink = Sink::start().await;
    sink.answer(Told::status(500));
    let settings = |number| fleet::with_sink(&database.url(), number, &sink, "max_attempts = 1");
    let (mut first, second) =
        tokio::join!(Process::start(settings(0)), Process::start(settings(1)));
    first.send(&first.callback(Dialect::Ciam, "USER_LOGIN", "user-1")).await;
    let dead = eventually("the delivery is dead", async || {
        let dead = ["events", "list", "--json", "--state", "dead"];
        json_lines(&first.command(&dead).await).pop()
    })
    .await;
    let id = dead["id"].as_str().unwrap();
    let mut expected = 1;
    for both_run in [true, false] {
        if !both_run {
            first.kill9();
        }
        expected += 1;
        let output = first.command(&["events", "retry", id, "--yes"]).await;
        let retried = Instant::now();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let received = sink.wait_for(expected).await;
        assert!(retried.elapsed() < NOTICED_WITHIN, "{:?}", retried.elapsed());
        assert_eq!(received[expected - 1].json()["id"], id);
        assert!(both_run || fleet::maker(&received[expected - 1]) == 1);
        eventually("the delivery is dead again", async || {
            let dead = ["events", "list", "--json", "--state", "dead"];
            json_lines(&second.command(&dead).await).pop()
        })
        .await;
    }
    assert_eq!(sink.count(), expected);
}
