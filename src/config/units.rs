//! Durations, sizes and offsets as text. Knows no keys; the limits of each setting are its reader's.

use std::time::Duration;

const NANOSECOND_DIGITS: usize = 9;
/// Far beyond any use, and small enough that adding it to any clock cannot overflow.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// An integer or decimal number, directly followed by its unit.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let unit_nanos: u128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        "d" => 86_400 * 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (digits(whole)?, Some(fraction)),
        None => (digits(number)?, None),
    };
    let mut nanos = whole.checked_mul(unit_nanos)?;
    if let Some(fraction) = fraction {
        if fraction.len() > NANOSECOND_DIGITS {
            return None;
        }
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        nanos = nanos.checked_add(digits(fraction)?.checked_mul(unit_nanos)? / scale)?;
    }
    let duration = Duration::from_nanos(u64::try_from(nanos).ok()?);
    (duration <= LONGEST).then_some(duration)
}

/// Bytes.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    usize::try_from(digits(number)?.checked_mul(factor)?).ok()
}

/// Seconds east of UTC of an offset such as `+08:00`.
pub(super) fn offset(text: &str) -> Option<i32> {
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) =
        (i32::try_from(digits(hours)?).ok()?, i32::try_from(digits(minutes)?).ok()?);
    let seconds = hours * 3_600 + minutes * 60;
    (minutes < 60 && seconds <= 14 * 3_600).then_some(sign * seconds)
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.split_at_checked(text.find(|it: char| it.is_ascii_alphabetic())?)
}

/// `u128::from_str` alone would take a sign.
fn digits(text: &str) -> Option<u128> {
    text.bytes().all(|it| it.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;
    use super::offset;
    use super::size;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("0s", 0),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1.5h", 5_400_000),
            ("0.25s", 250),
            ("30d", 2_592_000_000),
            ("36500d", 3_153_600_000_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            " 5m",
            "5m ",
            "-5m",
            "+5m",
            "5M",
            "5min",
            "1h30m",
            ".5s",
            "5.s",
            "1.2.3s",
            "1e3s",
            "off",
            "36501d",
            "99999999999999999999d",
            "340282366920938463463374607431768211456s",
            "0.0000000001s",
            "５m",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_a_whole_number_and_a_binary_unit() {
        for (text, bytes) in
            [("1B", 1), ("256KiB", 262_144), ("1MiB", 1_048_576), ("2GiB", 2_147_483_648)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "1",
            "KiB",
            "1KB",
            "1MB",
            "1kib",
            "1.5KiB",
            "-1B",
            "1 KiB",
            "99999999999999999999GiB",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn offsets_are_seconds_east_of_utc() {
        for (text, seconds) in [
            ("+08:00", 28_800),
            ("-03:30", -12_600),
            ("+00:00", 0),
            ("-00:00", 0),
            ("+14:00", 50_400),
        ] {
            assert_eq!(offset(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "08:00",
            "+8:00",
            "+0800",
            "+08:60",
            "+14:01",
            "+99:00",
            "Z",
            "+ 8:00",
            "Asia/Shanghai",
        ] {
            assert_eq!(offset(text), None, "{text}");
        }
    }
}
