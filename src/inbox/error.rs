//! What can go wrong with the store, by what the caller can do about it. Names no HTTP status.

use std::path::PathBuf;

use crate::inbox::PostgresError;

/// A running store did not do what was asked. Nothing of it has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InboxError {
    /// More is waiting than may wait. Try again shortly.
    #[error("the store has more waiting than it can take")]
    Saturated,
    #[error("the disk of the store is full")]
    Full,
    #[error("the store is locked by another program")]
    Locked,
    #[error("the store cannot be written")]
    ReadOnly,
    /// The database is away, or takes too long to answer.
    #[error("the store cannot be reached")]
    Unreachable,
    /// Reading or writing failed, or the file is damaged.
    #[error("the store failed")]
    Failed,
    /// The service is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// A store that cannot be opened, with the cure.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{path}: no store is there; `bamboohook serve` makes one, or name another in store.url"
    )]
    Missing { path: PathBuf },
    #[error(
        "{path}: another `bamboohook serve` uses this store; stop it, or give this one its own store.url"
    )]
    InUse { path: PathBuf },
    #[error("{path}: another program has locked this store; close it and start again")]
    Locked { path: PathBuf },
    #[error(
        "{path}: this file is not a bamboohook store; move it away, or name another in store.url"
    )]
    Foreign { path: PathBuf },
    #[error(
        "{path}: this store was made by a newer bamboohook (schema {found}, known {known}); use that version"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{path}: the store cannot be written; check the owner and mode of the file and its folder, and the mount"
    )]
    ReadOnly { path: PathBuf },
    #[error("{path}: the disk is full")]
    Full { path: PathBuf },
    #[error("{path}: the store cannot be opened")]
    Unopenable {
        path: PathBuf,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}
