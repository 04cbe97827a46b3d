//! `events retry` and `events discard`: changes deliveries, after asking. Runs no handler.

use std::io::BufRead;
use std::io::IsTerminal;
use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use uuid::Uuid;

use crate::app;
use crate::cli::events::filter::FilterArgs;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::inbox::EventFilter;
use crate::inbox::Operator;

#[derive(Args)]
pub(super) struct ChangeArgs {
    /// Ids of events
    ids: Vec<Uuid>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Verb {
    Retry,
    Discard,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this command talks to a person")]
pub(super) async fn run(
    args: &ChangeArgs,
    config: &Config,
    verb: Verb,
) -> anyhow::Result<ExitCode> {
    if args.ids.is_empty() && args.filter.is_empty() {
        eprintln!("error: name events by id or by a filter such as --state dead; see --help");
        return Ok(ExitCode::from(2));
    }
    let store = app::operator(config)?;
    let filter = args.filter.read(&args.ids, SystemClock.now());
    let filter = match args.filter.limit {
        Some(limit) => limited(filter, &store, limit).await?,
        None => Some(filter),
    };
    let matching = match &filter {
        Some(filter) => store.count(filter).await?,
        None => 0,
    };
    if !args.json {
        println!("{matching} deliveries match");
    }
    let Some(filter) = filter.filter(|_| matching > 0) else {
        if args.json {
            println!("{}", serde_json::json!({ "matching": 0, "changed": 0 }));
        }
        return Ok(ExitCode::SUCCESS);
    };
    if !args.yes && !confirmed(verb, matching)? {
        eprintln!("nothing was changed");
        return Ok(ExitCode::FAILURE);
    }
    let changed = match verb {
        Verb::Retry => store.retry(&filter, SystemClock.now()).await?,
        Verb::Discard => store.discard(&filter, SystemClock.now()).await?,
    };
    if args.json {
        println!("{}", serde_json::json!({ "matching": matching, "changed": changed }));
    } else {
        println!("{changed} deliveries: {}", verb.as_str());
    }
    Ok(ExitCode::SUCCESS)
}

/// Names the newest `limit` events that the filter fits, so that it means them and no later ones.
async fn limited(
    mut filter: EventFilter,
    store: &Operator,
    limit: usize,
) -> anyhow::Result<Option<EventFilter>> {
    let newest = store.events(&filter, None, limit).await?;
    filter.ids = newest.into_iter().map(|it| it.event.id).collect();
    Ok((!filter.ids.is_empty()).then_some(filter))
}

#[expect(clippy::print_stderr, reason = "the question goes to whoever types the answer")]
fn confirmed(verb: Verb, matching: usize) -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("nobody is there to ask; add --yes to {} them", verb.as_str());
    }
    eprint!("{} {matching} deliveries? [y/N] ", verb.as_str());
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
