//! Reads fields whose types the vendor leaves open: boolean or text, number or text, null or absent. Knows no record.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::value::RawValue;

/// Seconds since 1970 stay below this until the year 5138; milliseconds have been above since 1973.
const SMALLEST_MILLISECONDS: i64 = 100_000_000_000;

/// Text as it is, a number or a boolean as written; empty text is none.
pub(super) fn text(field: Option<&RawValue>) -> Option<String> {
    let json = field?.get();
    let text = match json.bytes().next()? {
        b'"' => serde_json::from_str(json).ok()?,
        b'{' | b'[' => return None,
        _ if json == "null" => return None,
        _ => json.to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

pub(super) fn flag(field: Option<&RawValue>) -> Option<bool> {
    let text = text(field)?;
    let is = |words: [&str; 2]| words.iter().any(|it| text.trim().eq_ignore_ascii_case(it));
    if is(["true", "1"]) {
        Some(true)
    } else if is(["false", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A whole number, not negative.
pub(super) fn count(field: Option<&RawValue>) -> Option<u64> {
    text(field)?.trim().parse().ok()
}

/// A span in seconds, also with a fraction.
pub(super) fn seconds(field: Option<&RawValue>) -> Option<Duration> {
    Duration::try_from_secs_f64(text(field)?.trim().parse().ok()?).ok()
}

/// `yyyy-MM-dd HH:mm:ss`, which is meant `zone` seconds east of UTC (PROTOCOL.md 7), RFC 3339, or seconds or
/// milliseconds since 1970.
pub(super) fn time(field: Option<&RawValue>, zone: i32) -> Option<Timestamp> {
    let text = text(field)?;
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return if number < SMALLEST_MILLISECONDS {
            Timestamp::from_second(number).ok()
        } else {
            Timestamp::from_millisecond(number).ok()
        };
    }
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let local: DateTime = text.parse().ok()?;
    Offset::from_seconds(zone).ok()?.to_timestamp(local).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    const CHINA: i32 = 8 * 3600;

    fn read<T>(json: &str, reader: impl Fn(Option<&RawValue>) -> Option<T>) -> Option<T> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        reader(Some(&raw))
    }

    #[test]
    fn text_may_be_a_number_of_any_length() {
        for (json, text) in [
            (r#""a\u4e00\n""#, Some("a一\n")),
            ("12345678901234567890123", Some("12345678901234567890123")),
            ("true", Some("true")),
            (r#""""#, None),
            ("null", None),
            ("{}", None),
            ("[1]", None),
        ] {
            assert_eq!(read(json, super::text).as_deref(), text, "{json}");
        }
    }

    #[test]
    fn flags_may_be_text_or_numbers() {
        for json in ["true", r#""true""#, r#""TRUE ""#, "1", r#""1""#] {
            assert_eq!(read(json, super::flag), Some(true), "{json}");
        }
        for json in ["false", r#""False""#, "0", r#""0""#] {
            assert_eq!(read(json, super::flag), Some(false), "{json}");
        }
        for json in ["null", r#""""#, r#""perhaps""#, "2", "{}"] {
            assert_eq!(read(json, super::flag), None, "{json}");
        }
    }

    #[test]
    fn counts_may_be_text() {
        for (json, count) in [("7", Some(7)), (r#""7""#, Some(7)), ("-1", None), ("7.5", None)] {
            assert_eq!(read(json, super::count), count, "{json}");
        }
    }

    #[test]
    fn times_are_local_to_the_tenant_unless_they_say_otherwise() {
        let time = |json| read(json, |field| super::time(field, CHINA));
        for json in [
            r#""2026-07-09 23:21:53""#,
            r#""2026-07-09T23:21:53""#,
            r#""2026-07-09T15:21:53Z""#,
            r#""2026-07-09 17:21:53+02:00""#,
            "1783610513",
            "1783610513000",
            r#""1783610513000""#,
        ] {
            assert_eq!(time(json).unwrap().to_string(), "2026-07-09T15:21:53Z", "{json}");
        }
        for json in ["null", r#""soon""#, r#""2026-13-09 23:21:53""#, "9223372036854775807"] {
            assert_eq!(time(json), None, "{json}");
        }
    }
}
