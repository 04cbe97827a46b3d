//! A PostgreSQL database for one test, on the server that `TEST_POSTGRES_URL` names. Starts no server.

use bamboohook::config;
use tokio_postgres::Client;
use tokio_postgres::NoTls;
use uuid::Uuid;

const VARIABLE: &str = "TEST_POSTGRES_URL";

/// Where it is set, servers have to be there: a test that would be skipped fails.
const REQUIRED: &str = "TEST_REQUIRE_SERVERS";

/// The server that tests may use; `None`, with a line that says so, where none is named.
pub(crate) fn server() -> Option<String> {
    let server = config::environment().remove(VARIABLE);
    if server.is_none() {
        skipped(&format!("{VARIABLE} names no PostgreSQL server"));
    }
    server
}

/// Says that a test cannot run here, where that is allowed.
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
pub(crate) fn skipped(reason: &str) {
    assert!(!config::environment().contains_key(REQUIRED), "{reason}, and {REQUIRED} is set");
    eprintln!("skipped: {reason}");
}

/// Is dropped with everything in it at the end of the test.
pub(crate) struct Database {
    /// Of the server's own database, from which others are made.
    server: String,
    name: String,
}

impl Database {
    /// `None`, with a line that says so, where no server is named.
    pub(crate) async fn create() -> Option<Self> {
        let server = server()?;
        let name = format!("bamboohook_test_{}", Uuid::new_v4().simple());
        let client = connect(&server).await;
        client.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        Some(Self { server, name })
    }

    /// For `store.url`.
    pub(crate) fn url(&self) -> String {
        let (before, parameters) = match self.server.split_once('?') {
            Some((before, parameters)) => (before, format!("?{parameters}")),
            None => (&*self.server, String::new()),
        };
        let base = before.rsplit_once('/').unwrap().0;
        format!("{base}/{}{parameters}", self.name)
    }

    /// A look past everything that reads it otherwise.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread of its own: this one may be a runtime's.
        let drop = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = connect(&server).await;
                client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
            });
        };
        std::thread::spawn(drop).join().unwrap();
    }
}

/// How many deliveries are neither done nor dead.
pub(crate) async fn unfinished(client: &Client) -> i64 {
    let sql = "SELECT count(*) FROM deliveries WHERE state < 2";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// How many events the store holds.
pub(crate) async fn stored(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM events", &[]).await.unwrap().get(0)
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
