//! Writes one structured line for each event. Leaves out the message: it holds people's data.

use async_trait::async_trait;

use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::event::Document;
use crate::event::printable;
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
            subject = document.subject.as_deref().map(shown),
            time = rfc3339(document.time),
            received_at = rfc3339(document.received_at),
            "event"
        );
        Ok(Reply::default())
    }
}

fn shown(id: &str) -> String {
    printable(&id.chars().take(LONGEST_SUBJECT).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_long_subject_is_cut_and_none_steers_a_terminal() {
        assert_eq!(shown("20200223-34EE 研发/R&D"), "20200223-34EE 研发/R&D");
        assert_eq!(shown("7\r\n\u{1b}[31m"), "7\\r\\n\\u{1b}[31m");
        assert_eq!(shown(&"7".repeat(100_000)).len(), 256);
    }
}
