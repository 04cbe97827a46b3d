//! Decides what a change does to the directory: which record it means, what becomes of it. Knows no database.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::RecordKind;
use crate::inbox::Change;
use crate::inbox::RecordChange;
use crate::inbox::RecordRefusal;
use crate::inbox::record::name_key;

/// Of ids and names, in bytes: what the index of any database takes, and far more than anybody needs.
const LONGEST: usize = 1000;

/// A record as a store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    /// As last received; that of a deleted record is remembered, but no longer its own.
    pub(super) name: Option<String>,
    pub(super) disabled: bool,
    pub(super) deleted: bool,
    /// A JSON object.
    pub(super) attributes: String,
    /// Milliseconds.
    pub(super) changed_at: Option<i64>,
}

impl Known {
    pub(super) fn name_key(&self, kind: RecordKind) -> Option<String> {
        self.name.as_deref().map(|name| name_key(kind, name))
    }
}

/// What can be looked up among the records of the change's endpoint and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought<'a> {
    /// Deleted or not.
    Id(&'a str),
    /// As received, to be compared by its [`name_key`], among live records only.
    Name(&'a str),
}

/// Everything that [`Found::gather`] may look up for this change, for a store that fetches before it decides.
pub(super) fn may_be_sought(change: &RecordChange) -> impl Iterator<Item = Sought<'_>> {
    let ids = [carried_id(change), change.assigned_id.as_deref()].into_iter().flatten();
    let names = change.name.as_deref().into_iter();
    ids.map(Sought::Id).chain(names.map(Sought::Name)).filter(|_| !is_too_long(change))
}

/// What a store knows that matters to one change.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The record that the change means.
    meant: Option<Known>,
    /// The live record that has the name which the meant one is to have.
    holder: Option<Known>,
    /// Some record has the id that an inline handler gives a new one.
    assigned_taken: bool,
}

impl Found {
    /// Looks up what is needed and nothing else.
    pub(super) fn gather<E>(
        change: &RecordChange,
        mut look_up: impl FnMut(Sought<'_>) -> Result<Option<Known>, E>,
    ) -> Result<Self, E> {
        if is_too_long(change) {
            return Ok(Self::default());
        }
        let carried = carried_id(change);
        let meant = match (carried, change.name.as_deref()) {
            (Some(id), _) => look_up(Sought::Id(id))?,
            (None, Some(name)) => look_up(Sought::Name(name))?,
            (None, None) => None,
        };
        // A carried id that is the assigned one has been looked up already.
        let assigned_taken = match &change.assigned_id {
            Some(id) if carried.is_none() && meant.is_none() && change.change != Change::Delete => {
                look_up(Sought::Id(id))?.is_some()
            }
            _ => false,
        };
        // Where the record was looked for by its name, that look-up has told already.
        let holder = match claimed_name(change, meant.as_ref()) {
            Some(name) if carried.is_some() => look_up(Sought::Name(name))?,
            _ => None,
        };
        let own = meant.as_ref().map(|it| &*it.id).or(carried);
        let holder = holder.filter(|holder| own != Some(&*holder.id));
        Ok(Self { meant, holder, assigned_taken })
    }
}

/// Which record the change means, without making it. Fails where [`decide`] would, as far as that can be told
/// before an inline handler has given an id.
pub(super) fn resolve(
    change: &RecordChange,
    found: Found,
) -> Result<Option<String>, RecordRefusal> {
    check(change, &found)?;
    let own = found.meant.map(|it| it.id);
    Ok(own.or_else(|| carried_id(change).map(str::to_owned)))
}

/// What a store has to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The change makes and changes no record.
    Nothing { id: Option<String>, deletes_unknown: bool },
    Record {
        /// Another record, which has lost its name to this one: written first, since no two may share a name.
        nameless: Option<Known>,
        /// As it is after the change.
        record: Known,
        write: Write,
    },
}

/// What of a record is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// It is as it was.
    Nothing,
    /// It is not there yet.
    New,
    /// Neither its name nor its being deleted, so that the index of names needs no writing.
    Content,
    /// Its name or its being deleted too.
    Whole,
}

/// The record that a change is about, after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) id: Option<String>,
    /// A deletion found nothing to delete.
    pub(super) deletes_unknown: bool,
}

impl Decision {
    pub(super) fn into_changed(self) -> Changed {
        match self {
            Self::Nothing { id, deletes_unknown } => Changed { id, deletes_unknown },
            Self::Record { record, .. } => Changed { id: Some(record.id), deletes_unknown: false },
        }
    }
}

/// An observation is refused by nothing; what cannot be kept of it or is no news changes nothing.
pub(super) fn decide(change: &RecordChange, found: Found) -> Result<Decision, RecordRefusal> {
    let nothing = |deletes_unknown| Decision::Nothing { id: change.id.clone(), deletes_unknown };
    if is_observed(change)
        && (is_too_long(change) || found.meant.as_ref().is_some_and(|it| is_newer(it, change)))
    {
        return Ok(nothing(false));
    }
    check(change, &found)?;
    let Found { meant, holder, .. } = found;
    // Two records cannot have one name, so whoever has the observed one has been renamed meanwhile.
    let nameless = holder.map(|holder| Known { name: None, ..holder });
    Ok(match meant {
        Some(known) => {
            let (record, write) = changed(known, change);
            Decision::Record { nameless, record, write }
        }
        None if change.change == Change::Delete => nothing(true),
        None => Decision::Record { nameless, record: made(change), write: Write::New },
    })
}

/// A CREATE carries no id of ours; whatever stands in its `id` is an attribute of the tenant.
fn carried_id(change: &RecordChange) -> Option<&str> {
    if change.change == Change::Create { None } else { change.id.as_deref() }
}

/// The name that the record will have to itself, where it is not its own yet.
fn claimed_name<'a>(change: &'a RecordChange, meant: Option<&Known>) -> Option<&'a str> {
    let name = change.name.as_deref().filter(|_| change.change != Change::Delete)?;
    let needless = meant.is_some_and(|known| {
        // What stays deleted needs no name.
        stays_deleted(known, change)
            || is_observed(change) && is_newer(known, change)
            || !known.deleted && known.name.as_deref() == Some(name)
    });
    (!needless).then_some(name)
}

fn check(change: &RecordChange, found: &Found) -> Result<(), RecordRefusal> {
    if is_too_long(change) {
        return Err(RecordRefusal::TooLong);
    }
    if change.change == Change::Delete {
        return Ok(());
    }
    if let Some(assigned) = &change.assigned_id {
        let own = found.meant.as_ref().map(|it| &*it.id).or(carried_id(change));
        if own.is_some_and(|own| own != assigned) {
            return Err(RecordRefusal::IdDiffers);
        }
        if found.assigned_taken {
            return Err(RecordRefusal::IdTaken);
        }
    }
    if found.holder.is_some() && !is_observed(change) {
        return Err(RecordRefusal::NameTaken);
    }
    Ok(())
}

fn is_observed(change: &RecordChange) -> bool {
    matches!(change.change, Change::Observe { .. })
}

fn is_too_long(change: &RecordChange) -> bool {
    let texts = [carried_id(change), change.assigned_id.as_deref(), change.name.as_deref()];
    texts.into_iter().flatten().any(|text| text.len() > LONGEST)
}

fn is_newer(known: &Known, change: &RecordChange) -> bool {
    let observed = change.changed_at.map(Timestamp::as_millisecond);
    known.changed_at.is_some_and(|known| observed.is_none_or(|observed| observed < known))
}

/// A deleted record takes note of what is said of it, but only a CREATE under a new id brings a person back.
fn stays_deleted(known: &Known, change: &RecordChange) -> bool {
    known.deleted && change.change != Change::Observe { revives: true }
}

fn made(change: &RecordChange) -> Known {
    let given = carried_id(change).or(change.assigned_id.as_deref());
    Known {
        id: given.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned),
        name: change.name.clone(),
        disabled: change.disabled.unwrap_or_default(),
        deleted: false,
        attributes: change.attributes.clone(),
        changed_at: change.changed_at.map(Timestamp::as_millisecond),
    }
}

fn changed(known: Known, change: &RecordChange) -> (Known, Write) {
    let deleted = change.change == Change::Delete || stays_deleted(&known, change);
    // A name that was free for others meanwhile comes back only if it is said to.
    let revived = known.deleted && !deleted;
    let renamed = revived || change.name.is_some() && change.name != known.name;
    let disabled = change.disabled.unwrap_or(known.disabled);
    let changed_at = change.changed_at.map(Timestamp::as_millisecond).or(known.changed_at);
    let merged = merged(&known.attributes, &change.attributes);
    let write = if renamed || deleted != known.deleted {
        Write::Whole
    } else if merged.is_some() || (disabled, changed_at) != (known.disabled, known.changed_at) {
        Write::Content
    } else {
        Write::Nothing
    };
    let name = if renamed { change.name.clone() } else { known.name };
    let attributes = merged.unwrap_or(known.attributes);
    (Known { id: known.id, name, disabled, deleted, attributes, changed_at }, write)
}

/// `None` where it is what is known. Attributes are in the order of their names, so what is the same reads the same.
fn merged(known: &str, change: &str) -> Option<String> {
    if known == change || change == "{}" {
        return None;
    }
    let read = |json| serde_json::from_str::<BTreeMap<String, &RawValue>>(json).unwrap_or_default();
    let mut attributes = read(known);
    attributes.extend(read(change));
    serde_json::to_string(&attributes).ok().filter(|merged| merged != known)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jiff::Timestamp;
    use uuid::Uuid;

    use super::Changed;
    use super::Decision;
    use super::Found;
    use super::Known;
    use super::LONGEST;
    use super::Sought;
    use super::Write;
    use super::decide;
    use super::may_be_sought;
    use super::resolve;
    use crate::event::RecordKind;
    use crate::inbox::Change;
    use crate::inbox::RecordChange;
    use crate::inbox::RecordRefusal;
    use crate::inbox::record::name_key;

    const OBSERVE: Change = Change::Observe { revives: false };
    const REVIVE: Change = Change::Observe { revives: true };

    fn change(change: Change, id: Option<&str>, name: Option<&str>) -> RecordChange {
        RecordChange {
            kind: RecordKind::User,
            change,
            id: id.map(str::to_owned),
            assigned_id: None,
            name: name.map(str::to_owned),
            attributes: "{}".to_owned(),
            disabled: None,
            changed_at: None,
        }
    }

    fn create(name: &str) -> RecordChange {
        change(Change::Create, None, Some(name))
    }

    fn update(id: &str, name: &str) -> RecordChange {
        change(Change::Update, Some(id), Some(name))
    }

    fn assigned(id: &str, change: RecordChange) -> RecordChange {
        RecordChange { assigned_id: Some(id.to_owned()), ..change }
    }

    fn at(milliseconds: i64, change: RecordChange) -> RecordChange {
        let changed_at = Some(Timestamp::from_millisecond(milliseconds).unwrap());
        RecordChange { changed_at, ..change }
    }

    fn live(id: &str, name: &str) -> Known {
        Known {
            id: id.to_owned(),
            name: Some(name.to_owned()),
            disabled: false,
            deleted: false,
            attributes: "{}".to_owned(),
            changed_at: None,
        }
    }

    fn deleted(known: Known) -> Known {
        Known { deleted: true, ..known }
    }

    /// What is found among these records, and what was looked up for it.
    fn gather(records: &[Known], change: &RecordChange) -> (Found, Vec<String>) {
        let mut asked = Vec::new();
        let key = |name: &str| name_key(change.kind, name);
        let Ok(found) = Found::gather(change, |sought| {
            asked.push(match sought {
                Sought::Id(id) => format!("#{id}"),
                Sought::Name(name) => name.to_owned(),
            });
            let record = records.iter().find(|it| match sought {
                Sought::Id(id) => it.id == id,
                Sought::Name(name) => !it.deleted && it.name_key(change.kind) == Some(key(name)),
            });
            Ok::<_, Infallible>(record.cloned())
        });
        (found, asked)
    }

    fn decided(records: &[Known], change: &RecordChange) -> Result<Decision, RecordRefusal> {
        decide(change, gather(records, change).0)
    }

    fn written(records: &[Known], change: &RecordChange) -> (Option<Known>, Known, Write) {
        match decided(records, change).unwrap() {
            Decision::Record { nameless, record, write } => (nameless, record, write),
            nothing @ Decision::Nothing { .. } => panic!("{nothing:?}"),
        }
    }

    /// Live: 1 is zhang, 2 is li. Deleted: 3 was zhang, too.
    fn records() -> [Known; 3] {
        [live("1", "zhang"), live("2", "li"), deleted(live("3", "zhang"))]
    }

    #[test]
    fn a_change_means_the_record_with_its_id_else_with_its_name() {
        for (change, expected, looked_up) in [
            (create("zhang"), Some("1"), &["zhang"][..]),
            (create("ZHANG"), Some("1"), &["ZHANG"]),
            (create("wang"), None, &["wang"]),
            (change(Change::Create, Some("1"), None), None, &[]),
            (update("1", "zhang"), Some("1"), &["#1"]),
            (update("1", "ZHANG"), Some("1"), &["#1", "ZHANG"]),
            (update("1", "wang"), Some("1"), &["#1", "wang"]),
            (update("3", "zhang"), Some("3"), &["#3"]),
            (update("7", "wang"), Some("7"), &["#7", "wang"]),
            (change(Change::Update, Some("1"), None), Some("1"), &["#1"]),
            (change(Change::Update, None, Some("Li")), Some("2"), &["Li"]),
            (change(Change::Delete, Some("1"), Some("li")), Some("1"), &["#1"]),
            (change(Change::Delete, Some("7"), None), Some("7"), &["#7"]),
            (change(Change::Delete, None, Some("li")), Some("2"), &["li"]),
            (change(Change::Delete, None, Some("wang")), None, &["wang"]),
            (change(Change::Delete, None, None), None, &[]),
            (change(OBSERVE, Some("1"), Some("li")), Some("1"), &["#1", "li"]),
            (change(OBSERVE, Some("3"), Some("li")), Some("3"), &["#3"]),
            (change(REVIVE, Some("3"), Some("li")), Some("3"), &["#3", "li"]),
            (assigned("1", create("zhang")), Some("1"), &["zhang"]),
            (assigned("7", create("wang")), None, &["wang", "#7"]),
            (assigned("7", update("7", "wang")), Some("7"), &["#7", "wang"]),
        ] {
            let (found, asked) = gather(&records(), &change);
            assert_eq!(asked, looked_up, "{change:?}");
            assert_eq!(resolve(&change, found).unwrap().as_deref(), expected, "{change:?}");
            let foreseen: Vec<_> = may_be_sought(&change).collect();
            let foreseen = |asked: &String| match asked.strip_prefix('#') {
                Some(id) => foreseen.contains(&Sought::Id(id)),
                None => foreseen.contains(&Sought::Name(asked)),
            };
            assert!(asked.iter().all(foreseen), "{change:?}");
        }
    }

    #[test]
    fn what_the_directory_does_not_permit_is_refused() {
        let long = "a".repeat(LONGEST + 1);
        for (change, expected) in [
            (update("7", "ZHANG"), RecordRefusal::NameTaken),
            (update("1", "li"), RecordRefusal::NameTaken),
            (assigned("2", create("new")), RecordRefusal::IdTaken),
            (assigned("3", create("new")), RecordRefusal::IdTaken),
            (assigned("2", create("zhang")), RecordRefusal::IdDiffers),
            (assigned("7", update("1", "new")), RecordRefusal::IdDiffers),
            (assigned("8", update("7", "new")), RecordRefusal::IdDiffers),
            (create(&long), RecordRefusal::TooLong),
            (update("1", &long), RecordRefusal::TooLong),
            (update(&long, "new"), RecordRefusal::TooLong),
            (assigned(&long, create("new")), RecordRefusal::TooLong),
            (change(Change::Delete, Some(&long), None), RecordRefusal::TooLong),
        ] {
            assert_eq!(decided(&records(), &change), Err(expected), "{change:?}");
            let found = gather(&records(), &change).0;
            assert_eq!(resolve(&change, found), Err(expected), "{change:?}");
        }
    }

    #[test]
    fn a_text_is_too_long_by_its_bytes_and_only_where_it_is_used() {
        let longest = "a".repeat(LONGEST);
        assert_eq!(written(&[], &update(&longest, &longest)).1.id, longest);
        let change = create(&"张".repeat(LONGEST / 3 + 1));
        assert_eq!(decided(&[], &change), Err(RecordRefusal::TooLong));
        assert_eq!(may_be_sought(&change).count(), 0);
        assert!(gather(&records(), &change).1.is_empty());
        let tenant = RecordChange { id: Some("a".repeat(LONGEST + 1)), ..create("zhang") };
        assert_eq!(written(&records(), &tenant).1.id, "1");
    }

    #[test]
    fn a_record_that_is_not_known_is_made() {
        let change = RecordChange {
            attributes: r#"{"a":1}"#.to_owned(),
            disabled: Some(true),
            ..at(5, update("7", "Wang"))
        };
        let expected = Known {
            disabled: true,
            attributes: change.attributes.clone(),
            changed_at: Some(5),
            ..live("7", "Wang")
        };
        assert_eq!(written(&records(), &change), (None, expected, Write::New));
        let given = written(&records(), &assigned("8", create("wang"))).1;
        assert_eq!(given, live("8", "wang"));
        let id = written(&records(), &create("wang")).1.id;
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 4);
    }

    #[test]
    fn what_changes_is_written_and_nothing_else() {
        let known = Known { attributes: r#"{"a":1,"c":3}"#.to_owned(), ..live("1", "zhang") };
        let with = |attributes: &str| RecordChange {
            attributes: attributes.to_owned(),
            ..update("1", "zhang")
        };
        let disabled = |disabled| RecordChange { disabled: Some(disabled), ..with("{}") };
        let expect = |change: &RecordChange, record: Known, write| {
            assert_eq!(
                written(std::slice::from_ref(&known), change),
                (None, record, write),
                "{change:?}"
            );
        };
        for change in [with("{}"), with(r#"{"a":1}"#), with(r#"{"c":3,"a":1}"#), disabled(false)] {
            expect(&change, known.clone(), Write::Nothing);
        }
        let merged = Known { attributes: r#"{"a":4,"b":2,"c":3}"#.to_owned(), ..known.clone() };
        expect(&with(r#"{"b":2,"a":4}"#), merged, Write::Content);
        expect(&disabled(true), Known { disabled: true, ..known.clone() }, Write::Content);
        let later = Known { changed_at: Some(5), ..known.clone() };
        expect(&at(5, with("{}")), later, Write::Content);
        let renamed = Known { name: Some("Zhang".to_owned()), ..known.clone() };
        expect(&update("1", "Zhang"), renamed, Write::Whole);
        let delete = change(Change::Delete, Some("1"), None);
        expect(&delete, deleted(known.clone()), Write::Whole);
    }

    #[test]
    fn a_deleted_record_takes_note_but_stays_deleted() {
        let known = deleted(live("3", "zhang"));
        let again = change(Change::Delete, Some("3"), None);
        let change = RecordChange { disabled: Some(true), ..update("3", "zhang") };
        let noted = Known { disabled: true, ..known.clone() };
        assert_eq!(written(&records(), &change), (None, noted, Write::Content));
        assert_eq!(written(&records(), &again), (None, known, Write::Nothing));
    }

    #[test]
    fn a_deletion_of_something_unknown_makes_nothing() {
        for id in [Some("7"), None] {
            let decision = decided(&records(), &change(Change::Delete, id, Some("wang"))).unwrap();
            let id = id.map(str::to_owned);
            assert_eq!(decision.into_changed(), Changed { id, deletes_unknown: true });
        }
    }

    #[test]
    fn an_observed_name_is_taken_from_whoever_had_it() {
        let nameless = Some(Known { name: None, ..live("2", "li") });
        for id in ["1", "7"] {
            let write = if id == "1" { Write::Whole } else { Write::New };
            let observed = change(OBSERVE, Some(id), Some("li"));
            assert_eq!(written(&records(), &observed), (nameless.clone(), live(id, "li"), write));
        }
        // What stays deleted takes it from no one.
        let observed = change(OBSERVE, Some("3"), Some("li"));
        let expected = (None, deleted(live("3", "li")), Write::Whole);
        assert_eq!(written(&records(), &observed), expected);
    }

    #[test]
    fn a_revived_record_has_the_name_that_was_observed_or_none() {
        let nameless = Some(Known { name: None, ..live("1", "zhang") });
        let revived = (nameless, live("3", "zhang"), Write::Whole);
        assert_eq!(written(&records(), &change(REVIVE, Some("3"), Some("zhang"))), revived);
        let revived = (None, Known { name: None, ..live("3", "") }, Write::Whole);
        assert_eq!(written(&records(), &change(REVIVE, Some("3"), None)), revived);
    }

    #[test]
    fn an_observation_of_an_earlier_time_or_too_long_a_name_changes_nothing() {
        let known = Known { changed_at: Some(5), ..live("1", "zhang") };
        let records = [known, live("2", "li")];
        let observe = |name| change(OBSERVE, Some("1"), Some(name));
        let long = "a".repeat(LONGEST + 1);
        for change in [at(4, observe("li")), observe("li"), at(6, observe(&long))] {
            let id = Some("1".to_owned());
            let nothing = Decision::Nothing { id, deletes_unknown: false };
            assert_eq!(decided(&records, &change), Ok(nothing), "{change:?}");
        }
        let news = written(&records, &at(5, observe("li")));
        assert_eq!((news.0.unwrap().id, news.1.name.as_deref()), ("2".to_owned(), Some("li")));
    }
}
