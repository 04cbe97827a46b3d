//! Patterns over names, with `*` for any run of characters. Matches whole names only, case included.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

#[derive(Debug, thiserror::Error)]
#[error("a pattern may not be empty")]
pub struct PatternError;

impl Pattern {
    pub fn new(text: impl Into<String>) -> Result<Self, PatternError> {
        let text = text.into();
        if text.is_empty() { Err(PatternError) } else { Ok(Self(text)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == name };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        let mut pieces: Vec<&str> = rest.split('*').collect();
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            match name.split_once(piece) {
                Some((_, after)) => name = after,
                None => return false,
            }
        }
        name.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_star_stands_for_any_run_and_everything_else_for_itself() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "USER_CREATE", true),
            ("USER_CREATE", "USER_CREATE", true),
            ("USER_CREATE", "USER_CREATED", false),
            ("USER_CREATE", "user_create", false),
            ("USER_*", "USER_LOGIN", true),
            ("USER_*", "CREATE_USER", false),
            ("*_USER", "CREATE_USER", true),
            ("*_USER", "CREATE_USERS", false),
            ("U*_*E", "UPDATE_ONE", true),
            ("A*A", "A", false),
            ("A*B*C", "AxBxBxC", true),
            ("A*B*C", "AxCxB", false),
            ("a.c", "abc", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn an_empty_pattern_is_refused() {
        assert!(Pattern::new("").is_err());
    }
}
