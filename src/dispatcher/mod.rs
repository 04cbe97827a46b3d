//! Hands stored events to handlers: routing, workers with retry and order. Knows no HTTP status.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config;
use crate::event::Document;
use crate::inbox::Inbox;

mod call;
mod details;
mod inline;
mod leases;
mod retry;
mod routing;
mod worker;

pub use details::Details;
pub use inline::Inline;
pub use inline::InlineError;
pub use routing::Routing;

use leases::Leases;
use worker::Worker;

/// What is done with events. Implement this to add a handler of your own; `examples/custom_handler.rs` does.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Handles one event.
    ///
    /// Comes at least once per event: after a crash or a lost answer an event comes again, under the
    /// same [`Document::id`]. Events of one subject come one after another, in order of arrival; others
    /// at the same time, up to `concurrency`. Is dropped at the `timeout`, wherever it waits just then.
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError>;
}

/// What a handler answers. Queued handlers have nothing to say: the sender is gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// The application's own id of the record, from an inline handler.
    pub id: Option<String>,
}

/// A failed attempt, by what is to happen next. Reasons are shown to operators: no people's data in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// May succeed later.
    #[error("{reason}")]
    Retry {
        reason: Cow<'static, str>,
        /// Not before this time has passed, where the receiver said so.
        after: Option<Duration>,
    },
    /// Will never succeed: the delivery is dead at once.
    #[error("{reason}")]
    Reject { reason: Cow<'static, str> },
    /// The record that the event names does not exist.
    #[error("{reason}")]
    Missing { reason: Cow<'static, str>, after: Option<Duration> },
}

impl HandlerError {
    pub fn retry(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Retry { reason: reason.into(), after: None }
    }

    pub fn reject(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Reject { reason: reason.into() }
    }
}

/// The handlers of one process, by the name of their `[handlers.…]` table.
pub type Handlers = BTreeMap<String, (config::Handler, Arc<dyn Handler>)>;

/// The running workers, one for each queued handler, and who keeps their leases.
pub struct Dispatcher {
    workers: JoinSet<()>,
    keeper: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Dispatcher {
    pub fn start(
        handlers: Handlers,
        details: &Arc<Details>,
        inbox: &Arc<dyn Inbox>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (mut workers, mut keeper) = (JoinSet::new(), JoinSet::new());
        let leases = Arc::new(Leases::default());
        keeper.spawn(Arc::clone(&leases).keep(Arc::clone(inbox), Arc::clone(clock)));
        for (name, (settings, handler)) in handlers {
            let worker = Worker {
                name: name.into(),
                settings,
                handler,
                details: Arc::clone(details),
                leases: Arc::clone(&leases),
                inbox: Arc::clone(inbox),
                clock: Arc::clone(clock),
            };
            workers.spawn(worker.run(stopping.clone()));
        }
        Self { workers, keeper, stop }
    }

    /// Returns when a worker ends, which without [`Dispatcher::stop`] none ever should.
    pub async fn failed(&mut self) {
        tokio::select! {
            Some(_) = self.workers.join_next() => {}
            _ = self.keeper.join_next() => {}
        }
    }

    /// Claims nothing more and waits for the attempts that run. To stop waiting, drop the future: they
    /// are aborted, and come again after the next start or when their leases have run out.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.workers.join_next().await.is_some() {}
    }
}
