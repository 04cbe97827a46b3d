//! Reads the lists of IDaaS from end to end, or not at all: a list that loses someone between two pages is read again. Compares nothing.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::event::Dialect;
use crate::event::Message;
use crate::event::RecordKind;
use crate::idaas::IdaasClient;
use crate::idaas::IdaasError;
use crate::idaas::Organization;
use crate::idaas::Page;
use crate::idaas::PageRequest;
use crate::idaas::Scope;
use crate::idaas::User;
use crate::inbox::name_key;
use crate::reconcile::Progress;
use crate::reconcile::ReconcileError;
use crate::reconcile::Watch;
use crate::reconcile::difference::Difference;

/// The most that the API gives at once (PROTOCOL.md 7).
const PAGE: u32 = 100;
/// How often a list that changes under the walk is read before it is given up.
const WALKS: usize = 3;

/// What IDaaS lists, as far as comparing and telling of it need.
pub(super) struct Tenant {
    pub(super) users: Listing,
    pub(super) organizations: Listing,
}

/// One kind of record, by id.
pub(super) struct Listing {
    pub(super) records: BTreeMap<String, Listed>,
    /// Who has a name, as names are compared. IDaaS lets nobody share one; were it to, the smallest id has it.
    pub(super) holders: HashMap<String, String>,
}

pub(super) struct Listed {
    /// `username` or `code`.
    pub(super) name: Option<String>,
    pub(super) disabled: Option<bool>,
    pub(super) changed_at: Option<Timestamp>,
    pub(super) raw: Box<RawValue>,
}

/// Only who is there, without anything else.
pub(super) struct Present {
    ids: HashSet<String>,
    /// As names are compared.
    names: HashSet<String>,
}

impl Present {
    /// Whether the record of a difference is there, by what the endpoint knows it by.
    pub(super) fn has(&self, difference: &Difference) -> bool {
        match (difference.dialect, &difference.name) {
            (Dialect::Ciam, _) => self.ids.contains(&difference.id),
            (Dialect::Eiam, Some(name)) => self.names.contains(&name_key(difference.kind, name)),
            (Dialect::Eiam, None) => true,
        }
    }
}

impl Tenant {
    pub(super) async fn walk(
        client: &IdaasClient,
        watch: &Watch<'_>,
    ) -> Result<Self, ReconcileError> {
        let organizations = organizations(client, watch, |it| (it.id.clone(), it.into())).await?;
        let users = users(client, watch, |it| (it.id.clone(), it.into())).await?;
        Ok(Self {
            users: Listing::new(RecordKind::User, users),
            organizations: Listing::new(RecordKind::Organization, organizations),
        })
    }

    pub(super) fn listing(&self, kind: RecordKind) -> &Listing {
        match kind {
            RecordKind::User => &self.users,
            RecordKind::Organization => &self.organizations,
        }
    }
}

impl Listing {
    fn new(kind: RecordKind, records: BTreeMap<String, Listed>) -> Self {
        let mut holders = HashMap::new();
        for (id, record) in &records {
            if let Some(name) = &record.name {
                holders.entry(name_key(kind, name)).or_insert_with(|| id.clone());
            }
        }
        Self { records, holders }
    }

    /// The name of a record, where it is this record's.
    pub(super) fn name_of(&self, kind: RecordKind, id: &str) -> Option<&str> {
        let name = self.records.get(id)?.name.as_deref()?;
        self.holders.get(&name_key(kind, name)).is_some_and(|it| it == id).then_some(name)
    }
}

impl Listed {
    /// What the application and IDaaS both know by one name, as far as IDaaS says something.
    ///
    /// Read when asked for, since it is wanted of few and would have to be kept of all.
    pub(super) fn facts(&self, kind: RecordKind) -> Vec<(&'static str, String)> {
        let names: &[&str] = match kind {
            RecordKind::User => &["name", "mobile", "email"],
            RecordKind::Organization => &["name"],
        };
        let message = Message::new(self.raw.get());
        let Ok(Some(attributes)) = message.attributes() else { return Vec::new() };
        let said = names.iter().filter_map(|name| Some((*name, attributes.text(name)?)));
        said.filter(|(_, value)| !value.is_empty()).collect()
    }
}

impl From<User> for Listed {
    fn from(user: User) -> Self {
        Self {
            name: user.username,
            disabled: user.disabled,
            changed_at: user.updated_at,
            raw: user.raw,
        }
    }
}

impl From<Organization> for Listed {
    fn from(organization: Organization) -> Self {
        Self {
            name: organization.code,
            disabled: organization.disabled,
            changed_at: organization.updated_at,
            raw: organization.raw,
        }
    }
}

/// Once more, for who has been missed once: between two pages a record can slip from the one that comes to the
/// one that has been, while another one keeps the total as it was.
pub(super) async fn present(
    client: &IdaasClient,
    kind: RecordKind,
    watch: &Watch<'_>,
) -> Result<Present, ReconcileError> {
    let key = |name: Option<String>| name.map(|it| name_key(kind, &it));
    let found = match kind {
        RecordKind::User => users(client, watch, |it| (it.id, key(it.username))).await?,
        RecordKind::Organization => {
            organizations(client, watch, |it| (it.id, key(it.code))).await?
        }
    };
    let (ids, names): (HashSet<_>, Vec<_>) = found.into_iter().unzip();
    Ok(Present { ids, names: names.into_iter().flatten().collect() })
}

async fn users<V: Send>(
    client: &IdaasClient,
    watch: &Watch<'_>,
    keep: impl Fn(User) -> (String, V) + Send + Sync,
) -> Result<BTreeMap<String, V>, ReconcileError> {
    complete(RecordKind::User, watch, |page| client.users(page), &keep).await
}

/// The API has no list of all, but these two, which have no organisation in common.
async fn organizations<V: Send>(
    client: &IdaasClient,
    watch: &Watch<'_>,
    keep: impl Fn(Organization) -> (String, V) + Send + Sync,
) -> Result<BTreeMap<String, V>, ReconcileError> {
    let kind = RecordKind::Organization;
    let list = |scope| move |page| client.organizations(scope, page);
    for _ in 0..WALKS {
        let mut roots = complete(kind, watch, list(Scope::Roots), &keep).await?;
        let others = complete(kind, watch, list(Scope::NonRoots), &keep).await?;
        let total = roots.len() + others.len();
        roots.extend(others);
        // One that moved between the two walks may as well have slipped through between them.
        if roots.len() == total {
            return Ok(roots);
        }
    }
    Err(ReconcileError::Unsettled { kind })
}

async fn complete<T, V, F>(
    kind: RecordKind,
    watch: &Watch<'_>,
    list: impl Fn(PageRequest) -> F + Send + Sync,
    keep: &(impl Fn(T) -> (String, V) + Send + Sync),
) -> Result<BTreeMap<String, V>, ReconcileError>
where
    T: Send,
    V: Send,
    F: Future<Output = Result<Page<T>, IdaasError>> + Send,
{
    for _ in 0..WALKS {
        if let Some(found) = once(kind, watch, &list, keep).await? {
            return Ok(found);
        }
    }
    Err(ReconcileError::Unsettled { kind })
}

/// `None` where the list changed meanwhile: its total is another one, or it has fewer records than that.
async fn once<T, V, F>(
    kind: RecordKind,
    watch: &Watch<'_>,
    list: &(impl Fn(PageRequest) -> F + Send + Sync),
    keep: &(impl Fn(T) -> (String, V) + Send + Sync),
) -> Result<Option<BTreeMap<String, V>>, ReconcileError>
where
    T: Send,
    V: Send,
    F: Future<Output = Result<Page<T>, IdaasError>> + Send,
{
    let mut found = BTreeMap::new();
    let mut expected = None;
    for number in 0.. {
        let Page { total, records } = list(PageRequest { number, size: PAGE }).await?;
        let before = found.len();
        found.extend(records.into_iter().map(keep));
        let done = u64::try_from(found.len()).unwrap_or(u64::MAX);
        watch(Progress::Walking { kind, done, total });
        if *expected.get_or_insert(total) != total || done > total {
            return Ok(None);
        }
        if done == total {
            return Ok(Some(found));
        }
        // Behind the end, or a page that has been: whoever is missing does not come any more.
        if found.len() == before {
            return Ok(None);
        }
    }
    Ok(None)
}
