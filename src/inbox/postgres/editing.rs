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
    let subjects = lock_subjects(&transaction, filter).await?;
    let changed = assign(&transaction, filter, now, assignments).await?;
    restore_order(&transaction, &subjects, now).await?;
    announce(&transaction).await?;
    transaction.commit().await?;
    Ok(changed)
}

/// Those of the deliveries that are meant, all of whose unfinished deliveries are then locked.
///
/// Claims do not wait for their turn, so what they may take is kept from them, and what they have just taken is
/// seen: the statements after this one see every claim that came before.
async fn lock_subjects(
    transaction: &Transaction<'_>,
    filter: &EventFilter,
) -> Result<Subjects, Error> {
    let conditions = Conditions::of_meant(filter);
    let sql = format!(
        "SELECT DISTINCT handler, subject_key FROM ({}) AS meant WHERE subject_key IS NOT NULL",
        select_meant(&conditions)
    );
    let mut subjects = Subjects::default();
    for row in transaction.query(&sql, &conditions.values()).await? {
        subjects.handlers.push(row.try_get(0)?);
        subjects.keys.push(row.try_get(1)?);
    }
    // One subject after another, whatever the planner believes of their number: it may have seen none yet.
    let lock = "SELECT count(*)
         FROM unnest($1::text[], $2::bigint[]) AS subjects (handler, subject_key)
         CROSS JOIN LATERAL (
             SELECT FROM deliveries AS it
             WHERE it.handler = subjects.handler AND it.subject_key = subjects.subject_key AND it.state <= 1
             FOR UPDATE
         ) AS locked";
    transaction.query_one(lock, &[&subjects.handlers, &subjects.keys]).await?;
    Ok(subjects)
}

/// Returns how many deliveries were changed.
async fn assign(
    transaction: &Transaction<'_>,
    filter: &EventFilter,
    now: Timestamp,
    assignments: &str,
) -> Result<usize, Error> {
    let mut conditions = Conditions::of_meant(filter);
    let meant = select_meant(&conditions);
    let assignments = if assignments.contains('?') {
        assignments.replace('?', &conditions.parameter(now.as_millisecond()))
    } else {
        assignments.to_owned()
    };
    // The state is asked for once more: a delivery without a subject may have been claimed meanwhile.
    let sql = format!(
        "WITH meant AS ({meant})
         UPDATE deliveries AS it SET {assignments} FROM meant
         WHERE it.sequence = meant.sequence AND it.handler = meant.handler AND it.state = meant.state"
    );
    let changed = transaction.execute(&sql, &conditions.values()).await?;
    Ok(usize::try_from(changed).unwrap_or(usize::MAX))
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
