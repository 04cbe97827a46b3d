//! The way to a store's one writer: bounded, and closed at the end. Knows no job.

use std::sync::Arc;
use std::sync::RwLock;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;

use crate::inbox::InboxError;

/// Jobs that may wait for the writer; one more is refused as saturated. At the speed of a slow disk this is
/// about a second of work, so nobody waits for longer than that.
const LENGTH: usize = 2048;

/// Who waits for what comes of a job.
pub(super) type Reply<T> = oneshot::Sender<Result<T, InboxError>>;

/// Clones lead to the same writer.
pub(super) struct Queue<Job> {
    /// Emptied by `close`, which lets the writer end.
    jobs: Arc<RwLock<Option<mpsc::Sender<Job>>>>,
    ended: watch::Receiver<bool>,
}

/// What the writer has of it.
pub(super) struct Waiting<Job> {
    pub(super) jobs: mpsc::Receiver<Job>,
    /// Becomes true when the writer has ended.
    pub(super) ended: watch::Sender<bool>,
}

impl<Job> Queue<Job> {
    pub(super) fn new() -> (Self, Waiting<Job>) {
        let (sender, jobs) = mpsc::channel(LENGTH);
        let (end, ended) = watch::channel(false);
        (Self { jobs: Arc::new(Some(sender).into()), ended }, Waiting { jobs, ended: end })
    }

    /// Fails where it is closed, or the writer has ended by itself: then nobody is to take this for a store.
    pub(super) fn jobs(&self) -> Result<mpsc::Sender<Job>, InboxError> {
        let jobs = self.jobs.read().map_err(|_poisoned| InboxError::Closed)?;
        jobs.clone().filter(|it| !it.is_closed()).ok_or(InboxError::Closed)
    }

    /// Fails where the queue is full: for what a request waits for.
    pub(super) async fn submit<T>(
        &self,
        job: impl FnOnce(Reply<T>) -> Job,
    ) -> Result<T, InboxError> {
        let (reply, result) = oneshot::channel();
        match self.jobs()?.try_send(job(reply)) {
            Ok(()) => result.await.map_err(|_ended| InboxError::Closed)?,
            Err(mpsc::error::TrySendError::Full(_)) => Err(InboxError::Saturated),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(InboxError::Closed),
        }
    }

    /// Waits for a place in the queue: for what has to happen sometime, not for what somebody waits for.
    pub(super) async fn wait<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, InboxError> {
        let (reply, result) = oneshot::channel();
        self.jobs()?.send(job(reply)).await.map_err(|_ended| InboxError::Closed)?;
        result.await.map_err(|_ended| InboxError::Closed)?
    }

    /// Returns when the writer has done what was queued and has ended.
    pub(super) async fn close(&self) {
        if let Ok(mut jobs) = self.jobs.write() {
            *jobs = None;
        }
        // An error means that the writer is gone, which is what is waited for.
        drop(self.ended.clone().wait_for(|ended| *ended).await);
    }
}

impl<Job> Clone for Queue<Job> {
    fn clone(&self) -> Self {
        Self { jobs: Arc::clone(&self.jobs), ended: self.ended.clone() }
    }
}
