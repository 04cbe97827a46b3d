//! What happened at IDaaS: names, subjects and the document that handlers get. Knows neither HTTP nor SQL.

mod document;
mod id;
mod message;
mod name;
mod pattern;
mod printable;

pub use document::Document;
pub use document::UserDetails;
pub use document::rfc3339;
pub use id::EventIds;
pub use message::AmbiguousMessage;
pub use message::Attributes;
pub use message::MAX_DEPTH;
pub use message::Message;
pub use message::is_deeper;
pub use name::Action;
pub use name::Dialect;
pub use name::RecordKind;
pub use name::is_known;
pub use name::routed;
pub use pattern::Pattern;
pub use pattern::PatternError;
pub use printable::printable;
