//! The store that the settings name, for the service and for the commands beside it. Keeps no event itself.

use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use secrecy::SecretString;

use crate::config::Config;
use crate::config::Store;
use crate::config::StoreUrl;
use crate::inbox::Inbox;
use crate::inbox::Operator;
use crate::inbox::PostgresInbox;
use crate::inbox::PostgresOperator;
use crate::inbox::PostgresOptions;
use crate::inbox::SqliteInbox;
use crate::inbox::SqliteOperator;

/// For a service that runs its deliveries. Made where it is not there yet.
pub(super) async fn open(config: &Config, now: Timestamp) -> anyhow::Result<Arc<dyn Inbox>> {
    let inbox: Result<Arc<dyn Inbox>, _> = match &config.store.url {
        StoreUrl::Sqlite(path) => SqliteInbox::open(path, now).map(|it| Arc::new(it) as _),
        StoreUrl::Postgres(url) => {
            PostgresInbox::open(postgres(url, &config.store)?).await.map(|it| Arc::new(it) as _)
        }
    };
    inbox.context("store.url")
}

/// For a command that stores events beside the service, which may run meanwhile.
pub(super) async fn open_beside(config: &Config) -> anyhow::Result<Arc<dyn Inbox>> {
    let inbox: Result<Arc<dyn Inbox>, _> = match &config.store.url {
        StoreUrl::Sqlite(path) => SqliteInbox::open_beside(path).map(|it| Arc::new(it) as _),
        StoreUrl::Postgres(url) => PostgresInbox::open_beside(postgres(url, &config.store)?)
            .await
            .map(|it| Arc::new(it) as _),
    };
    inbox.context("store.url")
}

/// For a command that looks into the store and changes deliveries.
pub fn operator(config: &Config) -> anyhow::Result<Operator> {
    let operator = match &config.store.url {
        StoreUrl::Sqlite(path) => SqliteOperator::open(path).map(Operator::Sqlite),
        StoreUrl::Postgres(url) => {
            PostgresOperator::new(&postgres(url, &config.store)?).map(Operator::Postgres)
        }
    };
    operator.context("store.url")
}

/// How the database of this URL is reached.
fn postgres(url: &SecretString, store: &Store) -> anyhow::Result<PostgresOptions> {
    let Store { password, pool_size, statement_timeout, .. } = store;
    PostgresOptions::new(url, password.as_ref(), *pool_size, *statement_timeout)
        .context("store.url")
}
