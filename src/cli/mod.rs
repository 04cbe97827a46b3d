//! The commands, one file each. Used by `main` alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::Subcommand;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;

use crate::config;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Loaded;

mod check_config;
mod directory;
mod events;
mod healthcheck;
mod identify;
mod reconcile;
mod send;
mod serve;
mod store;

/// The callback address for Bamboo Cloud IDaaS identity events.
#[derive(Parser)]
#[command(name = "bamboohook", version, arg_required_else_help = true)]
#[command(after_help = "Example:\n  bamboohook serve --config config/development.toml")]
struct Cli {
    /// The settings file; else `BAMBOOHOOK_CONFIG`, else config/bamboohook.toml if it is there
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  bamboohook serve --config config/development.toml")]
    Serve,
    /// Check the settings and print them with their sources, secrets redacted
    #[command(after_help = "Example:\n  bamboohook check-config --config /etc/bamboohook.toml")]
    CheckConfig,
    /// Play IDaaS: build, seal, sign and send one event, or many
    Send(send::SendArgs),
    /// Find out the settings from one captured request and its keys
    Identify(identify::IdentifyArgs),
    /// List, show, retry or discard the stored events and their deliveries
    Events(events::EventsArgs),
    /// List the users or organisations that the events so far have made
    Directory(directory::DirectoryArgs),
    /// Bring the directory level with the users and organisations at IDaaS
    Reconcile(reconcile::ReconcileArgs),
    /// Migrate, check or copy the store as a whole
    Store(store::StoreArgs),
    /// Ask the running service whether it is ready
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the command that the arguments name. 0: fine, 1: what was asked about is not fine, 2: wrong usage.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli));
            // Whoever sent a second signal does not wait for what still blocks.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    result.unwrap_or_else(|error| fail(&error))
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let file = cli.config;
    match cli.command {
        Command::Serve => serve::run(load(file)?).await,
        Command::CheckConfig => check_config::run(&load(file)?),
        Command::Send(args) => send::run(args, &settings(file)?).await,
        Command::Identify(args) => {
            let config = if args.needs_config() { Some(settings(file)?) } else { None };
            identify::run(args, config.as_ref()).await
        }
        Command::Events(args) => events::run(args, &store_settings(file)?).await,
        Command::Directory(args) => directory::run(&args, &store_settings(file)?).await,
        Command::Reconcile(args) => reconcile::run(&args, &settings(file)?).await,
        Command::Store(args) => store::run(args, &store_settings(file)?).await,
        Command::Healthcheck(args) => healthcheck::run(args, &settings(file)?).await,
    }
}

/// How settings are read: [`Config::load`], or [`Config::load_store`] where only the store is asked for.
type Load = fn(Option<&Path>, &BTreeMap<String, String>) -> Result<Loaded, ConfigError>;

fn load(file: Option<PathBuf>) -> anyhow::Result<Loaded> {
    load_with(file, Config::load)
}

fn load_with(file: Option<PathBuf>, load: Load) -> anyhow::Result<Loaded> {
    let environment = config::environment();
    let file = config::file_from(file, &environment);
    Ok(load(file.as_deref(), &environment)?)
}

fn settings(file: Option<PathBuf>) -> anyhow::Result<Config> {
    load(file).map(|loaded| loaded.config)
}

/// For commands that only need to know where the store is.
fn store_settings(file: Option<PathBuf>) -> anyhow::Result<Config> {
    load_with(file, Config::load_store).map(|loaded| loaded.config)
}

/// It draws nothing where stderr is not a terminal.
fn progress_bar() -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg:22} {bar:40} {pos}/{len} {eta}")?;
    Ok(ProgressBar::new(0).with_style(style))
}

/// Lets a command write to stdout. Whoever reads only the head of a list has what they wanted.
async fn print(
    write: impl AsyncFnOnce(&mut std::io::StdoutLock<'static>) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    match write(&mut std::io::stdout().lock()).await {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Help and version are asked for and go to stdout; anything else that clap objects to is wrong usage.
#[expect(clippy::print_stderr, reason = "there is nowhere else to say that stdout is closed")]
fn usage(error: &clap::Error) -> ExitCode {
    if let Err(closed) = error.print() {
        eprintln!("error: {closed}");
    }
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

#[expect(clippy::print_stderr, reason = "diagnostics go to stderr")]
fn fail(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<ConfigError>() {
        Some(error) => error.problems().iter().for_each(|problem| eprintln!("error: {problem}")),
        None => eprintln!("error: {error:#}"),
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_commands_are_defined_without_contradiction() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_shows_an_example() {
        let mut pending = vec![Cli::command()];
        while let Some(command) = pending.pop() {
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains("Example"), "{}", command.get_name());
            pending.extend(command.get_subcommands().cloned());
        }
    }
}
