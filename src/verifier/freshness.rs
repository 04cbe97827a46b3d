//! Refuses requests whose timestamp is too far from now. Alone it stops no replay inside the window; the inbox does.

use std::time::Duration;

use jiff::Timestamp;

use crate::protocol::RequestTime;

#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// Milliseconds to both sides of now; `None` accepts every timestamp.
    tolerance: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the timestamp is outside the tolerance")]
pub struct StaleRequest;

impl Freshness {
    pub fn new(tolerance: Option<Duration>) -> Self {
        let milliseconds = |it: Duration| i64::try_from(it.as_millis()).unwrap_or(i64::MAX);
        Self { tolerance: tolerance.map(milliseconds) }
    }

    /// The bounds themselves are still fresh.
    pub fn check(&self, at: &RequestTime<'_>, now: Timestamp) -> Result<(), StaleRequest> {
        let Some(tolerance) = self.tolerance else { return Ok(()) };
        let distance = at.as_millisecond().saturating_sub(now.as_millisecond()).saturating_abs();
        if distance <= tolerance { Ok(()) } else { Err(StaleRequest) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::Freshness;
    use crate::protocol::RequestTime;

    #[test]
    fn the_window_is_closed_at_both_ends() {
        let now = Timestamp::from_millisecond(1_783_611_176_476).unwrap();
        let window = Freshness::new(Some(Duration::from_mins(5)));
        for (digits, fresh) in [
            ("1783611176476", true),
            ("1783610876476", true),
            ("1783610876475", false),
            ("1783611476476", true),
            ("1783611476477", false),
            ("1783611176", true),
            ("0", false),
            ("9223372036854775807", false),
            ("18446744073709551615", false),
        ] {
            let at = RequestTime::new(digits).unwrap();
            assert_eq!(window.check(&at, now).is_ok(), fresh, "{digits}");
            assert!(Freshness::new(None).check(&at, now).is_ok());
        }
    }
}
