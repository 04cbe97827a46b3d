//! What is done to a store as a whole, whatever stands in it: brought up to date, checked. Reads no event.

use std::error::Error;
use std::path::PathBuf;

use crate::inbox::Migrated;
use crate::inbox::OpenError;
use crate::inbox::PostgresOptions;
use crate::inbox::postgres;
use crate::inbox::sqlite;

/// A store of either kind, not opened.
pub enum Upkeep {
    Sqlite(PathBuf),
    Postgres(Box<PostgresOptions>),
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub what: &'static str,
    pub fine: bool,
    /// Where it is not fine, with the cure.
    pub said: String,
}

impl Upkeep {
    /// Brings the schema up to date, and makes the store where there is none.
    ///
    /// On SQLite only where no service uses the store, unless there is nothing to do.
    pub async fn migrate(&self) -> Result<Migrated, OpenError> {
        match self {
            Self::Sqlite(path) => {
                let file = path.clone();
                let migrated = tokio::task::spawn_blocking(move || sqlite::migrate(&file)).await;
                migrated.unwrap_or_else(|ended| {
                    Err(OpenError::Unopenable { path: path.clone(), cause: ended.into() })
                })
            }
            Self::Postgres(options) => {
                // A service waits for its server; a person is told at once.
                options.examine().await?;
                options.migrate().await
            }
        }
    }

    /// Looks whether the store can do its work. Changes nothing; services may use it meanwhile.
    ///
    /// Ends with the first thing without which no other can be looked at.
    pub async fn check(&self) -> Vec<Finding> {
        match self {
            Self::Sqlite(path) => {
                let path = path.clone();
                let checked = tokio::task::spawn_blocking(move || sqlite::check(&path)).await;
                checked.unwrap_or_else(|ended| vec![Finding::failed("reachable", &ended)])
            }
            Self::Postgres(options) => postgres::check(options).await,
        }
    }
}

impl Finding {
    pub(crate) fn fine(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, fine: true, said: said.into() }
    }

    pub(crate) fn wrong(what: &'static str, said: impl Into<String>) -> Self {
        Self { what, fine: false, said: said.into() }
    }

    pub(crate) fn failed(what: &'static str, error: &dyn Error) -> Self {
        let mut said = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            said = format!("{said}: {cause}");
            source = cause.source();
        }
        Self::wrong(what, said)
    }

    /// Of the schema's version.
    pub(crate) fn of_schema(found: i64, known: i64) -> Self {
        let said = match found {
            0 => "there is none; `bamboohook store migrate` makes it".to_owned(),
            _ if found > known => {
                format!(
                    "version {found} is newer than {known}, the last one known; use the bamboohook that made it"
                )
            }
            _ if found < known => {
                format!("version {found} is older than {known}; run `bamboohook store migrate`")
            }
            _ => return Self::fine("schema", format!("version {found}")),
        };
        Self::wrong("schema", said)
    }

    /// Numbers of what is stored.
    pub(crate) fn of_content(events: i64, waiting: i64, dead: i64) -> Self {
        let said = format!("{events} events, {waiting} deliveries waiting, {dead} dead");
        Self::fine("content", said)
    }
}
