//! Writes one structured line for each event. Leaves out the message: it holds people's data.

use async_trait::async_trait;

use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::event::Document;
use crate::event::rfc3339;

pub(super) struct LogHandler;

#[async_trait]
impl Handler for LogHandler {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        tracing::info!(
            event_id = %document.id,
            endpoint = document.endpoint,
            dialect = document.dialect.as_str(),
            event = document.event,
            subject = document.subject,
            time = rfc3339(document.time),
            received_at = rfc3339(document.received_at),
            "event"
        );
        Ok(Reply::default())
    }
}
