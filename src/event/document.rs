//! The document that handlers get: one event in the JSON form of CloudEvents 1.0. Holds no transport.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::event::Dialect;
use crate::event::Message;

/// One attempt at one event, as handlers see it.
///
/// `Debug` shows no message content, so a handler may log it.
#[derive(Clone)]
pub struct Document {
    /// `UUIDv7`; the same for every attempt, so handlers recognise a repetition by it.
    pub id: Uuid,
    pub endpoint: String,
    pub dialect: Dialect,
    /// The event's name without blanks.
    pub event: String,
    /// The user or organisation that the event is about. Events of one subject arrive in order.
    pub subject: Option<String>,
    /// What the request's `timestamp` says; the sender's clock.
    pub time: Timestamp,
    pub received_at: Timestamp,
    /// Counts from 1.
    pub attempt: u32,
    pub message: Message,
    pub user: UserDetails,
}

/// What the IDaaS API says of the user that an event names.
#[derive(Clone, Debug)]
pub enum UserDetails {
    /// Not asked for, or the event names no IDaaS user.
    Unasked,
    /// IDaaS knows no such user (any more).
    Missing,
    /// The API's answer, as received.
    Found(Box<RawValue>),
}

impl Document {
    /// The structured mode of CloudEvents 1.0, media type `application/cloudevents+json`.
    ///
    /// <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>
    pub fn to_json(&self) -> String {
        let text;
        let message = if let Some(json) = self.message.as_json() {
            json
        } else {
            text = serde_json::value::to_raw_value(self.message.as_str()).unwrap_or_default();
            &text
        };
        let user = match &self.user {
            UserDetails::Unasked => None,
            UserDetails::Missing => Some(RawValue::NULL),
            UserDetails::Found(user) => Some(&**user),
        };
        let envelope = CloudEvent {
            specversion: "1.0",
            id: self.id,
            source: format_args!("/endpoints/{}", self.endpoint),
            kind: format_args!("com.bamboocloud.idaas.{}", self.event),
            subject: self.subject.as_deref(),
            time: rfc3339(self.time),
            datacontenttype: "application/json",
            data: Data {
                event: &self.event,
                endpoint: &self.endpoint,
                dialect: self.dialect.as_str(),
                received_at: rfc3339(self.received_at),
                attempt: self.attempt,
                message,
                user,
            },
        };
        serde_json::to_string(&envelope).unwrap_or_default()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("id", &self.id)
            .field("endpoint", &self.endpoint)
            .field("event", &self.event)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// RFC 3339 in UTC with milliseconds, which is as exact as IDaaS speaks.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: fmt::Arguments<'a>,
    #[serde(rename = "type")]
    kind: fmt::Arguments<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    event: &'a str,
    endpoint: &'a str,
    dialect: &'static str,
    received_at: String,
    attempt: u32,
    message: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::Document;
    use super::UserDetails;
    use crate::event::Dialect;
    use crate::event::Message;

    fn document(message: &str, user: UserDetails) -> Document {
        Document {
            id: Uuid::nil(),
            endpoint: "default".to_owned(),
            dialect: Dialect::Ciam,
            event: "USER_CREATE".to_owned(),
            subject: Some("7".to_owned()),
            time: Timestamp::from_millisecond(1_783_610_513_000).unwrap(),
            received_at: Timestamp::from_millisecond(1_783_610_513_042).unwrap(),
            attempt: 1,
            message: Message::new(message),
            user,
        }
    }

    #[test]
    fn the_document_is_a_cloud_event() {
        let json = document("20200223-34EE", UserDetails::Unasked).to_json();
        insta::assert_snapshot!(json, @r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000000","source":"/endpoints/default","type":"com.bamboocloud.idaas.USER_CREATE","subject":"7","time":"2026-07-09T15:21:53.000Z","datacontenttype":"application/json","data":{"event":"USER_CREATE","endpoint":"default","dialect":"ciam","received_at":"2026-07-09T15:21:53.042Z","attempt":1,"message":"20200223-34EE"}}"#);
    }

    #[test]
    fn json_messages_are_embedded_as_received_and_a_missing_user_is_null() {
        let json = document(r#"{"id":1e400, "n":"R&D"}"#, UserDetails::Missing).to_json();
        assert!(json.ends_with(r#""message":{"id":1e400, "n":"R&D"},"user":null}}"#), "{json}");
    }
}
