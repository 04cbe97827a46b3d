//! The database away and back again: nothing is lost, nothing has to be restarted. Other servers of it are in `failover`.

use std::io::BufRead;
use std::io::BufReader;
use std::net::TcpListener;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use bamboohook::event::Dialect;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::cluster::Cluster;
use crate::support::cluster::Stop;
use crate::support::fleet;
use crate::support::load::Load;
use crate::support::load::Sent;
use crate::support::postgres::stored;
use crate::support::postgres::unfinished;
use crate::support::process::Process;
use crate::support::process::bamboohook;
use crate::support::process::command;
use crate::support::process::failed;
use crate::support::sink::Sink;
use crate::support::wait::eventually;
use crate::support::wait::within;

/// Long enough for every way of waiting for a database to show, shorter than a lease.
const AWAY: Duration = Duration::from_secs(8);

/// From the server's return to the next acknowledgement.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Beyond the lease of what was taken at the moment of the outage.
const DELIVERED_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_stopped_under_load_is_only_a_pause() {
    pauses(Stop::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_under_load_is_only_a_pause() {
    pauses(Stop::Immediate).await;
}

async fn pauses(how: Stop) {
    let Some(cluster) = Cluster::create().await else { return };
    let sink = Sink::start().await;
    let start = |number| Process::start(fleet::with_sink(&cluster.url(), number, &sink, ""));
    let (first, second) = tokio::join!(start(0), start(1));
    let mut fleet = vec![first, second];
    let simulator = || fleet[0].simulator(Dialect::Eiam);
    let load = Load::start(fleet::urls(&fleet), simulator, 8, 2, u64::MAX);
    more_is_acknowledged(&load).await;
    cluster.stop(how).await;
    let away = Instant::now();
    for process in &fleet {
        not_ready(process).await;
    }
    tokio::time::sleep_until(away + AWAY).await;
    for process in &fleet {
        not_ready(process).await;
    }
    let returning = Instant::now();
    cluster.start().await;
    let returned = Instant::now();
    more_is_acknowledged(&load).await;
    let sent = load.end().await;
    for (replica, process) in fleet.iter_mut().enumerate() {
        refused_everything(&sent, replica, away, returning);
        let back = back_after(&sent, replica, returned);
        assert!(back < BACK_WITHIN, "{back:?} after the return of the server");
        assert!(process.is_running());
        let begun = process.log().iter().filter(|it| it["message"] == "ready").count();
        assert_eq!(begun, 1, "without a restart");
    }
    nothing_is_lost(&cluster, &sink, &sent).await;
}

pub(super) async fn more_is_acknowledged(load: &Load) {
    let before = load.acknowledged();
    eventually("a hundred more are acknowledged", async || {
        (load.acknowledged() >= before + 100).then_some(())
    })
    .await;
}

/// The service says that it is not ready, and why.
async fn not_ready(process: &Process) {
    let body = eventually("the service is not ready", async || {
        let (status, body) = process.readyz().await?;
        (status == 503).then_some(body)
    })
    .await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(!body["reason"].as_str().unwrap().is_empty(), "{body}");
}

/// Whatever a replica was asked between these moments it has refused, and asked it was.
#[track_caller]
fn refused_everything(sent: &Sent, replica: usize, from: Instant, to: Instant) {
    let asked =
        sent.tries.iter().filter(|it| it.replica == replica && it.begun >= from && it.ended <= to);
    let statuses: Vec<_> = asked.map(|it| it.status).collect();
    assert!(!statuses.is_empty() && statuses.iter().all(|it| *it == Some(503)), "{statuses:?}");
}

/// How long it took from a moment to the next acknowledgement by a replica.
#[track_caller]
fn back_after(sent: &Sent, replica: usize, from: Instant) -> Duration {
    let acknowledged = sent
        .tries
        .iter()
        .filter(|it| it.replica == replica && it.ended >= from && it.status == Some(200));
    acknowledged.map(|it| it.ended).min().unwrap() - from
}

pub(super) async fn nothing_is_lost(cluster: &Cluster, sink: &Sink, sent: &Sent) {
    let client = cluster.client().await;
    within(DELIVERED_WITHIN, "everything is delivered", async || {
        (unfinished(&client).await == 0).then_some(())
    })
    .await;
    assert_eq!(stored(&client).await, i64::try_from(sent.count()).unwrap());
    sent.came_in_order(&sink.received());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_started_before_its_database_waits_for_it() {
    let Some(cluster) = Cluster::create().await else { return };
    cluster.stop(Stop::Fast).await;
    let late = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.start().await;
        Instant::now()
    };
    let (process, returned) = tokio::join!(Process::start(fleet::settings(&cluster.url())), late);
    assert!(returned.elapsed() < BACK_WITHIN, "{:?}", returned.elapsed());
    let callback = process.callback(Dialect::Ciam, "USER_LOGIN", "user-1");
    assert_eq!(process.send(&callback).await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_with_its_cure() {
    let Some(cluster) = Cluster::create().await else { return };
    let directory = TempDir::new().unwrap();
    let file = fleet::settings(&cluster.url_of("missing")).write(directory.path());
    let text = failed(&command(&file, &["serve"]).await, 1);
    for part in ["store.url", "missing", "CREATE DATABASE"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn a_service_that_waits_for_its_database_ends_when_it_is_told_to() {
    // Nobody listens at a port that was given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = TempDir::new().unwrap();
    let url = format!("postgres://nobody@127.0.0.1:{port}/none");
    let file = fleet::settings(&url).write(directory.path());
    let mut serve = bamboohook();
    serve.args(["serve", "--config"]).arg(&file).stdout(Stdio::piped());
    let mut serve = serve.spawn().unwrap();
    let mut log = BufReader::new(serve.stdout.take().unwrap()).lines();
    let waits = log.find(|line| line.as_ref().unwrap().contains("the store cannot be reached yet"));
    assert!(waits.is_some());
    let told = Command::new("kill").arg(serve.id().to_string()).status().unwrap();
    assert!(told.success());
    let ended = eventually("its end", async || serve.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
}
