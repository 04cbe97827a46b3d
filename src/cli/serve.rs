//! `serve`: runs the service until it is told to stop. Wires nothing itself.

use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use crate::app::App;
use crate::app::Listeners;
use crate::config::Loaded;
use crate::telemetry;

pub(super) async fn run(settings: Loaded) -> anyhow::Result<ExitCode> {
    telemetry::init(&settings.config.log)
        .context("log.level: not in RUST_LOG syntax; write for example \"info\"")?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    // Before anything else starts: a signal that comes early must not find its default, which kills.
    let mut signals = Signals::new().context("signals cannot be received")?;
    let listeners = Listeners::bind(&settings.config).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %listeners.callbacks.local_addr()?,
        admin = %listeners.admin.local_addr()?,
        "listening"
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let service = App::new(settings.config).run(listeners, shutdown);
    tokio::pin!(service);
    tokio::select! {
        result = service.as_mut() => return result.map(|()| ExitCode::SUCCESS),
        () = signals.next() => {}
    }
    drop(stop);
    tokio::select! {
        result = service.as_mut() => result.map(|()| ExitCode::SUCCESS),
        () = signals.next() => {
            tracing::warn!("second signal: stopping at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
