//! The store on a PostgreSQL database that several services share: each writes what waits in it in one transaction. Keeps nothing that one of them alone knows.

use async_trait::async_trait;
use deadpool_postgres::Object;
use deadpool_postgres::Pool;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

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

mod batch;
mod claiming;
mod connect;
mod editing;
mod error;
mod exclusive;
mod failure;
mod filter;
mod listener;
mod operator;
mod order;
mod reach;
mod records;
mod rows;
mod schema;
mod session;
mod statements;
mod target;
mod text;
mod tls;
mod turn;
mod upkeep;
mod url;
mod writer;
mod writes;

pub use connect::PostgresOptions;
pub use error::PostgresError;
pub use operator::PostgresOperator;
pub use reach::Examination;
pub use schema::Migrated;
pub(in crate::inbox) use target::Target;
pub(in crate::inbox) use upkeep::check;

use failure::cause_text;
use failure::from_pool;
use failure::while_opening;
use failure::while_running;
use writer::Done;
use writer::Job;
use writer::Request;
use writer::Writer;

/// One of the processes that share a store. Clones share its writer and its pool.
#[derive(Clone)]
pub struct PostgresInbox {
    options: PostgresOptions,
    queue: Queue<Job>,
    pool: Pool,
    arrivals: watch::Receiver<u64>,
    announce: watch::Sender<u64>,
    listener: AbortHandle,
}

impl PostgresInbox {
    /// Reaches the database, which may take a while to come up, and brings its schema up to date.
    ///
    /// What other processes run stays theirs; what a lost one ran is recovered when its lease has ended.
    pub async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        options.migrate().await?;
        Self::start(options).await
    }

    /// Opens an existing store for a short while beside the services that run on it.
    pub async fn open_beside(options: PostgresOptions) -> Result<Self, OpenError> {
        options.check_schema().await?;
        Self::start(options).await
    }

    async fn start(options: PostgresOptions) -> Result<Self, OpenError> {
        let options = options.by_index();
        let pool = options.pool()?;
        let process = Uuid::new_v4();
        let (announce, arrivals) = watch::channel(0);
        let queue = Writer::start(options.clone(), process, announce.clone())
            .await
            .map_err(|cause| while_opening(options.shown(), &cause))?;
        let listener = tokio::spawn(listener::listen(options.clone(), process, announce.clone()));
        Ok(Self { options, queue, pool, arrivals, announce, listener: listener.abort_handle() })
    }

    async fn client(&self) -> Result<Object, InboxError> {
        // A pool that is closed says so for itself, but not before a connection is free.
        self.queue.jobs()?;
        self.pool.get().await.map_err(|cause| from_pool(&cause))
    }
}

#[async_trait]
impl Inbox for PostgresInbox {
    async fn accept(&self, mut event: NewEvent) -> Result<Acceptance, InboxError> {
        text::clean_subject(&mut event.subject);
        match self.queue.submit(Request::Accept(Box::new(event)).job()).await? {
            Done::Accepted(acceptance) => Ok(acceptance),
            _ => Err(InboxError::Failed),
        }
    }

    async fn reserve(&self, mut reservation: Reservation) -> Result<Reserved, InboxError> {
        text::clean_subject(&mut reservation.subject);
        match self.queue.submit(Request::Reserve(reservation).job()).await? {
            Done::Reserved(reserved) => Ok(reserved),
            _ => Err(InboxError::Failed),
        }
    }

    async fn release(&self, endpoint: &str, key: DuplicateKey) -> Result<(), InboxError> {
        self.queue.wait(Request::Release(endpoint.into(), key).job()).await.map(drop)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, InboxError> {
        let client = self.client().await?;
        let claimed = claiming::claim(&client, &claim).await;
        told(client, claimed)
    }

    async fn finish(&self, mut finish: Finish) -> Result<bool, InboxError> {
        text::clean_outcome(&mut finish.outcome);
        match self.queue.wait(Request::Finish(finish).job()).await? {
            Done::Finished(held) => Ok(held),
            _ => Err(InboxError::Failed),
        }
    }

    async fn extend(&self, keys: Vec<DeliveryKey>, until: Timestamp) -> Result<(), InboxError> {
        self.queue.wait(Request::Extend(keys, until).job()).await.map(drop)
    }

    async fn keep_details(&self, mut details: NewDetails) -> Result<(), InboxError> {
        details.change.as_mut().map(text::clean_change);
        self.queue.wait(Request::KeepDetails(Box::new(details)).job()).await.map(drop)
    }

    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, InboxError> {
        let client = self.client().await?;
        let records = operator::records(&**client, &query).await;
        told(client, records)
    }

    async fn exclusive(&self, task: &'static str) -> Result<Option<Exclusive>, InboxError> {
        self.queue.jobs()?;
        match exclusive::take(&self.options, task).await {
            Ok(guard) => Ok(guard.map(|guard| Box::new(guard) as Exclusive)),
            Err(cause) => Err(failed(&cause)),
        }
    }

    async fn recover(&self, now: Timestamp) -> Result<u64, InboxError> {
        let mut client = self.client().await?;
        let recovered = claiming::recover(&mut client, now).await;
        let recovered = told(client, recovered)?;
        if recovered > 0 {
            listener::announce(&self.announce);
        }
        Ok(recovered)
    }

    async fn prune(&self, now: Timestamp, finished_before: Timestamp) -> Result<u64, InboxError> {
        let mut client = self.client().await?;
        let pruned = claiming::prune(&mut client, now, finished_before).await;
        told(client, pruned)
    }

    async fn check(&self) -> Result<(), InboxError> {
        self.queue.wait(Request::Check.job()).await.map(drop)
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.clone()
    }

    async fn close(&self) {
        self.queue.close().await;
        self.listener.abort();
        self.pool.close();
    }
}

/// A connection on which something failed is not used again: its server may have become another's standby.
fn told<T>(client: Object, result: Result<T, tokio_postgres::Error>) -> Result<T, InboxError> {
    result.map_err(|cause| {
        drop(Object::take(client));
        failed(&cause)
    })
}

fn failed(cause: &tokio_postgres::Error) -> InboxError {
    let error = while_running(cause);
    tracing::warn!(cause = cause_text(cause), %error, "the store did not do what was asked");
    error
}
