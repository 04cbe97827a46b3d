//! What stands in a row of the store. Asks for none.

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio_postgres::Error;
use tokio_postgres::Row;

use crate::event::Dialect;
use crate::event::Message;
use crate::event::RecordKind;
use crate::event::UserDetails;
use crate::inbox::Record;
use crate::inbox::State;
use crate::inbox::StoredEvent;

/// The columns that [`stored_event`] reads, in its order.
pub(super) const EVENT_COLUMNS: &str = "events.id, events.endpoint, events.dialect, events.event, \
     events.subject, events.requested_at, events.received_at, events.message, \
     details.sequence IS NOT NULL, details.\"user\"";

/// The columns that [`record`] reads, in its order.
pub(super) const RECORD_COLUMNS: &str =
    "kind, endpoint, id, name, disabled, deleted, attributes, updated_at, changed_at";

pub(super) fn stored_event(row: &Row) -> Result<StoredEvent, Error> {
    let dialect: &str = row.try_get(2)?;
    let message: &[u8] = row.try_get(7)?;
    Ok(StoredEvent {
        id: row.try_get(0)?,
        endpoint: row.try_get(1)?,
        dialect: if dialect == "ciam" { Dialect::Ciam } else { Dialect::Eiam },
        event: row.try_get(3)?,
        subject: row.try_get(4)?,
        requested_at: timestamp(row.try_get(5)?),
        received_at: timestamp(row.try_get(6)?),
        message: Message::new(String::from_utf8_lossy(message)),
        user: match (row.try_get(8)?, row.try_get::<_, Option<String>>(9)?) {
            (false, _) => UserDetails::Unasked,
            (true, None) => UserDetails::Missing,
            (true, Some(user)) => {
                RawValue::from_string(user).map_or(UserDetails::Unasked, UserDetails::Found)
            }
        },
    })
}

pub(super) fn record(row: &Row) -> Result<Record, Error> {
    let kind: &str = row.try_get(0)?;
    Ok(Record {
        kind: if kind == "user" { RecordKind::User } else { RecordKind::Organization },
        endpoint: row.try_get(1)?,
        id: row.try_get(2)?,
        name: row.try_get(3)?,
        disabled: row.try_get(4)?,
        deleted: row.try_get(5)?,
        attributes: row.try_get(6)?,
        updated_at: timestamp(row.try_get(7)?),
        changed_at: row.try_get::<_, Option<i64>>(8)?.map(timestamp),
    })
}

pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX)
}

pub(super) fn kind_text(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::User => "user",
        RecordKind::Organization => "organization",
    }
}

pub(super) fn state(number: i16) -> State {
    match number {
        0 => State::Waiting,
        1 => State::Running,
        2 => State::Done,
        _ => State::Dead,
    }
}

pub(super) fn number(state: State) -> i16 {
    match state {
        State::Waiting => 0,
        State::Running => 1,
        State::Done => 2,
        State::Dead => 3,
    }
}
