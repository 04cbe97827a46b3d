//! Retries and discards deliveries beside the services that run them, and wakes those. Runs no handler.

use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio_postgres::Error;
use tokio_postgres::Transaction;

use crate::inbox::EventFilter;
use crate::inbox::InboxError;
use crate::inbox::postgres::failure::while_running;
use crate::inbox::postgres::filter::Conditions;
use crate::inbox::postgres::operator::PostgresOperator;
use crate::inbox::postgres::order::Subjects;
use crate::inbox::postgres::order::restore_order;
use crate::inbox::postgres::turn::announce;
use crate::inbox::postgres::turn::take_turn;

/// Without a subject there is no order to keep, and a delivery is due at once; `?` is now.
const RETRIED: &str = "state = 0, attempts = 0, lease_until = NULL,
     next_attempt_at = CASE WHEN it.subject_key IS NULL THEN ?::bigint END";

const DISCARDED: &str = "state = 2, next_attempt_at = NULL, lease_until = NULL,
     last_error = 'discarded' || coalesce(': ' || it.last_error, '')";

impl PostgresOperator {
    pub(crate) async fn count(&self, filter: &EventFilter) -> Result<usize, InboxError> {
        let conditions = Conditions::of_meant(filter);
        let sql = format!("SELECT count(*) FROM ({}) AS meant", select_meant(&conditions));
        let client = self.client().await?;
        let counted = client.query_one(&sql, &conditions.values()).await;
        let count = counted.and_then(|row| row.try_get::<_, i64>(0));
        count.map(as_usize).map_err(|cause| while_running(&cause))
    }

    pub(crate) async fn retry(
        &self,
        filter: &EventFilter,
        now: Timestamp,
    ) -> Result<usize, InboxError> {
        let mut client = self.client().await?;
        change(&mut client, filter, now, RETRIED).await.map_err(|cause| while_running(&cause))
    }

    pub(crate) async fn discard(
        &self,
        filter: &EventFilter,
        now: Timestamp,
    ) -> Result<usize, InboxError> {
        let mut client = self.client().await?;
        change(&mut client, filter, now, DISCARDED).await.map_err(|cause| while_running(&cause))
    }
}

async fn change(
    client: &mut Object,
    filter: &EventFilter,
    now: Timestamp,
    assignments: &str,
) -> Result<usize, Error> {
    let transaction = client.transaction().await?;
    take_turn(&transaction).await?;
    lock_subjects(&transaction, filter).await?;
    let (subjects, changed) = assign(&transaction, filter, now, assignments).await?;
    restore_order(&transaction, &subjects, now).await?;
    announce(&transaction).await?;
    transaction.commit().await?;
    Ok(changed)
}

/// Claims do not wait for their turn, so what they may take is kept from them, and what they have just taken is
/// seen: the statements after this one see every claim that came before.
async fn lock_subjects(transaction: &Transaction<'_>, filter: &EventFilter) -> Result<(), Error> {
    let conditions = Conditions::of_meant(filter);
    let sql = format!(
        "SELECT count(*) FROM (
             SELECT FROM deliveries AS it
             JOIN (SELECT DISTINCT handler, subject_key FROM ({}) AS meant) AS subjects
               ON subjects.handler = it.handler AND subjects.subject_key = it.subject_key
             WHERE it.state <= 1 AND it.subject_key IS NOT NULL
             FOR UPDATE OF it
         ) AS locked",
        select_meant(&conditions)
    );
    transaction.query_one(&sql, &conditions.values()).await.map(drop)
}

/// Returns the subjects whose order has to be restored, and how many deliveries were changed.
async fn assign(
    transaction: &Transaction<'_>,
    filter: &EventFilter,
    now: Timestamp,
    assignments: &str,
) -> Result<(Subjects, usize), Error> {
    let mut conditions = Conditions::of_meant(filter);
    let meant = select_meant(&conditions);
    let assignments = if assignments.contains('?') {
        assignments.replace('?', &conditions.parameter(now.as_millisecond()))
    } else {
        assignments.to_owned()
    };
    // The state is asked for once more: a delivery without a subject may have been claimed meanwhile.
    let sql = format!(
        "WITH meant AS ({meant}), changed AS (
             UPDATE deliveries AS it SET {assignments} FROM meant
             WHERE it.sequence = meant.sequence AND it.handler = meant.handler AND it.state = meant.state
             RETURNING it.handler, it.subject_key
         )
         SELECT handler, subject_key, count(*) FROM changed GROUP BY handler, subject_key"
    );
    let mut subjects = Subjects::default();
    let mut changed = 0_i64;
    for row in transaction.query(&sql, &conditions.values()).await? {
        changed = changed.saturating_add(row.try_get(2)?);
        if let Some(key) = row.try_get(1)? {
            subjects.handlers.push(row.try_get(0)?);
            subjects.keys.push(key);
        }
    }
    Ok((subjects, as_usize(changed)))
}

fn select_meant(conditions: &Conditions) -> String {
    format!(
        "SELECT meant.sequence, meant.handler, meant.subject_key, meant.state
         FROM events JOIN deliveries AS meant ON meant.sequence = events.sequence
         WHERE {}",
        conditions.sql()
    )
}

fn as_usize(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}
