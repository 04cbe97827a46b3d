//! The details of the user that an event names, asked of IDaaS once per event. Decides nothing about the event.

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::config;
use crate::config::DetailsBy;
use crate::dispatcher::HandlerError;
use crate::event::Dialect;
use crate::event::Message;
use crate::event::RecordKind;
use crate::event::UserDetails;
use crate::idaas::IdaasClient;
use crate::idaas::IdaasError;
use crate::inbox::Change;
use crate::inbox::Delivery;
use crate::inbox::Inbox;
use crate::inbox::NewDetails;
use crate::inbox::RecordChange;

/// Asks IDaaS and keeps what it says, with the event and in the directory.
pub struct Details {
    /// Absent without `[idaas]`: then nobody is asked.
    client: Option<Arc<IdaasClient>>,
    directory: config::Directory,
    inbox: Arc<dyn Inbox>,
    clock: Arc<dyn Clock>,
}

/// Whom an event names at IDaaS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A customer by id.
    Id(String),
    /// An employee: the ids of EIAM are the application's own.
    Username(String),
    /// A customer who is gone, so there is nobody to ask about.
    Deleted,
}

impl Details {
    pub fn new(
        client: Option<Arc<IdaasClient>>,
        directory: config::Directory,
        inbox: Arc<dyn Inbox>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { client, directory, inbox, clock }
    }

    /// Whom the handler wants to be told about; nobody where there is no IDaaS to ask.
    pub(super) fn named(
        &self,
        settings: &config::Handler,
        dialect: Dialect,
        event: &str,
        subject: Option<&str>,
        message: &Message,
    ) -> Option<Named> {
        if !settings.details || self.client.is_none() {
            return None;
        }
        match (dialect, settings.details_by) {
            (Dialect::Ciam, _) => {
                RecordKind::of(dialect, event)?;
                let id = subject?.to_owned();
                Some(if event == "USER_DELETE" { Named::Deleted } else { Named::Id(id) })
            }
            (Dialect::Eiam, DetailsBy::Id) => None,
            (Dialect::Eiam, DetailsBy::Username) => {
                if RecordKind::of(dialect, event) == Some(RecordKind::Organization) {
                    return None;
                }
                message.attributes().ok()??.name("username").map(Named::Username)
            }
        }
    }

    /// Asks, not before the event had arrived. Calls for one user at one time are one call.
    pub(super) async fn fetch(
        &self,
        named: Option<Named>,
        received_at: Timestamp,
    ) -> Result<UserDetails, HandlerError> {
        let (Some(named), Some(client)) = (named, &self.client) else {
            return Ok(UserDetails::Unasked);
        };
        let found = match &named {
            Named::Deleted => Ok(None),
            Named::Id(id) => client.user(id, received_at).await,
            Named::Username(name) => client.user_by_name(name, received_at).await,
        };
        match found {
            Ok(Some(user)) => Ok(UserDetails::Found(user)),
            Ok(None) => Ok(UserDetails::Missing),
            Err(error) => Err(delayed(error)),
        }
    }

    /// What was kept with the event, else what IDaaS says now, which is then kept.
    pub(super) async fn of(
        &self,
        settings: &config::Handler,
        delivery: &Delivery,
    ) -> Result<UserDetails, HandlerError> {
        let event = &delivery.event;
        let subject = event.subject.as_deref();
        let named = self.named(settings, event.dialect, &event.event, subject, &event.message);
        let user = match (&named, &event.user) {
            (None, _) => return Ok(UserDetails::Unasked),
            (Some(_), UserDetails::Found(_) | UserDetails::Missing) => {
                return Ok(event.user.clone());
            }
            (Some(Named::Deleted), UserDetails::Unasked) => return Ok(UserDetails::Missing),
            (Some(_), UserDetails::Unasked) => self.fetch(named, event.received_at).await?,
        };
        let kept = NewDetails {
            sequence: delivery.key.sequence,
            endpoint: event.endpoint.clone(),
            change: self.observed(event.dialect, subject, &user),
            user: user.clone(),
            now: self.clock.now(),
        };
        let kept = self.inbox.keep_details(kept).await;
        kept.map_err(|error| HandlerError::retry(error.to_string()))?;
        Ok(user)
    }

    /// What a customer's details mean for the directory. Of an employee it knows more than IDaaS tells.
    fn observed(
        &self,
        dialect: Dialect,
        subject: Option<&str>,
        user: &UserDetails,
    ) -> Option<RecordChange> {
        let (Dialect::Ciam, Some(id), UserDetails::Found(raw)) = (dialect, subject, user) else {
            return None;
        };
        let user = self.client.as_ref()?.read_user(raw).ok()?;
        Some(RecordChange {
            kind: RecordKind::User,
            change: Change::Observe { revives: false },
            id: Some(id.to_owned()),
            assigned_id: None,
            name: user.username,
            attributes: self.directory.kept(&Message::new(raw.get())),
            disabled: user.disabled.filter(|_| self.directory.enabled),
            changed_at: user.updated_at,
        })
    }
}

/// A look-up that fails delays the delivery as a handler that fails does.
fn delayed(error: IdaasError) -> HandlerError {
    let reason = format!("IDaaS look-up: {error}").into();
    match error {
        IdaasError::Unavailable { after, .. } => HandlerError::Retry { reason, after },
        IdaasError::Refused { .. } | IdaasError::Malformed { .. } => {
            HandlerError::Retry { reason, after: None }
        }
    }
}
