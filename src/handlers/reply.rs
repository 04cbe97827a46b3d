//! Reads what a receiver answers: the id of the record, where there is one. Finds no fault: most answer something else.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::dispatcher::Reply;

/// How much of an answer is read, in bytes. More is of no use, and an endless one would hold the attempt.
pub(super) const LARGEST_ANSWER: usize = 64 * 1024;

/// `id` of a JSON object: a string, or a number in the very digits of the answer.
pub(super) fn reply(answer: &[u8]) -> Reply {
    Reply { id: id(answer).filter(|it| !it.is_empty()) }
}

fn id(answer: &[u8]) -> Option<String> {
    let answer: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(answer).ok()?;
    let id = answer.get("id")?.get();
    if id.starts_with(|it: char| it == '-' || it.is_ascii_digit()) {
        return Some(id.to_owned());
    }
    serde_json::from_str(id).ok()
}

#[cfg(test)]
mod tests {
    use super::reply;

    #[test]
    fn an_id_is_a_string_or_the_digits_of_a_number() {
        for (answer, id) in [
            (r#"{"id":"7"}"#, "7"),
            (" {\"name\":[{}],\"id\" : \"\\u5f20 a\\\"b\"}\n", "张 a\"b"),
            (r#"{"id":7}"#, "7"),
            (r#"{"id":-7}"#, "-7"),
            (r#"{"id":123456789012345678901234567890}"#, "123456789012345678901234567890"),
            (r#"{"id": 1.50 }"#, "1.50"),
        ] {
            assert_eq!(reply(answer.as_bytes()).id.as_deref(), Some(id), "{answer}");
        }
    }

    #[test]
    fn any_other_answer_has_none() {
        for answer in [
            "",
            "ok",
            "7",
            r#""7""#,
            r#"["7"]"#,
            "{}",
            r#"{"ID":"7"}"#,
            r#"{"id":null}"#,
            r#"{"id":true}"#,
            r#"{"id":["7"]}"#,
            r#"{"id":{"id":"7"}}"#,
            r#"{"id":""}"#,
            r#"{"id":"7""#,
            r#"{"id":"7"}{"id":"8"}"#,
        ] {
            assert_eq!(reply(answer.as_bytes()).id, None, "{answer}");
        }
        assert_eq!(reply(b"{\"id\":\"\xff\"}").id, None);
        assert_eq!(reply("[".repeat(100_000).as_bytes()).id, None);
        let deep = format!("{{\"a\":{}", "[".repeat(60_000));
        assert_eq!(reply(deep.as_bytes()).id, None);
    }
}
