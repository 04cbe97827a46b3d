//! What can stop a run, by what the operator can do about it. Names no record.

use std::sync::Arc;

use crate::event::RecordKind;
use crate::idaas::IdaasError;
use crate::inbox::InboxError;
use crate::inbox::RecordRefusal;
use crate::reconcile::difference::plural;

/// A run did not come to its end. Except for [`ReconcileError::Store`] and [`ReconcileError::Refused`], nothing
/// was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReconcileError {
    #[error(
        "endpoints.{endpoint}.dialect: is \"auto\", which says not whose ids the directory holds; set it to \"eiam\" or \"ciam\", or name other endpoints in reconcile.endpoints"
    )]
    AutoDialect { endpoint: Arc<str> },
    #[error("another reconcile runs on this store; wait for its end")]
    Running,
    #[error("nothing was changed: {0}")]
    Idaas(IdaasError),
    #[error(
        "nothing was changed: the list of {} at IDaaS kept changing while it was read; try again later",
        plural(*kind)
    )]
    Unsettled { kind: RecordKind },
    #[error(
        "nothing was changed: {deletions} of {known} {} of endpoint {endpoint} are gone at IDaaS, more than the share of {share} that may be deleted; see them with --dry-run, and raise reconcile.max_delete_share if that is right",
        plural(*kind)
    )]
    TooManyDeletions {
        endpoint: Arc<str>,
        kind: RecordKind,
        deletions: usize,
        known: usize,
        share: f64,
    },
    #[error("{0}; what was stored until then stays, the rest is done by running it again")]
    Store(InboxError),
    #[error(
        "the directory refuses a difference: {0}; what was stored until then stays, the rest is done by running it again"
    )]
    Refused(RecordRefusal),
}

// Not by `#[from]`, which would make causes of them: they are in the texts already.

impl From<IdaasError> for ReconcileError {
    fn from(error: IdaasError) -> Self {
        Self::Idaas(error)
    }
}

impl From<InboxError> for ReconcileError {
    fn from(error: InboxError) -> Self {
        Self::Store(error)
    }
}

impl From<RecordRefusal> for ReconcileError {
    fn from(refusal: RecordRefusal) -> Self {
        Self::Refused(refusal)
    }
}
