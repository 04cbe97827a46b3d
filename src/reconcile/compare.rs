//! Compares the directory of one endpoint with what IDaaS lists. Changes nothing.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::config;
use crate::event::Dialect;
use crate::event::Message;
use crate::event::RecordKind;
use crate::inbox::Inbox;
use crate::inbox::InboxError;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::name_key;
use crate::reconcile::difference::Difference;
use crate::reconcile::difference::Step;
use crate::reconcile::said::same;
use crate::reconcile::said::says;
use crate::reconcile::walk::Listed;
use crate::reconcile::walk::Listing;

/// Records read at once, so that a large directory needs little memory.
const PAGE: usize = 2000;
/// Says when something else has changed, which shows by itself.
const TIME_OF_CHANGE: &str = "updated_at";
/// The attribute, where the tenant sends one; the record itself knows too.
pub(super) const DISABLED: &str = "disabled";

/// One kind of record of one endpoint against its list.
pub(super) struct Comparing<'a> {
    pub(super) endpoint: &'a Arc<str>,
    pub(super) dialect: Dialect,
    pub(super) kind: RecordKind,
    pub(super) listing: &'a Listing,
    pub(super) directory: &'a config::Directory,
    /// What an event has changed since then, the walk may not have seen: the next run judges it.
    pub(super) began: Timestamp,
}

pub(super) struct Compared {
    pub(super) differences: Vec<Difference>,
    /// Live records of the directory.
    pub(super) known: usize,
}

impl Comparing<'_> {
    pub(super) async fn run(&self, inbox: &dyn Inbox) -> Result<Compared, InboxError> {
        let mut compared = Compared { differences: Vec::new(), known: 0 };
        let mut met = HashSet::new();
        let mut query = RecordQuery {
            kind: self.kind,
            endpoint: Some(self.endpoint.to_string()),
            deleted_too: self.dialect == Dialect::Ciam,
            after: None,
            most: PAGE,
        };
        loop {
            let page = inbox.records(query.clone()).await?;
            let Some(last) = page.last() else { break };
            query.after = Some((last.endpoint.clone(), last.id.clone()));
            for record in page {
                compared.known += usize::from(!record.deleted);
                compared.differences.extend(self.judge(&record));
                if let Some((id, _)) = self.listing.records.get_key_value(&record.id) {
                    met.insert(id.as_str());
                }
            }
        }
        // Of employees IDaaS also lists those whom this application may not see.
        if self.dialect == Dialect::Ciam {
            let new = self.listing.records.keys().filter(|id| !met.contains(id.as_str()));
            let created =
                new.map(|id| self.difference(Step::Create, id.clone(), Some(id.clone()), None));
            compared.differences.extend(created);
        }
        Ok(compared)
    }

    fn judge(&self, record: &Record) -> Option<Difference> {
        if record.updated_at > self.began {
            return None;
        }
        let (listed_id, listed) = match self.dialect {
            Dialect::Ciam => match self.listing.records.get_key_value(&record.id) {
                Some((id, listed)) => (id, listed),
                None if record.deleted => return None,
                None => return Some(self.deletion(record)),
            },
            Dialect::Eiam => {
                // Nobody can tell who this is at IDaaS.
                let name = record.name.as_deref()?;
                let Some(id) = self.listing.holders.get(&name_key(self.kind, name)) else {
                    return Some(self.deletion(record));
                };
                (id, self.listing.records.get(id)?)
            }
        };
        if is_newer(record, listed) {
            return None;
        }
        let attributes = fields(&record.attributes);
        let mut difference = self.difference(
            if record.deleted { Step::Create } else { Step::Update },
            record.id.clone(),
            Some(listed_id.clone()),
            Some(record),
        );
        match self.dialect {
            Dialect::Ciam => {
                let differs =
                    record.deleted || self.customer_differs(record, &attributes, listed_id, listed);
                differs.then_some(difference)
            }
            Dialect::Eiam => {
                difference.disabled = difference.disabled.filter(|it| *it != record.disabled);
                difference.facts = self.new_facts(&attributes, listed);
                if difference.disabled.is_some() && attributes.contains_key(DISABLED) {
                    difference.facts.push(DISABLED);
                }
                let differs = difference.disabled.is_some() || !difference.facts.is_empty();
                differs.then_some(difference)
            }
        }
    }

    fn customer_differs(
        &self,
        record: &Record,
        known: &BTreeMap<String, &RawValue>,
        id: &str,
        listed: &Listed,
    ) -> bool {
        let name = self.listing.name_of(self.kind, id);
        if name.is_some_and(|name| record.name.as_deref() != Some(name)) {
            return true;
        }
        let disabled = listed.disabled.filter(|_| self.directory.enabled);
        if disabled.is_some_and(|it| it != record.disabled) {
            return true;
        }
        let said = attributes(self.directory, listed);
        let mut changed = fields(&said).into_iter().filter(|(name, value)| {
            let known = known.get(name).map_or("null", |it| it.get());
            name != TIME_OF_CHANGE && !same(known, value.get())
        });
        changed.next().is_some()
    }

    /// The tenant's mapping decides which attributes an application sees, so it learns of no further ones here.
    fn new_facts(&self, known: &BTreeMap<String, &RawValue>, listed: &Listed) -> Vec<&'static str> {
        if !self.directory.enabled {
            return Vec::new();
        }
        let excluded =
            |name: &str| self.directory.exclude.iter().any(|it| it.eq_ignore_ascii_case(name));
        let facts = listed.facts(self.kind).into_iter().filter(|(name, value)| {
            !excluded(name) && known.get(*name).is_some_and(|known| !says(known.get(), value))
        });
        facts.map(|(name, _)| name).collect()
    }

    fn deletion(&self, record: &Record) -> Difference {
        self.difference(Step::Delete, record.id.clone(), None, Some(record))
    }

    fn difference(
        &self,
        step: Step,
        id: String,
        listed: Option<String>,
        known: Option<&Record>,
    ) -> Difference {
        let record = listed.as_ref().and_then(|it| self.listing.records.get(it));
        let own_name = listed.as_deref().and_then(|it| self.listing.name_of(self.kind, it));
        let known_name = known.and_then(|it| it.name.clone());
        let name = match self.dialect {
            Dialect::Ciam => own_name.map(str::to_owned).or(known_name),
            Dialect::Eiam => known_name,
        };
        Difference {
            step,
            kind: self.kind,
            endpoint: Arc::clone(self.endpoint),
            id,
            name,
            dialect: self.dialect,
            disabled: record.and_then(|it| it.disabled).filter(|_| self.directory.enabled),
            listed,
            facts: Vec::new(),
            known_at: known.map(|it| it.updated_at),
        }
    }
}

/// What the directory keeps of a customer or a customer's organisation.
pub(super) fn attributes(directory: &config::Directory, listed: &Listed) -> String {
    directory.kept(&Message::new(listed.raw.get()))
}

fn fields(json: &str) -> BTreeMap<String, &RawValue> {
    serde_json::from_str(json).unwrap_or_default()
}

/// Whether the directory would take no note: it has heard of a later change than the list knows.
fn is_newer(record: &Record, listed: &Listed) -> bool {
    let listed = listed.changed_at.map(Timestamp::as_millisecond);
    let known = record.changed_at.map(Timestamp::as_millisecond);
    known.is_some_and(|known| listed.is_none_or(|listed| listed < known))
}
