//! Lets inline handlers decide about an event before it is stored. Stores nothing that they refuse.

use std::sync::Arc;
use std::time::Duration;

use crate::event::Document;
use crate::event::UserDetails;
use crate::http::callback::CallbackState;
use crate::http::refusal::Refusal;
use crate::inbox::Acceptance;
use crate::inbox::InboxError;
use crate::inbox::NewEvent;
use crate::inbox::Reservation;
use crate::inbox::Reserved;

/// Beyond the time of the handlers themselves, for the store before and after them.
const RESERVED_LONGER: Duration = Duration::from_secs(10);

/// Reserves the request, asks the handlers, and stores the event with what they say.
///
/// Runs to its end also where the sender hangs up meanwhile: a handler that has acted is not left without
/// its event.
pub(super) async fn decide(
    state: &Arc<CallbackState>,
    event: NewEvent,
    time: Duration,
) -> Result<Acceptance, Refusal> {
    let state = Arc::clone(state);
    let decision = tokio::spawn(async move {
        let until = event.received_at.saturating_add(time + RESERVED_LONGER);
        let reservation = Reservation {
            endpoint: Arc::clone(&event.endpoint),
            duplicate_key: event.duplicate_key,
            subject: event.subject.clone(),
            now: event.received_at,
            until: until.unwrap_or(jiff::Timestamp::MAX),
        };
        match state.inbox.reserve(reservation).await? {
            Reserved::Yours { subject } => ask(&state, event, subject, time).await,
            Reserved::Duplicate(receipt) => Ok(Acceptance::Duplicate(receipt)),
            Reserved::Running => Ok(Acceptance::Running),
            Reserved::Refused(refusal) => Ok(Acceptance::Refused(refusal)),
        }
    });
    decision.await.unwrap_or(Err(Refusal::Store(InboxError::Failed)))
}

async fn ask(
    state: &CallbackState,
    mut event: NewEvent,
    subject: Option<String>,
    time: Duration,
) -> Result<Acceptance, Refusal> {
    let (endpoint, key) = (Arc::clone(&event.endpoint), event.duplicate_key);
    let document = Document {
        id: event.id,
        endpoint: endpoint.to_string(),
        dialect: event.dialect,
        event: event.event.clone(),
        subject,
        time: event.requested_at,
        received_at: event.received_at,
        attempt: 1,
        message: event.message.clone(),
        user: UserDetails::Unasked,
    };
    let result = match state.inline.run(document, time).await {
        Ok(reply) => {
            event.reserved = true;
            event.subject.assign(reply.id);
            state.inbox.accept(event).await.map_err(Refusal::from)
        }
        Err(error) => Err(error.into()),
    };
    if !matches!(result, Ok(Acceptance::Stored(_) | Acceptance::Duplicate(_)))
        && let Err(error) = state.inbox.release(&endpoint, key).await
    {
        tracing::error!(endpoint = &*endpoint, %error, "a request that was not accepted cannot be sent again for a while");
    }
    result
}
