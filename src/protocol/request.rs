//! The request body, read without copying: every field is the text that was signed. Verifies nothing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

use crate::event::Dialect;
use crate::event::MAX_DEPTH;
use crate::event::is_deeper;

const MAX_NONCE: usize = 128;
const MAX_EVENT: usize = 64;

/// Timestamps from here on are milliseconds (PROTOCOL.md 1 shows both).
const FIRST_MILLISECONDS: u64 = 100_000_000_000;

/// One well-formed request. Nothing in it is to be believed before its signature is verified.
#[derive(Debug)]
pub struct Request<'a> {
    pub dialect: Dialect,
    pub nonce: Cow<'a, str>,
    pub timestamp: RequestTime<'a>,
    /// As received, blanks included: that is what was signed.
    pub event: Cow<'a, str>,
    pub data: Data<'a>,
    /// Absent where the field is missing, null or empty.
    pub signature: Option<Cow<'a, str>>,
}

/// The `timestamp` field: the digits that were signed and the instant that they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTime<'a> {
    digits: Cow<'a, str>,
    value: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data<'a> {
    Text(Cow<'a, str>),
    /// A JSON object, byte for byte; only where the endpoint is unencrypted.
    Object(&'a str),
}

/// Why a body is no request. Every variant is the sender's fault and is answered 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("the body is not a JSON object (line {line}, column {column})")]
    Malformed { line: usize, column: usize },
    #[error("the body has 128 or more levels of JSON")]
    TooDeep,
    #[error("field {0} occurs twice")]
    Repeated(&'static str),
    #[error("a further field occurs twice")]
    RepeatedFurther,
    #[error("fields of both dialects: {0} belongs to EIAM, {1} to CIAM")]
    MixedDialects(&'static str, &'static str),
    #[error("field {0} is missing")]
    Missing(&'static str),
    #[error("field {field} must be {wanted}")]
    WrongType { field: &'static str, wanted: &'static str },
    #[error("field nonce must be 1 to 128 printable ASCII characters without &")]
    Nonce,
    #[error("field {0} must be 1 to 64 printable ASCII characters without &, not blanks alone")]
    Event(&'static str),
    #[error("field timestamp must be digits only, at most 64 bits")]
    Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a timestamp is digits only, at most 64 bits")]
pub struct TimestampError;

impl<'a> Request<'a> {
    /// Reads a body. `dialect` is what the endpoint insists on; `None` goes by the field names.
    pub fn parse(body: &'a [u8], dialect: Option<Dialect>) -> Result<Self, RequestError> {
        let body = str::from_utf8(body).map_err(|_position| RequestError::NotUtf8)?;
        if is_deeper(body, MAX_DEPTH) {
            return Err(RequestError::TooDeep);
        }
        let fields: Fields<'_> = serde_json::from_str(body).map_err(|error| {
            RequestError::Malformed { line: error.line(), column: error.column() }
        })?;
        if let Some(error) = fields.fault {
            return Err(error);
        }
        let dialect = fields.dialect(dialect)?;
        let (event, signature) = match dialect {
            Dialect::Eiam => (("eventType", fields.event_type), ("signature", fields.signature)),
            Dialect::Ciam => (("event", fields.event), ("sign", fields.sign)),
        };
        Ok(Self {
            dialect,
            nonce: nonce(required("nonce", fields.nonce)?)?,
            timestamp: RequestTime::read(required("timestamp", fields.timestamp)?)?,
            event: event_name(event.0, required(event.0, event.1)?)?,
            data: data(required("data", fields.data)?)?,
            signature: signature_text(signature.0, signature.1)?,
        })
    }
}

impl<'a> RequestTime<'a> {
    pub fn new(digits: impl Into<Cow<'a, str>>) -> Result<Self, TimestampError> {
        let digits = digits.into();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TimestampError);
        }
        let value = digits.parse().map_err(|_overflow| TimestampError)?;
        Ok(Self { digits, value })
    }

    fn read(raw: &'a RawValue) -> Result<Self, RequestError> {
        let text = raw.get();
        let digits =
            if text.starts_with('"') { string("timestamp", raw)? } else { Cow::Borrowed(text) };
        Self::new(digits).map_err(|TimestampError| RequestError::Timestamp)
    }

    /// The text that was signed.
    pub fn as_str(&self) -> &str {
        &self.digits
    }

    /// Milliseconds since 1970, saturating.
    pub fn as_millisecond(&self) -> i64 {
        let milliseconds =
            if self.value < FIRST_MILLISECONDS { self.value * 1000 } else { self.value };
        i64::try_from(milliseconds).unwrap_or(i64::MAX)
    }

    /// `None` beyond the year 9999, which RFC 3339 cannot say.
    pub fn as_timestamp(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.as_millisecond()).ok()
    }
}

impl Data<'_> {
    /// The text that was signed.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Object(text) => text,
        }
    }
}

fn required<'a>(
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<&'a RawValue, RequestError> {
    raw.ok_or(RequestError::Missing(field))
}

fn nonce(raw: &RawValue) -> Result<Cow<'_, str>, RequestError> {
    let nonce = string("nonce", raw)?;
    if is_token(&nonce, MAX_NONCE) { Ok(nonce) } else { Err(RequestError::Nonce) }
}

fn event_name<'a>(field: &'static str, raw: &'a RawValue) -> Result<Cow<'a, str>, RequestError> {
    let event = string(field, raw)?;
    let fine = is_token(&event, MAX_EVENT) && event.bytes().any(|byte| byte != b' ');
    if fine { Ok(event) } else { Err(RequestError::Event(field)) }
}

/// The signed text has no escaping: an `&` inside a field would let two requests share a signature.
fn is_token(text: &str, longest: usize) -> bool {
    let printable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'&';
    (1..=longest).contains(&text.len()) && text.bytes().all(printable)
}

fn data(raw: &RawValue) -> Result<Data<'_>, RequestError> {
    match raw.get() {
        text if text.starts_with('"') => string("data", raw).map(Data::Text),
        object if object.starts_with('{') => Ok(Data::Object(object)),
        _ => Err(RequestError::WrongType { field: "data", wanted: "a string" }),
    }
}

fn signature_text<'a>(
    field: &'static str,
    raw: Option<&'a RawValue>,
) -> Result<Option<Cow<'a, str>>, RequestError> {
    match raw {
        None => Ok(None),
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) => {
            let text = string(field, raw)?;
            Ok((!text.is_empty()).then_some(text))
        }
    }
}

fn string<'a>(field: &'static str, raw: &'a RawValue) -> Result<Cow<'a, str>, RequestError> {
    match serde_json::from_str(raw.get()) {
        Ok(Text(text)) => Ok(text),
        Err(_not_a_string) => Err(RequestError::WrongType { field, wanted: "a string" }),
    }
}

#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields of a body as they stand in it; `None` where one is missing.
#[derive(Default)]
struct Fields<'a> {
    nonce: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    event_type: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    signature: Option<&'a RawValue>,
    sign: Option<&'a RawValue>,
    /// Kept aside, since an error inside the visitor would lose its type.
    fault: Option<RequestError>,
}

impl<'a> Fields<'a> {
    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<&'a RawValue>)> {
        Some(match name {
            "nonce" => ("nonce", &mut self.nonce),
            "timestamp" => ("timestamp", &mut self.timestamp),
            "eventType" => ("eventType", &mut self.event_type),
            "event" => ("event", &mut self.event),
            "data" => ("data", &mut self.data),
            "signature" => ("signature", &mut self.signature),
            "sign" => ("sign", &mut self.sign),
            _ => return None,
        })
    }

    fn dialect(&self, wanted: Option<Dialect>) -> Result<Dialect, RequestError> {
        let eiam = self.event_type.map(|_| "eventType").or(self.signature.map(|_| "signature"));
        let ciam = self.event.map(|_| "event").or(self.sign.map(|_| "sign"));
        match (eiam, ciam, wanted) {
            (Some(eiam), Some(ciam), _) => Err(RequestError::MixedDialects(eiam, ciam)),
            (_, _, Some(wanted)) => Ok(wanted),
            (Some(_), None, None) => Ok(Dialect::Eiam),
            (None, Some(_), None) => Ok(Dialect::Ciam),
            (None, None, None) => Err(RequestError::Missing("eventType (EIAM) or event (CIAM)")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        let mut further = HashSet::new();
        while let Some(Text(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let fault = match fields.slot(&name) {
                Some((name, slot)) => slot.replace(value).map(|_| RequestError::Repeated(name)),
                None if further.insert(name) => None,
                None => Some(RequestError::RepeatedFurther),
            };
            fields.fault = fields.fault.or(fault);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::ProptestConfig;
    use proptest::prop_assert;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::Data;
    use super::Request;
    use super::RequestError;
    use super::RequestTime;
    use crate::event::Dialect;

    const EIAM: &str = r#"{"nonce":"n","timestamp":1783611176476,"eventType":"CHECK_URL","data":"d","signature":"s"}"#;

    fn refusal(body: &str) -> RequestError {
        Request::parse(body.as_bytes(), None).unwrap_err()
    }

    #[test]
    fn both_dialects_are_told_apart_by_their_field_names() {
        let request = Request::parse(EIAM.as_bytes(), None).unwrap();
        assert_eq!(request.dialect, Dialect::Eiam);
        assert_eq!(request.signature.as_deref(), Some("s"));
        let ciam = r#"{"nonce":"n","timestamp":"1783611176","event":"USER_LOGIN ","data":"d","sign":"","more":[1]}"#;
        let request = Request::parse(ciam.as_bytes(), Some(Dialect::Ciam)).unwrap();
        assert_eq!(request.event, "USER_LOGIN ");
        assert_eq!(request.timestamp.as_millisecond(), 1_783_611_176_000);
        assert_eq!(request.signature, None);
    }

    #[test]
    fn each_malformed_field_is_named() {
        let with = |field: &str, value: &str| {
            let mut fields = vec![
                ("nonce", "\"n\""),
                ("timestamp", "1783611176476"),
                ("eventType", "\"CHECK_URL\""),
                ("data", "\"d\""),
                ("signature", "\"s\""),
            ];
            fields.retain(|(name, _)| *name != field);
            fields.push((field, value));
            let fields: Vec<String> =
                fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            refusal(&format!("{{{}}}", fields.join(",")))
        };
        let long_nonce = format!("\"{}\"", "n".repeat(129));
        let long_event = format!("\"{}\"", "E".repeat(65));
        for nonce in ["\"\"", "\"a&b\"", "\"a\\u0000\"", "\"é\"", "\"a\\tb\"", &long_nonce] {
            assert_eq!(with("nonce", nonce), RequestError::Nonce, "{nonce}");
        }
        for event in ["\"\"", "\"  \"", "\"A&B\"", "\"A\\n\"", "\"\\u202eA\"", &long_event] {
            assert_eq!(with("eventType", event), RequestError::Event("eventType"), "{event}");
        }
        for time in ["-1", "-0", "1.5", "1e13", "\"\"", "\" 1\"", "\"1e5\"", "18446744073709551616"]
        {
            assert_eq!(with("timestamp", time), RequestError::Timestamp, "{time}");
        }
        for (field, value) in [
            ("nonce", "7"),
            ("nonce", "null"),
            ("timestamp", "\"\\ud800\""),
            ("eventType", "[]"),
            ("data", "null"),
            ("data", "7"),
            ("data", "[\"d\"]"),
            ("data", "\"\\ud800\""),
            ("signature", "7"),
            ("signature", "{}"),
            ("signature", "false"),
        ] {
            let error = with(field, value);
            assert!(
                matches!(error, RequestError::WrongType { field: named, .. } if named == field)
                    || error == RequestError::Timestamp,
                "{field} {value} {error}"
            );
        }
    }

    #[test]
    fn repeated_mixed_and_missing_fields_are_refused() {
        let twice =
            |again: &str| refusal(&EIAM.replace("{\"nonce\"", &format!("{{{again},\"nonce\"")));
        assert_eq!(twice("\"data\":\"x\""), RequestError::Repeated("data"));
        assert_eq!(twice("\"d\\u0061ta\":\"x\""), RequestError::Repeated("data"));
        assert_eq!(twice("\"signature\":null"), RequestError::Repeated("signature"));
        assert_eq!(twice("\"x\":1,\"x\":2"), RequestError::RepeatedFurther);
        assert_eq!(twice("\"sign\":\"\""), RequestError::MixedDialects("eventType", "sign"));
        assert_eq!(twice("\"event\":\"E\""), RequestError::MixedDialects("eventType", "event"));
        for field in ["nonce", "timestamp", "eventType", "data"] {
            let body =
                EIAM.replace(&format!("\"{field}\""), &format!("\"{}\"", field.to_uppercase()));
            assert_eq!(refusal(&body), RequestError::Missing(field));
        }
        let unsigned = EIAM.replace(",\"signature\":\"s\"", "");
        assert_eq!(Request::parse(unsigned.as_bytes(), None).unwrap().signature, None);
    }

    #[test]
    fn bytes_that_are_no_json_object_are_refused() {
        assert_eq!(Request::parse(b"\"\xff\"", None).unwrap_err(), RequestError::NotUtf8);
        for body in ["", "{", "[]", "null", "\"text\"", "{} {}", "\u{feff}{}", "{\"nonce\":tru}"] {
            assert!(matches!(refusal(body), RequestError::Malformed { .. }), "{body}");
        }
        let nested = |levels: usize| {
            format!(
                "{},\"x\":{}{}}}",
                EIAM.strip_suffix("}").unwrap(),
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        assert!(Request::parse(nested(126).as_bytes(), None).is_ok());
        assert_eq!(refusal(&nested(127)), RequestError::TooDeep);
        assert_eq!(refusal(&nested(10_000)), RequestError::TooDeep);
    }

    #[test]
    fn an_object_as_data_is_kept_byte_for_byte() {
        let body = EIAM.replace("\"d\"", "{ \"id\" : 1e400 ,\"id\":2 }");
        let request = Request::parse(body.as_bytes(), None).unwrap();
        assert_eq!(request.data, Data::Object("{ \"id\" : 1e400 ,\"id\":2 }"));
    }

    #[test]
    fn timestamps_are_seconds_below_ten_to_the_eleventh() {
        for (digits, millisecond) in [
            ("0", 0),
            ("99999999999", 99_999_999_999_000),
            ("100000000000", 100_000_000_000),
            ("0001783611176", 1_783_611_176_000),
            ("18446744073709551615", i64::MAX),
        ] {
            assert_eq!(RequestTime::new(digits).unwrap().as_millisecond(), millisecond, "{digits}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            let _either_way = Request::parse(&body, None);
        }

        #[test]
        fn any_data_comes_out_as_it_was_put_in(data in ".{0,80}", nonce in "[!-%'-~]{1,128}", seconds in 0_u64..u64::MAX) {
            let body = format!(
                r#"{{"sign":"x","data":{},"event":"USER_LOGIN","nonce":{},"timestamp":{seconds}}}"#,
                serde_json::to_string(&data).unwrap(),
                serde_json::to_string(&nonce).unwrap(),
            );
            let request = Request::parse(body.as_bytes(), None).unwrap();
            prop_assert_eq!(request.data.as_str(), data);
            prop_assert_eq!(&*request.nonce, nonce);
            prop_assert_eq!(request.timestamp.as_str(), seconds.to_string());
            prop_assert!(request.dialect == Dialect::Ciam);
        }
    }
}
