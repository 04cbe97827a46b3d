//! The names of events and what each asks of the receiver. Does not judge whether a name is acceptable on the wire.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The two products of the vendor, which share one callback idea (PROTOCOL.md, head).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Employees: fields `eventType` and `signature`, a JSON answer.
    Eiam,
    /// Customers: fields `event` and `sign`, an answer of status 200 alone.
    Ciam,
}

impl Dialect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eiam => "eiam",
            Self::Ciam => "ciam",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a dialect is \"eiam\" or \"ciam\"")]
pub struct UnknownDialect;

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        match text {
            "eiam" => Ok(Self::Eiam),
            "ciam" => Ok(Self::Ciam),
            _ => Err(UnknownDialect),
        }
    }
}

/// What an event asks of the receiver, by its name; the EIAM answer depends on it (PROTOCOL.md 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    CheckUrl,
    Create,
    Update,
    Delete,
    Other,
}

impl Action {
    /// By the routed name. `CREATE_GROUP`, which no page lists, is still a CREATE: the answer owes it an id.
    pub fn of(dialect: Dialect, event: &str) -> Self {
        match (dialect, event) {
            (Dialect::Eiam, "CHECK_URL") => Self::CheckUrl,
            (Dialect::Eiam, _) if event.starts_with("CREATE_") => Self::Create,
            (Dialect::Eiam, _) if event.starts_with("UPDATE_") => Self::Update,
            (Dialect::Eiam, _) if event.starts_with("DELETE_") => Self::Delete,
            (Dialect::Ciam | Dialect::Eiam, _) => Self::Other,
        }
    }
}

/// The two kinds of record that IDaaS pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    User,
    Organization,
}

impl RecordKind {
    pub fn of(dialect: Dialect, event: &str) -> Option<Self> {
        match dialect {
            Dialect::Ciam => event.starts_with("USER_").then_some(Self::User),
            Dialect::Eiam if event.ends_with("_USER") => Some(Self::User),
            Dialect::Eiam if event.ends_with("_ORGANIZATION") => Some(Self::Organization),
            Dialect::Eiam => None,
        }
    }

    /// The attribute by which the tenant names a record before it has an id.
    pub fn name_attribute(self) -> &'static str {
        match self {
            Self::User => "username",
            Self::Organization => "code",
        }
    }
}

/// The name without its blanks: vendor samples carry some (PROTOCOL.md 1), the console shows none.
pub fn routed(event: &str) -> Cow<'_, str> {
    if event.contains(' ') { Cow::Owned(event.replace(' ', "")) } else { Cow::Borrowed(event) }
}

/// Whether the vendor documents this event for this dialect (PROTOCOL.md 5).
pub fn is_known(dialect: Dialect, event: &str) -> bool {
    match dialect {
        Dialect::Eiam => matches!(
            event,
            "CHECK_URL"
                | "CREATE_USER"
                | "UPDATE_USER"
                | "DELETE_USER"
                | "CREATE_ORGANIZATION"
                | "UPDATE_ORGANIZATION"
                | "DELETE_ORGANIZATION"
        ),
        Dialect::Ciam => matches!(
            event,
            "USER_LOGIN"
                | "USER_REGISTER"
                | "USER_CREATE"
                | "USER_UPDATE_MOBILE"
                | "USER_UPDATE_EMAIL"
                | "USER_UPDATE_PWD"
                | "USER_UPDATE"
                | "USER_ENABLE"
                | "USER_DISABLE"
                | "USER_DELETE"
                | "USER_SOCIAL_BIND"
                | "USER_SOCIAL_UNBIND"
                | "USER_SIGN_AGREEMENT"
        ),
    }
}
