//! The directory inside the writer's transaction: which record an event means, which id it has, what it becomes. Commits nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::RecordKind;
use crate::inbox::Change;
use crate::inbox::RecordChange;
use crate::inbox::RecordRefusal;
use crate::inbox::record::name_key;

/// The record that a change is about, after it.
pub(super) struct Changed {
    pub(super) id: Option<String>,
    /// A deletion found nothing to delete.
    pub(super) deletes_unknown: bool,
}

struct Known {
    id: String,
    name: Option<String>,
    disabled: bool,
    deleted: bool,
    attributes: String,
    changed_at: Option<i64>,
}

/// Which record the change means, without changing it. Fails where [`apply`] would, as far as that
/// can be told before an inline handler has given an id.
pub(super) fn resolve(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
) -> rusqlite::Result<Result<Option<String>, RecordRefusal>> {
    let known = find(store, endpoint, change)?;
    if let Err(refusal) = check(store, endpoint, change, known.as_ref())? {
        return Ok(Err(refusal));
    }
    Ok(Ok(known.map(|it| it.id).or_else(|| carried_id(change))))
}

/// Makes the change. Where it is refused, nothing was written.
pub(super) fn apply(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
    now: Timestamp,
) -> rusqlite::Result<Result<Changed, RecordRefusal>> {
    let known = find(store, endpoint, change)?;
    if matches!(change.change, Change::Observe { .. }) {
        if known.as_ref().is_some_and(|known| is_newer(known, change)) {
            return Ok(Ok(Changed { id: change.id.clone(), deletes_unknown: false }));
        }
        // What stays deleted needs no name.
        if known.as_ref().is_none_or(|known| !stays_deleted(known, change)) {
            take_name(store, endpoint, change)?;
        }
    }
    if let Err(refusal) = check(store, endpoint, change, known.as_ref())? {
        return Ok(Err(refusal));
    }
    let deletes_unknown = change.change == Change::Delete && known.is_none();
    let id = match known {
        Some(known) => {
            update(store, endpoint, change, &known, now)?;
            Some(known.id)
        }
        None if deletes_unknown => change.id.clone(),
        None => {
            let id = carried_id(change)
                .or_else(|| change.assigned_id.clone())
                .unwrap_or_else(|| Uuid::new_v4().to_string());
            insert(store, endpoint, change, &id, now)?;
            Some(id)
        }
    };
    Ok(Ok(Changed { id, deletes_unknown }))
}

fn stays_deleted(known: &Known, change: &RecordChange) -> bool {
    known.deleted && change.change != Change::Observe { revives: true }
}

fn is_newer(known: &Known, change: &RecordChange) -> bool {
    let observed = change.changed_at.map(Timestamp::as_millisecond);
    known.changed_at.is_some_and(|known| observed.is_none_or(|observed| observed < known))
}

/// Two records cannot have one name, so whoever had the observed one has been renamed meanwhile.
fn take_name(store: &Connection, endpoint: &str, change: &RecordChange) -> rusqlite::Result<()> {
    let Some(name) = &change.name else { return Ok(()) };
    store
        .prepare_cached(
            "UPDATE directory SET name = NULL, name_key = NULL
             WHERE endpoint = ?1 AND kind = ?2 AND name_key = ?3 AND deleted = 0 AND id IS NOT ?4",
        )?
        .execute(params![
            endpoint,
            kind_text(change.kind),
            name_key(change.kind, name),
            change.id
        ])?;
    Ok(())
}

/// A CREATE carries no id of ours; whatever stands in its `id` is an attribute of the tenant.
fn carried_id(change: &RecordChange) -> Option<String> {
    if change.change == Change::Create { None } else { change.id.clone() }
}

fn find(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
) -> rusqlite::Result<Option<Known>> {
    match (carried_id(change), &change.name) {
        (Some(id), _) => by_id(store, endpoint, change.kind, &id),
        (None, Some(name)) => by_name(store, endpoint, change.kind, name),
        (None, None) => Ok(None),
    }
}

fn check(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
    known: Option<&Known>,
) -> rusqlite::Result<Result<(), RecordRefusal>> {
    if change.change == Change::Delete {
        return Ok(Ok(()));
    }
    if let Some(assigned) = &change.assigned_id {
        let own = known.map(|it| it.id.clone()).or_else(|| carried_id(change));
        if own.is_some_and(|own| own != *assigned) {
            return Ok(Err(RecordRefusal::IdDiffers));
        }
        if known.is_none() && by_id(store, endpoint, change.kind, assigned)?.is_some() {
            return Ok(Err(RecordRefusal::IdTaken));
        }
    }
    // Where the record was looked for by its name, that look-up has told already.
    if carried_id(change).is_some()
        && let Some(name) = &change.name
        && let Some(holder) = by_name(store, endpoint, change.kind, name)?
        && known.is_none_or(|known| known.id != holder.id && !known.deleted)
    {
        return Ok(Err(RecordRefusal::NameTaken));
    }
    Ok(Ok(()))
}

fn insert(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
    id: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    store
        .prepare_cached(
            "INSERT INTO directory (endpoint, kind, id, name, name_key, disabled, attributes, updated_at, changed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            endpoint,
            kind_text(change.kind),
            id,
            change.name,
            change.name.as_deref().map(|name| name_key(change.kind, name)),
            change.disabled.unwrap_or_default(),
            change.attributes,
            now.as_millisecond(),
            change.changed_at.map(Timestamp::as_millisecond)
        ])?;
    Ok(())
}

/// A deleted record takes note of what is said of it, but only a CREATE under a new id brings a person back.
fn update(
    store: &Connection,
    endpoint: &str,
    change: &RecordChange,
    known: &Known,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let name = change.name.as_ref().or(known.name.as_ref());
    let deleted = change.change == Change::Delete || stays_deleted(known, change);
    let disabled = change.disabled.unwrap_or(known.disabled);
    let attributes = merged(&known.attributes, &change.attributes);
    let at = now.as_millisecond();
    let changed_at = change.changed_at.map(Timestamp::as_millisecond).or(known.changed_at);
    let kind = kind_text(change.kind);
    if (name, deleted) != (known.name.as_ref(), known.deleted) {
        store
            .prepare_cached(
                "UPDATE directory
                 SET name = ?4, name_key = ?5, disabled = ?6, deleted = ?7, attributes = ?8, updated_at = ?9,
                     changed_at = ?10
                 WHERE endpoint = ?1 AND kind = ?2 AND id = ?3",
            )?
            .execute(params![
                endpoint,
                kind,
                known.id,
                name,
                name.map(|name| name_key(change.kind, name)),
                disabled,
                deleted,
                attributes,
                at,
                changed_at
            ])?;
    } else if (disabled, &*attributes, changed_at)
        != (known.disabled, &*known.attributes, known.changed_at)
    {
        // Without the name, its index needs no writing.
        store
            .prepare_cached(
                "UPDATE directory SET disabled = ?4, attributes = ?5, updated_at = ?6, changed_at = ?7
                 WHERE endpoint = ?1 AND kind = ?2 AND id = ?3",
            )?
            .execute(params![endpoint, kind, known.id, disabled, attributes, at, changed_at])?;
    }
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

/// Attributes are in the order of their names, so what is the same reads the same.
fn merged<'a>(known: &'a str, change: &'a str) -> Cow<'a, str> {
    if known == change || change == "{}" {
        return Cow::Borrowed(known);
    }
    let read = |json| serde_json::from_str::<BTreeMap<String, &RawValue>>(json).unwrap_or_default();
    let mut attributes = read(known);
    attributes.extend(read(change));
    serde_json::to_string(&attributes).map_or(Cow::Borrowed(known), Cow::Owned)
}

pub(super) fn kind_text(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => "user",
        RecordKind::Organization => "organization",
    }
}
