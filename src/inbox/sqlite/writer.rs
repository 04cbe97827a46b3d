//! The one thread that writes: gathers what waits, commits once, answers all. Never waits for company.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::mpsc;
use tokio::sync::watch;

use crate::inbox::Acceptance;
use crate::inbox::Claim;
use crate::inbox::Claimed;
use crate::inbox::DeliveryKey;
use crate::inbox::DuplicateKey;
use crate::inbox::Finish;
use crate::inbox::InboxError;
use crate::inbox::NewDetails;
use crate::inbox::NewEvent;
use crate::inbox::Reservation;
use crate::inbox::Reserved;
use crate::inbox::queue::Reply;
use crate::inbox::sqlite::accept;
use crate::inbox::sqlite::checkpoint::Checkpoints;
use crate::inbox::sqlite::deliveries;
use crate::inbox::sqlite::file::Store;
use crate::inbox::sqlite::file::while_running;

/// Jobs of one commit. More would make the first of them wait without making the sync cheaper.
const BATCH: usize = 512;

/// Jobs and what became of each, commit by commit.
pub(super) type Answers = mpsc::UnboundedReceiver<Vec<(Job, Result<Done, InboxError>)>>;

/// What can be asked of the writer, with the one who waits for it.
pub(super) enum Job {
    Accept(Box<NewEvent>, Reply<Acceptance>),
    Reserve(Reservation, Reply<Reserved>),
    Release(Arc<str>, DuplicateKey, Reply<()>),
    Claim(Claim, Reply<Claimed>),
    Extend(Vec<DeliveryKey>, Timestamp, Reply<()>),
    Finish(Finish, Reply<bool>),
    KeepDetails(Box<NewDetails>, Reply<()>),
    Recover(Timestamp, Reply<u64>),
    Prune { now: Timestamp, finished_before: Timestamp, reply: Reply<u64> },
    Check(Reply<()>),
}

/// What a job came to inside a transaction; told to no one before the commit.
pub(super) enum Done {
    Accepted(Acceptance),
    Reserved(Reserved),
    Claimed(Claimed),
    Finished(bool),
    Rows(u64),
    Nothing,
}

pub(super) struct Writer {
    store: Store,
    arrivals: watch::Sender<u64>,
    checkpoints: Checkpoints,
    answers: mpsc::UnboundedSender<Vec<(Job, Result<Done, InboxError>)>>,
    /// The last commit failed, so a check has to prove that writing works again.
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        arrivals: watch::Sender<u64>,
        checkpoints: Checkpoints,
    ) -> (Self, Answers) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Self { store, arrivals, checkpoints, answers, failing: false }, receiver)
    }

    /// Ends when every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = queue.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH {
                let Ok(next) = queue.try_recv() else { break };
                batch.push(next);
            }
            self.write(&mut batch);
            self.checkpoints.after_commit(&self.store.connection);
        }
        self.checkpoints.stop(&self.store.connection);
    }

    fn write(&mut self, batch: &mut Vec<Job>) {
        match self.commit(batch) {
            Ok(done) => {
                self.failing = false;
                let arrived = done.iter().any(frees_deliveries);
                self.answer(batch.drain(..).zip(done.into_iter().map(Ok)).collect());
                if arrived {
                    self.arrivals.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
            // One job that cannot be stored must not take its company with it; but where the store
            // itself is at fault, trying each would only make all of them wait.
            Err(cause) if batch.len() > 1 && while_running(&cause) == InboxError::Failed => {
                for job in batch.split_off(0) {
                    self.write(&mut vec![job]);
                }
            }
            Err(cause) => {
                self.failing = true;
                tracing::error!(error = %cause, jobs = batch.len(), "the store did not commit; nothing of it was acknowledged");
                let error = while_running(&cause);
                self.answer(batch.drain(..).map(|job| (job, Err(error))).collect());
            }
        }
    }

    fn answer(&self, answers: Vec<(Job, Result<Done, InboxError>)>) {
        if self.answers.send(answers).is_err() {
            tracing::debug!("nobody hands out any more what the store did");
        }
    }

    fn commit(&mut self, batch: &[Job]) -> rusqlite::Result<Vec<Done>> {
        let transaction = Begun::new(&self.store.connection)?;
        let done = batch.iter().map(|job| self.perform(job)).collect::<rusqlite::Result<_>>()?;
        transaction.commit()?;
        Ok(done)
    }

    fn perform(&self, job: &Job) -> rusqlite::Result<Done> {
        let store = &self.store.connection;
        Ok(match job {
            Job::Accept(event, _) => Done::Accepted(accept::accept(store, event)?),
            Job::Reserve(reservation, _) => Done::Reserved(accept::reserve(store, reservation)?),
            Job::Release(endpoint, key, _) => {
                accept::release(store, endpoint, key)?;
                Done::Nothing
            }
            Job::Claim(claim, _) => Done::Claimed(deliveries::claim(store, claim)?),
            Job::Extend(keys, until, _) => {
                deliveries::extend(store, keys, *until)?;
                Done::Nothing
            }
            Job::Finish(finish, _) => Done::Finished(deliveries::finish(store, finish)?),
            Job::KeepDetails(details, _) => {
                deliveries::keep_details(store, details)?;
                Done::Nothing
            }
            Job::Recover(now, _) => Done::Rows(deliveries::recover(store, *now, *now)?),
            Job::Prune { now, finished_before, .. } => {
                Done::Rows(deliveries::prune(store, *now, *finished_before)?)
            }
            Job::Check(_) => {
                if self.failing {
                    accept::prove_writable(store)?;
                }
                Done::Nothing
            }
        })
    }
}

/// A transaction that takes the write lock at once and is undone unless it is committed.
struct Begun<'a>(&'a Connection);

impl<'a> Begun<'a> {
    fn new(connection: &'a Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(connection))
    }

    fn commit(self) -> rusqlite::Result<()> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit()
            && let Err(error) = self.0.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

fn frees_deliveries(done: &Done) -> bool {
    match done {
        Done::Accepted(Acceptance::Stored(_)) | Done::Finished(true) => true,
        Done::Rows(rows) => *rows > 0,
        Done::Accepted(_)
        | Done::Reserved(_)
        | Done::Finished(false)
        | Done::Claimed(_)
        | Done::Nothing => false,
    }
}

/// Tells everyone who waits. A task of its own beside the writer: one wake-up per commit crosses from its
/// thread to the runtime, in place of one per waiting request.
pub(super) async fn hand_out(mut answers: Answers) {
    while let Some(batch) = answers.recv().await {
        for (job, result) in batch {
            match result {
                Ok(done) => answer(job, done),
                Err(error) => refuse(job, error),
            }
        }
    }
}

fn answer(job: Job, done: Done) {
    match (job, done) {
        (Job::Accept(_, reply), Done::Accepted(acceptance)) => tell(reply, Ok(acceptance)),
        (Job::Reserve(_, reply), Done::Reserved(reserved)) => tell(reply, Ok(reserved)),
        (Job::Claim(_, reply), Done::Claimed(claimed)) => tell(reply, Ok(claimed)),
        (Job::Finish(_, reply), Done::Finished(held)) => tell(reply, Ok(held)),
        (Job::Recover(_, reply) | Job::Prune { reply, .. }, Done::Rows(rows)) => {
            tell(reply, Ok(rows));
        }
        (
            Job::Check(reply)
            | Job::Release(_, _, reply)
            | Job::Extend(_, _, reply)
            | Job::KeepDetails(_, reply),
            Done::Nothing,
        ) => tell(reply, Ok(())),
        (job, _) => refuse(job, InboxError::Failed),
    }
}

fn refuse(job: Job, error: InboxError) {
    match job {
        Job::Accept(_, reply) => tell(reply, Err(error)),
        Job::Reserve(_, reply) => tell(reply, Err(error)),
        Job::Claim(_, reply) => tell(reply, Err(error)),
        Job::Finish(_, reply) => tell(reply, Err(error)),
        Job::Recover(_, reply) | Job::Prune { reply, .. } => tell(reply, Err(error)),
        Job::Check(reply)
        | Job::Release(_, _, reply)
        | Job::Extend(_, _, reply)
        | Job::KeepDetails(_, reply) => {
            tell(reply, Err(error));
        }
    }
}

fn tell<T>(reply: Reply<T>, result: Result<T, InboxError>) {
    if reply.send(result).is_err() {
        tracing::debug!("nobody waits any more for what the store did");
    }
}
