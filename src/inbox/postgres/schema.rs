//! The schema and its versions, each one step forward. Never goes back.

use tokio_postgres::Client;
use tokio_postgres::GenericClient;

use crate::inbox::postgres::error::PostgresError;
use crate::inbox::postgres::failure::while_opening;

/// In order; the version of a store is how many of them it has seen.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/postgres/0001_store.sql")];

#[expect(clippy::cast_possible_wrap, reason = "there are not that many migrations")]
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// "bmbhmigr": the advisory lock of whoever changes the schema.
const MIGRATING: i64 = 0x626d_6268_6d69_6772;

/// What a migration did: nothing where both versions are the same. A new store comes from version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    pub from: i64,
    pub to: i64,
}

/// Applies what the store has not seen, all of it or nothing. Of several that do so at once one does it, and the
/// others wait for that one. A store that is up to date is only looked at, for which fewer rights are enough.
pub(super) async fn migrate(at: &str, client: &mut Client) -> Result<Migrated, PostgresError> {
    if version(at, client).await? == KNOWN {
        return Ok(Migrated { from: KNOWN, to: KNOWN });
    }
    let failed = |cause| while_opening(at, &cause);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction
        .batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        .await
        .map_err(failed)?;
    transaction.query("SELECT pg_advisory_xact_lock($1)", &[&MIGRATING]).await.map_err(failed)?;
    let from = version(at, &transaction).await?;
    if from < KNOWN {
        transaction
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS schema_versions (
                     version bigint PRIMARY KEY,
                     applied_at timestamptz NOT NULL DEFAULT now()
                 )",
            )
            .await
            .map_err(failed)?;
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > from) {
        transaction.batch_execute(migration).await.map_err(failed)?;
        transaction
            .execute("INSERT INTO schema_versions (version) VALUES ($1)", &[&version])
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Migrated { from, to: KNOWN })
}

/// Refuses a store of another version than this program's, for those that may not change it.
pub(super) async fn check(at: &str, client: &impl GenericClient) -> Result<(), PostgresError> {
    let at = || at.to_owned();
    match version(&at(), client).await? {
        0 => Err(PostgresError::Missing { at: at() }),
        found if found < KNOWN => Err(PostgresError::Older { at: at(), found, known: KNOWN }),
        _ => Ok(()),
    }
}

/// 0 where there is no store yet. Refuses what a newer program has made, and what is not a store.
pub(super) async fn version(at: &str, client: &impl GenericClient) -> Result<i64, PostgresError> {
    let found = found(at, client).await?;
    if found > KNOWN {
        return Err(PostgresError::Newer { at: at.to_owned(), found, known: KNOWN });
    }
    Ok(found)
}

/// The same, newer ones too.
pub(super) async fn found(at: &str, client: &impl GenericClient) -> Result<i64, PostgresError> {
    let failed = |cause| while_opening(at, &cause);
    // Extensions bring tables and views of their own.
    let row = client
        .query_one(
            "SELECT current_schema()::text,
                    to_regclass(quote_ident(current_schema()) || '.schema_versions') IS NOT NULL,
                    to_regclass(quote_ident(current_schema()) || '.duplicate_keys') IS NOT NULL,
                    EXISTS (
                        SELECT FROM pg_class
                        WHERE relnamespace = quote_ident(current_schema())::regnamespace
                          AND relkind IN ('r', 'p', 'v', 'm', 'f')
                          AND NOT EXISTS (
                              SELECT FROM pg_depend
                              WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
                          )
                    )",
            &[],
        )
        .await
        .map_err(failed)?;
    let schema: Option<String> = row.try_get(0).map_err(failed)?;
    let versions: Option<bool> = row.try_get(1).map_err(failed)?;
    let keys: Option<bool> = row.try_get(2).map_err(failed)?;
    let tables: bool = row.try_get(3).map_err(failed)?;
    let Some(schema) = schema else {
        return Err(PostgresError::NoSchema { at: at.to_owned() });
    };
    match (versions, keys, tables) {
        (Some(true), Some(true), _) => {}
        (Some(false), _, false) => return Ok(0),
        _ => return Err(PostgresError::Foreign { at: at.to_owned(), schema }),
    }
    let row = client
        .query_one("SELECT coalesce(max(version), 0)::bigint FROM schema_versions", &[])
        .await
        .map_err(failed)?;
    row.try_get(0).map_err(failed)
}
