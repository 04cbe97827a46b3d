//! Writing one accepted event inside the writer's transaction: duplicate key, event, deliveries. Commits nothing.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;
use sha2::Digest;
use sha2::Sha256;
use uuid::ContextV7;
use uuid::Uuid;

use crate::inbox::Acceptance;
use crate::inbox::NewEvent;
use crate::inbox::Receipt;
use crate::inbox::Reply;
use crate::inbox::Subject;

pub(super) fn accept(
    store: &Connection,
    ids: &ContextV7,
    event: &NewEvent,
) -> rusqlite::Result<Acceptance> {
    let key = &event.duplicate_key;
    if let Some(sequence) = claimed_by(store, event)? {
        return Ok(Acceptance::Duplicate(stored_receipt(store, sequence)?));
    }
    let receipt = receipt(ids, event);
    store
        .prepare_cached(
            "INSERT INTO events (id, endpoint, dialect, event, subject, nonce, timestamp,
                                 requested_at, received_at, message, reply)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            receipt.id.as_bytes(),
            &*event.endpoint,
            event.dialect.as_str(),
            event.event,
            receipt.subject,
            event.nonce,
            event.timestamp,
            event.requested_at.as_millisecond(),
            event.received_at.as_millisecond(),
            event.message.as_str(),
            receipt.reply,
        ])?;
    let sequence = store.last_insert_rowid();
    store
        .prepare_cached(
            "INSERT INTO duplicate_keys (endpoint, signed_at, mac, kept_until, sequence)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            &*event.endpoint,
            key.signed_at,
            key.mac,
            key.kept_until.as_millisecond(),
            sequence
        ])?;
    let subject_key = receipt.subject.as_deref().map(|it| subject_key(&event.endpoint, it));
    for handler in &event.handlers {
        store
            .prepare_cached(
                "INSERT INTO deliveries (sequence, handler, subject_key, state, attempts, next_attempt_at)
                 VALUES (?1, ?2, ?3, 0, 0, CASE WHEN EXISTS (
                     SELECT 1 FROM deliveries INDEXED BY deliveries_of_subject
                     WHERE handler = ?2 AND subject_key = ?3 AND state <= 1
                 ) THEN NULL ELSE ?4 END)",
            )?
            .execute(params![
                sequence,
                &**handler,
                subject_key,
                event.received_at.as_millisecond()
            ])?;
    }
    Ok(Acceptance::Stored(receipt))
}

/// Writes for the sake of writing: after a failure, only this shows that the disk takes data again.
pub(super) fn prove_writable(store: &Connection) -> rusqlite::Result<()> {
    store.execute_batch("UPDATE schema_versions SET applied_at = applied_at WHERE version = 1")
}

/// The event that holds the duplicate key, unless its time is over.
fn claimed_by(store: &Connection, event: &NewEvent) -> rusqlite::Result<Option<i64>> {
    let key = &event.duplicate_key;
    let found = store
        .prepare_cached(
            "SELECT sequence, kept_until FROM duplicate_keys
             WHERE endpoint = ?1 AND signed_at = ?2 AND mac = ?3",
        )?
        .query_row(params![&*event.endpoint, key.signed_at, key.mac], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    match found {
        Some((_, kept_until)) if kept_until < event.received_at.as_millisecond() => {
            store
                .prepare_cached(
                    "DELETE FROM duplicate_keys WHERE endpoint = ?1 AND signed_at = ?2 AND mac = ?3",
                )?
                .execute(params![&*event.endpoint, key.signed_at, key.mac])?;
            Ok(None)
        }
        found => Ok(found.map(|(sequence, _)| sequence)),
    }
}

fn stored_receipt(store: &Connection, sequence: i64) -> rusqlite::Result<Option<Receipt>> {
    store
        .prepare_cached("SELECT id, subject, reply FROM events WHERE sequence = ?1")?
        .query_row([sequence], |row| {
            Ok(Receipt {
                id: Uuid::from_bytes(row.get(0)?),
                subject: row.get(1)?,
                reply: row.get(2)?,
            })
        })
        .optional()
}

fn receipt(ids: &ContextV7, event: &NewEvent) -> Receipt {
    let subject = match &event.subject {
        Subject::Nobody => None,
        Subject::Known(id) => Some(id.clone()),
        Subject::New => Some(Uuid::new_v4().to_string()),
    };
    let reply = match &event.reply {
        Reply::Text(text) => text.clone(),
        Reply::SubjectId => {
            serde_json::json!({ "id": subject.as_deref().unwrap_or_default() }).to_string()
        }
    };
    Receipt { id: event_id(ids, event.received_at), subject, reply }
}

/// A `UUIDv7` (RFC 9562, 5.7), larger than every id before it in this process.
fn event_id(ids: &ContextV7, at: Timestamp) -> Uuid {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(ids, seconds, nanoseconds))
}

/// Deliveries of one key keep their order. Two subjects that share a key by chance only wait for each other.
fn subject_key(endpoint: &str, subject: &str) -> i64 {
    let digest =
        Sha256::new().chain_update(endpoint).chain_update([0]).chain_update(subject).finalize();
    i64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
}
