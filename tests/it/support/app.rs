//! A whole service in the test's own runtime, with a store of its own and a clock that the test moves.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bamboohook::app::App;
use bamboohook::app::Listeners;
use bamboohook::clock::Clock;
use bamboohook::config;
use bamboohook::config::Config;
use bamboohook::dispatcher::Handler;
use bamboohook::dispatcher::HandlerError;
use bamboohook::dispatcher::Reply;
use bamboohook::event::Dialect;
use bamboohook::event::Document;
use bamboohook::event::RecordKind;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::EventSummary;
use bamboohook::inbox::Record;
use bamboohook::inbox::RecordQuery;
use bamboohook::inbox::SqliteReader;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use bamboohook::simulator::dialect_of;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::clock::MovableClock;
use crate::support::store;
use crate::support::wire::HttpAnswer;
use crate::support::wire::Wire;
use crate::support::wire::post;

pub(crate) const TOKEN: &str = "token-of-the-tests-0123456789abcdef";

/// An endpoint with all three secrets.
pub(crate) const ENDPOINT: &str = r#"
[endpoints.default]
token = "token-of-the-tests-0123456789abcdef"
sign_key = "sign-key-tests-1"
encrypt_key = "aes-key-tests-16"
"#;

/// An endpoint that can tell requests apart and keeps nothing secret.
pub(crate) const PLAIN_ENDPOINT: &str = r#"
[endpoints.default]
token = "token-of-the-tests-0123456789abcdef"
allow_unsigned = true
allow_plaintext = true
"#;

pub(crate) struct TestApp {
    pub(crate) clock: Arc<MovableClock>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    config: Config,
    directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<anyhow::Result<()>>,
    documents: mpsc::UnboundedReceiver<String>,
}

impl TestApp {
    /// `settings` are keys with their values as text, `("server.max_body", "1KiB")`.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_with(ENDPOINT, settings).await
    }

    /// With the tables of `toml` in place of [`ENDPOINT`].
    pub(crate) async fn start_with(toml: &str, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut text = toml.to_owned();
        write!(
            text,
            "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [store]\nurl = \"sqlite://{}/events.db\"\n[handlers.test]\ntype = \"rust\"\n",
            directory.path().display()
        )
        .unwrap();
        let file = directory.path().join("bamboohook.toml");
        fs::write(&file, text).unwrap();
        let variable = |key: &str| format!("BAMBOOHOOK__{}", key.to_uppercase().replace('.', "__"));
        let environment: BTreeMap<String, String> =
            settings.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect();
        let config = Config::load(Some(&file), &environment).unwrap().config;
        Self::run(config, directory, Arc::new(MovableClock::new())).await
    }

    /// The same settings, store and time in a new service.
    pub(crate) async fn restart(self) -> Self {
        let Self { clock, config, directory, stop, running, .. } = self;
        drop(stop);
        running.await.unwrap().unwrap();
        Self::run(config, directory, clock).await
    }

    /// Begins what [`TestApp::stop`] waits for.
    pub(crate) fn ask_to_stop(&mut self) {
        self.stop = None;
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.running.await.unwrap().unwrap();
    }

    async fn run(config: Config, directory: TempDir, clock: Arc<MovableClock>) -> Self {
        let listeners = Listeners::bind(&config).await.unwrap();
        let address = listeners.callbacks.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (handler, documents) = mpsc::unbounded_channel();
        let own_clock: Arc<dyn Clock> = Arc::<MovableClock>::clone(&clock);
        let app =
            App::new(config.clone()).with_clock(own_clock).with_handler("test", Recorder(handler));
        let admin = listeners.admin.local_addr().unwrap();
        let running = tokio::spawn(app.run(listeners, async { drop(stopped.await) }));
        let mut wire = Wire::connect(admin).await;
        wire.send("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(wire.answer().await.status, 200);
        Self { clock, address, admin, config, directory, stop: Some(stop), running, documents }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn endpoint(&self, name: &str) -> config::Endpoint {
        self.config.endpoints[name].clone()
    }

    /// IDaaS as the endpoint `default` knows it.
    pub(crate) fn idaas(&self, dialect: Dialect) -> Simulator {
        Simulator::new(&self.endpoint("default"), dialect).unwrap()
    }

    /// For the endpoint `default`, in the dialect of the event, signed now.
    pub(crate) fn callback(&self, event: &str, message: &str) -> Callback {
        let dialect = dialect_of(event).unwrap_or(Dialect::Eiam);
        self.idaas(dialect).callback(event, message, self.clock.now()).unwrap()
    }

    pub(crate) fn sign(&self, callback: &mut Callback) {
        self.idaas(callback.dialect).sign(callback).unwrap();
    }

    pub(crate) async fn deliver(&self, callback: &Callback) -> HttpAnswer {
        self.deliver_body(callback.body()).await
    }

    /// With the right token and media type.
    pub(crate) async fn deliver_body(&self, body: impl AsRef<[u8]>) -> HttpAnswer {
        self.deliver_raw(self.request(body)).await
    }

    /// Any bytes, on a connection of their own.
    pub(crate) async fn deliver_raw(&self, bytes: impl AsRef<[u8]>) -> HttpAnswer {
        let mut wire = self.connect().await;
        wire.send(bytes).await;
        wire.answer().await
    }

    /// The bytes of a request with the right token and media type.
    pub(crate) fn request(&self, body: impl AsRef<[u8]>) -> Vec<u8> {
        let path = &self.config.endpoints["default"].path;
        post(
            path,
            &format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"),
            body,
        )
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// Delivers what IDaaS would call a success, and returns what it reads in the answer.
    #[track_caller]
    pub(crate) fn read(&self, dialect: Dialect, answer: &HttpAnswer) -> String {
        let read = self.idaas(dialect).read_answer(answer.status, &answer.body).unwrap();
        read.data.unwrap_or_default()
    }

    /// Everything in the store, oldest first.
    pub(crate) fn events(&self) -> Vec<EventSummary> {
        let reader = SqliteReader::open(&self.store()).unwrap();
        let mut events = reader.events(&EventFilter::default(), None, 10_000).unwrap();
        events.reverse();
        events
    }

    /// The next document that the handler `test` gets.
    pub(crate) async fn document(&mut self) -> String {
        self.documents.recv().await.unwrap()
    }

    pub(crate) fn store(&self) -> PathBuf {
        store::path(&self.config)
    }
}

/// The users of the directory, deleted ones too.
pub(crate) fn users(store: &Path) -> Vec<Record> {
    let query = RecordQuery {
        kind: RecordKind::User,
        endpoint: None,
        deleted_too: true,
        after: None,
        most: 10_000,
    };
    SqliteReader::open(store).unwrap().records(&query).unwrap()
}

/// A handler of the embedding program that shows what it gets.
struct Recorder(mpsc::UnboundedSender<String>);

#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        self.0.send(document.to_json()).map_err(|_stopped| HandlerError::retry("stopped"))?;
        Ok(Reply::default())
    }
}
