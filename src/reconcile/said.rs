//! What a JSON value says, whichever way it is written: IDaaS writes one thing as text here and as a boolean there. Knows no field.

use serde_json::Value;

/// Whether two JSON texts say the same: a number and its digits as text do, and nothing, null and empty text do.
pub(super) fn same(left: &str, right: &str) -> bool {
    left == right || said(left) == said(right)
}

/// Whether a JSON text says this plain text.
pub(super) fn says(json: &str, plain: &str) -> bool {
    said(json) == text(&Value::from(plain))
}

/// The text of a scalar, and for the rest a text that only what says the same shares.
fn said(json: &str) -> String {
    // A number keeps its digits, however many they are.
    if json.starts_with(|it: char| it == '-' || it.is_ascii_digit()) {
        return json.to_owned();
    }
    serde_json::from_str(json).map_or_else(|_unreadable| json.to_owned(), |value| text(&value))
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.eq_ignore_ascii_case("true") => "true".to_owned(),
        Value::String(text) if text.eq_ignore_ascii_case("false") => "false".to_owned(),
        Value::String(text) => text.clone(),
        // Lists at IDaaS are sets: organisations, roles.
        Value::Array(values) => joined('[', values.iter().map(text)),
        Value::Object(fields) => {
            let said = fields.iter().map(|(name, value)| (name, text(value)));
            let said = said.filter(|(_, text)| !text.is_empty());
            joined('{', said.map(|(name, text)| format!("{}:{name}{text}", name.len())))
        }
    }
}

/// Each part with its length, so that no two lists make one text.
fn joined(bracket: char, parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.map(|it| format!("{}:{it}", it.len())).collect();
    parts.sort_unstable();
    format!("{bracket}{}", parts.concat())
}

#[cfg(test)]
mod tests {
    use super::same;
    use super::says;

    #[test]
    fn another_way_to_write_it_is_no_difference() {
        for (left, right) in [
            (r#""a""#, r#""\u0061""#),
            ("1", r#""1""#),
            ("false", r#""FALSE""#),
            ("null", r#""""#),
            (r#"{"a":1,"b":null}"#, r#"{ "a": "1" }"#),
            (r#"[{"o":"1"},{"o":2}]"#, r#"[{"o":"2"},{"o":1}]"#),
        ] {
            assert!(same(left, right), "{left} {right}");
        }
    }

    #[test]
    fn plain_text_may_be_said_as_a_number_and_a_name_may_be_true() {
        for (json, plain) in
            [("189", "189"), (r#""Li""#, "Li"), (r#""True""#, "True"), ("null", "")]
        {
            assert!(says(json, plain), "{json} {plain}");
        }
        assert!(!says(r#""Li""#, "li"));
    }

    #[test]
    fn another_meaning_is_one() {
        for (left, right) in [
            (r#""a""#, r#""A""#),
            ("12345678901234567890123", "12345678901234567890124"),
            ("true", "null"),
            (r#"["a,b"]"#, r#"["a","b"]"#),
            (r#"[["a"],"b"]"#, r#"[["a","b"]]"#),
            (r#"{"a":"b"}"#, r#"{"ab":""}"#),
        ] {
            assert!(!same(left, right), "{left} {right}");
        }
    }
}
