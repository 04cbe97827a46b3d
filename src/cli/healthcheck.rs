//! `healthcheck`: asks `/readyz` of the configured admin listener, for containers without a shell. Starts nothing.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's result goes to stdout, its diagnosis to stderr"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper::HeaderMap;
use hyper::Method;
use hyper::body::Bytes;

use crate::cli::send::Target;
use crate::cli::send::reachable;
use crate::config::Config;

/// Docker gives a health check 30 s by default and Kubernetes 1 s; a service that needs more is not ready.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks a running service whether it is ready: exit code 0 or 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Example, in a Dockerfile:
  HEALTHCHECK CMD [\"bamboohook\", \"healthcheck\"]")]
pub(crate) struct HealthcheckArgs {}

pub(crate) async fn run(_args: HealthcheckArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let url = format!("http://{}/readyz", reachable(config.admin.listen));
    let target = Arc::new(Target::new(&url, TIMEOUT)?);
    let asked = target.lane().exchange(Method::GET, &HeaderMap::new(), Bytes::new()).await;
    match asked {
        Ok((200, _)) => {
            println!("ready");
            Ok(ExitCode::SUCCESS)
        }
        Ok((status, reason)) => {
            eprintln!(
                "not ready: HTTP status {status} {}",
                String::from_utf8_lossy(&reason).trim()
            );
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            eprintln!("not ready: no answer from {url}: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}
