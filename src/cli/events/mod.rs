//! `events`: the stored events and their deliveries: list, show, retry, discard. One file for each kind of work.

use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;

use crate::config::Config;

mod change;
mod filter;
mod look;

#[derive(Args)]
#[command(after_help = "Example:\n  bamboohook events list --state dead --since 2h")]
pub(super) struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Subcommand)]
enum EventsCommand {
    /// List events, newest first
    #[command(after_help = "Example:\n  bamboohook events list --state dead --since 2h --json")]
    List(look::ListArgs),
    /// Show one event with its deliveries
    #[command(
        after_help = "Example:\n  bamboohook events show 0197f1a0-7c1e-7b30-9d5c-2f6d0a4b8e11 --show-message"
    )]
    Show(look::ShowArgs),
    /// Make deliveries due at once, with all their attempts before them
    ///
    /// Of the events that are meant: the deliveries that are dead or waiting; with --state only those in
    /// that state, which is how those that are done come again.
    #[command(
        after_help = "Example:\n  bamboohook events retry --state dead --handler people --since 1d"
    )]
    Retry(change::ChangeArgs),
    /// Give deliveries up
    ///
    /// Of the events that are meant: the deliveries that are dead or waiting; with --state only those in
    /// that state. They are then done, and their subjects' next ones are due.
    #[command(
        after_help = "Example:\n  bamboohook events discard 0197f1a0-7c1e-7b30-9d5c-2f6d0a4b8e11 --yes"
    )]
    Discard(change::ChangeArgs),
}

pub(super) async fn run(args: EventsArgs, config: &Config) -> anyhow::Result<ExitCode> {
    match args.command {
        EventsCommand::List(args) => look::list(&args, config).await,
        EventsCommand::Show(args) => look::show(&args, config).await,
        EventsCommand::Retry(args) => change::run(&args, config, change::Verb::Retry).await,
        EventsCommand::Discard(args) => change::run(&args, config, change::Verb::Discard).await,
    }
}
