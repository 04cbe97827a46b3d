//! The directory inside the writer's transaction: looks up what a decision needs and writes what it says. Commits nothing.

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;

use crate::event::RecordKind;
use crate::inbox::RecordChange;
use crate::inbox::RecordRefusal;
use crate::inbox::deciding;
use crate::inbox::deciding::Changed;
use crate::inbox::deciding::Decision;
use crate::inbox::deciding::Found;
use crate::inbox::deciding::Known;
use crate::inbox::deciding::Sought;
use crate::inbox::deciding::Write;
use crate::inbox::record::kind_text;
use crate::inbox::record::name_key;

/// Which record the change means, without making it; see [`deciding::resolve`].
pub(super) fn resolve(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
) -> rusqlite::Result<Result<Option<String>, RecordRefusal>> {
    let found = gather(store, endpoint, change)?;
    Ok(deciding::resolve(change, found))
}

/// Makes the change. Where it is refused, nothing was written.
pub(super) fn apply(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
    now: Timestamp,
) -> rusqlite::Result<Result<Changed, RecordRefusal>> {
    let found = gather(store, endpoint, change)?;
    let decision = match deciding::decide(change, found) {
        Ok(decision) => decision,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Decision::Record { nameless, record, write } = &decision {
        if let Some(nameless) = nameless {
            update(store, endpoint, change.kind, nameless, now)?;
        }
        match write {
            Write::Nothing => {}
            Write::New => insert(store, endpoint, change.kind, record, now)?,
            Write::Content => update_content(store, endpoint, change.kind, record, now)?,
            Write::Whole => update(store, endpoint, change.kind, record, now)?,
        }
    }
    Ok(Ok(decision.into_changed()))
}

fn gather(store: &Connection, endpoint: &str, change: &RecordChange) -> rusqlite::Result<Found> {
    Found::gather(change, |sought| match sought {
        Sought::Id(id) => by_id(store, endpoint, change.kind, id),
        Sought::Name(name) => by_name(store, endpoint, change.kind, name),
    })
}

fn insert(
    store: &Connection,
    endpoint: &str,
    kind: RecordKind,
    record: &Known,
    now: Timestamp,
) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "INSERT INTO directory (endpoint, kind, id, name, name_key, disabled, attributes, updated_at, changed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            endpoint,
            kind_text(kind),
            record.id,
            record.name,
            record.name_key(kind),
            record.disabled,
            record.attributes,
            now.as_millisecond(),
            record.changed_at
        ])?;
    Ok(())
}

fn update(
    store: &Connection,
    endpoint: &str,
    kind: RecordKind,
    record: &Known,
    now: Timestamp,
) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "UPDATE directory
             SET name = ?4, name_key = ?5, disabled = ?6, deleted = ?7, attributes = ?8, updated_at = ?9,
                 changed_at = ?10
             WHERE endpoint = ?1 AND kind = ?2 AND id = ?3",
        )?
        .execute(params![
            endpoint,
            kind_text(kind),
            record.id,
            record.name,
            record.name_key(kind),
            record.disabled,
            record.deleted,
            record.attributes,
            now.as_millisecond(),
            record.changed_at
        ])?;
    Ok(())
}

/// Without the name, its index needs no writing.
fn update_content(
    store: &Connection,
    endpoint: &str,
    kind: RecordKind,
    record: &Known,
    now: Timestamp,
) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "UPDATE directory SET disabled = ?4, attributes = ?5, updated_at = ?6, changed_at = ?7
             WHERE endpoint = ?1 AND kind = ?2 AND id = ?3",
        )?
        .execute(params![
            endpoint,
            kind_text(kind),
            record.id,
            record.disabled,
            record.attributes,
            now.as_millisecond(),
            record.changed_at
        ])?;
    Ok(())
}

fn by_id(
    store: &Connection,
    endpoint: &str,
    kind: RecordKind,
    id: &str,
) -> rusqlite::Result<Option<Known>> {
    store
        .prepare_cached(
            "SELECT id, name, disabled, deleted, attributes, changed_at FROM directory
             WHERE endpoint = ?1 AND kind = ?2 AND id = ?3",
        )?
        .query_row(params![endpoint, kind_text(kind), id], known)
        .optional()
}

/// Among live records; a deleted one has no name any more.
fn by_name(
    store: &Connection,
    endpoint: &str,
    kind: RecordKind,
    name: &str,
) -> rusqlite::Result<Option<Known>> {
    store
        .prepare_cached(
            "SELECT id, name, disabled, deleted, attributes, changed_at FROM directory
             INDEXED BY directory_by_name
             WHERE endpoint = ?1 AND kind = ?2 AND name_key = ?3 AND deleted = 0",
        )?
        .query_row(params![endpoint, kind_text(kind), name_key(kind, name)], known)
        .optional()
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        id: row.get(0)?,
        name: row.get(1)?,
        disabled: row.get(2)?,
        deleted: row.get(3)?,
        attributes: row.get(4)?,
        changed_at: row.get(5)?,
    })
}
