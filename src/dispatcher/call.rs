//! One call of a handler, held within its time and its own task. Records nothing of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::event::Document;

/// A handler that panics is one that failed, and one that takes too long is dropped where it stands.
pub(super) async fn call(
    handler: &Arc<dyn Handler>,
    document: Arc<Document>,
    timeout: Duration,
) -> Result<Reply, HandlerError> {
    // A task of its own, so that a panic takes nothing with it; it ends with this set.
    let mut task = JoinSet::new();
    let handler = Arc::clone(handler);
    task.spawn(async move { handler.handle(&document).await });
    match tokio::time::timeout(timeout, task.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(_) => Err(HandlerError::retry("the handler panicked")),
        Err(_elapsed) => Err(HandlerError::retry(format!("timed out after {timeout:?}"))),
    }
}
