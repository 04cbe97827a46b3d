//! One fetch for all who look up the same user at the same time. Fetches nothing itself, and never serves what is older than the event.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::idaas::IdaasError;

/// How long an answer may be used again.
const FRESH: Duration = Duration::from_secs(3);
/// Answers kept at once; with [`LARGEST_KEPT`] it bounds the memory they take.
const MOST_KEPT: usize = 512;
/// Bytes. Longer answers go only to those who already wait for them.
const LARGEST_KEPT: usize = 32 * 1024;

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Id(String),
    Username(String),
}

pub(super) struct Lookups {
    clock: Arc<dyn Clock>,
    current: Mutex<HashMap<Who, Arc<Lookup>>>,
}

struct Lookup {
    /// By the wall clock, to be compared with the arrival of events. The fetch begins no earlier.
    began: Timestamp,
    /// By the monotonic clock, to measure the age.
    since: Instant,
    found: OnceCell<Result<Option<Box<RawValue>>, IdaasError>>,
}

impl Lookups {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, current: Mutex::default() }
    }

    /// What a fetch found that began at or after `not_before`: one that others wait for, one that has just
    /// ended, or `fetch`.
    ///
    /// Whoever waits for a fetch that fails gets its failure too; the next one tries again. A caller that
    /// gives up in the middle leaves its fetch to the next who waits.
    pub(super) async fn find(
        &self,
        who: Who,
        not_before: Timestamp,
        fetch: impl Future<Output = Result<Option<Box<RawValue>>, IdaasError>>,
    ) -> Result<Option<Box<RawValue>>, IdaasError> {
        let lookup = self.join(&who, not_before);
        let found = lookup.found.get_or_init(|| fetch).await;
        if !worth_keeping(found) {
            self.forget(&who, &lookup);
        }
        found.clone()
    }

    fn join(&self, who: &Who, not_before: Timestamp) -> Arc<Lookup> {
        let mut current = self.current();
        // Read under the lock: else a fetch that began meanwhile would seem to lie in the future.
        let now = self.clock.now();
        if let Some(lookup) = current.get(who)
            // A beginning in the future means that the clock was set back: then it proves nothing.
            && (not_before..=now).contains(&lookup.began)
            && lookup.is_usable()
        {
            return Arc::clone(lookup);
        }
        if current.len() >= MOST_KEPT {
            current.retain(|_, it| it.is_awaited() || it.is_usable());
        }
        if current.len() >= MOST_KEPT {
            current.retain(|_, it| it.is_awaited());
        }
        let lookup = Arc::new(Lookup { began: now, since: Instant::now(), found: OnceCell::new() });
        current.insert(who.clone(), Arc::clone(&lookup));
        lookup
    }

    fn forget(&self, who: &Who, lookup: &Arc<Lookup>) {
        let mut current = self.current();
        if current.get(who).is_some_and(|it| Arc::ptr_eq(it, lookup)) {
            current.remove(who);
        }
    }

    fn current(&self) -> MutexGuard<'_, HashMap<Who, Arc<Lookup>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    fn is_usable(self: &Arc<Self>) -> bool {
        match self.found.get() {
            Some(found) => worth_keeping(found) && self.since.elapsed() < FRESH,
            None => self.is_awaited(),
        }
    }

    /// Asked under the lock of the map, which holds one reference itself.
    fn is_awaited(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }
}

fn worth_keeping(found: &Result<Option<Box<RawValue>>, IdaasError>) -> bool {
    match found {
        Ok(Some(user)) => user.get().len() <= LARGEST_KEPT,
        Ok(None) => true,
        Err(_) => false,
    }
}
