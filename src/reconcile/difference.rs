//! One difference between the directory and IDaaS, and how many there are of each kind. Finds none.

use std::sync::Arc;

use jiff::Timestamp;

use crate::event::Dialect;
use crate::event::RecordKind;

/// What the directory lacks of what IDaaS says of one record. `Debug` shows ids and names.
#[derive(Debug, Clone)]
pub struct Difference {
    pub step: Step,
    pub kind: RecordKind,
    pub endpoint: Arc<str>,
    /// In the directory.
    pub id: String,
    /// `username` or `code`.
    pub name: Option<String>,
    pub(super) dialect: Dialect,
    /// The id at IDaaS; `None` of what is gone there.
    pub(super) listed: Option<String>,
    /// Which facts an employee's record takes over; of a customer's it takes all.
    pub(super) facts: Vec<&'static str>,
    pub(super) disabled: Option<bool>,
    /// When the directory's record was last changed; `None` where there is none.
    pub(super) known_at: Option<Timestamp>,
}

/// What makes the directory level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Create,
    Update,
    Delete,
}

impl Step {
    /// The end of the event's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "updated",
            Self::Delete => "deleted",
        }
    }
}

impl Difference {
    /// `RECONCILE_USER_CREATED` and its like.
    pub fn event(&self) -> String {
        format!("RECONCILE_{}_{}", singular(self.kind), self.step.as_str()).to_uppercase()
    }

    /// Organisations stand before the users in them, and fall after them.
    pub(super) fn turn(&self) -> u8 {
        match (self.step, self.kind) {
            (Step::Create | Step::Update, RecordKind::Organization) => 0,
            (Step::Create | Step::Update, RecordKind::User) => 1,
            (Step::Delete, RecordKind::User) => 2,
            (Step::Delete, RecordKind::Organization) => 3,
        }
    }
}

/// How many differences there are, or were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub users: Counts,
    pub organizations: Counts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub created: usize,
    pub updated: usize,
    pub deleted: usize,
}

impl Summary {
    pub(super) fn of(differences: &[Difference]) -> Self {
        let mut summary = Self::default();
        for difference in differences {
            let counts = match difference.kind {
                RecordKind::User => &mut summary.users,
                RecordKind::Organization => &mut summary.organizations,
            };
            let count = match difference.step {
                Step::Create => &mut counts.created,
                Step::Update => &mut counts.updated,
                Step::Delete => &mut counts.deleted,
            };
            *count += 1;
        }
        summary
    }
}

pub fn singular(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => "user",
        RecordKind::Organization => "organization",
    }
}

pub(super) fn plural(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => "users",
        RecordKind::Organization => "organizations",
    }
}
