//! The handlers that come with bamboohook, one file each. They do not know each other.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config;
use crate::config::HandlerKind;
use crate::dispatcher::Handler;
use crate::outbound::OutboundError;

mod command;
mod http;
mod log;
mod reply;

/// Why a handler of the settings cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HandlersError {
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    #[error("a header of the handler cannot be sent")]
    Header,
    #[error("the secret begins with whsec_ but is not Base64 behind it")]
    Secret,
    #[error("argv names no program")]
    Program,
    #[error(
        "type = \"rust\" is for programs that bring the handler along with App::with_handler; use \"log\", \"http\" or \"command\" here"
    )]
    Rust,
}

/// Makes the handler of one `[handlers.…]` table.
pub fn build(
    settings: &config::Handler,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn Handler>, HandlersError> {
    Ok(match &settings.kind {
        HandlerKind::Log => Arc::new(log::LogHandler),
        HandlerKind::Http { url, headers, secret } => {
            Arc::new(http::HttpHandler::new(url, headers, secret.as_ref(), Arc::clone(clock))?)
        }
        HandlerKind::Command { argv, env } => Arc::new(command::CommandHandler::new(argv, env)?),
        HandlerKind::Rust => return Err(HandlersError::Rust),
    })
}
