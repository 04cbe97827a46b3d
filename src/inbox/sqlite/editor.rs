//! Retries and discards deliveries beside the service that runs them, which notices by itself. Runs no handler.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use rusqlite::params;

use crate::inbox::EventFilter;
use crate::inbox::InboxError;
use crate::inbox::OpenError;
use crate::inbox::State;
use crate::inbox::sqlite::deliveries;
use crate::inbox::sqlite::file;
use crate::inbox::sqlite::reader::conditions;

/// A connection that changes deliveries. Methods block: call them where that is allowed.
pub struct SqliteEditor(Connection);

/// A delivery that is meant.
struct Meant {
    sequence: i64,
    handler: String,
    subject_key: Option<i64>,
}

impl SqliteEditor {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        file::open_to_edit(path).map(Self)
    }

    /// How many deliveries a retry or a discard of these events would change: those that are waiting or
    /// dead, and with a state in the filter those in this state alone.
    pub fn count(&self, filter: &EventFilter) -> Result<usize, InboxError> {
        let count = || Ok(meant(&self.0, filter)?.len());
        count().map_err(|cause: rusqlite::Error| file::while_running(&cause))
    }

    /// Makes them due at once, with all their attempts before them. Returns how many there were.
    pub fn retry(&mut self, filter: &EventFilter, now: Timestamp) -> Result<usize, InboxError> {
        self.change(
            filter,
            now,
            "UPDATE deliveries SET state = 0, attempts = 0, next_attempt_at = NULL, lease_until = NULL
             WHERE sequence = ?1 AND handler = ?2",
        )
    }

    /// Gives them up: they are done, and say so in their last error. Returns how many there were.
    pub fn discard(&mut self, filter: &EventFilter, now: Timestamp) -> Result<usize, InboxError> {
        self.change(
            filter,
            now,
            "UPDATE deliveries SET state = 2, next_attempt_at = NULL, lease_until = NULL,
                    last_error = 'discarded' || coalesce(': ' || last_error, '')
             WHERE sequence = ?1 AND handler = ?2",
        )
    }

    fn change(
        &mut self,
        filter: &EventFilter,
        now: Timestamp,
        change: &str,
    ) -> Result<usize, InboxError> {
        let mut run = || {
            let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let meant = meant(&transaction, filter)?;
            for delivery in &meant {
                transaction
                    .prepare_cached(change)?
                    .execute(params![delivery.sequence, delivery.handler])?;
            }
            for delivery in &meant {
                admit(&transaction, delivery, now)?;
            }
            transaction.commit()?;
            Ok(meant.len())
        };
        run().map_err(|cause: rusqlite::Error| file::while_running(&cause))
    }
}

/// A delivery that runs is left to the handler that has it.
fn meant(store: &Connection, filter: &EventFilter) -> rusqlite::Result<Vec<Meant>> {
    let (conditions, mut values) = conditions(filter, None);
    let states = match filter.state {
        None => "0, 3",
        Some(State::Waiting) => "0",
        Some(State::Done) => "2",
        Some(State::Dead) => "3",
        Some(State::Running) => return Ok(Vec::new()),
    };
    values.push(Box::new(filter.handler.clone()));
    let sql = format!(
        "SELECT meant.sequence, meant.handler, meant.subject_key
         FROM events JOIN deliveries AS meant ON meant.sequence = events.sequence
         WHERE {conditions} AND meant.state IN ({states}) AND (?{handler} IS NULL OR meant.handler = ?{handler})
         ORDER BY meant.sequence",
        handler = values.len()
    );
    store
        .prepare(&sql)?
        .query_map(rusqlite::params_from_iter(values), |row| {
            Ok(Meant { sequence: row.get(0)?, handler: row.get(1)?, subject_key: row.get(2)? })
        })?
        .collect()
}

fn admit(store: &Connection, delivery: &Meant, now: Timestamp) -> rusqlite::Result<()> {
    let Some(subject_key) = delivery.subject_key else {
        // Without a subject there is no order to keep.
        store
            .prepare_cached(
                "UPDATE deliveries SET next_attempt_at = ?3
                 WHERE sequence = ?1 AND handler = ?2 AND state = 0",
            )?
            .execute(params![delivery.sequence, delivery.handler, now.as_millisecond()])?;
        return Ok(());
    };
    deliveries::restore_order(store, &delivery.handler, subject_key, now)
}
