//! Reads `[handlers.NAME]`. Runs nothing and does not look whether a command or a URL is there.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::config::DetailsBy;
use crate::config::Handler;
use crate::config::HandlerKind;
use crate::config::Mode;
use crate::config::address;
use crate::config::section::Refused;
use crate::config::section::Section;
use crate::event::Pattern;

/// The words for `type`, and the keys that belong to each beside those of every handler.
const TYPES: &[(&str, Type)] =
    &[("log", Type::Log), ("http", Type::Http), ("command", Type::Command), ("rust", Type::Rust)];
const TYPE_KEYS: [&str; 6] = ["url", "headers", "secret", "secret_file", "argv", "env"];

const URL: &str =
    "must be an http:// or https:// URL without a user or a password; credentials go into headers";
const HEADERS: &str = "must be a header: a name of HTTP token characters, and printable ASCII text in quotes as its value";
const ENV: &str =
    "must be a variable of the command: a name without =, and text in quotes as its value";
const ARGUMENT: &str = "must not hold a NUL character; remove it";
/// The one variable that commands inherit, unless `env` has its own.
pub(super) const PATH: &str = "PATH";
const PATTERN: &str = "must not be empty; write a name or a pattern such as \"*\"";

#[derive(Debug, Clone, Copy)]
enum Type {
    Log,
    Http,
    Command,
    Rust,
}

/// `endpoints` are the names of all endpoints, `path` is what commands get as `PATH`.
pub(super) fn read(
    mut section: Section<'_>,
    endpoints: &[String],
    path: Option<&str>,
) -> Result<Handler, Refused> {
    let kind = section.choice("type", TYPES);
    let events = patterns(&mut section, "events");
    let patterns = patterns(&mut section, "endpoints");
    if let Ok(patterns) = &patterns {
        check_endpoints(&mut section, patterns, endpoints);
    }
    let mode = section.choice("mode", Mode::WORDS);
    let concurrency = section.count("concurrency");
    let timeout = section.duration("timeout");
    let max_attempts = section.count("max_attempts");
    let retry_first = section.duration("retry_first");
    let retry_max = section.duration("retry_max");
    if let (Ok(first), Ok(max)) = (retry_first, retry_max)
        && first > max
    {
        section
            .wrong("retry_first", "is longer than retry_max; make it shorter, or retry_max longer");
    }
    let details = section.flag("details");
    let details_by = section.choice("details_by", DetailsBy::WORDS);
    let kind = match kind {
        Ok(Type::Log) => Ok(HandlerKind::Log),
        Ok(Type::Http) => http(&mut section),
        Ok(Type::Command) => command(&mut section, path),
        Ok(Type::Rust) => Ok(HandlerKind::Rust),
        Err(refused) => {
            // Which of these belong here cannot be told, so none is called unknown.
            for key in TYPE_KEYS {
                section.take(key);
            }
            Err(refused)
        }
    };
    section.finish();
    Ok(Handler {
        kind: kind?,
        events: events?,
        endpoints: patterns?,
        mode: mode?,
        concurrency: concurrency?,
        timeout: timeout?,
        max_attempts: max_attempts?,
        retry_first: retry_first?,
        retry_max: retry_max?,
        details: details?,
        details_by: details_by?,
    })
}

fn http(section: &mut Section<'_>) -> Result<HandlerKind, Refused> {
    let url = if section.has("url") {
        section.parsed("url", URL, |text| address::is_http(text).then(|| text.to_owned()))
    } else {
        Err(section.missing("url", "\"https://…\""))
    };
    let secret = section.secret("secret");
    let headers = section.secret_table("headers", HEADERS, is_header);
    if let Ok(headers) = &headers {
        check_header_names(section, headers);
    }
    Ok(HandlerKind::Http { url: url?, headers: headers?, secret: secret? })
}

fn command(section: &mut Section<'_>, path: Option<&str>) -> Result<HandlerKind, Refused> {
    let argv = if section.has("argv") {
        section.list("argv", ARGUMENT, |text| (!text.contains('\0')).then(|| text.to_owned()))
    } else {
        Err(section.missing("argv", "[\"/path/to/command\"]"))
    };
    if let Ok(argv) = &argv
        && !argv.first().is_some_and(|it| it.contains('/'))
    {
        section.wrong("argv", "must begin with the path of the command, such as \"/usr/local/bin/notify\": PATH is not searched");
    }
    let env = section.secret_table("env", ENV, |name, value| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
    });
    let mut env = env?;
    if let Some(path) = path {
        env.entry(PATH.to_owned()).or_insert_with(|| SecretString::from(path));
    }
    Ok(HandlerKind::Command { argv: argv?, env })
}

fn patterns(section: &mut Section<'_>, key: &str) -> Result<Vec<Pattern>, Refused> {
    let patterns = section.list(key, PATTERN, |text| Pattern::new(text).ok())?;
    if patterns.is_empty() {
        return Err(
            section.wrong(key, "must not be empty; write [\"*\"] for all, or remove the handler")
        );
    }
    Ok(patterns)
}

fn check_endpoints(section: &mut Section<'_>, patterns: &[Pattern], endpoints: &[String]) {
    // Without any endpoint there is a graver problem, reported elsewhere.
    for (index, pattern) in patterns.iter().enumerate().filter(|_| !endpoints.is_empty()) {
        if !endpoints.iter().any(|it| pattern.matches(it)) {
            let text = format!("matches no endpoint; there are: {}", endpoints.join(", "));
            section.wrong(&format!("endpoints[{index}]"), &text);
        }
    }
}

fn is_header(name: &str, value: &str) -> bool {
    let token = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
    let visible = |it: u8| it == b'\t' || (b' '..=b'~').contains(&it);
    !name.is_empty() && name.bytes().all(token) && value.bytes().all(visible)
}

/// Names of headers do not differ by case.
fn check_header_names(section: &mut Section<'_>, headers: &BTreeMap<String, SecretString>) {
    let mut names: Vec<String> = headers.keys().map(|it| it.to_ascii_lowercase()).collect();
    names.sort();
    names.dedup();
    if names.len() < headers.len() {
        section.wrong("headers", "names a header twice, in upper and lower case; keep one of them");
    }
}
