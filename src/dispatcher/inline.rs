//! Handlers that run before the answer and decide it. Retries none of them: the sender will.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::dispatcher::Details;
use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Handlers;
use crate::dispatcher::Reply;
use crate::dispatcher::call::call;
use crate::dispatcher::routing::takes;
use crate::event::Document;

/// The inline handlers of a process, in the order of their names, which is the order in which they run.
pub struct Inline {
    handlers: Vec<InlineHandler>,
    details: Arc<Details>,
}

struct InlineHandler {
    name: String,
    settings: config::Handler,
    handler: Arc<dyn Handler>,
}

/// Why the answer is not a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InlineError {
    /// A handler says that the record does not exist.
    #[error("an inline handler does not know the record")]
    Missing,
    /// A handler failed or did not answer in time.
    #[error("an inline handler failed")]
    Failed,
}

impl Inline {
    pub fn new(handlers: Handlers, details: Arc<Details>) -> Self {
        let inline = handlers.into_iter().map(|(name, (settings, handler))| InlineHandler {
            name,
            settings,
            handler,
        });
        Self { handlers: inline.collect(), details }
    }

    pub fn concerns(&self, endpoint: &str, event: &str) -> bool {
        self.handlers.iter().any(|it| takes(&it.settings, endpoint, event))
    }

    /// Runs those that take this event, one after another, within `time` altogether. The first failure ends
    /// it, that of a look-up at IDaaS too; of the ids that they give, the first wins.
    pub async fn run(&self, document: Document, time: Duration) -> Result<Reply, InlineError> {
        let deadline = Instant::now() + time;
        let mut decided = Reply::default();
        let taking = self
            .handlers
            .iter()
            .filter(|it| takes(&it.settings, &document.endpoint, &document.event));
        for inline in taking {
            let began = Instant::now();
            let result = self.ask(inline, &document, deadline).await;
            inline.log(&document, &result, began.elapsed());
            match result {
                Ok(reply) => {
                    decided.id = decided.id.or(reply.id.filter(|id| !id.trim().is_empty()));
                }
                Err(HandlerError::Missing { .. }) => return Err(InlineError::Missing),
                Err(HandlerError::Retry { .. } | HandlerError::Reject { .. }) => {
                    return Err(InlineError::Failed);
                }
            }
        }
        Ok(decided)
    }

    async fn ask(
        &self,
        inline: &InlineHandler,
        document: &Document,
        deadline: Instant,
    ) -> Result<Reply, HandlerError> {
        let subject = document.subject.as_deref();
        let (dialect, event) = (document.dialect, &document.event);
        let named =
            self.details.named(&inline.settings, dialect, event, subject, &document.message);
        let look_up = self.details.fetch(named, document.received_at);
        let user = tokio::time::timeout_at(deadline, look_up)
            .await
            .map_err(|_elapsed| HandlerError::retry("IDaaS look-up: no time was left"))??;
        let document = Document { user, ..document.clone() };
        let left = deadline.saturating_duration_since(Instant::now());
        call(&inline.handler, Arc::new(document), left.min(inline.settings.timeout)).await
    }
}

impl InlineHandler {
    fn log(&self, document: &Document, result: &Result<Reply, HandlerError>, elapsed: Duration) {
        tracing::info!(
            handler = self.name,
            event_id = %document.id,
            endpoint = document.endpoint,
            event = document.event,
            attempt = document.attempt,
            outcome = match result {
                Ok(_) => "done",
                Err(HandlerError::Missing { .. }) => "missing",
                Err(HandlerError::Retry { .. } | HandlerError::Reject { .. }) => "failed",
            },
            reason = result.as_ref().err().map(tracing::field::display),
            latency_ms = elapsed.as_secs_f64() * 1000.0,
            "inline handler called"
        );
    }
}
