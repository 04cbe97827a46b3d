//! Sets up reconciling, for the command and for the service that repeats it. Compares nothing itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;

use crate::app::store;
use crate::clock::Clock;
use crate::config::Config;
use crate::idaas::IdaasClient;
use crate::inbox::Inbox;
use crate::reconcile::Reconciler;

/// Up to this part of an interval is added to it, so that services that started together do not ask IDaaS together.
const JITTER: f64 = 0.1;

/// For a command: on the store of a service, which may run meanwhile. Close the store at the end.
pub async fn reconciler_beside(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Reconciler, Arc<dyn Inbox>)> {
    let settings = config.idaas.as_ref().context(
        "idaas: is missing, and reconcile asks the IDaaS API; add the [idaas] table with base_url, client_id and client_secret",
    )?;
    let client = Arc::new(IdaasClient::new(settings, Arc::clone(&clock)).context("idaas")?);
    let inbox = store::open_beside(config).await?;
    Ok((Reconciler::new(config, client, Arc::clone(&inbox), clock)?, inbox))
}

/// Runs at every `reconcile.every`, the first time after one of them. Never ends; may be dropped at any moment.
pub(super) fn regularly(
    config: &Config,
    client: Option<&Arc<IdaasClient>>,
    inbox: &Arc<dyn Inbox>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
    let regular = match (config.reconcile.every, client) {
        (Some(every), Some(client)) => {
            let reconciler =
                Reconciler::new(config, Arc::clone(client), Arc::clone(inbox), Arc::clone(clock))?;
            Some((every, reconciler))
        }
        _ => None,
    };
    Ok(async move {
        let Some((every, reconciler)) = regular else { return std::future::pending().await };
        loop {
            tokio::time::sleep(every.mul_f64(1.0 + JITTER * random())).await;
            run(&reconciler, every).await;
        }
    })
}

async fn run(reconciler: &Reconciler, every: Duration) {
    let began = Instant::now();
    match reconciler.run(&|_progress| {}).await {
        Ok(summary) => tracing::info!(
            users_created = summary.users.created,
            users_updated = summary.users.updated,
            users_deleted = summary.users.deleted,
            organizations_created = summary.organizations.created,
            organizations_updated = summary.organizations.updated,
            organizations_deleted = summary.organizations.deleted,
            elapsed = ?began.elapsed(),
            "reconciled"
        ),
        Err(error) => tracing::error!(%error, next = ?every, "reconciling failed"),
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let mut random = [0; 4];
    if getrandom::fill(&mut random).is_err() {
        tracing::warn!("no random bytes for the jitter of reconciling");
    }
    f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX)
}
