//! Deliveries given to this process's workers for a time, and taken back where that is over. Runs no handler.

use std::sync::Arc;

use deadpool_postgres::Object;
use jiff::Timestamp;
use tokio_postgres::Error;

use crate::inbox::Claim;
use crate::inbox::Claimed;
use crate::inbox::Delivery;
use crate::inbox::DeliveryKey;
use crate::inbox::delivery::timestamp;
use crate::inbox::postgres::order::Subjects;
use crate::inbox::postgres::order::restore_order;
use crate::inbox::postgres::rows::EVENT_COLUMNS;
use crate::inbox::postgres::rows::stored_event;
use crate::inbox::postgres::turn::take_turn;

/// Rows that one pruning step may delete; more would hold up the events that wait for their turn.
const PRUNED_AT_ONCE: i64 = 500;

/// One statement, hence one transaction; without the turn, since it only takes what is due, and passes over
/// what another process takes at this moment. By index whatever the tables hold, as `statements` says.
pub(super) async fn claim(client: &Object, claim: &Claim) -> Result<Claimed, Error> {
    let now = claim.now.as_millisecond();
    let lease = i64::try_from(claim.lease.as_millis()).unwrap_or(i64::MAX);
    let most = i64::try_from(claim.most).unwrap_or(i64::MAX);
    let take = client
        .prepare_cached(&format!(
            "WITH due AS MATERIALIZED (
                 SELECT ctid, next_attempt_at FROM deliveries
                 WHERE handler = $1 AND state = 0 AND next_attempt_at <= $2
                 ORDER BY next_attempt_at, sequence
                 LIMIT $3
                 FOR UPDATE SKIP LOCKED
             ), taken AS (
                 UPDATE deliveries AS it
                 SET state = 1, attempts = it.attempts + 1, claims = it.claims + 1, next_attempt_at = NULL, lease_until = $4
                 FROM due WHERE it.ctid = due.ctid
                 RETURNING it.sequence, it.attempts, it.subject_key, it.claims, due.next_attempt_at
             )
             SELECT {EVENT_COLUMNS}, taken.sequence, taken.attempts, taken.subject_key, taken.claims
             FROM taken
             CROSS JOIN LATERAL (
                 SELECT * FROM events AS it WHERE it.sequence = taken.sequence OFFSET 0
             ) AS events
             LEFT JOIN LATERAL (
                 SELECT * FROM details AS it WHERE it.sequence = taken.sequence OFFSET 0
             ) AS details ON TRUE
             ORDER BY taken.next_attempt_at, taken.sequence"
        ))
        .await?;
    let rows =
        client.query(&take, &[&&*claim.handler, &now, &most, &(now.saturating_add(lease))]).await?;
    let deliveries: Vec<Delivery> = rows
        .iter()
        .map(|row| {
            let attempts: i32 = row.try_get(11)?;
            let key = DeliveryKey {
                sequence: row.try_get(10)?,
                handler: Arc::clone(&claim.handler),
                attempt: attempts.unsigned_abs(),
                subject_key: row.try_get(12)?,
                claim: row.try_get(13)?,
            };
            Ok(Delivery { key, event: stored_event(row)? })
        })
        .collect::<Result<_, Error>>()?;
    let next_due =
        if deliveries.len() < claim.most { next_due(client, &claim.handler).await? } else { None };
    Ok(Claimed { deliveries, next_due })
}

async fn next_due(client: &Object, handler: &str) -> Result<Option<Timestamp>, Error> {
    let next = client
        .prepare_cached(
            "SELECT next_attempt_at FROM deliveries
             WHERE handler = $1 AND state = 0 AND next_attempt_at IS NOT NULL
             ORDER BY next_attempt_at LIMIT 1",
        )
        .await?;
    let row = client.query_opt(&next, &[&handler]).await?;
    row.map(|row| row.try_get(0).map(timestamp)).transpose()
}

/// Makes due again what is `running` under a lease that has ended. In its turn.
pub(super) async fn recover(client: &mut Object, now: Timestamp) -> Result<u64, Error> {
    let transaction = client.transaction().await?;
    take_turn(&transaction).await?;
    let recovered = transaction
        .query(
            "UPDATE deliveries SET state = 0, next_attempt_at = $1, lease_until = NULL
             WHERE lease_until <= $1
             RETURNING handler, subject_key",
            &[&now.as_millisecond()],
        )
        .await?;
    // While one of a subject ran, no other had a time that a claim could have found.
    let mut subjects = Subjects::default();
    for row in &recovered {
        if let Some(key) = row.try_get(1)? {
            subjects.handlers.push(row.try_get(0)?);
            subjects.keys.push(key);
        }
    }
    restore_order(&transaction, &subjects, now).await?;
    transaction.commit().await?;
    Ok(recovered.len() as u64)
}

/// In its turn. The newest event stays whatever its age, as on every store.
pub(super) async fn prune(
    client: &mut Object,
    now: Timestamp,
    finished_before: Timestamp,
) -> Result<u64, Error> {
    let transaction = client.transaction().await?;
    take_turn(&transaction).await?;
    let keys = transaction
        .execute(
            "DELETE FROM duplicate_keys
             WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM duplicate_keys WHERE kept_until < $1 ORDER BY kept_until LIMIT $2
             ))",
            &[&now.as_millisecond(), &PRUNED_AT_ONCE],
        )
        .await?;
    let finished: Vec<i64> = transaction
        .query(
            "SELECT sequence FROM events
             WHERE sequence < coalesce(
                   (SELECT sequence FROM events WHERE received_at >= $1 ORDER BY sequence LIMIT 1),
                   (SELECT max(sequence) FROM events)
               )
               AND NOT EXISTS (
                   SELECT 1 FROM deliveries
                   WHERE deliveries.sequence = events.sequence AND deliveries.state <> 2
               )
             ORDER BY sequence LIMIT $2",
            &[&finished_before.as_millisecond(), &PRUNED_AT_ONCE],
        )
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, Error>>()?;
    for table in ["deliveries", "details", "events"] {
        let delete = format!("DELETE FROM {table} WHERE sequence = ANY($1)");
        transaction.execute(&delete, &[&finished]).await?;
    }
    transaction.commit().await?;
    Ok(keys.saturating_add(finished.len() as u64))
}
