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
            "WITH subjects AS (
                 SELECT DISTINCT handler, subject_key
                 FROM unnest($1::text[], $2::bigint[]) AS subjects (handler, subject_key)
             ), unfinished AS (
                 SELECT sequence, handler,
                        sequence = min(sequence) OVER of_subject AS oldest,
                        bool_or(state = 1) OVER of_subject AS runs
                 FROM deliveries JOIN subjects USING (handler, subject_key)
                 WHERE state <= 1 AND subject_key IS NOT NULL
                 WINDOW of_subject AS (PARTITION BY handler, subject_key)
             )
             UPDATE deliveries AS it SET next_attempt_at = CASE WHEN unfinished.oldest THEN $3::bigint END
             FROM unfinished
             WHERE it.sequence = unfinished.sequence AND it.handler = unfinished.handler
               AND it.state = 0 AND NOT unfinished.runs
               AND unfinished.oldest = (it.next_attempt_at IS NULL)",
            &[&subjects.handlers, &subjects.keys, &now.as_millisecond()],
        )
        .await
        .map(drop)
}
