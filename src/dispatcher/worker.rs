//! One handler's deliveries: claims what is due, runs attempts side by side, records how each ended. Chooses no events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config;
use crate::dispatcher::Details;
use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::dispatcher::call::call;
use crate::dispatcher::leases::LEASE;
use crate::dispatcher::leases::Lease;
use crate::dispatcher::leases::Leases;
use crate::dispatcher::retry;
use crate::event::Document;
use crate::event::UserDetails;
use crate::event::rfc3339;
use crate::inbox::Claim;
use crate::inbox::Delivery;
use crate::inbox::DeliveryKey;
use crate::inbox::Finish;
use crate::inbox::Inbox;
use crate::inbox::InboxError;
use crate::inbox::Outcome;

/// How often an idle worker looks by itself: another program may have changed the store, or the clock jumped.
const POLL: Duration = Duration::from_millis(500);

/// Claimed at once, in multiples of what may run at once, so that the worker seldom waits for a commit.
const AHEAD: usize = 4;

pub(super) struct Worker {
    pub(super) name: Arc<str>,
    pub(super) settings: config::Handler,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) details: Arc<Details>,
    pub(super) leases: Arc<Leases>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Worker {
    /// Ends when `stopping` becomes true and the attempts that run by then have ended.
    pub(super) async fn run(self, mut stopping: watch::Receiver<bool>) {
        let worker = Arc::new(self);
        let mut running = JoinSet::new();
        let mut held = VecDeque::new();
        let mut arrivals = worker.inbox.arrivals();
        let mut wait = Duration::ZERO;
        while !*stopping.borrow() {
            while running.len() < worker.settings.concurrency
                && let Some((delivery, lease)) = held.pop_front()
            {
                running.spawn(Arc::clone(&worker).attempt(delivery, lease));
            }
            if wait.is_zero() && held.len() < worker.settings.concurrency {
                arrivals.mark_unchanged();
                wait = worker.claim(&mut held).await;
                continue;
            }
            tokio::select! {
                _ = stopping.changed() => {}
                Ok(()) = arrivals.changed() => wait = Duration::ZERO,
                Some(_) = running.join_next() => {}
                () = tokio::time::sleep(wait), if !wait.is_zero() => wait = Duration::ZERO,
            }
        }
        for (delivery, lease) in held {
            worker.record(delivery.key, Outcome::Released, lease).await;
        }
        while running.join_next().await.is_some() {}
    }

    /// Returns how long to wait before the next claim; zero where there is more to be had.
    async fn claim(&self, held: &mut VecDeque<(Delivery, Lease)>) -> Duration {
        let most = self.settings.concurrency.saturating_mul(AHEAD).saturating_sub(held.len());
        let now = self.clock.now();
        let claim = Claim { handler: Arc::clone(&self.name), most, now, lease: LEASE };
        match self.inbox.claim(claim).await {
            Ok(claimed) => {
                let all = claimed.deliveries.len() == most;
                held.extend(claimed.deliveries.into_iter().map(|delivery| {
                    let lease = self.leases.hold(&delivery.key);
                    (delivery, lease)
                }));
                if all { Duration::ZERO } else { until(claimed.next_due, now) }
            }
            // The store has said in its own log line what ails it; here it only means to wait.
            Err(_) => POLL,
        }
    }

    async fn attempt(self: Arc<Self>, delivery: Delivery, lease: Lease) {
        let started = Instant::now();
        let details = self.details.of(&self.settings, &delivery).await;
        let Delivery { key, event } = delivery;
        let (user, failed) = match details {
            Ok(user) => (user, None),
            Err(error) => (UserDetails::Unasked, Some(error)),
        };
        let document = Arc::new(Document {
            id: event.id,
            endpoint: event.endpoint,
            dialect: event.dialect,
            event: event.event,
            subject: event.subject,
            time: event.requested_at,
            received_at: event.received_at,
            attempt: key.attempt,
            message: event.message,
            user,
        });
        let result = match failed {
            Some(error) => Err(error),
            None => call(&self.handler, Arc::clone(&document), self.settings.timeout).await,
        };
        let outcome = self.outcome(key.attempt, result);
        self.log(&document, &outcome, started.elapsed());
        self.record(key, outcome, lease).await;
    }

    fn outcome(&self, attempt: u32, result: Result<Reply, HandlerError>) -> Outcome {
        let (reason, after) = match result {
            Ok(_) => return Outcome::Done,
            Err(HandlerError::Reject { reason }) => {
                return Outcome::Dead { error: reason.into_owned() };
            }
            Err(
                HandlerError::Retry { reason, after } | HandlerError::Missing { reason, after },
            ) => (reason, after),
        };
        let error = reason.into_owned();
        if attempt >= self.settings.max_attempts {
            return Outcome::Dead { error };
        }
        let mut random = [0; 4];
        if getrandom::fill(&mut random).is_err() {
            tracing::warn!("no random bytes for the jitter of a retry");
        }
        let (first, most) = (self.settings.retry_first, self.settings.retry_max);
        let delay = retry::delay(first, most, attempt, after, u32::from_ne_bytes(random));
        Outcome::Retry {
            at: self.clock.now().saturating_add(delay).unwrap_or(Timestamp::MAX),
            error,
        }
    }

    /// Until the store takes it: an attempt whose end is unknown would be made again.
    async fn record(&self, key: DeliveryKey, outcome: Outcome, _held_until_then: Lease) {
        loop {
            let finish =
                Finish { key: key.clone(), now: self.clock.now(), outcome: outcome.clone() };
            match self.inbox.finish(finish).await {
                Ok(true) | Err(InboxError::Closed) => return,
                Ok(false) => {
                    tracing::warn!(
                        handler = &*self.name,
                        attempt = key.attempt,
                        "the lease of a delivery ended before its attempt did; it is delivered twice"
                    );
                    return;
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
    }

    fn log(&self, document: &Document, outcome: &Outcome, elapsed: Duration) {
        let (outcome, reason, next_attempt_at) = match outcome {
            Outcome::Done => ("done", None, None),
            Outcome::Retry { at, error } => ("retry", Some(error), Some(rfc3339(*at))),
            Outcome::Dead { error } => ("dead", Some(error), None),
            Outcome::Released => ("released", None, None),
        };
        tracing::info!(
            handler = &*self.name,
            event_id = %document.id,
            endpoint = document.endpoint,
            event = document.event,
            attempt = document.attempt,
            outcome,
            reason,
            next_attempt_at,
            latency_ms = elapsed.as_secs_f64() * 1000.0,
            "delivery attempted"
        );
    }
}

fn until(next_due: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = next_due
        .map_or(POLL, |due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
    // Not zero: what fell due just now is worth a claim, not a spin.
    wait.clamp(Duration::from_millis(1), POLL)
}
