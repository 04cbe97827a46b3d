//! The store that the settings name, for the service and for the commands beside it. Keeps no event itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::config::Config;
use crate::config::Store;
use crate::config::StoreUrl;
use crate::inbox;
use crate::inbox::CopiedTable;
use crate::inbox::Finding;
use crate::inbox::Inbox;
use crate::inbox::Migrated;
use crate::inbox::Operator;
use crate::inbox::PostgresInbox;
use crate::inbox::PostgresOperator;
use crate::inbox::PostgresOptions;
use crate::inbox::SqliteInbox;
use crate::inbox::SqliteOperator;
use crate::inbox::SqliteSource;
use crate::inbox::Upkeep;

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
pub async fn operator(config: &Config) -> anyhow::Result<Operator> {
    let operator = match &config.store.url {
        StoreUrl::Sqlite(path) => SqliteOperator::open(path).map(Operator::Sqlite),
        StoreUrl::Postgres(url) => {
            let options = postgres(url, &config.store)?;
            PostgresOperator::open(&options).await.map(Operator::Postgres)
        }
    };
    operator.context("store.url")
}

/// Brings the schema of the store up to date, or makes the store.
pub async fn migrate(config: &Config) -> anyhow::Result<Migrated> {
    upkeep(config)?.migrate().await.context("store.url")
}

/// Looks whether the store is fine, also beside services that use it.
pub async fn check_store(config: &Config) -> anyhow::Result<Vec<Finding>> {
    Ok(upkeep(config)?.check().await)
}

/// Copies a store on SQLite, which no service may use meanwhile, into an empty database. The settings of
/// `[store]` are for that database where it is the one of `store.url`.
pub async fn copy_store(
    config: &Config,
    from: &Path,
    to: &SecretString,
    now: Timestamp,
    watch: &dyn Fn(CopiedTable),
) -> anyhow::Result<Vec<CopiedTable>> {
    let configured = match &config.store.url {
        StoreUrl::Postgres(url) => url.expose_secret() == to.expose_secret(),
        StoreUrl::Sqlite(_) => false,
    };
    let mut store = config.store.clone();
    store.password = store.password.filter(|_| configured);
    let target = postgres(to, &store)?;
    // Both are looked at before either is changed.
    target.examine().await.context("--to")?;
    let source = SqliteSource::open(from).context("--from")?;
    target.migrate().await.context("--to")?;
    Ok(inbox::copy(source, &target, now, watch).await?)
}

fn upkeep(config: &Config) -> anyhow::Result<Upkeep> {
    Ok(match &config.store.url {
        StoreUrl::Sqlite(path) => Upkeep::Sqlite(path.clone()),
        StoreUrl::Postgres(url) => Upkeep::Postgres(postgres(url, &config.store)?.into()),
    })
}

/// Whether the store's settings fit together, as far as that can be told without opening it.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    match &config.store.url {
        StoreUrl::Sqlite(_) => Ok(()),
        StoreUrl::Postgres(url) => postgres(url, &config.store).map(drop),
    }
}

/// How the database of this URL is reached.
fn postgres(url: &SecretString, store: &Store) -> anyhow::Result<PostgresOptions> {
    let Store { password, pool_size, statement_timeout, .. } = store;
    PostgresOptions::new(url, password.as_ref(), *pool_size, *statement_timeout)
        .context("store.url")
}
