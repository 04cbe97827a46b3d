//! The service inside this process, with a clock that only the test moves. Its network and its store are real.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bamboohook::app::App;
use bamboohook::app::Listeners;
use bamboohook::clock::Clock;
use bamboohook::config::Config;
use bamboohook::event::Dialect;
use bamboohook::event::RecordKind;
use bamboohook::inbox::DeliverySummary;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::EventSummary;
use bamboohook::inbox::Record;
use bamboohook::inbox::RecordQuery;
use bamboohook::inbox::SqliteReader;
use bamboohook::inbox::State;
use bamboohook::outbound;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::process::Answer;
use crate::support::process::command;
use crate::support::process::id_in;
use crate::support::process::post;
use crate::support::process::readyz;
use crate::support::wait::PATIENCE;
use crate::support::wait::eventually;

/// 2026-07-09T15:00:00Z, in milliseconds.
const BEGINNING: i64 = 1_783_609_200_000;

/// Stands still until it is moved.
pub(crate) struct MovableClock(AtomicI64);

impl MovableClock {
    fn new() -> Self {
        Self(BEGINNING.into())
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn advance_to(&self, at: Timestamp) {
        self.0.fetch_max(at.as_millisecond(), Ordering::SeqCst);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

pub(crate) struct Service {
    pub(crate) clock: Arc<MovableClock>,
    config: Config,
    directory: TempDir,
    callbacks: SocketAddr,
    admin: SocketAddr,
    client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// The head of one endpoint's table, with its keys.
pub(crate) fn endpoint(name: &str) -> String {
    format!(
        "[endpoints.{name}]\npath = \"/{name}\"\ntoken = \"service-token-7f3b9c2e5a8d4160b2c9\"\n\
         sign_key = \"service-sign-001\"\nencrypt_key = \"service-aes-0016\"\n"
    )
}

pub(crate) fn http_handler(name: &str, url: &str, lines: &str) -> String {
    format!("[handlers.{name}]\ntype = \"http\"\nurl = \"{url}\"\n{lines}\n")
}

impl Service {
    /// With these tables, and an endpoint named `default` where they have none.
    pub(crate) async fn start(tables: &str) -> Self {
        Self::start_with(tables, |app| app).await
    }

    pub(crate) async fn start_with(tables: &str, adapt: impl FnOnce(App) -> App) -> Self {
        Self::start_in(TempDir::new().unwrap(), tables, adapt).await
    }

    /// In the folder that a service before it has left.
    pub(crate) async fn start_in(
        directory: TempDir,
        tables: &str,
        adapt: impl FnOnce(App) -> App,
    ) -> Self {
        let file = directory.path().join("bamboohook.toml");
        let store = directory.path().join("store.db");
        let default =
            if tables.contains("[endpoints.default]") { "" } else { &endpoint("default") };
        let toml = format!("[store]\nurl = \"sqlite://{}\"\n{default}{tables}", store.display());
        fs::write(&file, toml).unwrap();
        let config = Config::load(Some(&file), &BTreeMap::new())
            .unwrap_or_else(|error| panic!("{error}"))
            .config;
        let listeners = Listeners {
            callbacks: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            admin: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let (callbacks, admin) =
            (listeners.callbacks.local_addr().unwrap(), listeners.admin.local_addr().unwrap());
        let clock = Arc::new(MovableClock::new());
        let app = adapt(App::new(config.clone()).with_clock(Arc::<MovableClock>::clone(&clock)));
        let (stop, stopped) = oneshot::channel();
        let task =
            tokio::spawn(
                async move { app.run(listeners, async move { drop(stopped.await) }).await },
            );
        let client = outbound::client("http://").unwrap();
        let service =
            Self { clock, config, directory, callbacks, admin, client, stop: Some(stop), task };
        // Whoever looks into the store finds it there.
        assert_eq!(service.readyz().await.0, 200);
        service
    }

    pub(crate) fn url(&self, endpoint: &str) -> String {
        format!("http://{}{}", self.callbacks, self.config.endpoints[endpoint].path)
    }

    pub(crate) fn simulator(&self, endpoint: &str, dialect: Dialect) -> Simulator {
        Simulator::new(&self.config.endpoints[endpoint], dialect).unwrap()
    }

    pub(crate) fn callback(&self, dialect: Dialect, event: &str, message: &str) -> Callback {
        self.simulator("default", dialect).callback(event, message, self.clock.now()).unwrap()
    }

    pub(crate) async fn send(&self, callback: &Callback) -> Answer {
        self.send_to("default", callback).await
    }

    pub(crate) async fn send_to(&self, endpoint: &str, callback: &Callback) -> Answer {
        let simulator = self.simulator(endpoint, callback.dialect);
        post(&self.client, &self.url(endpoint), &simulator, callback).await.unwrap()
    }

    /// An event that has to be accepted.
    pub(crate) async fn deliver(&self, dialect: Dialect, event: &str, message: &str) {
        self.deliver_to("default", dialect, event, message).await;
    }

    pub(crate) async fn deliver_to(
        &self,
        endpoint: &str,
        dialect: Dialect,
        event: &str,
        message: &str,
    ) {
        let simulator = self.simulator(endpoint, dialect);
        let callback = simulator.callback(event, message, self.clock.now()).unwrap();
        let answer = self.send_to(endpoint, &callback).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{event}: {text}");
    }

    /// The id that the record of an EIAM event has by the answer.
    pub(crate) async fn id_of(&self, event: &str, message: &str) -> String {
        self.id_at("default", event, message).await
    }

    pub(crate) async fn id_at(&self, endpoint: &str, event: &str, message: &str) -> String {
        let simulator = self.simulator(endpoint, Dialect::Eiam);
        let callback = simulator.callback(event, message, self.clock.now()).unwrap();
        id_in(&simulator, &self.send_to(endpoint, &callback).await)
    }

    /// An EIAM event that has to be refused like this; returns what the sender is told.
    pub(crate) async fn refused(&self, event: &str, message: &str, status: u16) -> String {
        let answer = self.send(&self.callback(Dialect::Eiam, event, message)).await;
        answer.refused(status)
    }

    /// All records of a kind, deleted ones too, by endpoint and id.
    pub(crate) fn records(&self, kind: RecordKind) -> Vec<Record> {
        let reader = SqliteReader::open(&self.store()).unwrap();
        let everything =
            RecordQuery { kind, endpoint: None, deleted_too: true, after: None, most: usize::MAX };
        reader.records(&everything).unwrap()
    }

    /// The record of this id at any endpoint.
    #[track_caller]
    pub(crate) fn record(&self, kind: RecordKind, id: &str) -> Record {
        self.records(kind).into_iter().find(|it| it.id == id).expect("the record is there")
    }

    pub(crate) fn user(&self, id: &str) -> Record {
        self.record(RecordKind::User, id)
    }

    /// Another command with the same settings.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        command(&self.directory.path().join("bamboohook.toml"), arguments).await
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    pub(crate) async fn readyz(&self) -> (u16, String) {
        readyz(&self.client, self.admin).await.unwrap()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    /// All events, oldest first.
    pub(crate) fn events(&self) -> Vec<EventSummary> {
        let reader = SqliteReader::open(&self.store()).unwrap();
        let mut events = reader.events(&EventFilter::default(), None, usize::MAX).unwrap();
        events.reverse();
        events
    }

    /// The deliveries of the event of this number, from 0.
    pub(crate) fn deliveries(&self, number: usize) -> Vec<DeliverySummary> {
        self.events().swap_remove(number).deliveries
    }

    /// Waits until the only delivery of the event of this number has had so many attempts and does not run.
    pub(crate) async fn attempted(&self, number: usize, attempts: u32) -> DeliverySummary {
        eventually(&format!("attempt {attempts} of event {number} is over"), async || {
            let delivery = self.deliveries(number).swap_remove(0);
            (delivery.attempts >= attempts && delivery.state != State::Running).then_some(delivery)
        })
        .await
    }

    /// Waits until no delivery is left to be made.
    pub(crate) async fn drained(&self) {
        eventually("everything is delivered", async || {
            let finished = |it: &EventSummary| matches!(it.state, State::Done | State::Dead);
            self.events().iter().all(finished).then_some(())
        })
        .await;
    }

    /// Returns when the service has been told to end, which it does not before what runs has ended.
    pub(crate) async fn shut_down(&mut self) {
        self.stop = None;
        eventually("the service shuts down", async || (self.readyz().await.0 == 503).then_some(()))
            .await;
    }

    /// Ends the service and leaves its folder, for as long as the caller keeps it.
    pub(crate) async fn stop(self) -> TempDir {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
        self.directory
    }
}
