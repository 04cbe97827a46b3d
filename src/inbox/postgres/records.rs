//! The directory's records that one commit concerns, in memory: read before it, written after. Decides nothing itself.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::Error;
use tokio_postgres::Row;

use crate::event::RecordKind;
use crate::inbox::RecordChange;
use crate::inbox::RecordRefusal;
use crate::inbox::deciding::Changed;
use crate::inbox::deciding::Decision;
use crate::inbox::deciding::Found;
use crate::inbox::deciding::Known;
use crate::inbox::deciding::Sought;
use crate::inbox::deciding::Write;
use crate::inbox::deciding::decide;
use crate::inbox::deciding::may_be_sought;
use crate::inbox::deciding::resolve;
use crate::inbox::postgres::writes::Parameters;
use crate::inbox::postgres::writes::columns;
use crate::inbox::record::kind_of;
use crate::inbox::record::kind_text;
use crate::inbox::record::name_key;

columns! {
    SoughtIds<'a> {
        endpoint: &'a str,
        kind: &'static str,
        id: &'a str,
    }

    SoughtNames<'a> {
        endpoint: &'a str,
        kind: &'static str,
        name_key: String,
    }

    RenamedRows {
        endpoint: String,
        kind: &'static str,
        id: String,
    }

    RecordRows {
        endpoint: String,
        kind: &'static str,
        id: String,
        name: Option<String>,
        name_key: Option<String>,
        disabled: bool,
        deleted: bool,
        attributes: String,
        updated_at: i64,
        changed_at: Option<i64>,
    }
}

/// Which records have to be read.
#[derive(Default)]
pub(super) struct AskedRecords<'a> {
    ids: SoughtIds<'a>,
    names: SoughtNames<'a>,
}

impl<'a> AskedRecords<'a> {
    pub(super) fn add(&mut self, endpoint: &'a str, change: &'a RecordChange) {
        let kind = kind_text(change.kind);
        for sought in may_be_sought(change) {
            match sought {
                Sought::Id(id) => {
                    self.ids.endpoint.push(endpoint);
                    self.ids.kind.push(kind);
                    self.ids.id.push(id);
                }
                Sought::Name(name) => {
                    self.names.endpoint.push(endpoint);
                    self.names.kind.push(kind);
                    self.names.name_key.push(name_key(change.kind, name));
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.names.is_empty()
    }

    pub(super) fn parameters(&self) -> Parameters<'_> {
        [self.ids.parameters(), self.names.parameters()].concat()
    }
}

/// What is written of them.
#[derive(Default)]
pub(super) struct RecordWrites {
    /// Those that are in the table under another name.
    pub(super) renamed: RenamedRows,
    pub(super) written: RecordRows,
}

/// Endpoint, kind, and id or name.
type Key = (Arc<str>, RecordKind, String);

#[derive(Default)]
pub(super) struct Records {
    by_id: HashMap<Key, Entry>,
    /// Ids of live records.
    by_name: HashMap<Key, String>,
}

struct Entry {
    known: Known,
    /// As the table has it.
    is_stored: bool,
    is_renamed: bool,
    updated_at: Option<Timestamp>,
}

impl Records {
    pub(super) fn of(rows: &[Row]) -> Result<Self, Error> {
        let mut records = Self::default();
        for row in rows {
            let endpoint: Arc<str> = row.try_get::<_, &str>(0)?.into();
            let kind = kind_of(row.try_get(1)?);
            let known = Known {
                id: row.try_get(2)?,
                name: row.try_get(3)?,
                disabled: row.try_get(4)?,
                deleted: row.try_get(5)?,
                attributes: row.try_get(6)?,
                changed_at: row.try_get(7)?,
            };
            records.name(&endpoint, kind, &known);
            let key = (endpoint, kind, known.id.clone());
            let entry = Entry { known, is_stored: true, is_renamed: false, updated_at: None };
            records.by_id.insert(key, entry);
        }
        Ok(records)
    }

    /// Which record the change means, without making it.
    pub(super) fn resolve(
        &self,
        endpoint: &Arc<str>,
        change: &RecordChange,
    ) -> Result<Option<String>, RecordRefusal> {
        resolve(change, self.found(endpoint, change))
    }

    /// Makes the change for those that come after it. Where it is refused, nothing has changed.
    pub(super) fn apply(
        &mut self,
        endpoint: &Arc<str>,
        change: &RecordChange,
        now: Timestamp,
    ) -> Result<Changed, RecordRefusal> {
        let decision = decide(change, self.found(endpoint, change))?;
        if let Decision::Record { nameless, record, write } = &decision {
            if let Some(nameless) = nameless {
                self.put(endpoint, change.kind, nameless, Write::Whole, now);
            }
            self.put(endpoint, change.kind, record, *write, now);
        }
        Ok(decision.into_changed())
    }

    pub(super) fn into_writes(self) -> RecordWrites {
        let mut writes = RecordWrites::default();
        for ((endpoint, kind, id), entry) in self.by_id {
            let Some(updated_at) = entry.updated_at else { continue };
            let kind_text = kind_text(kind);
            if entry.is_stored && entry.is_renamed {
                writes.renamed.endpoint.push((*endpoint).to_owned());
                writes.renamed.kind.push(kind_text);
                writes.renamed.id.push(id.clone());
            }
            let rows = &mut writes.written;
            rows.name_key.push(entry.known.name_key(kind));
            rows.endpoint.push((*endpoint).to_owned());
            rows.kind.push(kind_text);
            rows.id.push(id);
            rows.name.push(entry.known.name);
            rows.disabled.push(entry.known.disabled);
            rows.deleted.push(entry.known.deleted);
            rows.attributes.push(entry.known.attributes);
            rows.updated_at.push(updated_at.as_millisecond());
            rows.changed_at.push(entry.known.changed_at);
        }
        writes
    }

    fn found(&self, endpoint: &Arc<str>, change: &RecordChange) -> Found {
        let key = |text: String| (Arc::clone(endpoint), change.kind, text);
        let by_id = |id: &str| self.by_id.get(&key(id.to_owned())).map(|it| it.known.clone());
        let Ok(found) = Found::gather(change, |sought| {
            Ok::<_, Infallible>(match sought {
                Sought::Id(id) => by_id(id),
                Sought::Name(name) => {
                    let name = key(name_key(change.kind, name));
                    self.by_name.get(&name).and_then(|id| by_id(id))
                }
            })
        });
        found
    }

    fn put(
        &mut self,
        endpoint: &Arc<str>,
        kind: RecordKind,
        known: &Known,
        write: Write,
        now: Timestamp,
    ) {
        if write == Write::Nothing {
            return;
        }
        let key = (Arc::clone(endpoint), kind, known.id.clone());
        let before = self.by_id.remove(&key);
        if let Some(name) = before.as_ref().and_then(|it| it.known.name_key(kind)) {
            let name = (Arc::clone(endpoint), kind, name);
            if self.by_name.get(&name) == Some(&known.id) {
                self.by_name.remove(&name);
            }
        }
        self.name(endpoint, kind, known);
        let is_renamed = write == Write::Whole || before.as_ref().is_some_and(|it| it.is_renamed);
        let is_stored = before.is_some_and(|it| it.is_stored);
        let entry = Entry { known: known.clone(), is_stored, is_renamed, updated_at: Some(now) };
        self.by_id.insert(key, entry);
    }

    /// Lets a live record be found by its name.
    fn name(&mut self, endpoint: &Arc<str>, kind: RecordKind, known: &Known) {
        if let Some(name) = known.name_key(kind).filter(|_| !known.deleted) {
            self.by_name.insert((Arc::clone(endpoint), kind, name), known.id.clone());
        }
    }
}
