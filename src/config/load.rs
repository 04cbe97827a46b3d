//! Loads all settings and judges them together. Stops at the first unreadable layer, otherwise reports every problem at once.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use config::Value;
use config::ValueKind;

use crate::config::Config;
use crate::config::Endpoint;
use crate::config::Handler;
use crate::config::endpoint;
use crate::config::handler;
use crate::config::print::Printout;
use crate::config::print::key_text;
use crate::config::problem::ConfigError;
use crate::config::process;
use crate::config::section::Refused;
use crate::config::section::Report;
use crate::config::section::Section;
use crate::config::source;
use crate::config::source::Table;

const FILE_VARIABLE: &str = "BAMBOOHOOK_CONFIG";
const USUAL_FILE: &str = "config/bamboohook.toml";
const LONGEST_NAME: usize = 64;

/// The settings and what there is to tell about them.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    printout: Printout,
    warnings: Vec<String>,
}

impl Loaded {
    /// Every setting in force, one a line, each with where it came from; secrets are redacted.
    pub fn to_toml(&self) -> String {
        let tables = self.printout.to_toml();
        match self.config.idaas {
            Some(_) => tables,
            None => format!("{tables}\n# [idaas] is not set: no details are looked up\n"),
        }
    }

    /// What does not keep the process from starting, yet should be logged.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Config {
    /// Lays `env` over `file` over the built-in defaults. Nothing but the files that they name is read.
    pub fn load(
        file: Option<&Path>,
        env: &BTreeMap<String, String>,
    ) -> Result<Loaded, ConfigError> {
        load(file, env, Needed::Endpoints)
    }

    /// The same for a command that only looks into the store: there need not be an endpoint.
    pub fn load_store(
        file: Option<&Path>,
        env: &BTreeMap<String, String>,
    ) -> Result<Loaded, ConfigError> {
        load(file, env, Needed::Store)
    }
}

/// Whether the settings have to be those of a service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Endpoints,
    Store,
}

fn load(
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
    needed: Needed,
) -> Result<Loaded, ConfigError> {
    let mut report = Report::default();
    let tree =
        source::tree(file, env, &mut report.problems).map_err(|it| ConfigError::from(vec![it]))?;
    let path = env.get(handler::PATH).map(String::as_str);
    let config = read(Section::root(tree, &mut report), path, needed);
    match config {
        Ok(config) if report.problems.is_empty() => {
            let warnings = warnings(file, env, report.secrets_in_file);
            Ok(Loaded { config, printout: report.printout, warnings })
        }
        _ => Err(ConfigError::from(report.problems)),
    }
}

/// The environment of this process. What is not Unicode is kept as far as it can be shown, and refused by
/// [`Config::load`] if it is a setting.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment() -> BTreeMap<String, String> {
    env::vars_os()
        .map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        })
        .collect()
}

/// The file to load: the one named by `flag`, else by `BAMBOOHOOK_CONFIG`, else the usual one if it is there.
pub fn file_from(flag: Option<PathBuf>, env: &BTreeMap<String, String>) -> Option<PathBuf> {
    let named = || env.get(FILE_VARIABLE).filter(|it| !it.is_empty()).map(PathBuf::from);
    // A file that cannot be examined is taken, so that loading it says why.
    let usual =
        || Path::new(USUAL_FILE).try_exists().unwrap_or(true).then(|| PathBuf::from(USUAL_FILE));
    flag.or_else(named).or_else(usual)
}

fn read(mut root: Section<'_>, path: Option<&str>, needed: Needed) -> Result<Config, Refused> {
    let server = root.section("server").and_then(process::server);
    let callbacks = server.as_ref().ok().map(|it| it.listen);
    let admin = root.section("admin").and_then(|it| process::admin(it, callbacks));
    let log = root.section("log").and_then(process::log);
    let store = root.section("store").and_then(process::store);
    let has_idaas = root.has("idaas");
    let idaas =
        if has_idaas { root.section("idaas").and_then(process::idaas).map(Some) } else { Ok(None) };
    let (names, endpoints) = endpoints(&mut root, needed);
    let handlers = handlers(&mut root, &names, path);
    let directory = root.section("directory").and_then(process::directory);
    let reconcile = root
        .section("reconcile")
        .and_then(|it| process::reconcile(it, &names, &endpoints, has_idaas));
    root.finish();
    Ok(Config {
        server: server?,
        admin: admin?,
        log: log?,
        store: store?,
        idaas: idaas?,
        endpoints,
        handlers: handlers?,
        directory: directory?,
        reconcile: reconcile?,
    })
}

/// All names, and the endpoints that could be read.
fn endpoints(root: &mut Section<'_>, needed: Needed) -> (Vec<String>, BTreeMap<String, Endpoint>) {
    let Ok(tables) = named_tables(root, "endpoints") else { return (Vec::new(), BTreeMap::new()) };
    let names: Vec<String> = tables.keys().cloned().collect();
    if names.is_empty() && needed == Needed::Endpoints {
        let text = "none is set, so nothing could be received; set at least endpoints.default.token, \
                    endpoints.default.sign_key and endpoints.default.encrypt_key in the file, or \
                    BAMBOOHOOK__ENDPOINTS__DEFAULT__TOKEN and the others likewise in the environment";
        root.wrong("endpoints", text);
    }
    let mut endpoints = BTreeMap::new();
    let mut paths: BTreeMap<String, String> = BTreeMap::new();
    for (name, table) in tables {
        let place = format!("endpoints.{name}");
        if let Some(path) = table.get("path")
            && let ValueKind::String(text) = &path.kind
            && let Some(other) = paths.insert(text.clone(), name.clone())
        {
            let text = format!("is the path of endpoints.{other} too; give each endpoint its own");
            root.wrong_from(&format!("{place}.path"), source::origin(path), &text);
        }
        if let Ok(endpoint) = endpoint::read(root.within(&place, table)) {
            endpoints.insert(name, endpoint);
        }
    }
    (names, endpoints)
}

fn handlers(
    root: &mut Section<'_>,
    endpoints: &[String],
    path: Option<&str>,
) -> Result<BTreeMap<String, Handler>, Refused> {
    let tables = named_tables(root, "handlers")?;
    let mut handlers = BTreeMap::new();
    for (name, table) in tables {
        let section = root.within(&format!("handlers.{name}"), table);
        if let Ok(handler) = handler::read(section, endpoints, path) {
            handlers.insert(name, handler);
        }
    }
    Ok(handlers)
}

/// The tables below `key`, whose names are the user's.
fn named_tables(root: &mut Section<'_>, key: &str) -> Result<BTreeMap<String, Table>, Refused> {
    let mut tables = BTreeMap::new();
    let values: BTreeMap<String, Value> = root.table(key)?.into_iter().collect();
    for (name, value) in values {
        let place = format!("{key}.{}", key_text(&name));
        let fits = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
        let origin = source::origin(&value).to_owned();
        match value.kind {
            ValueKind::Table(table)
                if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits) =>
            {
                tables.insert(name, table);
            }
            ValueKind::Table(_) => {
                let text = format!(
                    "must be named with 1 to {LONGEST_NAME} ASCII letters, digits, _ and -"
                );
                root.wrong_from(&place, &origin, &text);
            }
            _ => {
                root.wrong_from(&place, &origin, &format!("must be a table: [{place}]"));
            }
        }
    }
    Ok(tables)
}

fn warnings(
    file: Option<&Path>,
    env: &BTreeMap<String, String>,
    secrets_in_file: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(file) = file.filter(|it| secrets_in_file && is_world_readable(it)) {
        let name = source::printable(file);
        warnings.push(format!(
            "{name} holds secrets and everyone on this machine may read it; run chmod o-r {name}"
        ));
    }
    // A single underscore after the prefix is an easy slip, and such a variable sets nothing.
    for name in env.keys().filter(|it| {
        it.starts_with("BAMBOOHOOK_") && !it.starts_with("BAMBOOHOOK__") && it.contains("__")
    }) {
        let name = name.replace(char::is_control, "?");
        warnings.push(format!(
            "{name} sets nothing: the names of settings begin with BAMBOOHOOK__, two underscores"
        ));
    }
    warnings
}

#[cfg(unix)]
fn is_world_readable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    fs::metadata(file).is_ok_and(|it| it.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_world_readable(_file: &Path) -> bool {
    false
}
