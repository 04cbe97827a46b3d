//! The real binary under many senders at once, restarts and `kill -9`: a name keeps its one id.

use std::collections::BTreeSet;

use bamboohook::event::Dialect;
use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::process::id_in;
use crate::support::process::json_lines;
use crate::support::process::post;
use crate::support::service::Service;
use crate::support::wait::eventually;

const SENDERS: usize = 100;

/// The same name in upper and lower case; every request of its own.
fn created(number: usize) -> String {
    let username = if number.is_multiple_of(2) { "zhangsan" } else { "ZhangSan" };
    json!({ "username": username, "number": number }).to_string()
}

async fn all<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.unwrap());
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_creates_of_one_name_at_once_all_get_one_id() {
    let service = Service::start("").await;
    let tasks = (0..SENDERS).map(|number| {
        let callback = service.callback(Dialect::Eiam, "CREATE_USER", &created(number));
        let (client, url) = (service.client(), service.url("default"));
        let simulator = service.simulator("default", Dialect::Eiam);
        async move {
            let answer = post(&client, &url, &simulator, &callback).await.unwrap();
            id_in(&simulator, &answer)
        }
    });
    let ids: BTreeSet<String> = all(tasks.collect()).await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(service.events().len(), SENDERS);
    assert_eq!(service.records(bamboohook::event::RecordKind::User).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_one_id_over_the_network_after_a_restart_and_after_a_crash() {
    let mut process = Process::start(Settings::default()).await;
    let tasks = (0..SENDERS).map(|number| {
        let callback = process.callback(Dialect::Eiam, "CREATE_USER", &created(number));
        let (client, url) = (process.client(), process.url());
        let simulator = process.simulator(Dialect::Eiam);
        async move {
            let answer = post(&client, &url, &simulator, &callback).await.unwrap();
            id_in(&simulator, &answer)
        }
    });
    let ids: BTreeSet<String> = all(tasks.collect()).await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let id = ids.into_iter().next().unwrap();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    process.restart().await;
    assert_eq!(process.id_of("CREATE_USER", &created(0)).await, id);
    process.kill9();
    process.restart().await;
    assert_eq!(process.id_of("CREATE_USER", &created(1)).await, id);
    let users = json_lines(&process.command(&["directory", "users", "--json"]).await);
    assert_eq!((users.len(), users[0]["id"].as_str()), (1, Some(&*id)));
}

/// Senders create people in a hurry while the process is killed: whoever was told an id has it for good.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_told_once_outlasts_a_crash_in_the_middle() {
    let mut process = Process::start(Settings::default()).await;
    for _ in 0..3 {
        let names: Vec<String> = (0..SENDERS).map(|it| format!("user{it}")).collect();
        let tasks: JoinSet<_> = names
            .iter()
            .map(|name| {
                let message = json!({ "username": name }).to_string();
                let callback = process.callback(Dialect::Eiam, "CREATE_USER", &message);
                let (client, url) = (process.client(), process.url());
                let (simulator, name) = (process.simulator(Dialect::Eiam), name.clone());
                async move {
                    let answer = post(&client, &url, &simulator, &callback).await.ok()?;
                    Some((name, id_in(&simulator, &answer)))
                }
            })
            .collect();
        eventually("some are stored", async || (process.events().len() > 10).then_some(())).await;
        process.kill9();
        let told: Vec<_> = all(tasks).await.into_iter().flatten().collect();
        process.restart().await;
        for (name, id) in told {
            let message = json!({ "username": name }).to_string();
            assert_eq!(process.id_of("CREATE_USER", &message).await, id, "{name}");
        }
    }
    let users = json_lines(&process.command(&["directory", "users", "--json"]).await);
    let names: BTreeSet<&str> = users.iter().map(|it| it["username"].as_str().unwrap()).collect();
    assert_eq!(names.len(), users.len(), "no name has two records");
}

#[tokio::test]
async fn the_deletion_of_something_unknown_is_logged_without_its_message() {
    let process = Process::start(Settings::default()).await;
    let callback =
        process.callback(Dialect::Eiam, "DELETE_USER", r#"{"id":"7","name":"canary-name"}"#);
    assert_eq!(process.send(&callback).await.status, 200);
    let logged = eventually("it is logged", async || {
        let unknown = |it: &Value| it["message"].as_str().unwrap().contains("does not know");
        process.log().into_iter().find(unknown)
    })
    .await;
    let event = process.events().swap_remove(0).event;
    assert_eq!(logged["endpoint"], "default");
    assert_eq!(logged["event_id"], event.id.to_string());
    assert!(process.log().iter().all(|it| !it.to_string().contains("canary")));
}
