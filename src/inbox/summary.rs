//! Events as operators see them. Holds no message that was not asked for by name.

use jiff::Timestamp;
use uuid::Uuid;

use crate::inbox::StoredEvent;

/// Which events are meant.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Any of these; empty is all.
    pub ids: Vec<Uuid>,
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
    /// As stores write it.
    pub(super) fn number(self) -> i16 {
        match self {
            Self::Waiting => 0,
            Self::Running => 1,
            Self::Done => 2,
            Self::Dead => 3,
        }
    }

    /// The state that is written like this.
    pub(super) fn of(number: i16) -> Self {
        match number {
            0 => Self::Waiting,
            1 => Self::Running,
            2 => Self::Done,
            _ => Self::Dead,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}
