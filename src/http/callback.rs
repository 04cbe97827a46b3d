//! The way of a callback, from its token to its answer, and the one log line that tells of it. Decides no trust itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;
use axum::http::Request as HttpRequest;
use axum::http::header::AUTHORIZATION;
use axum::http::header::CONTENT_ENCODING;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::config;
use crate::config::Cidr;
use crate::config::OnDuplicate;
use crate::crypto::Opened;
use crate::crypto::Seal;
use crate::dispatcher::Inline;
use crate::dispatcher::Routing;
use crate::event::Action;
use crate::event::Dialect;
use crate::event::EventIds;
use crate::event::Message;
use crate::event::routed;
use crate::http::body;
use crate::http::client_address::client_address;
use crate::http::endpoint::Endpoint;
use crate::http::inline;
use crate::http::intake;
use crate::http::listener::Arrival;
use crate::http::refusal::Refusal;
use crate::inbox::Acceptance;
use crate::inbox::Inbox;
use crate::inbox::Receipt;
use crate::protocol;
use crate::protocol::Data;
use crate::protocol::Request;
use crate::protocol::RequestError;
use crate::verifier::Verified;

/// What callbacks need; made once, shared by all of them.
pub struct CallbackState {
    /// By exact path.
    pub endpoints: HashMap<String, Endpoint>,
    pub inbox: Arc<dyn Inbox>,
    pub routing: Routing,
    pub inline: Inline,
    pub directory: config::Directory,
    pub ids: EventIds,
    pub clock: Arc<dyn Clock>,
    pub max_body: usize,
    pub read_timeout: Duration,
    pub trusted_proxies: Vec<Cidr>,
}

/// Every path comes here: paths are compared as they are written, so that no two spellings reach one endpoint.
pub fn callback_router(state: CallbackState) -> Router {
    Router::new().fallback(callback).with_state(Arc::new(state))
}

async fn callback(State(state): State<Arc<CallbackState>>, request: HttpRequest<Body>) -> Response {
    let began = Instant::now();
    let arrival = request.extensions().get::<Arrival>().cloned();
    let client = arrival
        .as_ref()
        .map(|it| client_address(it.peer.ip(), request.headers(), &state.trusted_proxies));
    let deadline = arrival.map_or(began, |it| it.head_began) + state.read_timeout;
    let request_id = Uuid::new_v4().to_string();
    let mut seen = Seen::default();
    let result = receive(&state, request, deadline, &mut seen).await;
    let (outcome, reason) = match &result {
        Ok(_) if seen.duplicate => ("duplicate", None),
        Ok(_) => ("accepted", None),
        Err(refusal @ (Refusal::Duplicate | Refusal::Running)) => {
            ("duplicate", Some(refusal.reason()))
        }
        Err(refusal) if refusal.status().is_server_error() => ("failed", Some(refusal.reason())),
        Err(refusal) => ("rejected", Some(refusal.reason())),
    };
    let mut response = result.unwrap_or_else(Refusal::into_response);
    tracing::info!(
        request_id,
        endpoint = seen.endpoint.as_deref(),
        event = seen.event,
        event_id = seen.event_id.map(tracing::field::display),
        outcome,
        reason,
        status = response.status().as_u16(),
        latency_ms = began.elapsed().as_secs_f64() * 1000.0,
        client = client.map(tracing::field::display),
        "callback"
    );
    if let Ok(value) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// What the log line says of a request, filled in as it becomes known.
#[derive(Default)]
struct Seen {
    endpoint: Option<Arc<str>>,
    event: Option<String>,
    event_id: Option<Uuid>,
    /// Answered 200 as it was before.
    duplicate: bool,
}

async fn receive(
    state: &Arc<CallbackState>,
    request: HttpRequest<Body>,
    deadline: Instant,
    seen: &mut Seen,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let endpoint = match admit(state, &head.method, head.uri.path(), &head.headers, seen) {
        Ok(endpoint) => endpoint,
        Err(refusal) => {
            body::discard(&head, body);
            return Err(refusal);
        }
    };
    let body = body::read(&head, body, state.max_body, deadline).await?;
    check_media_type(&head.headers)?;
    let request = Request::parse(&body, endpoint.settings.dialect)?;
    seen.event = Some(routed(&request.event).into_owned());
    if endpoint.codec.is_some() && matches!(request.data, Data::Object(_)) {
        return Err(RequestError::WrongType { field: "data", wanted: "a string" }.into());
    }
    let now = state.clock.now();
    endpoint.freshness.check(&request.timestamp, now).map_err(|_stale| {
        Refusal::Stale(endpoint.settings.timestamp_tolerance.unwrap_or_default())
    })?;
    let verified = endpoint.signature.check(&request)?;
    let (message, seal) = open(endpoint, &request)?;
    let event = intake::read(state, endpoint, &request, &verified, message, now)?;
    let acceptance = if event.action() != Action::CheckUrl
        && state.inline.concerns(&event.endpoint, &event.event)
    {
        inline::decide(state, event, endpoint.settings.reply_timeout).await?
    } else {
        state.inbox.accept(event).await?
    };
    report_findings(endpoint, request.dialect, &verified, seal.as_ref());
    let receipt = match acceptance {
        Acceptance::Stored(receipt) => receipt,
        Acceptance::Duplicate(receipt) => {
            seen.event_id = receipt.as_ref().map(|it| it.id);
            seen.duplicate = true;
            match endpoint.settings.on_duplicate {
                OnDuplicate::Answer => receipt.ok_or(Refusal::Duplicate)?,
                OnDuplicate::Reject => return Err(Refusal::Duplicate),
            }
        }
        Acceptance::Running => return Err(Refusal::Running),
        Acceptance::Refused(refusal) => return Err(refusal.into()),
    };
    seen.event_id = Some(receipt.id);
    if receipt.deletes_unknown {
        tracing::info!(endpoint = &*endpoint.name, event_id = %receipt.id, "accepted the deletion of a record that the directory does not know");
    }
    answer(endpoint, &request, &receipt, seal.as_ref())
}

/// Method, path and token: all that is looked at before the body is read.
fn admit<'a>(
    state: &'a CallbackState,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    seen: &mut Seen,
) -> Result<&'a Endpoint, Refusal> {
    let endpoint = state.endpoints.get(path).ok_or(Refusal::UnknownPath)?;
    seen.endpoint = Some(Arc::clone(&endpoint.name));
    if method != Method::POST {
        return Err(Refusal::Method);
    }
    endpoint.token.check(headers.get_all(AUTHORIZATION).into_iter().map(HeaderValue::as_bytes))?;
    Ok(endpoint)
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).into_iter();
    let is_json = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    let fine = types.next().is_none_or(is_json) && types.next().is_none();
    if fine && !headers.contains_key(CONTENT_ENCODING) { Ok(()) } else { Err(Refusal::MediaType) }
}

fn open(endpoint: &Endpoint, request: &Request<'_>) -> Result<(Message, Option<Seal>), Refusal> {
    let Some(codec) = &endpoint.codec else {
        return Ok((Message::new(request.data.as_str()), None));
    };
    let Opened { message, seal } = codec.open(request.data.as_str())?;
    Ok((Message::new(message), Some(seal)))
}

fn answer(
    endpoint: &Endpoint,
    request: &Request<'_>,
    receipt: &Receipt,
    seal: Option<&Seal>,
) -> Result<Response, Refusal> {
    if request.dialect == Dialect::Ciam {
        return Ok(Response::new(Body::empty()));
    }
    let sealed;
    let data = match (Action::of(request.dialect, &routed(&request.event)), seal, &endpoint.codec) {
        (Action::Delete | Action::Other, _, _) => "",
        (_, Some(seal), Some(codec)) => {
            sealed = codec.seal(seal, &receipt.reply)?;
            &sealed
        }
        _ => &receipt.reply,
    };
    let mut response = Response::new(Body::from(protocol::success(data)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Says once per endpoint what the automatic settings amount to, ready to be written into the settings.
fn report_findings(
    endpoint: &Endpoint,
    dialect: Dialect,
    verified: &Verified,
    seal: Option<&Seal>,
) {
    endpoint.found.call_once(|| {
        tracing::info!(
            endpoint = &*endpoint.name,
            dialect = dialect.as_str(),
            signature_algorithm = verified.by.map(|(algorithm, _)| algorithm.as_str()),
            cipher = seal.map(|it| it.layout.cipher()),
            iv = seal.and_then(|it| it.layout.iv()),
            envelope = seal.map(|it| it.envelope.as_str()),
            "the first request of this endpoint was understood"
        );
    });
}
