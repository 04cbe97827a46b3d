//! Deliveries on their way to a handler. Knows no handler.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::Digest;
use sha2::Sha256;
use uuid::Uuid;

use crate::event::Dialect;
use crate::event::Message;
use crate::event::UserDetails;
use crate::inbox::RecordChange;

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

/// Deliveries of one key keep their order. Two subjects that share a key by chance only wait for each other.
pub(super) fn subject_key(endpoint: &str, subject: &str) -> i64 {
    let digest =
        Sha256::new().chain_update(endpoint).chain_update([0]).chain_update(subject).finalize();
    i64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
}
