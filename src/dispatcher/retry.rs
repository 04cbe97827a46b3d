//! How long to wait before an attempt is repeated. Decides nothing else about it.

use std::time::Duration;

/// Longer waits than this are nobody's intention: a receiver that asks for more is asked again sooner.
const LONGEST_WISH: Duration = Duration::from_hours(24);

/// `first`, doubled with each failed attempt up to `most`, less a random part of up to a half of it, so that
/// what failed together does not come again together. A receiver's own wish is never undercut.
pub(super) fn delay(
    first: Duration,
    most: Duration,
    failed_attempts: u32,
    wish: Option<Duration>,
    random: u32,
) -> Duration {
    let doublings = failed_attempts.saturating_sub(1).min(31);
    let full = first.saturating_mul(1 << doublings).min(most);
    let jittered = full.mul_f64(1.0 - 0.5 * f64::from(random) / f64::from(u32::MAX));
    jittered.max(wish.unwrap_or_default().min(LONGEST_WISH))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::delay;

    #[test]
    fn delays_double_up_to_the_most_and_shrink_by_half_at_most() {
        let (first, most) = (Duration::from_secs(1), Duration::from_mins(1));
        for (attempts, seconds) in
            [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)]
        {
            let full = Duration::from_secs(seconds);
            assert_eq!(delay(first, most, attempts, None, 0), full);
            assert_eq!(delay(first, most, attempts, None, u32::MAX), full / 2);
        }
    }

    #[test]
    fn a_receivers_wish_is_kept_within_a_day() {
        let wish = |seconds| {
            let wish = Some(Duration::from_secs(seconds));
            delay(Duration::from_secs(8), Duration::from_mins(1), 1, wish, 0).as_secs()
        };
        assert_eq!([wish(0), wish(30), wish(7200), wish(u64::MAX)], [8, 30, 7200, 86_400]);
    }
}
