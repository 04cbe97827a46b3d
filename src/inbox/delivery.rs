//! Deliveries on their way to a handler. Knows no handler.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use sha2::Digest;
use sha2::Sha256;
use uuid::Uuid;

use crate::event::Dialect;
use crate::event::Message;
use crate::event::UserDetails;
use crate::inbox::RecordChange;
use crate::inbox::State;

#[derive(Debug, Clone)]
pub struct Claim {
    pub handler: Arc<str>,
    pub most: usize,
    pub now: Timestamp,
    pub lease: Duration,
}

#[derive(Debug, Default)]
pub struct Claimed {
    pub deliveries: Vec<Delivery>,
    /// When the next delivery of this handler falls due, where none is due now.
    pub next_due: Option<Timestamp>,
}

/// One attempt of one handler at one event.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub key: DeliveryKey,
    pub event: StoredEvent,
}

/// Which attempt a result belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeliveryKey {
    /// The event's place in the order of arrival.
    pub sequence: i64,
    pub handler: Arc<str>,
    /// Counts from 1, and anew when an operator asks for the delivery again.
    pub attempt: u32,
    /// Proof of the lease: whoever has claimed the delivery since has a higher one.
    pub claim: i64,
    /// What the deliveries of its subject have in common; `None` where there is no order.
    pub subject_key: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub id: Uuid,
    pub endpoint: String,
    pub dialect: Dialect,
    pub event: String,
    pub subject: Option<String>,
    pub requested_at: Timestamp,
    pub received_at: Timestamp,
    pub message: Message,
    /// What IDaaS said of the user, where it has been asked.
    pub user: UserDetails,
}

/// What IDaaS says of the user that an event names, to be kept with the event.
#[derive(Debug, Clone)]
pub struct NewDetails {
    /// The event's place in the order of arrival.
    pub sequence: i64,
    pub endpoint: String,
    pub user: UserDetails,
    /// What it means for the directory.
    pub change: Option<RecordChange>,
    pub now: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Finish {
    pub key: DeliveryKey,
    pub now: Timestamp,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Waits until then, and its subject with it.
    Retry {
        at: Timestamp,
        error: String,
    },
    /// Stays visible and holds nothing back any more.
    Dead {
        error: String,
    },
    /// Was not begun: the attempt does not count.
    Released,
}

/// What a delivery becomes when an attempt ends.
pub(super) struct Ended<'a> {
    pub(super) state: State,
    pub(super) attempts: u32,
    pub(super) next_attempt_at: Option<Timestamp>,
    /// `None` leaves the last one.
    pub(super) error: Option<&'a str>,
}

impl Finish {
    pub(super) fn ended(&self) -> Ended<'_> {
        let attempts = self.key.attempt;
        let (state, attempts, next_attempt_at, error) = match &self.outcome {
            Outcome::Done => (State::Done, attempts, None, None),
            Outcome::Dead { error } => (State::Dead, attempts, None, Some(&**error)),
            Outcome::Retry { at, error } => (State::Waiting, attempts, Some(*at), Some(&**error)),
            Outcome::Released => (State::Waiting, attempts.saturating_sub(1), Some(self.now), None),
        };
        Ended { state, attempts, next_attempt_at, error }
    }
}

/// The time that is written like this.
pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

/// The dialect that is written like this.
pub(super) fn dialect_of(text: &str) -> Dialect {
    if text == "ciam" { Dialect::Ciam } else { Dialect::Eiam }
}

/// What is written of the user, once IDaaS has been asked: nothing where there is none.
pub(super) fn user_of(is_asked: bool, user: Option<String>) -> UserDetails {
    match (is_asked, user) {
        (false, _) => UserDetails::Unasked,
        (true, None) => UserDetails::Missing,
        (true, Some(user)) => {
            RawValue::from_string(user).map_or(UserDetails::Unasked, UserDetails::Found)
        }
    }
}

/// Deliveries of one key keep their order. Two subjects that share a key by chance only wait for each other.
pub(super) fn subject_key(endpoint: &str, subject: &str) -> i64 {
    let digest =
        Sha256::new().chain_update(endpoint).chain_update([0]).chain_update(subject).finalize();
    i64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
}
