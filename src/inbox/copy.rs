//! Takes everything in a store on SQLite to one on PostgreSQL that holds nothing yet. Runs beside no service.

use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::inbox::PostgresOptions;
use crate::inbox::SqliteSource;
use crate::inbox::postgres::Target;

/// Pages between the reader and the writer.
const AHEAD: usize = 2;

/// Copies events in their order, duplicate keys, deliveries, details and the directory, as a restart of the
/// service would find them: what ran waits again, and who reserved a key is gone.
///
/// All or nothing, and the new store has to be empty. `watch` is called as tables begin and advance.
pub async fn copy(
    source: SqliteSource,
    target: &PostgresOptions,
    now: Timestamp,
    watch: &dyn Fn(CopiedTable),
) -> Result<Vec<CopiedTable>, CopyError> {
    let mut target = Target::connect(target).await?;
    let target = target.begin().await?;
    let (parts, mut received) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || source.read(now, &parts));
    let mut copied: Vec<CopiedTable> = Vec::new();
    let mut table = None;
    while let Some(part) = received.recv().await {
        match (part, copied.last_mut(), table) {
            (Part::Begins(next, total), _, _) => {
                table = Some(next);
                copied.push(CopiedTable { table: next.name, done: 0, total });
            }
            (Part::Rows(rows), Some(counted), Some(table)) => {
                target.write(table, &rows).await?;
                counted.done = counted.done.saturating_add(rows.len() as u64);
            }
            (Part::Rows(_), _, _) => {}
        }
        copied.last().copied().into_iter().for_each(watch);
    }
    // It holds the old store until the new one is committed.
    let source = reading.await.map_err(|panicked| CopyError::Reading(panicked.into()))??;
    target.commit(&copied).await?;
    drop(source);
    Ok(copied)
}

/// A table of both stores, by the same names.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
}

/// What a column holds, which SQLite writes in fewer types than PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Small,
    Integer,
    Big,
    Flag,
    Text,
    Bytes,
    Id,
}

#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
    Id(Uuid),
}

impl Cell {
    pub(crate) fn number(&self) -> Option<i64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(crate) fn id(&self) -> Option<Uuid> {
        if let Self::Id(id) = self { Some(*id) } else { None }
    }
}

/// What the reader says to the writer.
pub(crate) enum Part {
    /// This table comes next, with so many rows.
    Begins(&'static Table, u64),
    Rows(Vec<Vec<Cell>>),
}

/// Everything that a store holds beside its schema.
pub(crate) const TABLES: [Table; 5] = [
    Table {
        name: "events",
        columns: &[
            ("sequence", Kind::Big),
            ("id", Kind::Id),
            ("endpoint", Kind::Text),
            ("dialect", Kind::Text),
            ("event", Kind::Text),
            ("subject", Kind::Text),
            ("nonce", Kind::Text),
            ("timestamp", Kind::Text),
            ("requested_at", Kind::Big),
            ("received_at", Kind::Big),
            ("message", Kind::Bytes),
            ("reply", Kind::Bytes),
        ],
    },
    Table {
        name: "duplicate_keys",
        columns: &[
            ("endpoint", Kind::Text),
            ("signed_at", Kind::Big),
            ("mac", Kind::Bytes),
            ("kept_until", Kind::Big),
            ("sequence", Kind::Big),
        ],
    },
    Table {
        name: "deliveries",
        columns: &[
            ("sequence", Kind::Big),
            ("handler", Kind::Text),
            ("subject_key", Kind::Big),
            ("state", Kind::Small),
            ("attempts", Kind::Integer),
            ("claims", Kind::Big),
            ("next_attempt_at", Kind::Big),
            ("lease_until", Kind::Big),
            ("last_error", Kind::Text),
        ],
    },
    Table { name: "details", columns: &[("sequence", Kind::Big), ("\"user\"", Kind::Text)] },
    Table {
        name: "directory",
        columns: &[
            ("endpoint", Kind::Text),
            ("kind", Kind::Text),
            ("id", Kind::Text),
            ("name", Kind::Text),
            ("name_key", Kind::Text),
            ("disabled", Kind::Flag),
            ("deleted", Kind::Flag),
            ("attributes", Kind::Text),
            ("updated_at", Kind::Big),
            ("changed_at", Kind::Big),
        ],
    },
];

impl Table {
    pub(crate) fn column_list(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// How far a copy has come, or what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedTable {
    pub table: &'static str,
    /// Rows.
    pub done: u64,
    pub total: u64,
}

/// A copy that was not made. The new store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(
        "the new store holds something already; name an empty database, or drop what is in this one"
    )]
    NotEmpty,
    #[error("{table}: {column} holds what no bamboohook has written")]
    Unstorable { table: &'static str, column: &'static str },
    #[error("{table}: {read} rows were read and {written} written")]
    Miscounted { table: &'static str, read: u64, written: u64 },
    #[error("the old store cannot be read")]
    Reading(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the new store cannot be written")]
    Writing(#[source] Box<dyn std::error::Error + Send + Sync>),
}
