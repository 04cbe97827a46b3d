//! The decrypted message and what can be read from it. Never prints it: it holds people's data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::Visitor;
use serde_json::value::RawValue;

/// Levels of JSON that are read as such. Most parsers refuse deeper ones, ours and its 128 levels among them:
/// a deeper body is refused, a deeper message handed on as text.
pub const MAX_DEPTH: usize = 127;

/// The top-level attributes of a message that is a JSON object, each as the text it came in, so that
/// numbers of any size keep their digits.
#[derive(Debug)]
pub struct Attributes<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

/// A message names one attribute twice, so two readers could see two different people in it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the message names an attribute twice")]
pub struct AmbiguousMessage;

/// What the sender said, after decryption. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The message as JSON, where it is an object or an array; anything else is text.
    pub fn as_json(&self) -> Option<&RawValue> {
        if self.opens_with(&['{', '[']) { serde_json::from_str(&self.0).ok() } else { None }
    }

    /// The attributes, where the message is a JSON object. `None` where it is anything else.
    pub fn attributes(&self) -> Result<Option<Attributes<'_>>, AmbiguousMessage> {
        if !self.opens_with(&['{']) {
            return Ok(None);
        }
        match serde_json::from_str(&self.0) {
            Ok(attributes) => Ok(Some(attributes)),
            Err(error) if error.is_data() => Err(AmbiguousMessage),
            Err(_not_json) => Ok(None),
        }
    }

    fn opens_with(&self, brackets: &[char]) -> bool {
        let text = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
        text.starts_with(brackets) && !is_deeper(&self.0, MAX_DEPTH)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.0.len())
    }
}

impl Attributes<'_> {
    /// The text of an attribute that names something: a string that is not blank, or a number's digits.
    pub fn name(&self, attribute: &str) -> Option<String> {
        let scalar = self.text(attribute).filter(|text| !text.trim().is_empty())?;
        (!matches!(self.0.get(attribute)?.get(), "true" | "false")).then_some(scalar)
    }

    /// The text of a string, a number or a boolean, whichever way the sender writes it.
    pub fn text(&self, attribute: &str) -> Option<String> {
        text(self.0.get(attribute)?)
    }

    /// The text of the first item of a list.
    pub fn first(&self, attribute: &str) -> Option<String> {
        let items: Vec<&RawValue> = serde_json::from_str(self.0.get(attribute)?.get()).ok()?;
        text(items.first()?)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), *value))
    }
}

fn text(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        raw if raw.starts_with('"') => serde_json::from_str(raw).ok(),
        raw if raw.starts_with(['{', '[']) => None,
        raw => Some(raw.to_owned()),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Attributes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object that names each attribute once")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attributes = BTreeMap::new();
        while let Some(Key(name)) = map.next_key()? {
            if attributes.insert(name, map.next_value()?).is_some() {
                return Err(A::Error::custom(AmbiguousMessage));
            }
        }
        Ok(Attributes(attributes))
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether more than `most` arrays and objects of a JSON text stand inside each other at some place.
///
/// `serde_json` counts no levels where it skips or borrows a value, so the limit needs its own reader.
pub fn is_deeper(json: &str, most: usize) -> bool {
    // Counting brackets wherever they stand is much faster, and hardly ever leaves more to ask.
    if json.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= most {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::Message;
    use super::is_deeper;

    #[test]
    fn objects_and_arrays_are_json_and_everything_else_is_text() {
        for json in ["{}", " [1, 2]", "{\"n\": 1e400}", "\n{\"a\":{\"b\":[]}}"] {
            assert!(Message::new(json).as_json().is_some(), "{json}");
        }
        for text in ["", "text", "12", "\"quoted\"", "{broken", "{} {}", "null", "\u{a0}{}"] {
            assert!(Message::new(text).as_json().is_none(), "{text}");
        }
    }

    #[test]
    fn brackets_inside_strings_are_not_levels() {
        let two_levels = r#"{"a":"[[[{{{","b":["\"[["]}"#;
        assert!(is_deeper(two_levels, 1) && !is_deeper(two_levels, 2));
        let nested = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(Message::new(nested.clone()).as_json().is_some());
        assert!(Message::new(format!("[{nested}]")).as_json().is_none());
    }

    #[test]
    fn a_name_is_a_string_or_a_number_that_is_not_blank() {
        let message =
            Message::new(r#"{"id":"7\u0031","code":1000003,"username":" ","name":null,"x":{}}"#);
        let attributes = message.attributes().unwrap().unwrap();
        assert_eq!(attributes.name("id").as_deref(), Some("71"));
        assert_eq!(attributes.name("code").as_deref(), Some("1000003"));
        for absent in ["username", "name", "x", "other"] {
            assert_eq!(attributes.name(absent), None, "{absent}");
        }
    }

    #[test]
    fn the_first_of_a_list_is_the_text_of_its_first_item() {
        let message = Message::new(r#"{"a":[7,"x"],"b":["x"],"c":[],"d":[[1]],"e":"x","f":null}"#);
        let attributes = message.attributes().unwrap().unwrap();
        let first: Vec<_> =
            ["a", "b", "c", "d", "e", "f", "g"].map(|it| attributes.first(it)).into();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(first, [some("7"), some("x"), None, None, None, None, None]);
    }

    #[test]
    fn an_attribute_named_twice_is_ambiguous() {
        assert!(Message::new(r#"{"id":"1","\u0069d":"2"}"#).attributes().is_err());
        assert!(Message::new(r#"{"a":{"id":1,"id":2}}"#).attributes().is_ok());
        assert!(Message::new("plain").attributes().unwrap().is_none());
    }

    #[test]
    fn a_printed_message_shows_no_content() {
        assert_eq!(format!("{:?}", Message::new("18998765432")), "Message(11 bytes)");
    }
}
