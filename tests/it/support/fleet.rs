//! Several services on one database, side by side as on several machines. Decides nothing between them.

use crate::support::process::Process;
use crate::support::process::Settings;
use crate::support::sink::Received;
use crate::support::sink::Sink;

/// Small, since many services use one test server.
const POOL: &str = "pool_size = 4";

/// A service on this database.
pub(crate) fn settings(store_url: &str) -> Settings {
    Settings {
        store_url: Some(store_url.to_owned()),
        store: POOL.to_owned(),
        ..Settings::default()
    }
}

/// The same with a sink for its deliveries, at a path that tells who has made them; see [`maker`].
pub(crate) fn with_sink(store_url: &str, number: usize, sink: &Sink, lines: &str) -> Settings {
    settings(store_url).with_http_handler(&format!("{}/{number}", sink.url()), lines)
}

/// Three services, all started at the same moment.
pub(crate) async fn three(store_url: &str, sink: &Sink, lines: &str) -> Vec<Process> {
    let start = |number| Process::start(with_sink(store_url, number, sink, lines));
    let (first, second, third) = tokio::join!(start(0), start(1), start(2));
    vec![first, second, third]
}

/// The number of the service that has made this delivery.
pub(crate) fn maker(received: &Received) -> usize {
    received.path.rsplit('/').next().unwrap().parse().unwrap()
}

/// The addresses for callbacks.
pub(crate) fn urls(fleet: &[Process]) -> Vec<String> {
    fleet.iter().map(Process::url).collect()
}
