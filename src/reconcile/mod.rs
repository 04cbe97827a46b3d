//! Brings the directory level with the IDaaS API and emits an event for every real difference. Calls no handler.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::dispatcher::Routing;
use crate::event::Dialect;
use crate::event::EventIds;
use crate::event::RecordKind;
use crate::idaas::IdaasClient;
use crate::inbox::Inbox;

mod compare;
mod difference;
mod emit;
mod error;
mod said;
mod walk;

pub use difference::Counts;
pub use difference::Difference;
pub use difference::Step;
pub use difference::Summary;
pub use difference::singular;
pub use error::ReconcileError;

use compare::Compared;
use compare::Comparing;
use walk::Tenant;

/// The name of the task that one process at a time may have.
const TASK: &str = "reconcile";

const KINDS: [RecordKind; 2] = [RecordKind::Organization, RecordKind::User];

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub enum Progress {
    /// `total` is what IDaaS says; a list that changes meanwhile begins anew.
    Walking {
        kind: RecordKind,
        done: u64,
        total: u64,
    },
    Storing {
        done: u64,
        total: u64,
    },
}

/// Is told of progress, often.
pub type Watch<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// Compares the directory of the endpoints named in `[reconcile]` with the IDaaS API.
///
/// Of CIAM endpoints the directory becomes what the API lists. Of EIAM endpoints only what is known and live is
/// looked at, since the API also lists people whom the application may not see.
pub struct Reconciler {
    idaas: Arc<IdaasClient>,
    inbox: Arc<dyn Inbox>,
    clock: Arc<dyn Clock>,
    routing: Routing,
    ids: EventIds,
    directory: config::Directory,
    endpoints: Vec<(Arc<str>, Dialect)>,
    max_delete_share: f64,
}

/// What a run would do.
pub struct Comparison {
    tenant: Tenant,
    differences: Vec<Difference>,
    excess: Option<ReconcileError>,
}

impl Comparison {
    /// In the order in which they would be stored.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    pub fn summary(&self) -> Summary {
        Summary::of(&self.differences)
    }

    /// Fails where a run would, because it had to delete too many.
    pub fn check(&self) -> Result<(), ReconcileError> {
        self.excess.clone().map_or(Ok(()), Err)
    }
}

impl Reconciler {
    pub fn new(
        config: &Config,
        idaas: Arc<IdaasClient>,
        inbox: Arc<dyn Inbox>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ReconcileError> {
        let chosen = &config.reconcile.endpoints;
        let mut endpoints = Vec::new();
        for (name, settings) in &config.endpoints {
            if chosen.is_empty() || chosen.contains(name) {
                let endpoint: Arc<str> = name.as_str().into();
                let Some(dialect) = settings.dialect else {
                    return Err(ReconcileError::AutoDialect { endpoint });
                };
                endpoints.push((endpoint, dialect));
            }
        }
        Ok(Self {
            idaas,
            inbox,
            clock,
            routing: Routing::of(&config.handlers),
            ids: EventIds::default(),
            directory: config.directory.clone(),
            endpoints,
            max_delete_share: config.reconcile.max_delete_share,
        })
    }

    /// Stores an event for every difference, each together with what it changes in the directory.
    ///
    /// Everything is compared before anything is stored. A run that was interrupted is finished by the next one.
    pub async fn run(&self, watch: &Watch<'_>) -> Result<Summary, ReconcileError> {
        let Some(_alone) = self.inbox.exclusive(TASK).await? else {
            return Err(ReconcileError::Running);
        };
        let comparison = self.compare(watch).await?;
        comparison.check()?;
        self.store(&comparison.differences, &comparison.tenant, watch).await?;
        Ok(comparison.summary())
    }

    /// Changes nothing.
    pub async fn compare(&self, watch: &Watch<'_>) -> Result<Comparison, ReconcileError> {
        let began = self.clock.now();
        let tenant = Tenant::walk(&self.idaas, watch).await?;
        let mut differences = Vec::new();
        let mut excess = None;
        for (endpoint, dialect) in &self.endpoints {
            for kind in KINDS {
                let comparing = Comparing {
                    endpoint,
                    dialect: *dialect,
                    kind,
                    listing: tenant.listing(kind),
                    directory: &self.directory,
                    began,
                };
                let compared = comparing.run(&*self.inbox).await?;
                excess = excess.or_else(|| self.excess(endpoint, kind, &compared));
                differences.extend(compared.differences);
            }
        }
        if excess.is_none() {
            for kind in KINDS {
                self.confirm_deletions(kind, &mut differences, watch).await?;
            }
        }
        differences.sort_by_key(Difference::turn);
        Ok(Comparison { tenant, differences, excess })
    }

    #[expect(clippy::cast_precision_loss, reason = "no directory has 2^52 records")]
    fn excess(
        &self,
        endpoint: &Arc<str>,
        kind: RecordKind,
        compared: &Compared,
    ) -> Option<ReconcileError> {
        let deletions = compared.differences.iter().filter(|it| it.step == Step::Delete).count();
        let (known, share) = (compared.known, self.max_delete_share);
        // The product of 0.29 and 100 is a little less than 29.
        let permitted = share * known as f64 + 1e-6;
        (deletions as f64 > permitted).then(|| ReconcileError::TooManyDeletions {
            endpoint: Arc::clone(endpoint),
            kind,
            deletions,
            known,
            share,
        })
    }

    /// Keeps only deletions of records that a second walk does not find either.
    async fn confirm_deletions(
        &self,
        kind: RecordKind,
        differences: &mut Vec<Difference>,
        watch: &Watch<'_>,
    ) -> Result<(), ReconcileError> {
        let deletes = |it: &Difference| it.kind == kind && it.step == Step::Delete;
        if !differences.iter().any(deletes) {
            return Ok(());
        }
        let present = walk::present(&self.idaas, kind, watch).await?;
        differences.retain(|it| !deletes(it) || !present.has(it));
        Ok(())
    }
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison").field("summary", &self.summary()).finish_non_exhaustive()
    }
}
