//! A clock that stands still until a test moves it.

use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;

use bamboohook::clock::Clock;
use jiff::Timestamp;

/// 2026-07-09T15:32:56.476Z
const START: i64 = 1_783_611_176_476;

/// Milliseconds since 1970.
pub(crate) struct MovableClock(AtomicI64);

impl MovableClock {
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(START))
    }

    pub(crate) fn now_in_milliseconds(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Forward, or back where `milliseconds` is negative.
    pub(crate) fn move_by(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_in_milliseconds()).unwrap()
    }
}
