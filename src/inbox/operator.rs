//! What operators do with a store beside the service that owns it: look, retry, discard. Runs no handler.

use jiff::Timestamp;
use uuid::Uuid;

use crate::inbox::EventFilter;
use crate::inbox::EventSummary;
use crate::inbox::InboxError;
use crate::inbox::PostgresOperator;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::SqliteOperator;

/// A store of either kind.
pub enum Operator {
    Sqlite(SqliteOperator),
    Postgres(PostgresOperator),
}

impl Operator {
    /// One page, newest first: at most `most` events older than `before`, which is the
    /// [`EventSummary::sequence`] of the last one of the page before.
    pub async fn events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<EventSummary>, InboxError> {
        match self {
            Self::Sqlite(store) => store.events(filter, before, most).await,
            Self::Postgres(store) => store.events(filter, before, most).await,
        }
    }

    pub async fn event(&self, id: Uuid) -> Result<Option<EventSummary>, InboxError> {
        match self {
            Self::Sqlite(store) => store.event(id).await,
            Self::Postgres(store) => store.event(id).await,
        }
    }

    /// One page of the directory.
    pub async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>, InboxError> {
        match self {
            Self::Sqlite(store) => store.records(query).await,
            Self::Postgres(store) => store.records(query).await,
        }
    }

    /// How many deliveries a retry or a discard of these events would change: those that are waiting or
    /// dead, and with a state in the filter those in this state alone.
    pub async fn count(&self, filter: &EventFilter) -> Result<usize, InboxError> {
        match self {
            Self::Sqlite(store) => store.count(filter).await,
            Self::Postgres(store) => store.count(filter).await,
        }
    }

    /// Makes them due at once, with all their attempts before them. Returns how many there were.
    pub async fn retry(&self, filter: &EventFilter, now: Timestamp) -> Result<usize, InboxError> {
        match self {
            Self::Sqlite(store) => store.retry(filter, now).await,
            Self::Postgres(store) => store.retry(filter, now).await,
        }
    }

    /// Gives them up: they are done, and say so in their last error. Returns how many there were.
    pub async fn discard(&self, filter: &EventFilter, now: Timestamp) -> Result<usize, InboxError> {
        match self {
            Self::Sqlite(store) => store.discard(filter, now).await,
            Self::Postgres(store) => store.discard(filter, now).await,
        }
    }
}
