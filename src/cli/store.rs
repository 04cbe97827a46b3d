//! `store`: migrate, check, copy: what is done to a store as a whole. Changes no event.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;
use indicatif::ProgressBar;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde_json::json;

use crate::app;
use crate::cli::print;
use crate::cli::progress_bar;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::StoreUrl;
use crate::inbox::CopiedTable;

#[derive(Args)]
#[command(after_help = "Example:\n  bamboohook store check")]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Bring the schema of the configured store up to date, or make the store
    ///
    /// `serve` does so by itself; this is for a user of the database who may do more than the service's.
    #[command(after_help = "Example:\n  bamboohook store migrate")]
    Migrate,
    /// Look whether the configured store is fine, beside the service: exit code 0 or 1
    ///
    /// Changes nothing.
    #[command(after_help = "Example:\n  bamboohook store check --json")]
    Check(CheckArgs),
    /// Copy everything from a store on SQLite into an empty one on PostgreSQL
    ///
    /// Stop the service before, and start it with the new store.url after. The old store stays as it is.
    #[command(
        after_help = "Example:\n  bamboohook store copy --from sqlite://bamboohook.db --to postgres://bamboohook@db.example.com/bamboohook"
    )]
    Copy(CopyArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct CopyArgs {
    /// The old store, as in `sqlite://bamboohook.db`
    #[arg(long, value_name = "URL")]
    from: SecretString,
    /// The new store, where it is not the configured one, of which `store.password` is too
    #[arg(long, value_name = "URL")]
    to: Option<SecretString>,
}

pub(super) async fn run(args: StoreArgs, config: &Config) -> anyhow::Result<ExitCode> {
    match args.command {
        StoreCommand::Migrate => migrate(config).await,
        StoreCommand::Check(args) => check(&args, config).await,
        StoreCommand::Copy(args) => copy(&args, config).await,
    }
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    let migrated = app::migrate(config).await?;
    print(async |out| {
        match (migrated.from, migrated.to) {
            (from, to) if from == to => writeln!(out, "the schema is version {to} already")?,
            (from, to) => writeln!(out, "the schema was version {from} and is version {to}")?,
        }
        Ok(())
    })
    .await
}

async fn check(args: &CheckArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let findings = app::check_store(config).await?;
    let printed = print(async |out| {
        for finding in &findings {
            if args.json {
                let (what, fine, said) = (finding.what, finding.fine, &finding.said);
                writeln!(out, "{}", json!({ "what": what, "fine": fine, "said": said }))?;
            } else {
                let fine = if finding.fine { "fine" } else { "NOT FINE" };
                writeln!(out, "{fine:8}  {:9}  {}", finding.what, finding.said)?;
            }
        }
        Ok(())
    })
    .await?;
    Ok(if findings.iter().all(|finding| finding.fine) { printed } else { ExitCode::FAILURE })
}

#[expect(
    clippy::print_stderr,
    reason = "wrong usage is said on stderr, and where the copy goes too"
)]
async fn copy(args: &CopyArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let to = args.to.as_ref().map_or(Some(config.store.url.clone()), read);
    let (Some(StoreUrl::Sqlite(from)), Some(StoreUrl::Postgres(to))) = (read(&args.from), to)
    else {
        // The URLs are not repeated: they may hold a password.
        eprintln!(
            "error: a store is copied from SQLite to PostgreSQL: --from sqlite://FILE --to postgres://USER@HOST/DATABASE; \
             without --to it is store.url that has to be postgres://"
        );
        return Ok(ExitCode::from(2));
    };
    let bar = progress_bar()?;
    let copied = app::copy_store(config, &from, &to, SystemClock.now(), &|it| show(&bar, it)).await;
    bar.finish_and_clear();
    let copied = copied?;
    print(async |out| {
        for CopiedTable { table, done, .. } in &copied {
            writeln!(out, "{table}: {done} rows")?;
        }
        Ok(())
    })
    .await
}

fn read(url: &SecretString) -> Option<StoreUrl> {
    url.expose_secret().parse().ok()
}

fn show(bar: &ProgressBar, progress: CopiedTable) {
    bar.set_message(progress.table);
    bar.set_length(progress.total);
    bar.set_position(progress.done);
}
