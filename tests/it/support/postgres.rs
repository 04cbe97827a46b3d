//! A PostgreSQL database for one test, on the server that `TEST_POSTGRES_URL` names. Starts no server.

use bamboohook::config;
use tokio_postgres::Client;
use tokio_postgres::NoTls;
use uuid::Uuid;

const VARIABLE: &str = "TEST_POSTGRES_URL";

/// Is dropped with everything in it at the end of the test.
pub(crate) struct Database {
    /// Of the server's own database, from which others are made.
    server: String,
    name: String,
}

impl Database {
    /// `None`, with a line that says so, where no server is named.
    pub(crate) async fn create() -> Option<Self> {
        let Some(server) = config::environment().remove(VARIABLE) else {
            eprintln!("skipped: {VARIABLE} names no PostgreSQL server");
            return None;
        };
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

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
