//! The order of each subject's deliveries, restored after they have changed. Changes no state.

use jiff::Timestamp;
use tokio_postgres::Error;
use tokio_postgres::Transaction;

/// Subjects of handlers, as two columns.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    pub(super) handlers: Vec<String>,
    pub(super) keys: Vec<i64>,
}

/// Restores the rule that of each subject only the oldest unfinished delivery has a time of its own: one that
/// was asked for again may be older than the one that had it. What was begun is not overtaken, whatever is
/// older; the next one is admitted when it ends.
///
/// Under the turn, with the unfinished deliveries of these subjects locked.
pub(super) async fn restore_order(
    transaction: &Transaction<'_>,
    subjects: &Subjects,
    now: Timestamp,
) -> Result<(), Error> {
    if subjects.keys.is_empty() {
        return Ok(());
    }
    transaction
        .execute(
            // One subject after another, whatever the planner believes of their number: it may have seen none yet.
            "WITH unfinished AS (
                 SELECT of_subject.*
                 FROM (
                     SELECT DISTINCT * FROM unnest($1::text[], $2::bigint[]) AS subjects (handler, subject_key)
                 ) AS subjects
                 CROSS JOIN LATERAL (
                     SELECT it.sequence, it.handler, it.state, it.next_attempt_at IS NULL AS is_timeless,
                            it.sequence = min(it.sequence) OVER () AS is_oldest,
                            bool_or(it.state = 1) OVER () AS runs
                     FROM deliveries AS it
                     WHERE it.handler = subjects.handler AND it.subject_key = subjects.subject_key
                       AND it.state <= 1
                 ) AS of_subject
             )
             UPDATE deliveries AS it SET next_attempt_at = CASE WHEN unfinished.is_oldest THEN $3::bigint END
             FROM unfinished
             WHERE it.sequence = unfinished.sequence AND it.handler = unfinished.handler
               AND unfinished.state = 0 AND NOT unfinished.runs
               AND unfinished.is_oldest = unfinished.is_timeless",
            &[&subjects.handlers, &subjects.keys, &now.as_millisecond()],
        )
        .await
        .map(drop)
}
