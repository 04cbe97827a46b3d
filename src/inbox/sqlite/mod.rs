//! The store on one SQLite file: one writer thread, group commit, readers beside it. Shares no file between services.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::inbox::Acceptance;
use crate::inbox::Claim;
use crate::inbox::Claimed;
use crate::inbox::DeliveryKey;
use crate::inbox::DuplicateKey;
use crate::inbox::Exclusive;
use crate::inbox::Finish;
use crate::inbox::Inbox;
use crate::inbox::InboxError;
use crate::inbox::NewDetails;
use crate::inbox::NewEvent;
use crate::inbox::OpenError;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::Reservation;
use crate::inbox::Reserved;
use crate::inbox::queue::Queue;

mod accept;
mod checkpoint;
mod deliveries;
mod directory;
mod editor;
mod file;
mod operator;
mod reader;
mod schema;
mod source;
mod upkeep;
mod writer;

pub use editor::SqliteEditor;
pub use operator::SqliteOperator;
pub use reader::SqliteReader;
pub use source::SqliteSource;
pub(in crate::inbox) use upkeep::check;
pub(in crate::inbox) use upkeep::migrate;

use writer::Job;
use writer::Writer;

/// The one process's handle on its store. Clones share the writer.
#[derive(Clone)]
pub struct SqliteInbox {
    queue: Queue<Job>,
    path: Arc<Path>,
    arrivals: watch::Receiver<u64>,
}

impl SqliteInbox {
    /// Opens the store, makes it where there is none, brings its schema up to date, and returns to
    /// `waiting` what a crash left `running`.
    ///
    /// Holds a lock on the file beside it until it is closed: a second service on one file is refused.
    /// Has to be called within a tokio runtime.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let store = file::open(path)?;
        // Whatever still runs according to the file belongs to a process that is gone.
        deliveries::recover(&store.connection, Timestamp::MAX, now)
            .and_then(|_recovered| accept::release_all(&store.connection))
            .map_err(|cause| file::from_sqlite(path, cause))?;
        Self::start(path, store)
    }

    /// Opens an existing store beside the service that may own it: to store events and to look, not to run
    /// deliveries.
    pub fn open_beside(path: &Path) -> Result<Self, OpenError> {
        Self::start(path, file::open_beside(path)?)
    }

    fn start(path: &Path, store: file::Store) -> Result<Self, OpenError> {
        let (queue, waiting) = Queue::new();
        let (announce, arrivals) = watch::channel(0);
        let checkpoints = checkpoint::start(path)?;
        let (writer, answers) = Writer::new(store, announce, checkpoints);
        tokio::spawn(writer::hand_out(answers));
        std::thread::Builder::new()
            .name("inbox-writer".to_owned())
            .spawn(move || {
                writer.run(waiting.jobs);
                waiting.ended.send_replace(true);
            })
            .map_err(|cause| OpenError::Unopenable {
                path: path.to_owned(),
                cause: cause.into(),
            })?;
        Ok(Self { queue, path: path.into(), arrivals })
    }
}

#[async_trait]
impl Inbox for SqliteInbox {
    async fn accept(&self, event: NewEvent) -> Result<Acceptance, InboxError> {
        self.queue.submit(|reply| Job::Accept(Box::new(event), reply)).await
    }

    async fn reserve(&self, reservation: Reservation) -> Result<Reserved, InboxError> {
        self.queue.submit(|reply| Job::Reserve(reservation, reply)).await
    }

    async fn release(&self, endpoint: &str, key: DuplicateKey) -> Result<(), InboxError> {
        self.queue.wait(|reply| Job::Release(endpoint.into(), key, reply)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, InboxError> {
        self.queue.wait(|reply| Job::Claim(claim, reply)).await
    }

    async fn extend(&self, keys: Vec<DeliveryKey>, until: Timestamp) -> Result<(), InboxError> {
        self.queue.wait(|reply| Job::Extend(keys, until, reply)).await
    }

    async fn finish(&self, finish: Finish) -> Result<bool, InboxError> {
        self.queue.wait(|reply| Job::Finish(finish, reply)).await
    }

    async fn keep_details(&self, details: NewDetails) -> Result<(), InboxError> {
        self.queue.wait(|reply| Job::KeepDetails(Box::new(details), reply)).await
    }

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, InboxError> {
        let path = Arc::clone(&self.path);
        let read = move || match SqliteReader::open(&path) {
            Ok(reader) => reader.records(&query),
            Err(_) => Err(InboxError::Failed),
        };
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(InboxError::Failed))
    }

    async fn exclusive(&self, task: &'static str) -> Result<Option<Exclusive>, InboxError> {
        match file::lock(&self.path, task) {
            Ok(lock) => Ok(Some(Box::new(lock))),
            Err(OpenError::InUse { .. }) => Ok(None),
            Err(_) => Err(InboxError::Failed),
        }
    }

    async fn recover(&self, now: Timestamp) -> Result<u64, InboxError> {
        self.queue.wait(|reply| Job::Recover(now, reply)).await
    }

    async fn prune(&self, now: Timestamp, finished_before: Timestamp) -> Result<u64, InboxError> {
        self.queue.wait(|reply| Job::Prune { now, finished_before, reply }).await
    }

    async fn check(&self) -> Result<(), InboxError> {
        self.queue.wait(Job::Check).await
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.clone()
    }

    async fn close(&self) {
        self.queue.close().await;
    }
}
