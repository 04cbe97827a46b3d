//! Ways to the database: what a URL says, connections one by one and in a pool. Runs no statement of its own.

use std::time::Duration;

use deadpool_postgres::Manager;
use deadpool_postgres::ManagerConfig;
use deadpool_postgres::Pool;
use deadpool_postgres::RecyclingMethod;
use deadpool_postgres::Runtime;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio_postgres::Connection;
use tokio_postgres::NoTls;
use tokio_postgres::Socket;
use tokio_postgres::tls::NoTlsStream;

use crate::inbox::InboxError;
use crate::inbox::OpenError;

/// How the database is reached, checked as far as that can be done without reaching it.
#[derive(Clone)]
pub struct PostgresOptions {
    config: tokio_postgres::Config,
    pool_size: usize,
}

impl PostgresOptions {
    /// From a URL as libpq reads it.
    pub fn new(
        url: &SecretString,
        password: Option<&SecretString>,
        pool_size: usize,
        statement_timeout: Duration,
    ) -> Result<Self, OpenError> {
        let mut config: tokio_postgres::Config =
            url.expose_secret().parse().map_err(|_cause| OpenError::Url)?;
        if let Some(password) = password {
            config.password(password.expose_secret());
        }
        config.options(format!("-c statement_timeout={}", statement_timeout.as_millis()));
        Ok(Self { config, pool_size })
    }

    pub(super) async fn connect(
        &self,
    ) -> Result<(tokio_postgres::Client, Connection<Socket, NoTlsStream>), tokio_postgres::Error>
    {
        self.config.connect(NoTls).await
    }

    pub(super) async fn client(&self) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let (client, connection) = self.connect().await?;
        spawn(connection);
        Ok(client)
    }

    pub async fn migrate(&self) -> Result<(), OpenError> {
        let client = self.client().await.map_err(|_| OpenError::Url)?;
        let sql = include_str!("../migrations/postgres/0001_store.sql");
        let _ = client.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1); CREATE TABLE IF NOT EXISTS schema_versions (version bigint primary key, applied_at timestamptz not null default now());").await;
        let rows =
            client.query("SELECT 1 FROM schema_versions", &[]).await.map_err(|_| OpenError::Url)?;
        if rows.is_empty() {
            client.batch_execute(sql).await.map_err(|e| {
                eprintln!("{e:?}");
                OpenError::Url
            })?;
            client
                .batch_execute("INSERT INTO schema_versions VALUES (1)")
                .await
                .map_err(|_| OpenError::Url)?;
        }
        client.batch_execute("COMMIT").await.map_err(|_| OpenError::Url)
    }

    pub(super) async fn check_schema(&self) -> Result<(), OpenError> {
        Ok(())
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }

    pub(super) fn pool(&self) -> Result<Pool, OpenError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(self.config.clone(), NoTls, recycling);
        Pool::builder(manager)
            .max_size(self.pool_size)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_cause| OpenError::Url)
    }
}

/// What a failed statement means for whoever asked.
pub(super) fn while_running(_cause: &tokio_postgres::Error) -> InboxError {
    InboxError::Failed
}

pub(super) fn from_pool(_cause: &deadpool_postgres::PoolError) -> InboxError {
    InboxError::Unreachable
}

pub(super) fn cause_text(cause: &tokio_postgres::Error) -> String {
    format!("{cause:?}")
}

pub(super) fn spawn(connection: Connection<Socket, NoTlsStream>) {
    tokio::spawn(async move {
        drop(connection.await);
    });
}
