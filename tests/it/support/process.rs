//! The real binary as a process, ended as an operator or a power cut would end it. Looks into nothing but its log and store.

use std::fmt::Write;
use std::fs;
use std::fs::File;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use bamboohook::clock::Clock;
use bamboohook::clock::SystemClock;
use bamboohook::config::Config;
use bamboohook::event::Dialect;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::EventSummary;
use bamboohook::inbox::SqliteReader;
use bamboohook::outbound;
use bamboohook::simulator::Callback;
use bamboohook::simulator::Simulator;
use reqwest::header::HeaderMap;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::store;
use crate::support::wait::PATIENCE;
use crate::support::wait::eventually;

/// Another program may take a port between its choice and its use; several in a row do not.
const PORT_ATTEMPTS: usize = 5;

/// What differs from test to test; lines of TOML without their headings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) server: String,
    pub(crate) store: String,
    pub(crate) endpoint: String,
    /// Whole tables.
    pub(crate) tables: String,
    /// Where the store lies; else beside the settings.
    pub(crate) store_path: Option<PathBuf>,
    /// A database in place of that.
    pub(crate) store_url: Option<String>,
    /// A settings file of its own in place of all that, of which the addresses, the store and the format of the log
    /// are replaced.
    pub(crate) file: Option<&'static str>,
}

/// One store and its settings, over any number of lives of the process. Killed when dropped.
pub(crate) struct Process {
    directory: TempDir,
    settings: Settings,
    config: Config,
    child: Child,
    client: reqwest::Client,
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    /// The message of an answer that has to be an error.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let body = self.json();
        assert_eq!(
            (keys(&body), &body["code"]),
            (vec!["code", "message"], &Value::from(status.to_string()))
        );
        body["message"].as_str().unwrap().to_owned()
    }
}

impl Settings {
    /// Queued deliveries to `url`; `lines` go into the handler's table.
    pub(crate) fn with_http_handler(mut self, url: &str, lines: &str) -> Self {
        write!(self.tables, "\n[handlers.sink]\ntype = \"http\"\nurl = \"{url}\"\n{lines}\n")
            .unwrap();
        self
    }

    /// Writes the settings file of a service that nobody starts here.
    pub(crate) fn write(&self, directory: &Path) -> PathBuf {
        let file = directory.join("bamboohook.toml");
        fs::write(&file, self.to_toml(directory, Ports::pick())).unwrap();
        file
    }

    fn to_toml(&self, directory: &Path, ports: Ports) -> String {
        let path = self.store_path.clone().unwrap_or_else(|| directory.join("store.db"));
        let store =
            self.store_url.clone().unwrap_or_else(|| format!("sqlite://{}", path.display()));
        if let Some(file) = self.file {
            return file
                .replace("127.0.0.1:8080", &ports.callbacks.to_string())
                .replace("127.0.0.1:9090", &ports.admin.to_string())
                .replace("sqlite://bamboohook.db", &store)
                .replace("format = \"text\"", "format = \"json\"");
        }
        format!(
            "[server]\nlisten = \"{}\"\n{}\n\
             [admin]\nlisten = \"{}\"\n\
             [store]\nurl = \"{store}\"\n{}\n\
             [endpoints.default]\ntoken = \"process-token-7f3b9c2e5a8d4160b2c9\"\n\
             sign_key = \"process-sign-001\"\nencrypt_key = \"process-aes-0016\"\n{}\n\n{}",
            ports.callbacks, self.server, ports.admin, self.store, self.endpoint, self.tables
        )
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) callbacks: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Ports {
    /// Free at this moment.
    pub(crate) fn pick() -> Self {
        // Both are held until both are known, or they could be the same.
        let (one, other) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        Self { callbacks: one.local_addr().unwrap(), admin: other.local_addr().unwrap() }
    }
}

impl Process {
    /// Returns when the service is ready.
    pub(crate) async fn start(settings: Settings) -> Self {
        let directory = TempDir::new().unwrap();
        let (child, config) = launch(&directory, &settings, None).await;
        let client = outbound::client("http://").unwrap();
        Self { directory, settings, config, child, client }
    }

    /// Begins the next life on the same store, where possible at the same addresses.
    pub(crate) async fn restart(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "the process still runs");
        let ports = Ports { callbacks: self.config.server.listen, admin: self.config.admin.listen };
        let (child, config) = launch(&self.directory, &self.settings, Some(ports)).await;
        (self.child, self.config) = (child, config);
        // Its connections died with the process before.
        self.client = outbound::client("http://").unwrap();
    }

    /// The same with other settings.
    pub(crate) async fn restart_with(&mut self, settings: Settings) {
        self.settings = settings;
        self.restart().await;
    }

    /// As a power cut does, without a word.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; see [`Process::ended`].
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Stands still until [`Process::go_on`], as a machine does that is out of memory or moved elsewhere.
    pub(crate) fn stand_still(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(command).status().unwrap().success());
    }

    /// Whether this life still lasts.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", async || self.child.try_wait().unwrap()).await
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.path().join("bamboohook.toml")
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/callback", self.config.server.listen)
    }

    pub(crate) fn simulator(&self, dialect: Dialect) -> Simulator {
        Simulator::new(&self.config.endpoints["default"], dialect).unwrap()
    }

    /// A callback of now, with a nonce of its own.
    pub(crate) fn callback(&self, dialect: Dialect, event: &str, message: &str) -> Callback {
        self.simulator(dialect).callback(event, message, SystemClock.now()).unwrap()
    }

    pub(crate) async fn send(&self, callback: &Callback) -> Answer {
        self.try_send(callback).await.expect("the service answers")
    }

    /// The id that the record of an EIAM event has by the answer.
    pub(crate) async fn id_of(&self, event: &str, message: &str) -> String {
        let answer = self.send(&self.callback(Dialect::Eiam, event, message)).await;
        id_in(&self.simulator(Dialect::Eiam), &answer)
    }

    /// An error is one of transport.
    pub(crate) async fn try_send(&self, callback: &Callback) -> reqwest::Result<Answer> {
        post(&self.client, &self.url(), &self.simulator(callback.dialect), callback).await
    }

    pub(crate) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// Status and body; `None` where nobody answers.
    pub(crate) async fn readyz(&self) -> Option<(u16, String)> {
        readyz(&self.client, self.config.admin.listen).await
    }

    /// Every line of the log, of all lives.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = log_of(self.directory.path());
        // A line that is being written has no end yet.
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|_| panic!("not a JSON line: {line}"))
            })
            .collect()
    }

    /// Waits until this life says that it is ending.
    pub(crate) async fn shutting_down(&self) {
        eventually("/readyz says that the service shuts down", async || {
            let (status, body) = self.readyz().await?;
            (status == 503 && body.contains("shutting down")).then_some(())
        })
        .await;
    }

    /// Another command with the same settings.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        command(&self.config_file(), arguments).await
    }

    pub(crate) fn store(&self) -> PathBuf {
        store::path(&self.config)
    }

    /// All events, oldest first.
    pub(crate) fn events(&self) -> Vec<EventSummary> {
        let reader = SqliteReader::open(&self.store()).unwrap();
        let mut events = reader.events(&EventFilter::default(), None, usize::MAX).unwrap();
        events.reverse();
        events
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) async fn post(
    client: &reqwest::Client,
    url: &str,
    simulator: &Simulator,
    callback: &Callback,
) -> reqwest::Result<Answer> {
    let response = client
        .post(url)
        .header("authorization", simulator.authorization().expose_secret())
        .header("content-type", bamboohook::simulator::CONTENT_TYPE)
        .body(callback.body())
        .send()
        .await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

/// The binary with nothing of this process's environment but the path.
pub(crate) fn bamboohook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bamboohook"));
    command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// Runs a command that ends by itself.
pub(crate) async fn command(config: &Path, arguments: &[&str]) -> Output {
    let mut command = bamboohook();
    command.args(arguments).arg("--config").arg(config);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap_or_else(|_| panic!("does not end: {arguments:?}"))
        .unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The text of stderr of a command that has to fail like this.
#[track_caller]
pub(crate) fn failed(output: &Output, code: i32) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// What a command that has to succeed prints with `--json`.
#[track_caller]
pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// In alphabetical order.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The id that an answer gives to a record.
#[track_caller]
pub(crate) fn id_in(simulator: &Simulator, answer: &Answer) -> String {
    let read = simulator.read_answer(answer.status, &answer.body).unwrap();
    let data: Value = serde_json::from_str(&read.data.unwrap()).unwrap();
    assert_eq!(keys(&data), ["id"]);
    data["id"].as_str().unwrap().to_owned()
}

async fn launch(directory: &TempDir, settings: &Settings, ports: Option<Ports>) -> (Child, Config) {
    let mut ports = ports.unwrap_or_else(Ports::pick);
    for _ in 0..PORT_ATTEMPTS {
        let file = directory.path().join("bamboohook.toml");
        fs::write(&file, settings.to_toml(directory.path(), ports)).unwrap();
        let config = Config::load(Some(&file), &std::collections::BTreeMap::new())
            .unwrap_or_else(|error| panic!("{error}"))
            .config;
        let logged = log_of(directory.path()).len();
        let mut child = spawn(directory.path(), &file);
        if wait_ready(directory.path(), &mut child, ports.admin, logged).await {
            return (child, config);
        }
        let reason = fs::read_to_string(directory.path().join("stderr")).unwrap();
        assert!(reason.contains("cannot listen on"), "the service does not start: {reason}");
        ports = Ports::pick();
    }
    panic!("no free ports");
}

fn spawn(directory: &Path, config: &Path) -> Child {
    let append = |name| File::options().append(true).create(true).open(directory.join(name));
    bamboohook()
        .args(["serve", "--config"])
        .arg(config)
        .stdout(append("stdout").unwrap())
        .stderr(File::create(directory.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// `false` where the process has ended instead.
async fn wait_ready(directory: &Path, child: &mut Child, admin: SocketAddr, logged: usize) -> bool {
    let client = outbound::client("http://").unwrap();
    eventually("the service is ready", async || {
        if child.try_wait().unwrap().is_some() {
            return Some(false);
        }
        // Whoever else has taken the port could answer in its place, so its own log has to say it too.
        let says_so = log_of(directory).get(logged..)?.contains("\"message\":\"ready\"");
        (says_so && readyz(&client, admin).await?.0 == 200).then_some(true)
    })
    .await
}

fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("stdout")).unwrap_or_default()
}

pub(crate) async fn readyz(client: &reqwest::Client, admin: SocketAddr) -> Option<(u16, String)> {
    let request = client.get(format!("http://{admin}/readyz")).timeout(Duration::from_secs(5));
    let response = request.send().await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}
