//! Organisations as the API lists them. Builds no tree.

use std::fmt;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::idaas::IdaasClient;
use crate::idaas::IdaasError;
use crate::idaas::Page;
use crate::idaas::PageRequest;
use crate::idaas::call::Call;
use crate::idaas::field;
use crate::idaas::page::MALFORMED;

/// The API has no list of all organisations, but these two, which together are all (PROTOCOL.md 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Roots,
    NonRoots,
}

/// One organisation. A field that is missing, null, empty or of an unexpected type is `None`.
#[derive(Clone)]
pub struct Organization {
    pub id: String,
    /// `None` at a root.
    pub parent_id: Option<String>,
    pub name: Option<String>,
    pub code: Option<String>,
    pub disabled: Option<bool>,
    pub updated_at: Option<Timestamp>,
    /// The whole object, as received.
    pub raw: Box<RawValue>,
}

impl IdaasClient {
    /// One page of the organisations of a scope, deleted ones never among them.
    pub async fn organizations(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<Organization>, IdaasError> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            total: Option<&'a RawValue>,
            #[serde(borrow)]
            organizations: Option<Vec<&'a RawValue>>,
        }

        let all_child = scope == Scope::NonRoots;
        let path = format!("organizations?all_child={all_child}&{}", page.query());
        let call = Call { operation: "organizations", method: Method::GET, path, body: None };
        let body = self.api.call(&call).await?.ok_or(MALFORMED)?;
        let fields: Fields<'_> = serde_json::from_slice(&body).map_err(|_error| MALFORMED)?;
        Page::read(fields.total, fields.organizations, |it| self.read_organization(it))
    }

    fn read_organization(&self, raw: &RawValue) -> Result<Organization, IdaasError> {
        let fields: OrganizationFields<'_> =
            serde_json::from_str(raw.get()).map_err(|_error| MALFORMED)?;
        Ok(Organization {
            id: field::text(fields.org_id).ok_or(MALFORMED)?,
            parent_id: field::text(fields.parent_id),
            name: field::text(fields.name),
            code: field::text(fields.org_code),
            disabled: field::flag(fields.disabled),
            updated_at: field::time(fields.updated_at, self.time_zone),
            raw: raw.to_owned(),
        })
    }
}

impl fmt::Debug for Organization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Organization").field("id", &self.id).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct OrganizationFields<'a> {
    #[serde(borrow)]
    org_id: Option<&'a RawValue>,
    #[serde(borrow)]
    parent_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    org_code: Option<&'a RawValue>,
    #[serde(borrow)]
    disabled: Option<&'a RawValue>,
    #[serde(borrow)]
    updated_at: Option<&'a RawValue>,
}
