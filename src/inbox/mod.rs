//! The durable store: events, duplicate keys and deliveries, behind one trait. The only room with SQL; knows no HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::event::Dialect;
use crate::event::Message;

mod error;
mod sqlite;

pub use error::InboxError;
pub use error::OpenError;
pub use sqlite::SqliteInbox;
pub use sqlite::SqliteReader;

/// Where events rest between the answer and the handlers.
///
/// Every method that changes something returns after the change is durable: what it reports survives
/// `kill -9` and power loss. Where it fails, nothing of it has happened.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Stores an event, its duplicate key and its deliveries, all or nothing.
    ///
    /// Of any number of calls with one duplicate key, also concurrent ones, exactly one stores.
    async fn accept(&self, event: NewEvent) -> Result<Acceptance, InboxError>;

    /// Takes deliveries that are due, for the time of a lease; they are then `running`.
    ///
    /// Of each subject only the oldest unfinished delivery of a handler can be taken.
    async fn claim(&self, claim: Claim) -> Result<Claimed, InboxError>;

    /// Ends an attempt. Without effect where the lease was lost and the delivery went to someone else;
    /// `false` says so.
    async fn finish(&self, finish: Finish) -> Result<bool, InboxError>;

    /// Returns deliveries whose lease ran out to `waiting` and says how many there were.
    async fn recover(&self, now: Timestamp) -> Result<u64, InboxError>;

    /// Deletes some of what is past its time: expired duplicate keys, and events older than
    /// `finished_before` whose deliveries are all done. Returns how many rows went; 0 means that nothing is left.
    async fn prune(&self, now: Timestamp, finished_before: Timestamp) -> Result<u64, InboxError>;

    /// Whether events can be stored at this moment.
    async fn check(&self) -> Result<(), InboxError>;

    /// Changes whenever deliveries may have become claimable.
    fn arrivals(&self) -> watch::Receiver<u64>;

    /// Finishes what is queued and closes the store. Later calls fail with [`InboxError::Closed`].
    async fn close(&self);
}

/// A verified event, as `accept` stores it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub endpoint: Arc<str>,
    pub dialect: Dialect,
    /// The name without blanks.
    pub event: String,
    pub nonce: String,
    /// The digits of the request.
    pub timestamp: String,
    pub requested_at: Timestamp,
    pub received_at: Timestamp,
    pub message: Message,
    pub duplicate_key: DuplicateKey,
    pub subject: Subject,
    pub reply: Reply,
    /// Names of the handlers that get a delivery.
    pub handlers: Vec<Arc<str>>,
}

/// What tells a signed request from every other of its endpoint.
#[derive(Debug, Clone, Copy)]
pub struct DuplicateKey {
    /// Signed milliseconds. Stands before the MAC in the index, so that new keys lie side by side.
    pub signed_at: i64,
    pub mac: [u8; 32],
    /// Included: a timestamp at the edge of the tolerance is still fresh.
    pub kept_until: Timestamp,
}

/// Whom an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Nobody; such events have no order.
    Nobody,
    Known(String),
    /// A record that has no id yet: the inbox assigns one.
    New,
}

/// What the answer says, before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Text(String),
    /// `{"id":"…"}` with the subject's id.
    SubjectId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    Stored(Receipt),
    /// The same signed request is stored already. With what it was answered, unless the event is
    /// past its retention.
    Duplicate(Option<Receipt>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub id: Uuid,
    pub subject: Option<String>,
    /// The plain text of the answer's `data`.
    pub reply: String,
}

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryKey {
    /// The event's place in the order of arrival.
    pub sequence: i64,
    pub handler: Arc<str>,
    /// Counts from 1.
    pub attempt: u32,
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

/// Where a delivery or an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    /// Of deliveries only.
    Running,
    Done,
    Dead,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

/// Which events to list. Everything that is set has to fit.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub state: Option<State>,
    pub event: Option<String>,
    pub endpoint: Option<String>,
    pub subject: Option<String>,
    /// Events with a delivery of this handler.
    pub handler: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// An event with its deliveries, as operators see it.
#[derive(Debug, Clone)]
pub struct EventSummary {
    pub sequence: i64,
    pub event: StoredEvent,
    pub nonce: String,
    pub timestamp: String,
    pub state: State,
    pub deliveries: Vec<DeliverySummary>,
}

#[derive(Debug, Clone)]
pub struct DeliverySummary {
    pub handler: String,
    pub state: State,
    pub attempts: u32,
    /// Absent where it is finished, runs, or waits for an older event of its subject.
    pub next_attempt_at: Option<Timestamp>,
    pub last_error: Option<String>,
}
