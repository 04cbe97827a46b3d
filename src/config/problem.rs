//! What is wrong with the settings: each problem with its key and its cure. Never holds a value from the settings.

use std::fmt;

use crate::config::source::DEFAULT;

/// One thing to repair before the process can start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    key: String,
    /// Where the value came from; `None` where there is no value of the user's.
    origin: Option<String>,
    text: String,
}

impl Problem {
    pub(super) fn new(key: impl Into<String>, origin: &str, text: impl Into<String>) -> Self {
        let origin = (!origin.is_empty() && origin != DEFAULT).then(|| origin.to_owned());
        Self { key: key.into(), origin, text: text.into() }
    }

    /// The full dotted key; the file's path where the file as a whole is the problem.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{} ({origin}): {}", self.key, self.text),
            None => write!(f, "{}: {}", self.key, self.text),
        }
    }
}

/// Every problem of the settings at once, sorted by key; displayed one a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", one_a_line(.problems))]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Vec<Problem>> for ConfigError {
    fn from(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }
}

fn one_a_line(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
