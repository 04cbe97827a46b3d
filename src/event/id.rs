//! Ids of events. Gives none to records: those are the directory's.

use std::sync::Mutex;
use std::sync::PoisonError;

use jiff::Timestamp;
use uuid::ContextV7;
use uuid::Uuid;

/// Makes `UUIDv7`s (RFC 9562, 5.7), each larger than the one before within this process.
#[derive(Default)]
pub struct EventIds(Mutex<ContextV7>);

impl EventIds {
    pub fn next(&self, at: Timestamp) -> Uuid {
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
        let context = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::new_v7(uuid::Timestamp::from_unix(&*context, seconds, nanoseconds))
    }
}
