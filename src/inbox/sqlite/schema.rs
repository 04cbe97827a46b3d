//! The schema and its versions, each one step forward. Never goes back.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::TransactionBehavior;

use crate::inbox::OpenError;
use crate::inbox::sqlite::file::from_sqlite;

/// In order; the version of a store is how many of them it has seen.
const MIGRATIONS: [&str; 4] = [
    include_str!("../migrations/sqlite/0001_events.sql"),
    include_str!("../migrations/sqlite/0002_directory.sql"),
    include_str!("../migrations/sqlite/0003_details.sql"),
    include_str!("../migrations/sqlite/0004_claims.sql"),
];

#[expect(clippy::cast_possible_wrap, reason = "there are not that many migrations")]
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Applies what the store has not seen, all of it or nothing.
pub(super) fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let found = version(path, connection)?;
    if found == KNOWN {
        return Ok(());
    }
    apply(connection, found).map_err(|cause| from_sqlite(path, cause))
}

/// Refuses a store of another version than this program's, for readers that may not change it.
pub(super) fn check(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    if version(path, connection)? == KNOWN {
        Ok(())
    } else {
        Err(OpenError::Unopenable {
            path: path.to_owned(),
            cause: "its schema is older; start `bamboohook serve` once to bring it up to date"
                .into(),
        })
    }
}

fn apply(connection: &mut Connection, found: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_versions (
             version INTEGER PRIMARY KEY,
             applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
         ) STRICT",
    )?;
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        transaction.execute_batch(migration)?;
        transaction.execute("INSERT INTO schema_versions (version) VALUES (?1)", [version])?;
    }
    transaction.commit()
}

/// Refuses what a newer program has made.
pub(super) fn version(path: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let exists = connection
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'schema_versions'", [], |_row| Ok(()))
        .optional();
    let found = match exists {
        Ok(Some(())) => connection.query_row(
            "SELECT coalesce(max(version), 0) FROM schema_versions",
            [],
            |row| row.get(0),
        ),
        Ok(None) => Ok(0),
        Err(cause) => Err(cause),
    };
    let found = found.map_err(|cause| from_sqlite(path, cause))?;
    if found > KNOWN {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: KNOWN });
    }
    Ok(found)
}
