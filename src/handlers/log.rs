//! Writes one structured line for each event. Leaves out the message: it holds people's data.

use async_trait::async_trait;

use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::event::Document;
use crate::event::rfc3339;

/// Characters of a subject that are logged; the vendor's ids are shorter.
const LONGEST_SUBJECT: usize = 256;

pub(super) struct LogHandler;

#[async_trait]
impl Handler for LogHandler {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        tracing::info!(
            event_id = %document.id,
            endpoint = document.endpoint,
            dialect = document.dialect.as_str(),
            event = document.event,
            subject = document.subject.as_deref().map(printable),
            time = rfc3339(document.time),
            received_at = rfc3339(document.received_at),
            "event"
        );
        Ok(Reply::default())
    }
}

/// The id is the sender's choice: what would steer a terminal or reorder a line is written as its code.
fn printable(id: &str) -> String {
    id.chars().take(LONGEST_SUBJECT).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_and_direction_characters_are_written_as_their_codes() {
        assert_eq!(printable("20200223-34EE 研发/R&D"), "20200223-34EE 研发/R&D");
        assert_eq!(
            printable("7\r\n\u{1b}[31m\u{202e}\u{9b}"),
            "7\\r\\n\\u{1b}[31m\\u{202e}\\u{9b}"
        );
        assert_eq!(printable(&"7".repeat(100_000)).len(), 256);
    }
}
