//! Records of the directory and what events say about them. Decides nothing.

use jiff::Timestamp;

use crate::event::RecordKind;

/// What an event says about a user or an organisation.
#[derive(Debug, Clone)]
pub struct RecordChange {
    pub kind: RecordKind,
    pub change: Change,
    /// The id that the event carries; of CREATE events none is believed.
    pub id: Option<String>,
    /// The id that an inline handler gives the record.
    pub assigned_id: Option<String>,
    /// `username` or `code`, as received.
    pub name: Option<String>,
    /// A JSON object to be merged into what is known: an absent attribute is unchanged.
    pub attributes: String,
    /// `None` is unchanged.
    pub disabled: Option<bool>,
    /// When IDaaS changed the record, where this is its word for it.
    pub changed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Finds the live record by its name, else makes one (PROTOCOL.md 5: CREATE is an upsert).
    Create,
    /// Finds the record by its id, else by its name, else makes one.
    Update,
    /// Marks the record; its name is free again, its id never is.
    Delete,
    /// What the IDaaS API says of the record with this id, which settles the matter unless something newer is
    /// known: a name that another record still has is taken from it.
    Observe {
        /// Brings a deleted record back. Not for a look-up beside other events: a deletion may have come
        /// between it and its storing.
        revives: bool,
    },
}

/// Why the directory does not permit a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordRefusal {
    #[error("the name belongs to another record")]
    NameTaken,
    #[error("the id that the inline handler gave belongs to another record")]
    IdTaken,
    #[error("the id that the inline handler gave differs from the one that the record has")]
    IdDiffers,
    #[error("the id or the name is longer than 1000 bytes")]
    TooLong,
}

/// One user or organisation of an endpoint, as the events so far leave it.
#[derive(Debug, Clone)]
pub struct Record {
    pub endpoint: String,
    pub kind: RecordKind,
    pub id: String,
    /// `username` or `code`, as last received.
    pub name: Option<String>,
    pub disabled: bool,
    pub deleted: bool,
    /// A JSON object.
    pub attributes: String,
    pub updated_at: Timestamp,
    /// When IDaaS changed the record, as far as it has told. What it says of an earlier time changes nothing.
    pub changed_at: Option<Timestamp>,
}

/// Which records are meant, a page of them by endpoint and id.
#[derive(Debug, Clone)]
pub struct RecordQuery {
    pub kind: RecordKind,
    /// Every one, or this one.
    pub endpoint: Option<String>,
    pub deleted_too: bool,
    /// Endpoint and id of the last record of the page before.
    pub after: Option<(String, String)>,
    pub most: usize,
}

/// The form in which names are compared: IDaaS ignores the case of usernames, not that of codes.
pub fn name_key(kind: RecordKind, name: &str) -> String {
    match kind {
        RecordKind::User => name.to_lowercase(),
        RecordKind::Organization => name.to_owned(),
    }
}

/// As stores write it.
pub(super) fn kind_text(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => "user",
        RecordKind::Organization => "organization",
    }
}

/// The kind that is written like this.
pub(super) fn kind_of(text: &str) -> RecordKind {
    if text == "user" { RecordKind::User } else { RecordKind::Organization }
}
