//! A PostgreSQL server of a test's own, to be stopped, killed and failed over. Harms no other test.

use std::fs;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio_postgres::Client;
use tokio_postgres::NoTls;

use crate::support::postgres::connect;
use crate::support::postgres::server;
use crate::support::postgres::skipped;
use crate::support::wait::eventually;

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Whom the programs run as where the tests run as root, which PostgreSQL refuses.
const USER: &str = "postgres";

const DATABASE: &str = "bamboohook";

/// Below the ports that the kernel gives away: while the server is stopped, nobody takes its port by chance.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Another program may take a port between its choice and its use; several in a row do not.
const PORT_ATTEMPTS: usize = 5;

/// Longer than any of these programs takes on a busy machine.
const PROGRAM_TIMEOUT: Duration = Duration::from_mins(1);

const SETTINGS: &str = "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
                        max_connections = 60\nshared_buffers = 16MB\n";

/// Stopped and removed with everything in it at the end of the test.
pub(crate) struct Cluster {
    directory: TempDir,
    port: u16,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Ends the connections and leaves nothing to be recovered.
    Fast,
    /// As a crash would.
    Immediate,
}

impl Cluster {
    /// A running server with an empty database; `None`, with a line that says so, where tests may use no server or
    /// this machine has no programs to run one.
    pub(crate) async fn create() -> Option<Self> {
        server()?;
        if programs().is_none() {
            skipped("no programs of a PostgreSQL server are on this machine");
            return None;
        }
        let mut cluster = Self::empty();
        let data = cluster.data();
        let arguments = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"];
        succeeded(&run("initdb", |it| it.args(arguments).arg("-D").arg(&data)).await);
        let file = data.join("postgresql.conf");
        let settings = fs::read_to_string(&file).unwrap() + SETTINGS;
        fs::write(&file, settings).unwrap();
        cluster.start_somewhere().await;
        let client = connect(&cluster.url_of("postgres")).await;
        client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
        Some(cluster)
    }

    /// A server that follows this one. From then on this one acknowledges only what the other has too.
    pub(crate) async fn standby(&self) -> Self {
        let mut standby = Self::empty();
        let data = standby.data();
        let origin = format!("host=127.0.0.1 port={} user=postgres", self.port);
        let copy = run("pg_basebackup", |it| {
            it.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"])
                .args(["-d", &origin, "-D"])
                .arg(&data)
        });
        succeeded(&copy.await);
        standby.start_somewhere().await;
        let client = self.client().await;
        let setting = "ALTER SYSTEM SET synchronous_standby_names = '*'";
        client.batch_execute(setting).await.unwrap();
        client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        eventually("the standby follows", async || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            let following: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
            (following == 1).then_some(())
        })
        .await;
        standby
    }

    /// For `store.url`.
    pub(crate) fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    pub(crate) fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// For `store.url`, where the database is on whichever of both servers can be written.
    pub(crate) fn url_with(&self, other: &Self) -> String {
        let (one, other) = (self.port, other.port);
        format!(
            "postgres://postgres@127.0.0.1:{one},127.0.0.1:{other}/{DATABASE}?target_session_attrs=read-write"
        )
    }

    /// A look past everything that reads it otherwise.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// Returns when the server takes connections, at the address that it had.
    pub(crate) async fn start(&self) {
        assert!(self.try_start().await, "the server does not start: {}", self.log());
    }

    pub(crate) async fn stop(&self, how: Stop) {
        succeeded(&self.control(&["stop", "-m", how.as_str()]).await);
    }

    /// Makes a standby a server of its own.
    pub(crate) async fn promote(&self) {
        succeeded(&self.control(&["promote"]).await);
    }

    fn empty() -> Self {
        let directory = TempDir::new().unwrap();
        if is_root() {
            let owner =
                std::process::Command::new("chown").arg(USER).arg(directory.path()).status();
            assert!(owner.unwrap().success());
        }
        Self { directory, port: free_port() }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn start_somewhere(&mut self) {
        for _ in 0..PORT_ATTEMPTS {
            if self.try_start().await {
                return;
            }
            self.port = free_port();
        }
        panic!("the server does not start: {}", self.log());
    }

    /// `false` where it has ended instead.
    async fn try_start(&self) -> bool {
        let file = self.directory.path().join("log");
        let log = || File::options().append(true).create(true).open(&file).unwrap();
        let mut server = program("postgres")
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(self.data())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let url = self.url_of("postgres");
        eventually("the server takes connections", async || {
            if server.try_wait().unwrap().is_some() {
                return Some(false);
            }
            tokio_postgres::connect(&url, NoTls).await.is_ok().then_some(true)
        })
        .await
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    async fn control(&self, arguments: &[&str]) -> Output {
        let data = self.data();
        run("pg_ctl", |it| it.args(arguments).args(["-w", "-s", "-D"]).arg(&data)).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = program("pg_ctl");
        stop.args(["stop", "-m", Stop::Immediate.as_str(), "-w", "-s", "-D"]).arg(self.data());
        // It may be stopped already.
        drop(stop.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

impl Stop {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// Of the newest version that is there.
fn programs() -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    fs::read_dir(VERSIONS)
        .ok()?
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| version(path))
        .map(|path| path.join("bin"))
}

/// Ends with the tests, should they be killed.
fn program(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new("setpriv");
    command.arg("--pdeathsig=QUIT");
    if is_root() {
        let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
        command.args([&user, &group, "--init-groups"]);
    }
    // The folder of the tests may be closed to that user.
    command.arg(programs().unwrap().join(name)).current_dir("/").stdin(Stdio::null());
    command
}

async fn run(
    name: &str,
    arguments: impl FnOnce(&mut std::process::Command) -> &mut std::process::Command,
) -> Output {
    let mut command = program(name);
    arguments(&mut command);
    let running = Command::from(command).output();
    let ended = tokio::time::timeout(PROGRAM_TIMEOUT, running).await;
    ended.unwrap_or_else(|_| panic!("{name} does not end")).unwrap()
}

#[track_caller]
fn succeeded(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stdout));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn free_port() -> u16 {
    let mut random = [0; 2];
    loop {
        getrandom::fill(&mut random).unwrap();
        let span = PORTS.end - PORTS.start;
        let port = PORTS.start + u16::from_ne_bytes(random) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
