//! docs/identities.md, command by command: what it shows is what the real binary prints.

use std::collections::BTreeMap;

use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::process::stderr;
use crate::support::process::stdout;

const DOCUMENT: &str = include_str!("../../../docs/identities.md");

/// What the document calls the ids, in the order in which the answers give them.
const NAMES: [&str; 4] = ["«research»", "«sales»", "«zhang»", "«other-zhang»"];

/// A command of the document with what it prints there.
struct Step {
    arguments: Vec<String>,
    printed: String,
}

/// The commands in the `console` blocks of one section.
fn steps(section: &str) -> Vec<Step> {
    let (_, section) = DOCUMENT.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            match (line.strip_prefix("$ bamboohook "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { arguments: words(command), printed: String::new() });
                }
                (None, Some(step)) => step.printed.extend([line, "\n"]),
                (None, None) => panic!("printed by no command: {line}"),
            }
        }
    }
    steps
}

/// As a shell splits them, with `'…'` as the only quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in command.split('\'').enumerate() {
        if number.is_multiple_of(2) {
            words.extend(part.split_whitespace().map(str::to_owned));
        } else {
            words.push(part.to_owned());
        }
    }
    words
}

/// Runs of blanks count as one: an id is longer than its name.
fn blanks_as_one(text: &str) -> String {
    text.lines().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[tokio::test]
async fn the_life_in_the_document_is_the_life_that_it_describes() {
    let process = Process::start(Settings::default()).await;
    let mut ids: BTreeMap<String, &str> = BTreeMap::new();
    let steps = steps("A life");
    assert!(steps.len() > 12, "{} commands were found", steps.len());
    for step in steps {
        let arguments: Vec<String> = step
            .arguments
            .iter()
            .map(|it| ids.iter().fold(it.clone(), |text, (id, name)| text.replace(name, id)))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = process.command(&arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        let mut printed = stdout(&output);
        if let Some((_, id)) = printed.split_once("answer: {\"id\":\"") {
            let id = id.split('"').next().unwrap().to_owned();
            let next = NAMES.get(ids.len()).copied();
            ids.entry(id).or_insert_with(|| next.expect("the document names every id"));
        }
        for (id, name) in &ids {
            printed = printed.replace(id, name);
        }
        assert_eq!(
            sorted_table(&arguments, &blanks_as_one(&printed)),
            sorted_table(&arguments, &blanks_as_one(&step.printed)),
            "{:?}",
            step.arguments
        );
    }
    assert_eq!(ids.len(), NAMES.len());
}

/// Records are printed in the order of their ids, which chance decides.
fn sorted_table(arguments: &[&str], printed: &str) -> Vec<String> {
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    if arguments[0] == "directory" {
        lines.sort();
    }
    lines
}
