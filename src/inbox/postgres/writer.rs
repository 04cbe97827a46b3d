//! The one task that writes: gathers what waits in this process, commits once, answers all. Never waits for company.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::error::DbError;
use tokio_postgres::error::Severity;
use uuid::Uuid;

use crate::inbox::Acceptance;
use crate::inbox::DeliveryKey;
use crate::inbox::DuplicateKey;
use crate::inbox::Finish;
use crate::inbox::InboxError;
use crate::inbox::NewDetails;
use crate::inbox::NewEvent;
use crate::inbox::PostgresOptions;
use crate::inbox::Reservation;
use crate::inbox::Reserved;
use crate::inbox::postgres::batch::Asked;
use crate::inbox::postgres::batch::Batch;
use crate::inbox::postgres::batch::KeyOf;
use crate::inbox::postgres::batch::key_of;
use crate::inbox::postgres::failure::cause_text;
use crate::inbox::postgres::failure::while_running;
use crate::inbox::postgres::listener::announce;
use crate::inbox::postgres::session::Session;
use crate::inbox::postgres::writes::Finishes;
use crate::inbox::queue::Queue;
use crate::inbox::queue::Reply;

/// Requests of one commit, and about what they may weigh. More would make the first of them wait without
/// making the commit cheaper.
const MOST: usize = 512;
const MOST_BYTES: usize = 8 << 20;

/// Between two attempts to reach a database that is away. Until then everything is refused at once.
const PAUSE: Duration = Duration::from_millis(200);

/// What can be asked of the writer.
pub(super) enum Request {
    Accept(Box<NewEvent>),
    Reserve(Reservation),
    Release(Arc<str>, DuplicateKey),
    Finish(Finish),
    Extend(Vec<DeliveryKey>, Timestamp),
    KeepDetails(Box<NewDetails>),
    Check,
}

impl Request {
    /// For the queue, which adds who waits.
    pub(super) fn job(self) -> impl FnOnce(Reply<Done>) -> Job {
        |reply| Job { request: self, reply }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Accept(event) => event.message.as_str().len(),
            _ => 0,
        }
    }
}

/// What a request came to; told to no one before the commit.
pub(super) enum Done {
    Accepted(Acceptance),
    Reserved(Reserved),
    Finished(bool),
    Nothing,
}

impl Done {
    /// Whether a delivery may have become claimable.
    fn frees_deliveries(&self) -> bool {
        matches!(self, Self::Accepted(Acceptance::Stored(_)) | Self::Finished(true))
    }
}

/// A request and the one who waits for what comes of it.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) reply: Reply<Done>,
}

/// A key whose taking got no answer, so that whoever asked for it was told to ask again.
pub(super) struct Doubt {
    pub(super) endpoint: Arc<str>,
    pub(super) key: DuplicateKey,
    pub(super) of: Doubted,
}

pub(super) enum Doubted {
    /// Accepted with this id.
    Event(Uuid),
    /// To this moment, which tells it from another one of the same key that was answered.
    Reservation { until: Timestamp },
}

impl Doubt {
    fn about(request: &Request) -> Option<Self> {
        let (endpoint, key, of) = match request {
            Request::Accept(event) => {
                (&event.endpoint, event.duplicate_key, Doubted::Event(event.id))
            }
            Request::Reserve(reservation) => {
                let until = reservation.until;
                let of = Doubted::Reservation { until };
                (&reservation.endpoint, reservation.duplicate_key, of)
            }
            _ => return None,
        };
        Some(Self { endpoint: Arc::clone(endpoint), key, of })
    }
}

pub(super) struct Writer {
    options: PostgresOptions,
    /// Tells this process from the others that share the store.
    process: Uuid,
    arrivals: watch::Sender<u64>,
    session: Option<Session>,
    doubts: Vec<Doubt>,
    /// For inline handlers of this process.
    reserved: HashSet<KeyOf>,
}

/// Why a commit failed.
enum Failure {
    /// The database says that nothing of it has happened.
    Refused(tokio_postgres::Error),
    /// The connection is gone. After `COMMIT` was sent nobody knows what came of it.
    Lost { cause: Option<tokio_postgres::Error>, doubtful: bool },
}

impl Failure {
    fn of(cause: tokio_postgres::Error, doubtful: bool) -> Self {
        let severity = cause.as_db_error().and_then(DbError::parsed_severity);
        match severity {
            Some(Severity::Error) => Self::Refused(cause),
            _ => Self::Lost { cause: Some(cause), doubtful },
        }
    }
}

impl Writer {
    pub(super) async fn start(
        options: PostgresOptions,
        process: Uuid,
        arrivals: watch::Sender<u64>,
    ) -> Result<Queue<Job>, tokio_postgres::Error> {
        let session = Session::open(&options).await?;
        let (queue, waiting) = Queue::new();
        let writer = Self {
            options,
            process,
            arrivals,
            session: Some(session),
            doubts: Vec::new(),
            reserved: HashSet::new(),
        };
        tokio::spawn(async move {
            writer.run(waiting.jobs).await;
            waiting.ended.send_replace(true);
        });
        Ok(queue)
    }

    /// Ends when every sender is gone and the queue is empty.
    async fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(MOST);
        loop {
            if self.session.is_none() && !self.reconnect(&mut queue).await {
                return;
            }
            let Some(first) = queue.recv().await else { break };
            // The server may have been restarted while nobody asked; that costs no request.
            if self.session.as_ref().is_some_and(Session::is_closed) {
                let again = timeout(PAUSE, Session::open(&self.options)).await;
                self.session = again.ok().and_then(Result::ok);
            }
            let mut weight = first.request.weight();
            batch.push(first);
            while batch.len() < MOST && weight < MOST_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                weight = weight.saturating_add(next.request.weight());
                batch.push(next);
            }
            self.write(std::mem::take(&mut batch)).await;
        }
        // What this process had reserved is free for the others.
        let release = |(endpoint, signed_at, mac)| {
            let key = DuplicateKey { signed_at, mac, kept_until: Timestamp::MIN };
            Job { request: Request::Release(endpoint, key), reply: oneshot::channel().0 }
        };
        let reserved: Vec<Job> = self.reserved.drain().map(release).collect();
        if !reserved.is_empty() {
            self.write(reserved).await;
        }
    }

    /// Refuses what is asked meanwhile. `false`: nobody can ask any more.
    async fn reconnect(&mut self, queue: &mut mpsc::Receiver<Job>) -> bool {
        let options = self.options.clone();
        let connecting = async move {
            loop {
                match Session::open(&options).await {
                    Ok(session) => return session,
                    Err(error) => {
                        tracing::debug!(error = cause_text(&error), "the store is still away");
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                session = &mut connecting => {
                    tracing::info!("the store is reached again");
                    self.session = Some(session);
                    if !self.doubts.is_empty() {
                        self.write(Vec::new()).await;
                        // What can be reached and takes nothing is not asked again at once.
                        if self.session.is_none() {
                            tokio::time::sleep(PAUSE).await;
                        }
                    }
                    return true;
                }
                job = queue.recv() => match job {
                    Some(job) => answer(job.reply, Err(InboxError::Unreachable)),
                    None => return false,
                }
            }
        }
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let Some(session) = self.session.take() else {
            return refuse(jobs, InboxError::Unreachable);
        };
        // A server that went away without a word must not hold everyone up for longer than one that is slow.
        let patience = self.options.statement_timeout().saturating_mul(2);
        let committed = match timeout(patience, self.commit(&session, &jobs)).await {
            Ok(committed) => committed,
            Err(_elapsed) => Err(Failure::Lost { cause: None, doubtful: true }),
        };
        match committed {
            Ok(done) => {
                self.session = Some(session);
                self.doubts.clear();
                let freed = done.iter().any(Done::frees_deliveries);
                for (job, done) in jobs.into_iter().zip(done) {
                    self.note_reserved(&job.request, &done);
                    answer(job.reply, Ok(done));
                }
                if freed {
                    announce(&self.arrivals);
                }
            }
            Err(failure) => {
                if let Failure::Refused(cause) = &failure
                    && while_running(cause) == InboxError::Failed
                {
                    self.session = timeout(patience, session.rolled_back()).await.ok().flatten();
                    // One request that cannot be stored must not take its company with it; but where the store
                    // itself is at fault, trying each would only make all of them wait.
                    if jobs.len() > 1 {
                        return Box::pin(self.write_each(jobs)).await;
                    }
                }
                self.fail(jobs, &failure);
            }
        }
    }

    fn note_reserved(&mut self, request: &Request, done: &Done) {
        match (request, done) {
            (Request::Reserve(it), Done::Reserved(Reserved::Yours { .. })) => {
                self.reserved.insert(key_of(&it.endpoint, &it.duplicate_key));
            }
            (Request::Accept(it), Done::Accepted(Acceptance::Stored(_))) if it.reserved => {
                self.reserved.remove(&key_of(&it.endpoint, &it.duplicate_key));
            }
            (Request::Release(endpoint, key), _) => {
                self.reserved.remove(&key_of(endpoint, key));
            }
            _ => {}
        }
    }

    /// Where the database goes away meanwhile, nobody waits until it is back.
    async fn write_each(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            self.write(vec![job]).await;
        }
    }

    fn fail(&mut self, jobs: Vec<Job>, failure: &Failure) {
        let (error, cause) = match failure {
            Failure::Refused(cause) => (while_running(cause), cause_text(cause)),
            Failure::Lost { cause: Some(cause), .. } => {
                (InboxError::Unreachable, cause_text(cause))
            }
            Failure::Lost { cause: None, .. } => {
                (InboxError::Unreachable, "no answer in time".to_owned())
            }
        };
        tracing::error!(
            error = cause,
            jobs = jobs.len(),
            "the store did not commit; nothing of it was acknowledged"
        );
        if matches!(failure, Failure::Lost { doubtful: true, .. }) {
            self.doubts.extend(jobs.iter().filter_map(|job| Doubt::about(&job.request)));
        }
        refuse(jobs, error);
    }

    /// One transaction in two flights: what has to be known, then what is written.
    async fn commit(&self, session: &Session, jobs: &[Job]) -> Result<Vec<Done>, Failure> {
        let asked = Asked::of(jobs);
        let found = session
            .begin(self.process, &self.doubts, &asked)
            .await
            .map_err(|cause| Failure::of(cause, false))?;
        let mut batch = Batch::new(self.process, found);
        let mut done: Vec<Done> = jobs.iter().map(|job| batch.perform(&job.request)).collect();
        let (writes, records) = batch.into_writes();
        // The other processes have to look for deliveries.
        let wakes = writes.frees_deliveries().then_some(self.process);
        // With every statement of a commit in it, it is much to carry about.
        let held = Box::pin(session.write(&writes, &records, wakes))
            .await
            .map_err(|cause| Failure::of(cause, true))?;
        Finishes::tell(&held, &mut done);
        Ok(done)
    }
}

fn refuse(jobs: Vec<Job>, error: InboxError) {
    for job in jobs {
        answer(job.reply, Err(error));
    }
}

fn answer(reply: Reply<Done>, result: Result<Done, InboxError>) {
    if reply.send(result).is_err() {
        tracing::debug!("nobody waits any more for what the store did");
    }
}
