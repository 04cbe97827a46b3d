//! Ways to the database: what a URL says, connections one by one and in a pool. Runs no statement of its own.

use std::time::Duration;

use deadpool_postgres::Manager;
use deadpool_postgres::ManagerConfig;
use deadpool_postgres::Pool;
use deadpool_postgres::RecyclingMethod;
use deadpool_postgres::Runtime;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio_postgres::NoTls;

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
