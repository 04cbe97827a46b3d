//! What a verified request means: whom it is about, what its answer owes, who else gets it. Stores nothing.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config;
use crate::config::CheckUrlReply;
use crate::config::OnUnknownEvent;
use crate::event::Action;
use crate::event::Attributes;
use crate::event::Dialect;
use crate::event::Message;
use crate::event::RecordKind;
use crate::event::is_known;
use crate::event::routed;
use crate::http::callback::CallbackState;
use crate::http::endpoint::Endpoint;
use crate::http::refusal::Refusal;
use crate::inbox::Change;
use crate::inbox::DuplicateKey;
use crate::inbox::NewEvent;
use crate::inbox::RecordChange;
use crate::inbox::Reply;
use crate::inbox::Subject;
use crate::protocol::Request;
use crate::verifier::Verified;

/// An id is handed on as a subject up to this length; whatever is longer identifies nobody.
const LONGEST_SUBJECT: usize = 256;

pub(super) fn read(
    state: &CallbackState,
    endpoint: &Endpoint,
    request: &Request<'_>,
    verified: &Verified,
    message: Message,
    now: Timestamp,
) -> Result<NewEvent, Refusal> {
    let event = routed(&request.event).into_owned();
    let unknown = !is_known(request.dialect, &event);
    if unknown && endpoint.settings.on_unknown_event == OnUnknownEvent::Reject {
        return Err(Refusal::UnknownEvent);
    }
    let action = Action::of(request.dialect, &event);
    let (subject, reply) = match (request.dialect, action) {
        (Dialect::Ciam, _) => {
            (customer(&state.directory, &event, &message), Reply::Text(String::new()))
        }
        (Dialect::Eiam, Action::CheckUrl) => {
            let reply = match endpoint.settings.check_url_reply {
                CheckUrlReply::Echo => message.as_str(),
                CheckUrlReply::Success => "success",
            };
            (Subject::Nobody, Reply::Text(reply.to_owned()))
        }
        (Dialect::Eiam, _) => employee(&state.directory, action, &event, &message)?,
    };
    let handlers = match action {
        Action::CheckUrl => Vec::new(),
        _ => state.routing.handlers(&endpoint.name, &event),
    };
    Ok(NewEvent {
        id: state.ids.next(now),
        endpoint: Arc::clone(&endpoint.name),
        dialect: request.dialect,
        event,
        nonce: request.nonce.clone().into_owned(),
        timestamp: request.timestamp.as_str().to_owned(),
        requested_at: request.timestamp.as_timestamp().unwrap_or(now),
        received_at: now,
        message,
        duplicate_key: DuplicateKey {
            signed_at: request.timestamp.as_millisecond(),
            mac: verified.replay_key,
            kept_until: now.saturating_add(endpoint.claim_kept).unwrap_or(Timestamp::MAX),
        },
        reserved: false,
        subject,
        reply,
        handlers,
    })
}

/// What an EIAM event is about and what its answer says (PROTOCOL.md 5).
fn employee(
    settings: &config::Directory,
    action: Action,
    event: &str,
    message: &Message,
) -> Result<(Subject, Reply), Refusal> {
    let attributes = message.attributes()?;
    let named = |attribute: &str| attributes.as_ref().and_then(|it| it.name(attribute));
    let kind = RecordKind::of(Dialect::Eiam, event);
    let (id, name) = (named("id"), kind.and_then(|it| named(it.name_attribute())));
    let change = match action {
        Action::Create => Some(Change::Create),
        Action::Update if id.is_none() && name.is_none() => {
            return Err(Refusal::Nameless(kind.map_or("name", RecordKind::name_attribute)));
        }
        Action::Update => Some(Change::Update),
        Action::Delete => Some(Change::Delete),
        Action::CheckUrl | Action::Other => None,
    };
    let reply = match action {
        Action::Create | Action::Update => Reply::SubjectId,
        _ => Reply::Text(String::new()),
    };
    let subject = match (kind, change) {
        (Some(kind), Some(change)) => Subject::Record(Box::new(RecordChange {
            kind,
            change,
            id,
            assigned_id: None,
            changed_at: None,
            name,
            disabled: attributes.as_ref().and_then(disabled).filter(|_| settings.enabled),
            attributes: attributes.map_or_else(|| "{}".to_owned(), |it| settings.kept_of(&it)),
        })),
        (None, Some(Change::Create)) => Subject::New(None),
        (_, _) => id.map_or(Subject::Nobody, Subject::Known),
    };
    Ok((subject, reply))
}

/// Tenants send it as a boolean, as text and as a number.
fn disabled(attributes: &Attributes<'_>) -> Option<bool> {
    match attributes.text("disabled")?.to_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// The message of a CIAM event is the bare id of a user (PROTOCOL.md, head).
fn customer(settings: &config::Directory, event: &str, message: &Message) -> Subject {
    let id = message.as_str().trim();
    if !(1..=LONGEST_SUBJECT).contains(&id.len()) || id.chars().any(char::is_control) {
        return Subject::Nobody;
    }
    if !is_known(Dialect::Ciam, event) {
        return Subject::Known(id.to_owned());
    }
    Subject::Record(Box::new(RecordChange {
        kind: RecordKind::User,
        change: if event == "USER_DELETE" { Change::Delete } else { Change::Update },
        id: Some(id.to_owned()),
        assigned_id: None,
        changed_at: None,
        name: None,
        attributes: "{}".to_owned(),
        disabled: match event {
            "USER_DISABLE" if settings.enabled => Some(true),
            "USER_ENABLE" if settings.enabled => Some(false),
            _ => None,
        },
    }))
}
