//! The durable store: events, duplicate keys and deliveries, behind one trait. The only room with SQL; knows no HTTP.

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

mod accepting;
mod copy;
mod deciding;
mod delivery;
mod error;
mod operator;
mod postgres;
mod queue;
mod record;
mod sqlite;
mod summary;
mod upkeep;

pub use accepting::Acceptance;
pub use accepting::DuplicateKey;
pub use accepting::NewEvent;
pub use accepting::Receipt;
pub use accepting::Reply;
pub use accepting::Reservation;
pub use accepting::Reserved;
pub use accepting::Subject;
pub use copy::CopiedTable;
pub use copy::CopyError;
pub use copy::copy;
pub use delivery::Claim;
pub use delivery::Claimed;
pub use delivery::Delivery;
pub use delivery::DeliveryKey;
pub use delivery::Finish;
pub use delivery::NewDetails;
pub use delivery::Outcome;
pub use delivery::StoredEvent;
pub use error::InboxError;
pub use error::OpenError;
pub use operator::Operator;
pub use postgres::Examination;
pub use postgres::Migrated;
pub use postgres::PostgresError;
pub use postgres::PostgresInbox;
pub use postgres::PostgresOperator;
pub use postgres::PostgresOptions;
pub use record::Change;
pub use record::Record;
pub use record::RecordChange;
pub use record::RecordQuery;
pub use record::RecordRefusal;
pub use record::name_key;
pub use sqlite::SqliteEditor;
pub use sqlite::SqliteInbox;
pub use sqlite::SqliteOperator;
pub use sqlite::SqliteReader;
pub use sqlite::SqliteSource;
pub use summary::DeliverySummary;
pub use summary::EventFilter;
pub use summary::EventSummary;
pub use summary::State;
pub use upkeep::Finding;
pub use upkeep::Upkeep;

/// Proof that a task is this process's alone; dropping it lets others have it.
pub type Exclusive = Box<dyn std::any::Any + Send>;

/// Where events rest between the answer and the handlers.
///
/// Every method that changes something returns after the change is durable: what it reports survives
/// `kill -9` and power loss. Where it fails, nothing of it has happened.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Stores an event, its duplicate key, what it does to the directory, and its deliveries: all or nothing.
    ///
    /// Of any number of calls with one duplicate key, also concurrent ones, exactly one stores.
    async fn accept(&self, event: NewEvent) -> Result<Acceptance, InboxError>;

    /// Claims the duplicate key of an event that will be accepted once inline handlers have agreed.
    ///
    /// Until then everyone else with this key is told that it runs. The claim ends with `accept`, with
    /// `release`, at [`Reservation::until`], or with the process.
    async fn reserve(&self, reservation: Reservation) -> Result<Reserved, InboxError>;

    /// Gives a reserved key back: the same request may come again.
    async fn release(&self, endpoint: &str, key: DuplicateKey) -> Result<(), InboxError>;

    /// Takes deliveries that are due, for the time of a lease; they are then `running`.
    ///
    /// Of each subject only the oldest unfinished delivery of a handler can be taken.
    async fn claim(&self, claim: Claim) -> Result<Claimed, InboxError>;

    /// Puts off the end of leases that are still held; one that was lost is left alone.
    async fn extend(&self, keys: Vec<DeliveryKey>, until: Timestamp) -> Result<(), InboxError>;

    /// Ends an attempt. Without effect where the lease was lost and the delivery went to someone else;
    /// `false` says so.
    async fn finish(&self, finish: Finish) -> Result<bool, InboxError>;

    /// Keeps what IDaaS said of an event's user, and brings the directory up to it.
    async fn keep_details(&self, details: NewDetails) -> Result<(), InboxError>;

    /// One page of the directory.
    async fn records(&self, query: RecordQuery) -> Result<Vec<Record>, InboxError>;

    /// Keeps a task to one process at a time, for as long as the guard lives. `None`: another one has it.
    async fn exclusive(&self, task: &'static str) -> Result<Option<Exclusive>, InboxError>;

    /// Returns deliveries whose lease ran out by `now` to `waiting` and says how many there were.
    async fn recover(&self, now: Timestamp) -> Result<u64, InboxError>;

    /// Deletes some of what is past its time: expired duplicate keys, and events older than
    /// `finished_before` whose deliveries are all done. Returns how many rows went; 0 means that nothing is left.
    async fn prune(&self, now: Timestamp, finished_before: Timestamp) -> Result<u64, InboxError>;

    /// Whether events can be stored at this moment.
    async fn check(&self) -> Result<(), InboxError>;

    /// Changes whenever deliveries may have become claimable.
    fn arrivals(&self) -> watch::Receiver<u64>;

    /// Finishes what is queued and closes the store. Later calls fail with [`InboxError::Closed`].
    async fn close(&self);
}
