//! The map of the rooms against the source text: who uses whom, and which words belong to one room. Runs no code of theirs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Each room with the rooms that it uses, all of which stand above it; in the order of `lib.rs`.
///
/// An edge that no code uses is wrong here too: remove it, and whoever wants it back has to say so.
const ROOMS: &str = "
clock:
event:
config: event
protocol: event
verifier: config protocol
crypto: config
telemetry: config
outbound:
inbox: event
idaas: clock config outbound
dispatcher: clock config event idaas inbox
simulator: config crypto event protocol verifier
handlers: clock config dispatcher event outbound
http: clock config crypto dispatcher event inbox protocol verifier
app: clock config dispatcher event handlers http idaas inbox
cli: app clock config event inbox outbound simulator telemetry
";

/// Words that only these rooms may write, tests included.
const RESERVED: &[(&str, &[&str])] = &[
    ("SELECT ", &["inbox"]),
    ("INSERT INTO", &["inbox"]),
    ("DELETE FROM", &["inbox"]),
    ("rusqlite", &["inbox"]),
    ("std::env", &["config"]),
    ("env::var", &["config"]),
    // `handlers` and `idaas` read the statuses of others; the answers of this service are `http`'s alone.
    ("StatusCode", &["http", "handlers", "idaas", "outbound"]),
    ("http::StatusCode", &["http"]),
    ("axum", &["http"]),
    ("Timestamp::now", &["clock"]),
    ("SystemTime", &["clock"]),
    ("anyhow", &["app", "cli"]),
    ("clap::", &["cli"]),
];

const LONGEST_FILE: usize = 400;

struct Source {
    path: PathBuf,
    /// `None` for `lib.rs` and `main.rs`.
    room: Option<String>,
    text: String,
}

impl Source {
    /// What stands before the tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]").next().unwrap()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let files =
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

fn sources() -> Vec<Source> {
    let source = root().join("src");
    let sources = files_below(&source).into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let first = path.strip_prefix(&source).unwrap().components().next().unwrap();
        let name = first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let room = (!matches!(&*name, "lib" | "main")).then_some(name);
        Source { path, room, text }
    });
    sources.collect()
}

fn rooms() -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let lines = ROOMS.lines().filter(|line| !line.is_empty());
    let rooms = lines.map(|line| line.split_once(':').unwrap());
    rooms.map(|(room, uses)| (room, uses.split_whitespace().collect())).collect()
}

/// The words behind `prefix`, wherever it stands.
fn names_after<'a>(text: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> {
    let end = |it: char| it != '_' && !it.is_alphanumeric();
    text.split(prefix).skip(1).filter_map(move |rest| rest.split(end).next())
}

#[test]
fn rooms_use_exactly_the_rooms_that_the_table_says() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        let Some(room) = source.room else { continue };
        let rooms = used.entry(room.clone()).or_default();
        rooms.extend(
            names_after(&source.text, "crate::").filter(|it| *it != room).map(str::to_owned),
        );
    }
    let table: BTreeMap<String, BTreeSet<String>> = rooms()
        .into_iter()
        .map(|(room, uses)| (room.to_owned(), uses.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(used, table, "left is the code, right is ROOMS");
}

#[test]
fn no_room_uses_one_that_stands_below_it() {
    let mut above = BTreeSet::new();
    for (room, uses) in rooms() {
        assert!(uses.is_subset(&above), "{room} uses {:?}", uses.difference(&above));
        assert!(above.insert(room), "{room} stands there twice");
    }
}

#[test]
fn paths_to_other_rooms_are_written_so_that_this_test_sees_them() {
    for source in sources() {
        let path = source.path.display();
        for hidden in
            ["crate::{", "crate::*", "super::super", "use crate as", "crate ::", "bamboohook::"]
        {
            let main = source.path.ends_with("main.rs") && hidden == "bamboohook::";
            assert!(main || !source.text.contains(hidden), "{path}: {hidden}");
        }
        let code = source.code();
        let parents = code.matches("super::").count();
        assert_eq!(parents, 0, "{path}: write `crate::room::…` for `super::`");
        let globs = code.lines().filter(|line| line.contains("use ") && line.ends_with("::*;"));
        assert_eq!(globs.count(), 0, "{path}: name what is used");
        if source.path.ends_with("main.rs") {
            assert_eq!(names_after(code, "bamboohook::").collect::<Vec<_>>(), ["cli"]);
        }
    }
}

#[test]
fn every_file_opens_with_what_it_is_for_and_ends_in_time() {
    for source in sources() {
        let path = source.path.display();
        let first = source.text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! ") && first.ends_with('.'), "{path}: {first}");
        let lines = source.code().lines().count();
        assert!(lines <= LONGEST_FILE, "{path}: {lines} lines before its tests");
    }
    for path in files_below(&root().join("tests")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
        assert!(
            !text.contains(concat!("#[ig", "nore")),
            "{}: a test runs or is not there",
            path.display()
        );
    }
}

#[test]
fn code_that_only_tests_need_stands_in_their_modules() {
    for source in sources() {
        let modules = source.text.matches("#[cfg(test)]\nmod tests").count();
        assert_eq!(source.text.matches("cfg(test)").count(), modules, "{}", source.path.display());
        assert!(modules <= 1, "{}: tests stand last", source.path.display());
    }
}

#[test]
fn words_that_belong_to_one_room_stand_in_no_other() {
    for source in sources() {
        let Some(room) = &source.room else { continue };
        for (word, rooms) in RESERVED {
            let fine = rooms.contains(&&**room) || !source.text.contains(word);
            assert!(fine, "{}: `{word}` belongs to {rooms:?}", source.path.display());
        }
    }
}

#[test]
fn the_library_file_is_the_map_of_the_rooms_and_nothing_else() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mapped: Vec<&str> = names_after(&text, "//! - [`").collect();
    let in_order: Vec<&str> = rooms().into_iter().map(|(room, _)| room).collect();
    assert_eq!(mapped, in_order, "the reading order of lib.rs and ROOMS are one");
    let code = text.lines().filter(|line| !line.starts_with("//!") && !line.is_empty());
    let declared: Vec<String> = code.map(str::to_owned).collect();
    let mut expected: Vec<String> = in_order.iter().map(|it| format!("pub mod {it};")).collect();
    expected.sort();
    assert_eq!(declared, expected);
    let present: BTreeSet<String> = sources().into_iter().filter_map(|it| it.room).collect();
    assert_eq!(present, in_order.into_iter().map(str::to_owned).collect());
}
