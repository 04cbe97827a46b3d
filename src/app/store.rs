//! The store that the settings name, for commands beside the service that owns it. Keeps no event itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use secrecy::SecretString;

use crate::config::Config;
use crate::config::StoreUrl;
use crate::inbox::Operator;
use crate::inbox::PostgresOperator;
use crate::inbox::PostgresOptions;
use crate::inbox::SqliteOperator;

const POOL_SIZE: usize = 4;

const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The store of these settings, to look into it and to change deliveries.
pub fn operator(config: &Config) -> anyhow::Result<Operator> {
    let operator = match &config.store.url {
        StoreUrl::Sqlite(path) => SqliteOperator::open(path).map(Operator::Sqlite),
        StoreUrl::Postgres(url) => PostgresOperator::new(&postgres(url)?).map(Operator::Postgres),
    };
    operator.context("store.url")
}

/// How the database of this URL is reached.
fn postgres(url: &SecretString) -> anyhow::Result<PostgresOptions> {
    PostgresOptions::new(url, None, POOL_SIZE, STATEMENT_TIMEOUT).context("store.url")
}

pub(super) fn sqlite_path(config: &Config) -> anyhow::Result<&Path> {
    match &config.store.url {
        StoreUrl::Sqlite(path) => Ok(path),
        StoreUrl::Postgres(_) => {
            bail!("store.url: PostgreSQL is not available in this version; use sqlite://")
        }
    }
}
