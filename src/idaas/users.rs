//! Users as the API lists and describes them. Judges nobody: what a field means for the directory is not known here.

use std::fmt;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::idaas::IdaasClient;
use crate::idaas::IdaasError;
use crate::idaas::Page;
use crate::idaas::PageRequest;
use crate::idaas::call::Call;
use crate::idaas::field;
use crate::idaas::lookups::Who;
use crate::idaas::page;
use crate::idaas::path::LONGEST_ID;
use crate::idaas::path::segment;

const MALFORMED: IdaasError =
    IdaasError::Malformed { reason: "the answer of IDaaS is not a user's description" };

/// One user. A field that is missing, null, empty or of an unexpected type is `None`.
///
/// `Debug` shows the id alone, so it may be logged where an id may.
#[derive(Clone)]
pub struct User {
    pub id: String,
    pub username: Option<String>,
    pub name: Option<String>,
    pub mobile: Option<String>,
    pub email: Option<String>,
    /// The organisation that the user belongs to first of all.
    pub organization_id: Option<String>,
    pub memberships: Vec<Membership>,
    pub disabled: Option<bool>,
    pub locked: Option<bool>,
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
    /// The whole object, as received.
    pub raw: Box<RawValue>,
}

/// That a user belongs to an organisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub organization_id: String,
    /// As IDaaS writes it, a number as text.
    pub relation_type: Option<String>,
}

impl IdaasClient {
    /// Describes the user with this id; `None` where IDaaS says that there is none (any more).
    ///
    /// The answer was fetched at or after `not_before`, the arrival of the event, but may have been fetched for
    /// another caller, up to 3 seconds ago. That holds as far as the clocks of replicas agree.
    pub async fn user(
        &self,
        id: &str,
        not_before: Timestamp,
    ) -> Result<Option<Box<RawValue>>, IdaasError> {
        let Some(segment) = segment(id) else { return Ok(None) };
        let call = Call {
            operation: "user",
            method: Method::GET,
            path: format!("users/{segment}"),
            body: None,
        };
        self.lookups.find(Who::Id(id.to_owned()), not_before, self.describe(call)).await
    }

    /// Like [`IdaasClient::user`], for who is known by name alone.
    pub async fn user_by_name(
        &self,
        username: &str,
        not_before: Timestamp,
    ) -> Result<Option<Box<RawValue>>, IdaasError> {
        if username.is_empty() || username.len() > LONGEST_ID {
            return Ok(None);
        }
        let call = Call {
            operation: "user_by_name",
            method: Method::POST,
            path: "users/user-by-username".to_owned(),
            body: Some(json!({ "user_name": username }).to_string()),
        };
        self.lookups.find(Who::Username(username.to_owned()), not_before, self.describe(call)).await
    }

    /// One page of all users, deleted ones never among them.
    pub async fn users(&self, page: PageRequest) -> Result<Page<User>, IdaasError> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            total: Option<&'a RawValue>,
            #[serde(borrow)]
            users: Option<Vec<&'a RawValue>>,
        }

        let path = format!("users?{}", page.query());
        let call = Call { operation: "users", method: Method::GET, path, body: None };
        let body = self.api.call(&call).await?.ok_or(page::MALFORMED)?;
        let fields: Fields<'_> = serde_json::from_slice(&body).map_err(|_error| page::MALFORMED)?;
        Page::read(fields.total, fields.users, |it| self.read_user(it))
    }

    /// Reads a description, such as [`IdaasClient::user`] returns. Needs no call.
    pub fn read_user(&self, raw: &RawValue) -> Result<User, IdaasError> {
        let fields: UserFields<'_> = serde_json::from_str(raw.get()).map_err(|_error| MALFORMED)?;
        Ok(User {
            id: field::text(fields.user_id).ok_or(MALFORMED)?,
            username: field::text(fields.user_name),
            name: field::text(fields.name),
            mobile: field::text(fields.mobile),
            email: field::text(fields.email),
            organization_id: field::text(fields.org_id),
            memberships: memberships(fields.user_org_relation_list),
            disabled: field::flag(fields.disabled),
            locked: field::flag(fields.locked),
            created_at: field::time(fields.created_at, self.time_zone),
            updated_at: field::time(fields.updated_at, self.time_zone),
            raw: raw.to_owned(),
        })
    }

    async fn describe(&self, call: Call) -> Result<Option<Box<RawValue>>, IdaasError> {
        let Some(body) = self.api.call(&call).await? else { return Ok(None) };
        let raw: Box<RawValue> = serde_json::from_slice(&body).map_err(|_error| MALFORMED)?;
        if raw.get().starts_with('{') { Ok(Some(raw)) } else { Err(MALFORMED) }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct UserFields<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_name: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    mobile: Option<&'a RawValue>,
    #[serde(borrow)]
    email: Option<&'a RawValue>,
    #[serde(borrow)]
    org_id: Option<&'a RawValue>,
    #[serde(borrow)]
    user_org_relation_list: Option<&'a RawValue>,
    #[serde(borrow)]
    disabled: Option<&'a RawValue>,
    #[serde(borrow)]
    locked: Option<&'a RawValue>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    updated_at: Option<&'a RawValue>,
}

/// Those of the list that name an organisation; what is no list names none.
fn memberships(list: Option<&RawValue>) -> Vec<Membership> {
    #[derive(Deserialize)]
    struct Relation<'a> {
        #[serde(borrow)]
        org_id: Option<&'a RawValue>,
        #[serde(borrow)]
        relation_type: Option<&'a RawValue>,
    }

    let relations: Vec<&RawValue> =
        list.and_then(|it| serde_json::from_str(it.get()).ok()).unwrap_or_default();
    let read = |relation: &RawValue| {
        let relation: Relation<'_> = serde_json::from_str(relation.get()).ok()?;
        let organization_id = field::text(relation.org_id)?;
        Some(Membership { organization_id, relation_type: field::text(relation.relation_type) })
    };
    relations.into_iter().filter_map(read).collect()
}
