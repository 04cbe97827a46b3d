//! Reads a request's body within a size and a time. Judges no content.

use std::time::Duration;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::header::CONTENT_LENGTH;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::http::listener::Arrival;
use crate::http::refusal::Refusal;

/// How much of a refused body is read and thrown away, and for how long. As much as the largest body that
/// can be allowed: a sender is slower to listen the more it has to say.
const DRAINED: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

pub(super) async fn read(
    head: &Parts,
    mut body: Body,
    most: usize,
    deadline: Instant,
) -> Result<Bytes, Refusal> {
    let announced =
        head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most as u64) {
        discard(head, body);
        return Err(Refusal::TooLarge);
    }
    match tokio::time::timeout_at(deadline, collect(&mut body, most)).await {
        Ok(Err(Refusal::TooLarge)) => {
            discard(head, body);
            Err(Refusal::TooLarge)
        }
        Ok(result) => result,
        Err(_elapsed) => Err(Refusal::TooSlow),
    }
}

/// Reads on while the answer is on its way: a connection that is closed over unread bytes is reset, and
/// the sender would see a broken pipe in place of what is wrong.
pub(super) fn discard(head: &Parts, mut body: Body) {
    // Who waits for 100 Continue has not sent the body, and reading would ask for it.
    if head.headers.contains_key(EXPECT) || axum::body::HttpBody::is_end_stream(&body) {
        return;
    }
    let draining = head.extensions.get::<Arrival>().map(|it| it.progress.drain());
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, async move {
        let _until_the_end = draining;
        let mut left = DRAINED;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    }));
}

async fn collect(body: &mut Body, most: usize) -> Result<Bytes, Refusal> {
    let mut first = Bytes::new();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken| Refusal::Incomplete)?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > most {
            return Err(Refusal::TooLarge);
        }
        // Nearly every body is one chunk, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() { Ok(first) } else { Ok([&first[..], &rest].concat().into()) }
}
