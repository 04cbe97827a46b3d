//! What goes into the store and what comes of it. Says nothing of how it is stored.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::event::Action;
use crate::event::Dialect;
use crate::event::Message;
use crate::inbox::RecordChange;
use crate::inbox::RecordRefusal;
use crate::inbox::deciding::Changed;

/// A verified event, as `accept` stores it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// A `UUIDv7`.
    pub id: Uuid,
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
    /// The key is this event's own already, by [`crate::inbox::Inbox::reserve`].
    pub reserved: bool,
    pub subject: Subject,
    pub reply: Reply,
    /// Names of the handlers that get a delivery.
    pub handlers: Vec<Arc<str>>,
}

impl NewEvent {
    pub fn action(&self) -> Action {
        Action::of(self.dialect, &self.event)
    }

    /// What is answered, once `apply` has made the change where there is one. Where it is refused, so is the event.
    pub(super) fn receipt<E>(
        &self,
        apply: impl FnOnce(&RecordChange) -> Result<Result<Changed, RecordRefusal>, E>,
    ) -> Result<Result<Receipt, RecordRefusal>, E> {
        let mut deletes_unknown = false;
        let subject = match &self.subject {
            Subject::Nobody => None,
            Subject::Known(id) => Some(id.clone()),
            Subject::New(id) => Some(id.clone().unwrap_or_else(|| Uuid::new_v4().to_string())),
            Subject::Record(change) => match apply(change)? {
                Ok(changed) => {
                    deletes_unknown = changed.deletes_unknown;
                    changed.id
                }
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let reply = self.reply.text(subject.as_deref());
        Ok(Ok(Receipt { id: self.id, subject, reply, deletes_unknown }))
    }
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
#[derive(Debug, Clone)]
pub enum Subject {
    /// Nobody; such events have no order.
    Nobody,
    Known(String),
    /// Something without a directory; it gets this id, else one that the inbox assigns.
    New(Option<String>),
    /// A user or an organisation in the directory, which knows the id or assigns one.
    Record(Box<RecordChange>),
}

impl Subject {
    /// Whose id is known before the event is accepted; `resolve` says it of a record.
    pub(super) fn resolved<E>(
        &self,
        resolve: impl FnOnce(&RecordChange) -> Result<Result<Option<String>, RecordRefusal>, E>,
    ) -> Result<Result<Option<String>, RecordRefusal>, E> {
        match self {
            Self::Record(change) => resolve(change),
            Self::Known(id) | Self::New(Some(id)) => Ok(Ok(Some(id.clone()))),
            Self::Nobody | Self::New(None) => Ok(Ok(None)),
        }
    }

    /// Takes the id that an inline handler gives, where there is a record to give one to.
    pub fn assign(&mut self, id: Option<String>) {
        match self {
            Self::New(assigned) => *assigned = id,
            Self::Record(change) => change.assigned_id = id,
            Self::Nobody | Self::Known(_) => {}
        }
    }
}

/// What the answer says, before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Text(String),
    /// `{"id":"…"}` with the subject's id.
    SubjectId,
}

impl Reply {
    pub(super) fn text(&self, subject: Option<&str>) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::SubjectId => serde_json::json!({ "id": subject.unwrap_or_default() }).to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// Now, or by an earlier commit of which nobody could be told: an event is stored once all the same.
    Stored(Receipt),
    /// The same signed request is stored already. With what it was answered, unless the event is
    /// past its retention.
    Duplicate(Option<Receipt>),
    /// The same signed request is with the inline handlers just now.
    Running,
    /// The directory does not permit what the event says. Nothing was stored.
    Refused(RecordRefusal),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub id: Uuid,
    pub subject: Option<String>,
    /// The plain text of the answer's `data`.
    pub reply: String,
    /// The event deletes a record that the directory does not know.
    pub deletes_unknown: bool,
}

#[derive(Debug, Clone)]
pub struct Reservation {
    pub endpoint: Arc<str>,
    pub duplicate_key: DuplicateKey,
    pub subject: Subject,
    pub now: Timestamp,
    pub until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// The key is yours. With the id of the record that the event is about, where it has one by now.
    Yours {
        subject: Option<String>,
    },
    Duplicate(Option<Receipt>),
    Running,
    Refused(RecordRefusal),
}
