//! The settings in force as TOML, each line with where it came from. Is handed secrets only as [`REDACTED`].

pub(super) const REDACTED: &str = "<redacted>";

/// Tables in the order in which they were first written to.
#[derive(Debug, Default, Clone)]
pub(super) struct Printout {
    tables: Vec<Table>,
}

#[derive(Debug, Clone)]
struct Table {
    path: String,
    lines: Vec<String>,
}

impl Printout {
    /// `value` is TOML already.
    pub(super) fn line(&mut self, path: &str, key: &str, value: &str, origin: &str) {
        let line = format!("{} = {value}  # {origin}", key_text(key));
        match self.tables.iter_mut().find(|it| it.path == path) {
            Some(table) => table.lines.push(line),
            None => self.tables.push(Table { path: path.to_owned(), lines: vec![line] }),
        }
    }

    pub(super) fn to_toml(&self) -> String {
        let tables: Vec<String> = self
            .tables
            .iter()
            .map(|it| format!("[{}]\n{}\n", it.path, it.lines.join("\n")))
            .collect();
        tables.join("\n")
    }
}

/// A TOML string.
pub(super) fn text(value: &str) -> String {
    let mut quoted = String::from('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // Beside control characters: those that turn the direction of the text around.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                quoted.push_str(&escape(character));
            }
            _ if character.is_control() => quoted.push_str(&escape(character)),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A TOML array of strings.
pub(super) fn list<T: AsRef<str>>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|it| text(it.as_ref())).collect();
    format!("[{}]", values.join(", "))
}

/// A TOML key: bare where it can be.
pub(super) fn key_text(key: &str) -> String {
    let bare = !key.is_empty()
        && key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_' || it == b'-');
    if bare { key.to_owned() } else { text(key) }
}

fn escape(character: char) -> String {
    format!("\\u{:04X}", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::key_text;
    use super::text;

    #[test]
    fn whatever_could_end_a_line_or_a_string_is_escaped() {
        assert_eq!(text("a\"b\\c\nd\u{1b}e\u{202e}f"), r#""a\"b\\c\u000Ad\u001Be\u202Ef""#);
        assert_eq!(key_text("X-Key_1"), "X-Key_1");
        assert_eq!(key_text("a.b"), "\"a.b\"");
        assert_eq!(key_text(""), "\"\"");
    }
}
