//! The ways in which an answer can go wrong. Chooses none of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use hyper::Response;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use serde_json::json;

/// What happens to a request in place of its answer.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Answers with this status, this `Retry-After` where there is one, and this body.
    Answer(u16, Option<&'static str>, String),
    /// Says that the token is no longer good, as HTTP 401.
    Unauthorized,
    /// Says so as HTTP 400 with `error` = `invalid_token`.
    InvalidToken,
    /// Sends the client elsewhere, on this very server.
    Redirect,
    /// Answers with a user's description of this many bytes.
    Large(usize),
    /// Never answers.
    Hang,
    /// Begins an answer and never ends it.
    HangInBody,
    /// Closes the connection without an answer.
    Disconnect,
}

pub(super) async fn spoilt(fault: Fault) -> Result<Response<FakeBody>, Disconnected> {
    Ok(match fault {
        Fault::Answer(status, retry_after, body) => {
            let mut response = response(StatusCode::from_u16(status).unwrap(), body);
            if let Some(wish) = retry_after {
                response.headers_mut().insert("retry-after", wish.parse().unwrap());
            }
            response
        }
        Fault::Unauthorized => response(StatusCode::UNAUTHORIZED, String::new()),
        Fault::InvalidToken => {
            let body = json!({"error": "invalid_token", "error_description": "expired"});
            response(StatusCode::BAD_REQUEST, body.to_string())
        }
        Fault::Redirect => {
            let mut response = response(StatusCode::FOUND, String::new());
            response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
            response
        }
        Fault::Large(bytes) => {
            response(StatusCode::OK, format!(r#"{{"user_id":"{}"}}"#, "a".repeat(bytes)))
        }
        Fault::Hang => std::future::pending().await,
        Fault::HangInBody => {
            let mut response = response(StatusCode::OK, r#"{"user_id":"#.to_owned());
            response.body_mut().endless = true;
            response
        }
        Fault::Disconnect => return Err(Disconnected),
    })
}

pub(super) fn response(status: StatusCode, body: String) -> Response<FakeBody> {
    let body = FakeBody { bytes: Some(body.into()), endless: false };
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

/// A connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("disconnected")]
pub(super) struct Disconnected;

pub(super) struct FakeBody {
    bytes: Option<Bytes>,
    endless: bool,
}

impl Body for FakeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}
