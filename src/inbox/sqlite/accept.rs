//! Writing one accepted event inside the writer's transaction: duplicate key, directory, event, deliveries. Commits nothing.

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::params;
use uuid::Uuid;

use crate::inbox::Acceptance;
use crate::inbox::DuplicateKey;
use crate::inbox::NewEvent;
use crate::inbox::Receipt;
use crate::inbox::RecordChange;
use crate::inbox::Reservation;
use crate::inbox::Reserved;
use crate::inbox::delivery::subject_key;
use crate::inbox::sqlite::directory;

/// Who holds a duplicate key.
enum Holder {
    Nobody,
    /// A request whose inline handlers run.
    Running,
    /// The event at this place in the order of arrival.
    Event(i64),
}

pub(super) fn accept(store: &Connection, event: &NewEvent) -> rusqlite::Result<Acceptance> {
    match holder(store, &event.endpoint, &event.duplicate_key, event.received_at)? {
        Holder::Nobody => {}
        Holder::Running if event.reserved => {}
        Holder::Running => return Ok(Acceptance::Running),
        Holder::Event(sequence) => {
            return Ok(Acceptance::Duplicate(stored_receipt(store, sequence)?));
        }
    }
    let apply =
        |change: &RecordChange| directory::apply(store, &event.endpoint, change, event.received_at);
    let receipt = match event.receipt(apply)? {
        Ok(receipt) => receipt,
        Err(refusal) => return Ok(Acceptance::Refused(refusal)),
    };
    insert_event(store, event, &receipt)?;
    let sequence = store.last_insert_rowid();
    hold(store, &event.endpoint, &event.duplicate_key, Some(sequence))?;
    insert_deliveries(store, event, &receipt, sequence)?;
    Ok(Acceptance::Stored(receipt))
}

pub(super) fn reserve(store: &Connection, reservation: &Reservation) -> rusqlite::Result<Reserved> {
    let Reservation { endpoint, duplicate_key, subject, now, until } = reservation;
    match holder(store, endpoint, duplicate_key, *now)? {
        Holder::Nobody => {}
        Holder::Running => return Ok(Reserved::Running),
        Holder::Event(sequence) => {
            return Ok(Reserved::Duplicate(stored_receipt(store, sequence)?));
        }
    }
    let subject = match subject.resolved(|change| directory::resolve(store, endpoint, change))? {
        Ok(subject) => subject,
        Err(refusal) => return Ok(Reserved::Refused(refusal)),
    };
    hold(store, endpoint, &DuplicateKey { kept_until: *until, ..*duplicate_key }, None)?;
    Ok(Reserved::Yours { subject })
}

pub(super) fn release(
    store: &Connection,
    endpoint: &str,
    key: &DuplicateKey,
) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "DELETE FROM duplicate_keys
             WHERE endpoint = ?1 AND signed_at = ?2 AND mac = ?3 AND sequence IS NULL",
        )?
        .execute(params![endpoint, key.signed_at, key.mac])?;
    Ok(())
}

/// Gives back every reserved key: whoever reserved it is gone.
pub(super) fn release_all(store: &Connection) -> rusqlite::Result<()> {
    store.execute("DELETE FROM duplicate_keys WHERE sequence IS NULL", []).map(drop)
}

/// Writes for the sake of writing: after a failure, only this shows that the disk takes data again.
pub(super) fn prove_writable(store: &Connection) -> rusqlite::Result<()> {
    store.execute_batch("UPDATE schema_versions SET applied_at = applied_at WHERE version = 1")
}

fn holder(
    store: &Connection,
    endpoint: &str,
    key: &DuplicateKey,
    now: jiff::Timestamp,
) -> rusqlite::Result<Holder> {
    let held = store
        .prepare_cached(
            "SELECT sequence FROM duplicate_keys
             WHERE endpoint = ?1 AND signed_at = ?2 AND mac = ?3 AND kept_until >= ?4",
        )?
        .query_row(params![endpoint, key.signed_at, key.mac, now.as_millisecond()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(match held {
        None => Holder::Nobody,
        Some(None) => Holder::Running,
        Some(Some(sequence)) => Holder::Event(sequence),
    })
}

/// Takes the key, also from a holder whose time is over.
fn hold(
    store: &Connection,
    endpoint: &str,
    key: &DuplicateKey,
    sequence: Option<i64>,
) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "INSERT INTO duplicate_keys (endpoint, signed_at, mac, kept_until, sequence)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET kept_until = excluded.kept_until, sequence = excluded.sequence",
        )?
        .execute(params![
            endpoint,
            key.signed_at,
            key.mac,
            key.kept_until.as_millisecond(),
            sequence
        ])?;
    Ok(())
}

fn stored_receipt(store: &Connection, sequence: i64) -> rusqlite::Result<Option<Receipt>> {
    store
        .prepare_cached("SELECT id, subject, reply FROM events WHERE sequence = ?1")?
        .query_row([sequence], |row| {
            Ok(Receipt {
                id: Uuid::from_bytes(row.get(0)?),
                subject: row.get(1)?,
                reply: row.get(2)?,
                deletes_unknown: false,
            })
        })
        .optional()
}

fn insert_event(store: &Connection, event: &NewEvent, receipt: &Receipt) -> rusqlite::Result<()> {
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
    Ok(())
}

/// A delivery waits for a time of its own only where its subject has no older one that is unfinished.
fn insert_deliveries(
    store: &Connection,
    event: &NewEvent,
    receipt: &Receipt,
    sequence: i64,
) -> rusqlite::Result<()> {
    if event.handlers.is_empty() {
        return Ok(());
    }
    let subject_key = receipt.subject.as_deref().map(|it| subject_key(&event.endpoint, it));
    let mut insert = store.prepare_cached(
        "INSERT INTO deliveries (sequence, handler, subject_key, state, attempts, next_attempt_at)
         VALUES (?1, ?2, ?3, 0, 0, CASE WHEN EXISTS (
             SELECT 1 FROM deliveries INDEXED BY deliveries_of_subject
             WHERE handler = ?2 AND subject_key = ?3 AND state <= 1
         ) THEN NULL ELSE ?4 END)",
    )?;
    for handler in &event.handlers {
        let due = event.received_at.as_millisecond();
        insert.execute(params![sequence, &**handler, subject_key, due])?;
    }
    Ok(())
}
