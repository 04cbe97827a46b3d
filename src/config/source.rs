//! Where settings come from: the built-in defaults, one file, the environment, each laid over the one before. Judges no value.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use config::FileFormat;
use config::Format;
use config::Map;
use config::Value;
use config::ValueKind;

use crate::config::print::key_text;
use crate::config::problem::Problem;

pub(super) type Table = Map<String, Value>;

/// The origin of built-in values; others begin with [`FILE`] or [`ENV`].
pub(super) const DEFAULT: &str = "default";
pub(super) const FILE: &str = "file ";
pub(super) const ENV: &str = "env ";

const DEFAULTS: &str = include_str!("../../config/default.toml");
const PREFIX: &str = "BAMBOOHOOK__";
const SEPARATOR: &str = "__";
const RUST_LOG: &str = "RUST_LOG";
/// What a name or value that is not Unicode holds once it was read as text.
const NOT_UNICODE: char = char::REPLACEMENT_CHARACTER;

/// All layers as one tree, where every table of the user's has its defaults.
pub(super) fn tree(
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> Result<Table, Problem> {
    let mut tree = parse(DEFAULTS, DEFAULT, "config/default.toml")?;
    let templates = [
        ("endpoints", template(&mut tree, "endpoints", Some("default"))),
        ("handlers", template(&mut tree, "handlers", Some("audit"))),
        ("idaas", template(&mut tree, "idaas", None)),
    ];
    if let Some(path) = file {
        overlay(&mut tree, read(path)?);
    }
    overlay_environment(&mut tree, env, problems);
    for (key, template) in templates {
        let Some(ValueKind::Table(table)) = tree.get_mut(key).map(|it| &mut it.kind) else {
            continue;
        };
        if key == "idaas" {
            underlay(table, &template);
        } else {
            for value in table.values_mut() {
                if let ValueKind::Table(table) = &mut value.kind {
                    underlay(table, &template);
                }
            }
        }
    }
    Ok(tree)
}

/// The environment variable that sets this key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', SEPARATOR))
}

pub(super) fn origin(value: &Value) -> &str {
    value.origin().unwrap_or(DEFAULT)
}

fn template(tree: &mut Table, key: &str, name: Option<&str>) -> Table {
    let table = tree.remove(key).map(|it| it.kind);
    match (table, name) {
        (Some(ValueKind::Table(mut table)), Some(name)) => template(&mut table, name, None),
        (Some(ValueKind::Table(table)), None) => table,
        _ => Table::new(),
    }
}

fn read(path: &Path) -> Result<Table, Problem> {
    let name = printable(path);
    let bytes = fs::read(path).map_err(|error| {
        Problem::new(
            &name,
            "",
            format!("cannot be read: {error}; name a readable file of settings"),
        )
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Problem::new(
            &name,
            "",
            format!("is not UTF-8 text ({}); save it as UTF-8", error.utf8_error()),
        )
    })?;
    parse(text.trim_start_matches('\u{feff}'), &format!("{FILE}{name}"), &name)
}

fn parse(text: &str, origin: &str, name: &str) -> Result<Table, Problem> {
    FileFormat::Toml.parse(Some(&origin.to_owned()), text).map_err(|error| match oversized_number(text) {
        Some((key, line)) => {
            let text = format!("line {line}: the number is too large; if it is text, such as a secret, put it in quotes");
            Problem::new(key, origin, text)
        }
        None => Problem::new(name, "", without_excerpt(&error.to_string())),
    })
}

/// The parser's message without its picture of the offending line, which may hold a secret.
fn without_excerpt(message: &str) -> String {
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    match first.strip_prefix("TOML parse error at ") {
        Some(place) => format!(
            "{place}: {}; correct the TOML there",
            lines.skip(3).collect::<Vec<_>>().join(" ")
        ),
        None => format!("{first}; put text, such as a secret, in quotes"),
    }
}

/// The parser does not say where a number is too large; a secret of digits that lacks its quotes is the likely case.
fn oversized_number(text: &str) -> Option<(String, usize)> {
    let mut table = String::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|it| it.split(']').next()) {
            table = format!("{name}.");
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.split('#').next().unwrap_or_default().trim();
            let number = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
            if number && value.parse::<i64>().is_err() {
                return Some((format!("{table}{}", key.trim()), index + 1));
            }
        }
    }
    None
}

/// Paths may hold line breaks and escape sequences; texts about them must not.
pub(super) fn printable(path: &Path) -> String {
    path.to_string_lossy().replace(char::is_control, "?")
}

fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        if let Some(ValueKind::Table(under)) = under.get_mut(&key).map(|it| &mut it.kind)
            && let ValueKind::Table(over) = &value.kind
        {
            overlay(under, over.clone());
        } else {
            under.insert(key, value);
        }
    }
}

fn underlay(over: &mut Table, under: &Table) {
    for (key, value) in under {
        if !over.contains_key(key) {
            over.insert(key.clone(), value.clone());
        }
    }
}

fn overlay_environment(
    tree: &mut Table,
    env: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let origin = format!("{ENV}{}", name.replace(char::is_control, "?"));
        let segments: Vec<&str> = rest.split(SEPARATOR).collect();
        if name.contains(NOT_UNICODE) || value.contains(NOT_UNICODE) {
            let key = segments.join(".").to_lowercase().replace(char::is_control, "?");
            problems.push(Problem::new(key, &origin, "is not Unicode text; set it to valid UTF-8"));
            continue;
        }
        let value = Value::new(Some(&origin), value.as_str());
        place(tree, &mut Vec::new(), &segments, value, problems);
    }
    if let Some(level) = env.get(RUST_LOG).filter(|it| !it.trim().is_empty())
        && let Some(ValueKind::Table(log)) = tree.get_mut("log").map(|it| &mut it.kind)
    {
        let origin = format!("{ENV}{RUST_LOG}");
        log.insert("level".to_owned(), Value::new(Some(&origin), level.as_str()));
    }
}

/// Sets what `segments` name below `above`.
fn place(
    table: &mut Table,
    above: &mut Vec<String>,
    segments: &[&str],
    value: Value,
    problems: &mut Vec<Problem>,
) {
    let Some((first, rest)) = segments.split_first() else { return };
    // Names below these two tables are the user's own, so neither their case nor their underscores are ours to change.
    if let [root, _, last] = above.as_slice()
        && root == "handlers"
        && (last == "headers" || last == "env")
    {
        table.insert(segments.join(SEPARATOR), value);
        return;
    }
    let key = existing_or_lower(table, first);
    if rest.is_empty() {
        above.push(key.clone());
        match table.get(&key).map(origin).filter(|it| it.starts_with(ENV)) {
            Some(earlier) => {
                let text = format!("is set by {earlier} too; keep one of them");
                problems.push(Problem::new(dotted(above), origin(&value), text));
            }
            None => {
                table.insert(key, value);
            }
        }
        return;
    }
    let slot = table
        .entry(key.clone())
        .or_insert_with(|| Value::new(Some(&origin(&value).to_owned()), Table::new()));
    above.push(key);
    if let ValueKind::Table(inner) = &mut slot.kind {
        place(inner, above, rest, value, problems);
    } else {
        let text =
            "is not a table, so nothing can be set below it; check the names of the variables";
        problems.push(Problem::new(dotted(above), origin(&value), text));
    }
}

fn dotted(keys: &[String]) -> String {
    keys.iter().map(|it| key_text(it)).collect::<Vec<_>>().join(".")
}

/// Variables are in capitals, so the case of a name that only the file knows is taken from there.
fn existing_or_lower(table: &Table, segment: &str) -> String {
    let lower = segment.to_lowercase();
    if table.contains_key(&lower) {
        return lower;
    }
    let mut existing: Vec<&String> =
        table.keys().filter(|it| it.eq_ignore_ascii_case(segment)).collect();
    existing.sort();
    existing.first().map_or(lower, |it| (*it).clone())
}
