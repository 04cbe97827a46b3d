//! Text of a sender as it can be shown to a person. Shortens nothing.

/// What would steer a terminal or reorder its line is written as its code: the sender chooses names and ids.
pub fn printable(text: &str) -> String {
    let quote = |it: &char| matches!(it, '\'' | '"');
    text.chars()
        .flat_map(|it| {
            let as_it_is = Some(it).filter(quote);
            let as_code = as_it_is.is_none().then(|| it.escape_debug());
            as_it_is.into_iter().chain(as_code.into_iter().flatten())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_and_direction_characters_are_written_as_their_codes() {
        for text in ["20200223-34EE 研发/R&D", "O'Brien \"x\"", "Zoë 😀"] {
            assert_eq!(printable(text), text);
        }
        assert_eq!(
            printable("7\r\n\u{1b}[31m\u{202e}\u{9b}\\"),
            "7\\r\\n\\u{1b}[31m\\u{202e}\\u{9b}\\\\"
        );
    }
}
