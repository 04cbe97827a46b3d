//! The life of deliveries inside the writer's transaction: claimed, extended, finished, recovered, pruned. Runs no handler.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;
use uuid::Uuid;

use crate::event::Message;
use crate::event::UserDetails;
use crate::inbox::Claim;
use crate::inbox::Claimed;
use crate::inbox::Delivery;
use crate::inbox::DeliveryKey;
use crate::inbox::Finish;
use crate::inbox::NewDetails;
use crate::inbox::Outcome;
use crate::inbox::StoredEvent;
use crate::inbox::delivery::Ended;
use crate::inbox::delivery::dialect_of;
use crate::inbox::delivery::timestamp;
use crate::inbox::delivery::user_of;
use crate::inbox::sqlite::directory;

/// Rows that one pruning step may delete; more would hold up the events that wait for the writer.
const PRUNED_AT_ONCE: i64 = 500;

/// The columns that [`stored_event`] reads, in its order.
pub(super) const EVENT_COLUMNS: &str = "events.id, events.endpoint, events.dialect, events.event, \
     events.subject, events.requested_at, events.received_at, events.message, \
     details.sequence IS NOT NULL, details.user";

pub(super) fn claim(store: &Connection, claim: &Claim) -> rusqlite::Result<Claimed> {
    let now = claim.now.as_millisecond();
    let lease = i64::try_from(claim.lease.as_millis()).unwrap_or(i64::MAX);
    let mut due = store.prepare_cached(&format!(
        "SELECT {EVENT_COLUMNS}, due.sequence, due.attempts, due.subject_key, due.claims
         FROM deliveries AS due INDEXED BY deliveries_due
         JOIN events ON events.sequence = due.sequence
         LEFT JOIN details ON details.sequence = due.sequence
         WHERE due.handler = ?1 AND due.state = 0 AND due.next_attempt_at <= ?2
         ORDER BY due.next_attempt_at, due.sequence
         LIMIT ?3"
    ))?;
    let most = i64::try_from(claim.most).unwrap_or(i64::MAX);
    let deliveries: Vec<Delivery> = due
        .query_map(params![&*claim.handler, now, most], |row| {
            let attempts: u32 = row.get(11)?;
            let key = DeliveryKey {
                sequence: row.get(10)?,
                handler: Arc::clone(&claim.handler),
                attempt: attempts.saturating_add(1),
                subject_key: row.get(12)?,
                claim: row.get::<_, i64>(13)?.saturating_add(1),
            };
            Ok(Delivery { key, event: stored_event(row)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut take = store.prepare_cached(
        "UPDATE deliveries SET state = 1, attempts = ?3, claims = ?5, next_attempt_at = NULL, lease_until = ?4
         WHERE sequence = ?1 AND handler = ?2",
    )?;
    for delivery in &deliveries {
        let key = &delivery.key;
        let until = now.saturating_add(lease);
        take.execute(params![key.sequence, &*key.handler, key.attempt, until, key.claim])?;
    }
    let next_due =
        if deliveries.len() < claim.most { next_due(store, &claim.handler)? } else { None };
    Ok(Claimed { deliveries, next_due })
}

fn next_due(store: &Connection, handler: &str) -> rusqlite::Result<Option<Timestamp>> {
    let next: Option<i64> = store
        .prepare_cached(
            "SELECT next_attempt_at FROM deliveries INDEXED BY deliveries_due
             WHERE handler = ?1 AND state = 0 AND next_attempt_at IS NOT NULL
             ORDER BY next_attempt_at LIMIT 1",
        )?
        .query_row([handler], |row| row.get(0))
        .optional()?;
    Ok(next.map(timestamp))
}

pub(super) fn extend(
    store: &Connection,
    keys: &[DeliveryKey],
    until: Timestamp,
) -> rusqlite::Result<()> {
    let mut extend = store.prepare_cached(
        "UPDATE deliveries SET lease_until = ?4
         WHERE sequence = ?1 AND handler = ?2 AND claims = ?3 AND state = 1",
    )?;
    for key in keys {
        extend.execute(params![key.sequence, &*key.handler, key.claim, until.as_millisecond()])?;
    }
    Ok(())
}

pub(super) fn finish(store: &Connection, finish: &Finish) -> rusqlite::Result<bool> {
    let key = &finish.key;
    let Ended { state, attempts, next_attempt_at, error } = finish.ended();
    let changed = store
        .prepare_cached(
            "UPDATE deliveries
             SET state = ?4, attempts = ?5, next_attempt_at = ?6, lease_until = NULL,
                 last_error = coalesce(?7, last_error)
             WHERE sequence = ?1 AND handler = ?2 AND claims = ?3 AND state = 1",
        )?
        .execute(params![
            key.sequence,
            &*key.handler,
            key.claim,
            state.number(),
            attempts,
            next_attempt_at.map(Timestamp::as_millisecond),
            error
        ])?;
    if changed == 1
        && let Some(subject_key) = key.subject_key
    {
        match finish.outcome {
            Outcome::Done | Outcome::Dead { .. } => {
                admit_oldest(store, &key.handler, subject_key, finish.now)?;
            }
            Outcome::Retry { .. } | Outcome::Released => {
                restore_order(store, &key.handler, subject_key, finish.now)?;
            }
        }
    }
    Ok(changed == 1)
}

/// Restores the rule that of each subject only the oldest unfinished delivery has a time of its own: one that
/// was asked for again may be older than the one that had it.
pub(super) fn restore_order(
    store: &Connection,
    handler: &str,
    subject_key: i64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let of_subject = params![handler, subject_key];
    let runs: bool = store
        .prepare_cached(
            "SELECT EXISTS (
                 SELECT 1 FROM deliveries INDEXED BY deliveries_of_subject
                 WHERE handler = ?1 AND subject_key = ?2 AND state <= 1 AND state = 1
             )",
        )?
        .query_row(of_subject, |row| row.get(0))?;
    // What was begun is not overtaken, whatever is older; the next one is admitted when it ends.
    if runs {
        return Ok(());
    }
    store
        .prepare_cached(
            "UPDATE deliveries INDEXED BY deliveries_of_subject SET next_attempt_at = NULL
             WHERE handler = ?1 AND subject_key = ?2 AND state <= 1 AND next_attempt_at IS NOT NULL
               AND sequence > (
                   SELECT min(oldest.sequence) FROM deliveries AS oldest
                   INDEXED BY deliveries_of_subject
                   WHERE oldest.handler = ?1 AND oldest.subject_key = ?2 AND oldest.state <= 1
               )",
        )?
        .execute(of_subject)?;
    admit_oldest(store, handler, subject_key, now)
}

/// Gives the oldest unfinished delivery of a subject a time, if it waits without one.
fn admit_oldest(
    store: &Connection,
    handler: &str,
    subject_key: i64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let oldest: Option<i64> = store
        .prepare_cached(
            "SELECT sequence FROM deliveries INDEXED BY deliveries_of_subject
             WHERE handler = ?1 AND subject_key = ?2 AND state <= 1
             ORDER BY sequence LIMIT 1",
        )?
        .query_row(params![handler, subject_key], |row| row.get(0))
        .optional()?;
    if let Some(oldest) = oldest {
        store
            .prepare_cached(
                "UPDATE deliveries SET next_attempt_at = ?3
                 WHERE sequence = ?1 AND handler = ?2 AND state = 0 AND next_attempt_at IS NULL",
            )?
            .execute(params![oldest, handler, now.as_millisecond()])?;
    }
    Ok(())
}

/// Keeps the answer with the event, and brings the directory up to it; an event that is past its retention
/// has no use for either.
pub(super) fn keep_details(store: &Connection, details: &NewDetails) -> rusqlite::Result<()> {
    let user = match &details.user {
        UserDetails::Unasked => return Ok(()),
        UserDetails::Missing => None,
        UserDetails::Found(user) => Some(user.get()),
    };
    store
        .prepare_cached("INSERT OR REPLACE INTO details (sequence, user) VALUES (?1, ?2)")?
        .execute(params![details.sequence, user])?;
    if let Some(change) = &details.change {
        // An observation is refused by nothing.
        let _applied = directory::apply(store, &details.endpoint, change, details.now)?;
    }
    Ok(())
}

/// Makes due again what is `running` under a lease that ended by `lapsed`.
pub(super) fn recover(
    store: &Connection,
    lapsed: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let recovered: Vec<(String, Option<i64>)> = store
        .prepare_cached(
            "UPDATE deliveries SET state = 0, next_attempt_at = ?2, lease_until = NULL
             WHERE state = 1 AND lease_until <= ?1
             RETURNING handler, subject_key",
        )?
        .query_map([lapsed.as_millisecond(), now.as_millisecond()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (handler, subject_key) in &recovered {
        if let Some(subject_key) = subject_key {
            restore_order(store, handler, *subject_key, now)?;
        }
    }
    Ok(recovered.len() as u64)
}

pub(super) fn prune(
    store: &Connection,
    now: Timestamp,
    finished_before: Timestamp,
) -> rusqlite::Result<u64> {
    let keys = store
        .prepare_cached(
            "DELETE FROM duplicate_keys WHERE (endpoint, signed_at, mac) IN (
                 SELECT endpoint, signed_at, mac FROM duplicate_keys INDEXED BY duplicate_keys_by_end
                 WHERE kept_until < ?1 LIMIT ?2
             )",
        )?
        .execute(params![now.as_millisecond(), PRUNED_AT_ONCE])?;
    // The newest event stays whatever its age, so that no number in the order of arrival comes twice.
    let finished: Vec<i64> = store
        .prepare_cached(
            "SELECT sequence FROM events
             WHERE sequence < coalesce(
                   (SELECT sequence FROM events WHERE received_at >= ?1 ORDER BY sequence LIMIT 1),
                   (SELECT max(sequence) FROM events)
               )
               AND NOT EXISTS (
                   SELECT 1 FROM deliveries
                   WHERE deliveries.sequence = events.sequence AND deliveries.state <> 2
               )
             ORDER BY sequence LIMIT ?2",
        )?
        .query_map(params![finished_before.as_millisecond(), PRUNED_AT_ONCE], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for sequence in &finished {
        store.prepare_cached("DELETE FROM deliveries WHERE sequence = ?1")?.execute([sequence])?;
        store.prepare_cached("DELETE FROM details WHERE sequence = ?1")?.execute([sequence])?;
        store.prepare_cached("DELETE FROM events WHERE sequence = ?1")?.execute([sequence])?;
    }
    Ok((keys + finished.len()) as u64)
}

pub(super) fn stored_event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        id: Uuid::from_bytes(row.get(0)?),
        endpoint: row.get(1)?,
        dialect: dialect_of(&row.get::<_, String>(2)?),
        event: row.get(3)?,
        subject: row.get(4)?,
        requested_at: timestamp(row.get(5)?),
        received_at: timestamp(row.get(6)?),
        message: Message::new(row.get::<_, String>(7)?),
        user: user_of(row.get(8)?, row.get(9)?),
    })
}
