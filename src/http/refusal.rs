//! The one table from what can be wrong to what the sender is told. Tells no one what was expected instead.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::ALLOW;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::RETRY_AFTER;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::Response;

use crate::crypto::NoRandomness;
use crate::crypto::Unreadable;
use crate::dispatcher::InlineError;
use crate::event::AmbiguousMessage;
use crate::inbox::InboxError;
use crate::inbox::RecordRefusal;
use crate::protocol;
use crate::protocol::RequestError;
use crate::verifier::BadSignature;
use crate::verifier::BadToken;

/// Why a callback is not answered 200. Nothing was written for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no such path")]
    UnknownPath,
    #[error("only POST is answered here")]
    Method,
    #[error(transparent)]
    Token(#[from] BadToken),
    #[error("the body is too large")]
    TooLarge,
    #[error("the request took too long")]
    TooSlow,
    #[error("the connection broke within the body")]
    Incomplete,
    #[error("the media type must be application/json, without a content encoding")]
    MediaType,
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("the timestamp is more than {0:?} away from the time here")]
    Stale(Duration),
    #[error(transparent)]
    Signature(#[from] BadSignature),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error(transparent)]
    Ambiguous(#[from] AmbiguousMessage),
    #[error("the message of an update must name the record by id or by {0}")]
    Nameless(&'static str),
    #[error("this endpoint does not take this event")]
    UnknownEvent,
    #[error("the same signed request was accepted already")]
    Duplicate,
    #[error("the same signed request is being handled")]
    Running,
    #[error(transparent)]
    Record(#[from] RecordRefusal),
    #[error(transparent)]
    Inline(#[from] InlineError),
    #[error(transparent)]
    Store(#[from] InboxError),
    #[error(transparent)]
    Sealing(#[from] NoRandomness),
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath | Self::Inline(InlineError::Missing) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Token(BadToken) | Self::Signature(BadSignature) | Self::Stale(_) => {
                StatusCode::UNAUTHORIZED
            }
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Incomplete
            | Self::Request(_)
            | Self::Unreadable(Unreadable)
            | Self::Ambiguous(AmbiguousMessage)
            | Self::Nameless(_)
            | Self::UnknownEvent
            | Self::Record(RecordRefusal::NameTaken | RecordRefusal::TooLong) => {
                StatusCode::BAD_REQUEST
            }
            Self::Duplicate | Self::Running => StatusCode::CONFLICT,
            Self::Record(RecordRefusal::IdTaken | RecordRefusal::IdDiffers)
            | Self::Inline(InlineError::Failed)
            | Self::Sealing(NoRandomness) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Store(
                InboxError::Saturated
                | InboxError::Full
                | InboxError::Locked
                | InboxError::ReadOnly
                | InboxError::Unreachable
                | InboxError::Failed
                | InboxError::Closed,
            ) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For the log; more exact than the answer where the answer must not help a forger.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::UnknownPath => "unknown_path",
            Self::Method => "method",
            Self::Token(BadToken) => "token",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Incomplete => "incomplete",
            Self::MediaType => "media_type",
            Self::Request(error) => match error {
                RequestError::NotUtf8 => "not_utf8",
                RequestError::Malformed { .. } => "malformed_json",
                RequestError::TooDeep => "too_deep",
                RequestError::Repeated(_) | RequestError::RepeatedFurther => "repeated_field",
                RequestError::MixedDialects(..) => "mixed_dialects",
                RequestError::Missing(_) => "missing_field",
                RequestError::WrongType { .. } => "wrong_type",
                RequestError::Nonce => "nonce",
                RequestError::Event(_) => "event_name",
                RequestError::Timestamp => "timestamp",
            },
            Self::Stale(_) => "stale",
            Self::Signature(BadSignature) => "signature",
            Self::Unreadable(Unreadable) => "unreadable",
            Self::Ambiguous(AmbiguousMessage) => "ambiguous_message",
            Self::Nameless(_) => "nameless",
            Self::UnknownEvent => "unknown_event",
            Self::Duplicate => "duplicate",
            Self::Running => "running",
            Self::Record(RecordRefusal::NameTaken) => "name_taken",
            Self::Record(RecordRefusal::TooLong) => "id_or_name_too_long",
            Self::Record(RecordRefusal::IdTaken) => "inline_id_taken",
            Self::Record(RecordRefusal::IdDiffers) => "inline_id_differs",
            Self::Inline(InlineError::Missing) => "inline_missing",
            Self::Inline(InlineError::Failed) => "inline_failed",
            Self::Store(error) => match error {
                InboxError::Saturated => "store_saturated",
                InboxError::Full => "store_full",
                InboxError::Locked => "store_locked",
                InboxError::ReadOnly => "store_read_only",
                InboxError::Unreachable => "store_unreachable",
                InboxError::Failed => "store_failed",
                InboxError::Closed => "store_closed",
            },
            Self::Sealing(NoRandomness) => "no_randomness",
        }
    }

    fn message(&self) -> Cow<'static, str> {
        match self {
            // One text for both, so that neither tells a forger that the other is right already.
            Self::Token(BadToken) | Self::Signature(BadSignature) => "authentication failed".into(),
            // What ails the store concerns its operator, who reads it in the log and at /readyz.
            Self::Store(_) => "busy, try again".into(),
            Self::Sealing(NoRandomness) => "internal error".into(),
            Self::Inline(InlineError::Missing) => "no such record".into(),
            Self::Inline(InlineError::Failed)
            | Self::Record(RecordRefusal::IdTaken | RecordRefusal::IdDiffers) => {
                "the event could not be handled, try again".into()
            }
            other => other.to_string().into(),
        }
    }

    pub(super) fn into_response(self) -> Response {
        let status = self.status();
        let body = protocol::refusal(status.as_u16(), &self.message());
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
