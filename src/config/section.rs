//! Reads one table of the settings, value by value, and reports whatever is wrong with it. Knows no key by itself.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use config::Value;
use config::ValueKind;

use crate::config::print;
use crate::config::print::Printout;
use crate::config::print::key_text;
use crate::config::problem::Problem;
use crate::config::source::DEFAULT;
use crate::config::source::ENV;
use crate::config::source::Table;
use crate::config::source::origin;
use crate::config::source::variable;
use crate::config::units;

const DURATION: &str = "must be a duration above zero (and below 100 years) in quotes, such as \"5m\" (units: ms, s, m, h, d)";

/// What reading gathers beside the values.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<Problem>,
    pub(super) printout: Printout,
    /// Whether the file itself holds something that others should not read.
    pub(super) secrets_in_file: bool,
}

/// The value cannot be had, and the report already says why; reading goes on to find what else is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused;

/// One table. What was not taken out of it by [`Section::finish`] is unknown.
pub(super) struct Section<'a> {
    path: String,
    values: Table,
    taken: Vec<Taken>,
    report: &'a mut Report,
}

struct Taken {
    key: String,
    origin: String,
}

impl<'a> Section<'a> {
    pub(super) fn root(values: Table, report: &'a mut Report) -> Self {
        Self { path: String::new(), values, taken: Vec::new(), report }
    }

    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// The full dotted key, of an item of a list too (`key[1]`).
    pub(super) fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A table below this one; an absent one is empty.
    pub(super) fn section(&mut self, key: &str) -> Result<Section<'_>, Refused> {
        let values = self.table(key)?;
        Ok(self.within(key, values))
    }

    pub(super) fn within(&mut self, key: &str, values: Table) -> Section<'_> {
        Section { path: self.full(key), values, taken: Vec::new(), report: self.report }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Whether nobody but bamboohook itself has set the key.
    pub(super) fn is_default(&self, key: &str) -> bool {
        self.values.get(key).is_none_or(|it| origin(it) == DEFAULT)
    }

    pub(super) fn table(&mut self, key: &str) -> Result<Table, Refused> {
        match self.take(key).map(|it| it.kind) {
            Some(ValueKind::Table(table)) => Ok(table),
            None => Ok(Table::new()),
            Some(_) => Err(self.wrong(key, &format!("must be a table: [{}]", self.full(key)))),
        }
    }

    /// Takes the value out and remembers that the key is known, there or not.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        let value = self.values.remove(key);
        let origin = value.as_ref().map(|it| origin(it).to_owned()).unwrap_or_default();
        self.taken.push(Taken { key: key.to_owned(), origin });
        value
    }

    /// Where the value of a key that was taken came from.
    pub(super) fn origin_of(&self, key: &str) -> String {
        self.taken.iter().find(|it| it.key == key).map(|it| it.origin.clone()).unwrap_or_default()
    }

    pub(super) fn wrong(&mut self, key: &str, text: &str) -> Refused {
        // An item of a list, written `key[1]`, comes from where the list does.
        let origin = self.origin_of(key.split('[').next().unwrap_or(key));
        self.wrong_from(key, &origin, text)
    }

    pub(super) fn wrong_from(&mut self, key: &str, origin: &str, text: &str) -> Refused {
        let problem = Problem::new(self.full(key), origin, text);
        self.report.problems.push(problem);
        Refused
    }

    /// For a key without a value of the user's; a built-in example does not count.
    pub(super) fn missing(&mut self, key: &str, example: &str) -> Refused {
        self.take(key);
        let variable = variable(&self.full(key));
        let text = format!(
            "is missing; set {key} = {example} in [{}] or {variable} in the environment",
            self.path
        );
        self.wrong(key, &text)
    }

    pub(super) fn print(&mut self, key: &str, value: &str) {
        let origin = self.origin_of(key);
        self.print_from(key, value, if origin.is_empty() { DEFAULT } else { &origin });
    }

    pub(super) fn print_from(&mut self, key: &str, value: &str, origin: &str) {
        self.report.printout.line(&self.path, key, value, origin);
    }

    /// Any text that `parse` takes; `rule` says what that is.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        rule: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Refused> {
        let text = self.plain_text(key, rule)?;
        let value = parse(&text).ok_or_else(|| self.wrong(key, rule))?;
        self.print(key, &print::text(&text));
        Ok(value)
    }

    /// Text that the caller prints itself.
    pub(super) fn plain_text(&mut self, key: &str, rule: &str) -> Result<String, Refused> {
        let Some(value) = self.take(key) else {
            return Err(self.wrong(key, &format!("is missing; {rule}")));
        };
        match value.kind {
            ValueKind::String(text) => Ok(text),
            kind => Err(self.wrong(key, &format!("is {}; {rule}", noun(&kind)))),
        }
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<T, Refused> {
        let names: Vec<String> = words.iter().map(|(word, _)| print::text(word)).collect();
        let rule = format!("must be one of {}", names.join(", "));
        self.parsed(key, &rule, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
        })
    }

    pub(super) fn duration(&mut self, key: &str) -> Result<Duration, Refused> {
        self.parsed(key, DURATION, |text| units::duration(text).filter(|it| !it.is_zero()))
    }

    /// `None` is `off`.
    pub(super) fn duration_or_off(&mut self, key: &str) -> Result<Option<Duration>, Refused> {
        self.parsed(key, &format!("{DURATION}, or \"off\""), |text| match text {
            "off" => Some(None),
            _ => units::duration(text).filter(|it| !it.is_zero()).map(Some),
        })
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<bool, Refused> {
        let value = self.take(key).and_then(|it| match &it.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            _ => from_environment(&it),
        });
        let flag = value.ok_or_else(|| self.wrong(key, "must be true or false, without quotes"))?;
        self.print(key, &flag.to_string());
        Ok(flag)
    }

    /// A whole number of at least 1.
    pub(super) fn count<T: TryFrom<u32>>(&mut self, key: &str) -> Result<T, Refused> {
        self.count_within(key, 1..=u32::MAX)
    }

    pub(super) fn count_within<T: TryFrom<u32>>(
        &mut self,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Result<T, Refused> {
        let value = self.take(key).and_then(|it| match it.kind {
            ValueKind::I64(number) => u32::try_from(number).ok(),
            _ => from_environment(&it),
        });
        let (least, most) = (range.start(), range.end());
        let rule = format!("must be a whole number from {least} to {most}, without quotes");
        let number = value.filter(|it| range.contains(it)).ok_or_else(|| self.wrong(key, &rule))?;
        self.print(key, &number.to_string());
        T::try_from(number).ok().ok_or_else(|| self.wrong(key, &rule))
    }

    /// A number from 0 to 1.
    pub(super) fn share(&mut self, key: &str) -> Result<f64, Refused> {
        let value = self.take(key).and_then(|it| match it.kind {
            ValueKind::Float(number) => Some(number),
            ValueKind::I64(number) => i32::try_from(number).ok().map(f64::from),
            _ => from_environment(&it),
        });
        let rule = "must be a number from 0 to 1, without quotes";
        let number =
            value.filter(|it| (0.0..=1.0).contains(it)).ok_or_else(|| self.wrong(key, rule))?;
        self.print(key, &format!("{number:?}"));
        Ok(number)
    }

    /// A list of texts, each taken by `parse`; `rule` says what one is. From the environment separated by commas.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        rule: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, Refused> {
        let not_a_list = format!("must be a list of texts in quotes: {key} = [\"…\", \"…\"]");
        let Some(value) = self.take(key) else {
            return Err(self.wrong(key, &format!("is missing; it {not_a_list}")));
        };
        let from_environment = origin(&value).starts_with(ENV);
        let texts: Option<Vec<String>> = match value.kind {
            ValueKind::String(text) if from_environment => Some(split(&text)),
            ValueKind::Array(values) => values.into_iter().map(text_of).collect(),
            _ => None,
        };
        let texts = texts.ok_or_else(|| self.wrong(key, &not_a_list))?;
        let mut items = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            items.push(parse(text).ok_or_else(|| self.wrong(&format!("{key}[{index}]"), rule)));
        }
        self.print(key, &print::list(&texts));
        items.into_iter().collect()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let mut unknown: Vec<(String, Value)> = self.values.into_iter().collect();
        unknown.sort_by(|left, right| left.0.cmp(&right.0));
        for (key, value) in unknown {
            let mut known: Vec<&str> = self.taken.iter().map(|it| it.key.as_str()).collect();
            known.sort_unstable();
            let similar = known.iter().find(|it| differ_little(it, &key));
            let cure = match similar {
                Some(similar) => format!("did you mean {similar}?"),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            let full = if self.path.is_empty() {
                key_text(&key)
            } else {
                format!("{}.{}", self.path, key_text(&key))
            };
            self.report.problems.push(Problem::new(
                full,
                origin(&value),
                format!("is not a known key; {cure}"),
            ));
        }
    }
}

pub(super) fn noun(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean(_) => "a boolean without quotes",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
        ValueKind::Nil => "empty",
        _ => "a number without quotes",
    }
}

pub(super) fn text_of(value: Value) -> Option<String> {
    match value.kind {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

/// Only the environment, which knows nothing but text, may write a number or a boolean as text.
fn from_environment<T: FromStr>(value: &Value) -> Option<T> {
    match &value.kind {
        ValueKind::String(text) if origin(value).starts_with(ENV) => text.trim().parse().ok(),
        _ => None,
    }
}

fn split(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        Vec::new()
    } else {
        text.split(',').map(|it| it.trim().to_owned()).collect()
    }
}

/// Whether one insertion, removal, replacement or swap of neighbours turns one into the other.
fn differ_little(left: &str, right: &str) -> bool {
    let (left, right) =
        (left.to_lowercase().replace('-', "_"), right.to_lowercase().replace('-', "_"));
    let before = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
    let (left, right) = (
        left.as_bytes().get(before..).unwrap_or(&[]),
        right.as_bytes().get(before..).unwrap_or(&[]),
    );
    let after =
        left.iter().rev().zip(right.iter().rev()).take_while(|(left, right)| left == right).count();
    match (left.get(..left.len() - after), right.get(..right.len() - after)) {
        (Some([a, b]), Some([c, d])) => a == d && b == c,
        (Some(left), Some(right)) => left.len() <= 1 && right.len() <= 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use config::Value;
    use config::ValueKind;

    use super::Report;
    use super::Section;
    use super::differ_little;
    use crate::config::source::Table;

    fn table(entries: Vec<(&str, ValueKind, &str)>) -> Table {
        let value = |kind, origin: &str| Value::new(Some(&origin.to_owned()), kind);
        entries
            .into_iter()
            .map(|(key, kind, origin)| (key.to_owned(), value(kind, origin)))
            .collect()
    }

    #[test]
    fn only_the_environment_may_write_numbers_and_booleans_as_text() {
        let mut report = Report::default();
        let values = table(vec![
            ("a", "7".into(), "env A"),
            ("b", "7".into(), "file x"),
            ("c", "true".into(), "env C"),
            ("d", "true".into(), "file x"),
            ("e", "0.5".into(), "env E"),
            ("f", 1_i64.into(), "file x"),
        ]);
        let mut section = Section::root(values, &mut report);
        assert_eq!(section.count::<u32>("a").ok(), Some(7));
        assert!(section.count::<u32>("b").is_err());
        assert_eq!(section.flag("c").ok(), Some(true));
        assert!(section.flag("d").is_err());
        assert_eq!(section.share("e").ok(), Some(0.5));
        assert_eq!(section.share("f").ok(), Some(1.0));
        section.finish();
        assert_eq!(report.problems.len(), 2, "{:?}", report.problems);
    }

    #[test]
    fn lists_from_the_environment_are_separated_by_commas() {
        let mut report = Report::default();
        let values = table(vec![
            ("a", " x , y,z ".into(), "env A"),
            ("b", "".into(), "env B"),
            ("c", "x,y".into(), "file x"),
        ]);
        let mut section = Section::root(values, &mut report);
        let any = |text: &str| Some(text.to_owned());
        assert_eq!(section.list("a", "", any).unwrap_or_default(), ["x", "y", "z"]);
        assert_eq!(section.list("b", "", any).ok(), Some(Vec::new()));
        assert!(section.list("c", "", any).is_err());
    }

    #[test]
    fn a_key_that_nobody_asked_for_is_reported_with_a_suggestion() {
        let mut report = Report::default();
        let mut section = Section::root(table(vec![("tokne", "x".into(), "file x")]), &mut report);
        assert!(section.plain_text("token", "").is_err());
        section.finish();
        assert!(
            report.problems.iter().any(|it| it.to_string().contains("did you mean token?")),
            "{:?}",
            report.problems
        );
    }

    #[test]
    fn keys_differ_little_by_one_slip() {
        for (left, right, little) in [
            ("token", "tokens", true),
            ("token", "tokne", true),
            ("token", "toke", true),
            ("token", "taken", true),
            ("token", "Token", true),
            ("sign_key", "sign-key", true),
            ("token", "tkoens", false),
            ("token", "path", false),
            ("url", "", false),
        ] {
            assert_eq!(differ_little(left, right), little, "{left} {right}");
        }
    }
}
