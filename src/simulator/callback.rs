//! One callback before it is sent. Guards nothing: tests put into it whatever they like.

use std::fmt;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event::Dialect;

/// The fields of a request body. Changing one leaves the signature as it is; sign again where that is not the point.
#[derive(Clone, PartialEq, Eq)]
pub struct Callback {
    pub dialect: Dialect,
    pub nonce: String,
    /// A JSON number, or the same in quotes (PROTOCOL.md 1 shows both).
    pub timestamp: String,
    pub event: String,
    /// As sent: the ciphertext where the endpoint is encrypted.
    pub data: String,
    /// Empty where nothing is signed.
    pub signature: String,
}

impl Callback {
    /// The body to post. A `timestamp` that is no JSON goes into it as a string.
    pub fn body(&self) -> String {
        let number: Result<&RawValue, _> = serde_json::from_str(&self.timestamp);
        let timestamp = match number {
            Ok(json) => Timestamp::Json(json),
            Err(_not_json) => Timestamp::Text(&self.timestamp),
        };
        let (nonce, event, data, signature) =
            (&*self.nonce, &*self.event, &*self.data, &*self.signature);
        match self.dialect {
            Dialect::Eiam => {
                serde_json::to_string(&Eiam { nonce, timestamp, event, data, signature })
            }
            Dialect::Ciam => {
                serde_json::to_string(&Ciam { nonce, timestamp, event, data, signature })
            }
        }
        .unwrap_or_default()
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("dialect", &self.dialect)
            .field("nonce", &self.nonce)
            .field("timestamp", &self.timestamp)
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Timestamp<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

#[derive(Serialize)]
struct Eiam<'a> {
    nonce: &'a str,
    timestamp: Timestamp<'a>,
    #[serde(rename = "eventType")]
    event: &'a str,
    data: &'a str,
    signature: &'a str,
}

#[derive(Serialize)]
struct Ciam<'a> {
    nonce: &'a str,
    timestamp: Timestamp<'a>,
    event: &'a str,
    data: &'a str,
    #[serde(rename = "sign")]
    signature: &'a str,
}

#[cfg(test)]
mod tests {
    use super::Callback;
    use crate::event::Dialect;

    fn callback(dialect: Dialect, timestamp: &str) -> Callback {
        Callback {
            dialect,
            nonce: "n".to_owned(),
            timestamp: timestamp.to_owned(),
            event: "E".to_owned(),
            data: "18998765432".to_owned(),
            signature: "s".to_owned(),
        }
    }

    #[test]
    fn each_dialect_has_its_own_field_names() {
        let eiam = r#"{"nonce":"n","timestamp":1783610513000,"eventType":"E","data":"18998765432","signature":"s"}"#;
        assert_eq!(callback(Dialect::Eiam, "1783610513000").body(), eiam);
        let ciam =
            r#"{"nonce":"n","timestamp":"1783610513","event":"E","data":"18998765432","sign":"s"}"#;
        assert_eq!(callback(Dialect::Ciam, "\"1783610513\"").body(), ciam);
        assert!(callback(Dialect::Ciam, "soon").body().contains(r#""timestamp":"soon""#));
    }

    #[test]
    fn a_printed_callback_shows_neither_data_nor_signature() {
        let printed = format!("{:?}", callback(Dialect::Eiam, "1"));
        assert!(!printed.contains("18998765432") && !printed.contains("\"s\""), "{printed}");
    }
}
