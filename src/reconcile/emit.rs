//! Makes an event of a difference and stores it, with what it does to the directory. Finds no differences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use sha2::Digest;
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::event::Dialect;
use crate::event::Message;
use crate::inbox::Acceptance;
use crate::inbox::Change;
use crate::inbox::DuplicateKey;
use crate::inbox::Inbox;
use crate::inbox::InboxError;
use crate::inbox::NewEvent;
use crate::inbox::RecordChange;
use crate::inbox::Reply;
use crate::inbox::Subject;
use crate::reconcile::Progress;
use crate::reconcile::ReconcileError;
use crate::reconcile::Reconciler;
use crate::reconcile::Watch;
use crate::reconcile::compare::DISABLED;
use crate::reconcile::compare::attributes;
use crate::reconcile::difference::Difference;
use crate::reconcile::difference::Step;
use crate::reconcile::walk::Listed;
use crate::reconcile::walk::Tenant;

/// Events that wait for the store at once: enough to share its commits, and callbacks still get their turn.
const CHUNK: usize = 256;
/// How often a store that is busy with others is asked.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// A difference is gone with the transaction that stores its event. This only keeps two runs, of which one was
/// thought dead, from telling of the same one.
const KEY_KEPT: Duration = Duration::from_mins(1);

impl Reconciler {
    /// In order of [`Difference::turn`]. What is stored when this ends early is no difference any more.
    pub(super) async fn store(
        &self,
        differences: &[Difference],
        tenant: &Tenant,
        watch: &Watch<'_>,
    ) -> Result<(), ReconcileError> {
        let total = u64::try_from(differences.len()).unwrap_or(u64::MAX);
        let mut done = 0;
        for chunk in differences.chunks(CHUNK) {
            let mut stored = JoinSet::new();
            for difference in chunk {
                let event = self.event(difference, tenant);
                stored.spawn(accept(Arc::clone(&self.inbox), event));
            }
            while let Some(result) = stored.join_next().await {
                result.unwrap_or(Err(ReconcileError::Store(InboxError::Failed)))?;
                done += 1;
            }
            watch(Progress::Storing { done, total });
        }
        Ok(())
    }

    fn event(&self, difference: &Difference, tenant: &Tenant) -> NewEvent {
        let now = self.clock.now();
        let event = difference.event();
        let listing = tenant.listing(difference.kind);
        let listed = difference.listed.as_ref().and_then(|it| listing.records.get(it));
        let message = listed.map_or_else(|| farewell(difference), |it| it.raw.get().to_owned());
        let (subject, handlers) = (
            Subject::Record(Box::new(self.change(difference, listed))),
            self.routing.handlers(&difference.endpoint, &event),
        );
        NewEvent {
            id: self.ids.next(now),
            endpoint: Arc::clone(&difference.endpoint),
            dialect: difference.dialect,
            duplicate_key: duplicate_key(difference, listed, &event, &message, now),
            event,
            nonce: String::new(),
            timestamp: now.as_millisecond().to_string(),
            requested_at: now,
            received_at: now,
            message: Message::new(message),
            reserved: false,
            subject,
            reply: Reply::Text(String::new()),
            handlers,
        }
    }

    fn change(&self, difference: &Difference, listed: Option<&Listed>) -> RecordChange {
        let change = match difference.step {
            Step::Create | Step::Update => Change::Observe { revives: true },
            Step::Delete => Change::Delete,
        };
        let attributes = match (listed, difference.dialect) {
            (Some(listed), Dialect::Ciam) => attributes(&self.directory, listed),
            (Some(listed), Dialect::Eiam) => taken_over(difference, listed),
            (None, _) => "{}".to_owned(),
        };
        RecordChange {
            kind: difference.kind,
            change,
            id: Some(difference.id.clone()),
            assigned_id: None,
            name: difference.name.clone().filter(|_| difference.step != Step::Delete),
            attributes,
            disabled: difference.disabled,
            changed_at: listed.and_then(|it| it.changed_at),
        }
    }
}

async fn accept(inbox: Arc<dyn Inbox>, event: NewEvent) -> Result<(), ReconcileError> {
    let mut attempt = 1;
    loop {
        match inbox.accept(event.clone()).await {
            Ok(Acceptance::Refused(refusal)) => return Err(refusal.into()),
            Ok(Acceptance::Stored(_) | Acceptance::Duplicate(_) | Acceptance::Running) => {
                return Ok(());
            }
            Err(InboxError::Saturated | InboxError::Locked) if attempt < ATTEMPTS => {
                tokio::time::sleep(PAUSE * attempt).await;
                attempt += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is left to say of a record that is gone.
fn farewell(difference: &Difference) -> String {
    json!({ "id": difference.id, difference.kind.name_attribute(): difference.name }).to_string()
}

/// A JSON object.
fn taken_over(difference: &Difference, listed: &Listed) -> String {
    let facts = listed.facts(difference.kind).into_iter();
    let taken = facts.filter(|(name, _)| difference.facts.contains(name));
    let mut taken: BTreeMap<&str, Value> =
        taken.map(|(name, value)| (name, value.into())).collect();
    if difference.facts.contains(&DISABLED) {
        taken.insert(DISABLED, difference.disabled.into());
    }
    json!(taken).to_string()
}

/// One step from one state of the record is one event, whoever tells of it.
fn duplicate_key(
    difference: &Difference,
    listed: Option<&Listed>,
    event: &str,
    message: &str,
    now: Timestamp,
) -> DuplicateKey {
    let known_at = difference.known_at.map(Timestamp::as_millisecond);
    let changed_at = listed.and_then(|it| it.changed_at).map(Timestamp::as_millisecond);
    let mut digest = Sha256::new();
    for part in [&difference.endpoint, event, &difference.id, message] {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    DuplicateKey {
        signed_at: known_at.or(changed_at).unwrap_or_default(),
        mac: digest.finalize().into(),
        kept_until: now.saturating_add(KEY_KEPT).unwrap_or(Timestamp::MAX),
    }
}
