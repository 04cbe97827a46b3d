//! A primary that is lost and a standby that takes its place: the service finds it by itself. Promotes nothing by itself.

use bamboohook::event::Dialect;

use crate::postgres::outage::more_is_acknowledged;
use crate::postgres::outage::nothing_is_lost;
use crate::support::cluster::Cluster;
use crate::support::cluster::Stop;
use crate::support::fleet;
use crate::support::load::Load;
use crate::support::process::Process;
use crate::support::sink::Sink;

#[tokio::test(flavor = "multi_thread")]
async fn the_service_goes_on_on_a_promoted_standby_with_all_that_was_acknowledged() {
    let Some(primary) = Cluster::create().await else { return };
    let standby = primary.standby().await;
    let sink = Sink::start().await;
    let url = primary.url_with(&standby);
    let start = |number| Process::start(fleet::with_sink(&url, number, &sink, ""));
    let (first, second) = tokio::join!(start(0), start(1));
    let mut fleet = vec![first, second];
    let simulator = || fleet[0].simulator(Dialect::Eiam);
    let load = Load::start(fleet::urls(&fleet), simulator, 8, 2, u64::MAX);
    more_is_acknowledged(&load).await;
    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    more_is_acknowledged(&load).await;
    let sent = load.end().await;
    assert!(fleet.iter_mut().all(Process::is_running), "without a restart");
    nothing_is_lost(&standby, &sink, &sent).await;
}
