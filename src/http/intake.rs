//! What a verified request means: whom it is about, what its answer owes, who else gets it. Stores nothing.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::CheckUrlReply;
use crate::config::OnUnknownEvent;
use crate::dispatcher::Routing;
use crate::event::Action;
use crate::event::Dialect;
use crate::event::Message;
use crate::event::RecordKind;
use crate::event::is_known;
use crate::http::endpoint::Endpoint;
use crate::http::refusal::Refusal;
use crate::inbox::DuplicateKey;
use crate::inbox::NewEvent;
use crate::inbox::Reply;
use crate::inbox::Subject;
use crate::protocol::Request;
use crate::verifier::Verified;

/// An id is handed on as a subject up to this length; whatever is longer identifies nobody.
const LONGEST_SUBJECT: usize = 256;

pub(super) fn read(
    endpoint: &Endpoint,
    routing: &Routing,
    request: &Request<'_>,
    verified: &Verified,
    message: Message,
    now: Timestamp,
) -> Result<NewEvent, Refusal> {
    let event = crate::event::routed(&request.event).into_owned();
    let unknown = !is_known(request.dialect, &event);
    if unknown && endpoint.settings.on_unknown_event == OnUnknownEvent::Reject {
        return Err(Refusal::UnknownEvent);
    }
    let action = Action::of(request.dialect, &event);
    let (subject, reply) = match request.dialect {
        Dialect::Ciam => (bare_id(&message), Reply::Text(String::new())),
        Dialect::Eiam => meaning(endpoint, action, &event, &message)?,
    };
    let handlers = match action {
        Action::CheckUrl => Vec::new(),
        _ => routing.handlers(&endpoint.name, &event),
    };
    Ok(NewEvent {
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
        subject,
        reply,
        handlers,
    })
}

/// What an EIAM event is about and what its answer says (PROTOCOL.md 5).
fn meaning(
    endpoint: &Endpoint,
    action: Action,
    event: &str,
    message: &Message,
) -> Result<(Subject, Reply), Refusal> {
    if action == Action::CheckUrl {
        let reply = match endpoint.settings.check_url_reply {
            CheckUrlReply::Echo => message.as_str(),
            CheckUrlReply::Success => "success",
        };
        return Ok((Subject::Nobody, Reply::Text(reply.to_owned())));
    }
    let attributes = message.attributes()?;
    let id = attributes.as_ref().and_then(|it| it.name("id"));
    Ok(match action {
        Action::Create => (Subject::New, Reply::SubjectId),
        Action::Update => {
            let name =
                RecordKind::of(Dialect::Eiam, event).map_or("name", RecordKind::name_attribute);
            match (id, attributes.and_then(|it| it.name(name))) {
                (Some(id), _) => (Subject::Known(id), Reply::SubjectId),
                (None, Some(_)) => (Subject::New, Reply::SubjectId),
                (None, None) => return Err(Refusal::Nameless(name)),
            }
        }
        Action::CheckUrl | Action::Delete | Action::Other => {
            let subject = id.map_or(Subject::Nobody, Subject::Known);
            (subject, Reply::Text(String::new()))
        }
    })
}

/// The message of a CIAM event is the bare id of a user (PROTOCOL.md, head).
fn bare_id(message: &Message) -> Subject {
    let id = message.as_str().trim();
    let fine = (1..=LONGEST_SUBJECT).contains(&id.len()) && !id.chars().any(char::is_control);
    if fine { Subject::Known(id.to_owned()) } else { Subject::Nobody }
}
