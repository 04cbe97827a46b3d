//! What stands in a row of the store. Asks for none.

use tokio_postgres::Error;
use tokio_postgres::Row;

use crate::event::Message;
use crate::inbox::Record;
use crate::inbox::StoredEvent;
use crate::inbox::delivery::dialect_of;
use crate::inbox::delivery::timestamp;
use crate::inbox::delivery::user_of;
use crate::inbox::record::kind_of;

/// The columns that [`stored_event`] reads, in its order.
pub(super) const EVENT_COLUMNS: &str = "events.id, events.endpoint, events.dialect, events.event, \
     events.subject, events.requested_at, events.received_at, events.message, \
     details.sequence IS NOT NULL, details.\"user\"";

/// The columns that [`record`] reads, in its order.
pub(super) const RECORD_COLUMNS: &str =
    "kind, endpoint, id, name, disabled, deleted, attributes, updated_at, changed_at";

pub(super) fn stored_event(row: &Row) -> Result<StoredEvent, Error> {
    let message: &[u8] = row.try_get(7)?;
    Ok(StoredEvent {
        id: row.try_get(0)?,
        endpoint: row.try_get(1)?,
        dialect: dialect_of(row.try_get(2)?),
        event: row.try_get(3)?,
        subject: row.try_get(4)?,
        requested_at: timestamp(row.try_get(5)?),
        received_at: timestamp(row.try_get(6)?),
        message: Message::new(String::from_utf8_lossy(message)),
        user: user_of(row.try_get(8)?, row.try_get(9)?),
    })
}

pub(super) fn record(row: &Row) -> Result<Record, Error> {
    Ok(Record {
        kind: kind_of(row.try_get(0)?),
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
