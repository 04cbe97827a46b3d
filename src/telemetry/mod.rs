//! Log set-up. Every log field is named where it is written; nothing here knows an event.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::Log;
use crate::config::LogFormat;

/// Sends the log to stdout and panics to the log, without their text, which nobody has vetted.
///
/// Once per process; a later call changes nothing.
pub fn init(settings: &Log) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(&settings.level)?;
    let terminal = std::io::stdout().is_terminal();
    let text = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    let set = if text {
        subscriber.with_ansi(terminal).try_init()
    } else {
        subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    };
    if set.is_err() {
        tracing::debug!("the log is set up already");
        return Ok(());
    }
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "panicked");
    }));
    Ok(())
}
