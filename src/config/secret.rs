//! Reads secrets: inline or from a file, one or several. Never puts a value into a report or a printout.

use std::collections::BTreeMap;
use std::fs;

use config::Value;
use config::ValueKind;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::config::print;
use crate::config::print::REDACTED;
use crate::config::section::Refused;
use crate::config::section::Section;
use crate::config::section::noun;
use crate::config::section::text_of;
use crate::config::source::DEFAULT;
use crate::config::source::FILE;
use crate::config::source::Table;
use crate::config::source::origin;
use crate::config::source::variable;

/// Says what is wrong with the text of a secret, and the cure, without the text.
type Fault = fn(&str) -> Option<&'static str>;

impl Section<'_> {
    /// One or several values, none of them twice; empty where the key is not set.
    pub(super) fn secrets(
        &mut self,
        key: &str,
        fault: Fault,
    ) -> Result<Vec<SecretString>, Refused> {
        self.secret_values(key, fault, true)
    }

    pub(super) fn secret(&mut self, key: &str) -> Result<Option<SecretString>, Refused> {
        Ok(self.secret_values(key, fault, false)?.pop())
    }

    pub(super) fn missing_secret(&mut self, key: &str, cure: &str) -> Refused {
        let full = self.full(key);
        let variable = variable(&full);
        let text = format!(
            "is missing; set it in the file, or {variable} in the environment, or {full}_file{cure}"
        );
        self.wrong(key, &text)
    }

    /// A table of the user's own names, such as HTTP headers, whose values may be credentials.
    pub(super) fn secret_table(
        &mut self,
        key: &str,
        rule: &str,
        fits: impl Fn(&str, &str) -> bool,
    ) -> Result<BTreeMap<String, SecretString>, Refused> {
        let table = self.table(key)?;
        let empty = table.is_empty();
        let entries: BTreeMap<String, Value> = table.into_iter().collect();
        let mut section = self.within(key, Table::new());
        let mut read = BTreeMap::new();
        let mut refused = None;
        for (name, value) in entries {
            let origin = origin(&value).to_owned();
            section.report().secrets_in_file |= origin.starts_with(FILE);
            match text_of(value) {
                Some(text) if fits(&name, &text) => {
                    section.print_from(&name, &print::text(REDACTED), &origin);
                    read.insert(name, SecretString::from(text));
                }
                _ => refused = Some(section.wrong_from(&print::key_text(&name), &origin, rule)),
            }
        }
        if empty {
            self.print(key, "{}");
        }
        refused.map_or(Ok(read), Err)
    }

    fn secret_values(
        &mut self,
        key: &str,
        fault: Fault,
        several: bool,
    ) -> Result<Vec<SecretString>, Refused> {
        let file_key = format!("{key}_file");
        // The empty text of the defaults only shows that the key exists.
        let inline = self.take(key).filter(|it| origin(it) != DEFAULT);
        let file = self.take(&file_key);
        match (inline, file) {
            (Some(_), Some(file)) => {
                let text =
                    format!("is set, and so is {file_key} ({}); remove one of them", origin(&file));
                Err(self.wrong(key, &text))
            }
            (Some(value), None) => self.inline_secrets(key, value, fault, several),
            (None, Some(value)) => self.secrets_of_file(&file_key, value, fault, several),
            (None, None) => {
                self.print(key, "\"\"");
                Ok(Vec::new())
            }
        }
    }

    fn inline_secrets(
        &mut self,
        key: &str,
        value: Value,
        fault: Fault,
        several: bool,
    ) -> Result<Vec<SecretString>, Refused> {
        self.report().secrets_in_file |= origin(&value).starts_with(FILE);
        let (values, list) = match value.kind {
            ValueKind::Array(values) if several => (values, true),
            kind => (vec![Value::new(None, kind)], false),
        };
        if values.is_empty() {
            return Err(self.wrong(
                key,
                "is an empty list; list the secret, or remove the key if none is wanted",
            ));
        }
        let mut secrets = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let place = if list { format!("{key}[{index}]") } else { key.to_owned() };
            secrets.push(match value.kind {
                ValueKind::String(text) => {
                    self.checked(&place, "", SecretString::from(text), fault)
                }
                kind => {
                    let list = if several { ", or a list of such texts" } else { "" };
                    Err(self.wrong(
                        &place,
                        &format!("is {}; put it in quotes: {key} = \"…\"{list}", noun(&kind)),
                    ))
                }
            });
        }
        let redacted = vec![REDACTED; secrets.len()];
        self.print(key, &if list { print::list(&redacted) } else { print::text(REDACTED) });
        let secrets = secrets.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.all_different(key, secrets)
    }

    fn secrets_of_file(
        &mut self,
        file_key: &str,
        path: Value,
        fault: Fault,
        several: bool,
    ) -> Result<Vec<SecretString>, Refused> {
        let Some(path) = text_of(path).filter(|it| !it.is_empty()) else {
            return Err(self.wrong(
                file_key,
                &format!("must be the path of a file, in quotes: {file_key} = \"/path\""),
            ));
        };
        self.print(file_key, &print::text(&path));
        let text = match fs::read_to_string(&path) {
            Ok(text) => SecretString::from(text),
            Err(error) => {
                return Err(
                    self.wrong(file_key, &format!("cannot be read: {error}; name a readable file"))
                );
            }
        };
        let text = text.expose_secret();
        let lines: Vec<&str> =
            if several { text.lines().collect() } else { vec![without_line_end(text)] };
        if lines.is_empty() {
            return Err(self.wrong(file_key, "names an empty file; put the secret into it"));
        }
        let mut secrets = Vec::with_capacity(lines.len());
        for (index, line) in lines.into_iter().enumerate() {
            let place = if several {
                format!("line {} of the file ", index + 1)
            } else {
                "the text of the file ".to_owned()
            };
            secrets.push(self.checked(file_key, &place, SecretString::from(line), fault));
        }
        let secrets = secrets.into_iter().collect::<Result<Vec<_>, _>>()?;
        self.all_different(file_key, secrets)
    }

    fn checked(
        &mut self,
        key: &str,
        place: &str,
        text: SecretString,
        fault: Fault,
    ) -> Result<SecretString, Refused> {
        match fault(text.expose_secret()) {
            Some(fault) => Err(self.wrong(key, &format!("{place}{fault}"))),
            None => Ok(text),
        }
    }

    fn all_different(
        &mut self,
        key: &str,
        secrets: Vec<SecretString>,
    ) -> Result<Vec<SecretString>, Refused> {
        let mut texts: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
        texts.sort_unstable();
        texts.dedup();
        if texts.len() == secrets.len() {
            Ok(secrets)
        } else {
            Err(self.wrong(key, "holds the same value more than once; list each value once"))
        }
    }
}

/// What no secret may look like: each is the trace of a mistake in writing or templating the settings.
pub(super) fn fault(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("is empty; set the secret, or remove the key if none is wanted")
    } else if text.trim().is_empty() {
        Some("is blank; set the secret, or remove the key if none is wanted")
    } else if text.trim() != text {
        Some("begins or ends with white space; remove it")
    } else if text.contains(char::is_control) {
        Some("holds a line break or another control character; remove it")
    } else if is_placeholder(text) {
        Some("is a placeholder; put the real secret in its place")
    } else {
        None
    }
}

/// A key of AES, which is the UTF-8 text itself (PROTOCOL.md 3).
pub(super) fn key_fault(text: &str) -> Option<&'static str> {
    fault(text).or_else(|| {
        let fits = matches!(text.len(), 16 | 24 | 32);
        (!fits)
            .then_some("is not 16, 24 or 32 bytes long; copy the whole key from the IDaaS console")
    })
}

fn is_placeholder(text: &str) -> bool {
    let text = text.to_lowercase();
    let enclosed = |open: &str, close: &str| text.starts_with(open) && text.ends_with(close);
    let variable = |name: &str| {
        !name.is_empty() && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
    };
    matches!(text.as_str(), "changeme" | "change-me" | "change_me" | "todo")
        || enclosed("<", ">")
        || enclosed("${", "}")
        || text.strip_prefix("env:").is_some_and(variable)
        || text.starts_with("your-")
        || text.starts_with("your_")
        || (text.len() >= 3 && text.bytes().all(|it| it == b'x'))
}

fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |it| it.strip_suffix('\r').unwrap_or(it))
}

#[cfg(test)]
mod tests {
    use super::fault;
    use super::key_fault;
    use super::without_line_end;

    #[test]
    fn placeholders_are_refused_and_odd_secrets_are_not() {
        for text in [
            "changeme",
            "ChangeMe",
            "change-me",
            "CHANGE_ME",
            "<token>",
            "${TOKEN}",
            "env:TOKEN",
            "TODO",
            "xxx",
            "XXXXXXXX",
            "your-token",
            "YOUR_KEY_HERE",
        ] {
            assert!(fault(text).is_some_and(|it| it.contains("placeholder")), "{text}");
        }
        for text in [
            "123",
            "true",
            "a,b",
            "[x]",
            "{x}",
            "changeme2",
            "xx",
            "xxy",
            "env: x y",
            "todos",
            "yours",
            "a b",
            "<a",
            "密钥",
            "$x",
            "\"x\"",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
    }

    #[test]
    fn white_space_around_a_secret_is_refused() {
        for text in ["", " ", "\n", " a", "a ", "a\n", "a\r", "\ta", "a\nb", "a\u{3000}"] {
            assert!(fault(text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn an_aes_key_is_counted_in_bytes() {
        assert_eq!(key_fault("0123456789abcdef"), None);
        assert_eq!(key_fault("0123456789abcdef01234567"), None);
        assert_eq!(key_fault("0123456789abcdef0123456789abcdef"), None);
        assert_eq!(key_fault("密钥密钥密钥密钥"), None);
        assert!(key_fault("0123456789abcde").is_some());
        assert!(key_fault("密钥密钥密钥密钥0123456789").is_some());
    }

    #[test]
    fn exactly_one_line_end_is_dropped() {
        for (text, kept) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), ("", "")]
        {
            assert_eq!(without_line_end(text), kept, "{text:?}");
        }
    }
}
