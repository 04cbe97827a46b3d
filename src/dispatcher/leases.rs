//! Keeps alive the leases of what this process holds, and takes over what others have lost. Claims nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::inbox::DeliveryKey;
use crate::inbox::Inbox;

/// Two turns may fail before a lease ends. With two turns more, what a dead process held is another's.
pub(super) const LEASE: Duration = Duration::from_secs(15);

const TURN: Duration = Duration::from_secs(5);

/// The leases that this process has, of all its workers.
#[derive(Default)]
pub(super) struct Leases {
    held: Mutex<HashSet<DeliveryKey>>,
}

/// A claimed delivery is its holder's until this is dropped, and for [`LEASE`] at most thereafter.
pub(super) struct Lease {
    key: DeliveryKey,
    leases: Arc<Leases>,
}

impl Leases {
    pub(super) fn hold(self: &Arc<Self>, key: &DeliveryKey) -> Lease {
        self.held().insert(key.clone());
        Lease { key: key.clone(), leases: Arc::clone(self) }
    }

    /// Never ends.
    pub(super) async fn keep(self: Arc<Self>, inbox: Arc<dyn Inbox>, clock: Arc<dyn Clock>) {
        let mut before = clock.now();
        loop {
            let now = clock.now();
            let until = now.saturating_add(LEASE).unwrap_or(Timestamp::MAX);
            let keys: Vec<DeliveryKey> = self.held().iter().cloned().collect();
            // The store has said in its own log line what ails it; the next turn tries again.
            let extended = keys.is_empty() || inbox.extend(keys, until).await.is_ok();
            // Not before what is held here is extended, and not by a time of which that may not be said yet:
            // a clock that jumps would make two deliveries of an attempt that runs.
            if extended && let Ok(recovered @ 1..) = inbox.recover(before.min(now)).await {
                tracing::warn!(
                    deliveries = recovered,
                    "leases ran out; the deliveries are tried again"
                );
            }
            before = now;
            tokio::time::sleep(TURN).await;
        }
    }

    fn held(&self) -> MutexGuard<'_, HashSet<DeliveryKey>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.held().remove(&self.key);
    }
}
