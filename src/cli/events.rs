//! `events`: lists the stored events and shows one. Changes nothing.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::app;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::duration;
use crate::event::rfc3339;
use crate::inbox::EventFilter;
use crate::inbox::EventSummary;
use crate::inbox::SqliteReader;
use crate::inbox::State;

/// Events read at once, so that a long list needs little memory.
const PAGE: usize = 500;

/// The status of every stored event's answer: what is answered otherwise is not stored.
const ANSWERED: u16 = 200;

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
    List(ListArgs),
    /// Show one event with its deliveries
    #[command(
        after_help = "Example:\n  bamboohook events show 0197f1a0-7c1e-7b30-9d5c-2f6d0a4b8e11 --show-message"
    )]
    Show(ShowArgs),
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most this many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct FilterArgs {
    /// Events in this state; `running` means with a delivery that runs
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// The event's name, as in `USER_CREATE`
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// The endpoint's name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The id of the user or organisation
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// With a delivery of this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Received at or after: RFC 3339, or a span back from now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<When>,
    /// Received before: RFC 3339, or a span back from now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<When>,
}

#[derive(Clone, Copy)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

#[derive(Args)]
struct ShowArgs {
    /// The event's id
    id: Uuid,
    /// Print the message too; it holds people's data
    #[arg(long)]
    show_message: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum StateArg {
    Waiting,
    Running,
    Done,
    Dead,
}

pub(super) fn run(args: EventsArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = SqliteReader::open(&app::sqlite_path(config)?).context("store.url")?;
    let mut out = std::io::stdout().lock();
    let printed = match args.command {
        EventsCommand::List(args) => list(&args, &store, &mut out),
        EventsCommand::Show(args) => show(&args, &store, &mut out),
    };
    match printed {
        // Whoever reads only the head of a list has what they wanted.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        printed => printed.map(|()| ExitCode::SUCCESS),
    }
}

fn list(args: &ListArgs, store: &SqliteReader, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = args.filter.read(SystemClock.now())?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    let mut before = None;
    while left > 0 {
        let page = store.events(&filter, before, left.min(PAGE))?;
        let Some(last) = page.last() else { break };
        before = Some(last.sequence);
        left = left.saturating_sub(page.len());
        for event in &page {
            if args.json { writeln!(out, "{}", to_json(event))? } else { print_line(event, out)? }
        }
    }
    Ok(())
}

fn show(args: &ShowArgs, store: &SqliteReader, out: &mut impl Write) -> anyhow::Result<()> {
    let Some(event) = store.event(args.id)? else {
        bail!("no event {} is stored; it may be past store.retention", args.id);
    };
    let mut shown = to_json(&event);
    let mut add = |name: &str, value: Value| {
        shown.as_object_mut().and_then(|it| it.insert(name.to_owned(), value))
    };
    add("nonce", json!(event.nonce));
    add("timestamp", event.timestamp.parse::<u64>().map_or(Value::Null, Value::from));
    add("status", json!(ANSWERED));
    if args.show_message {
        let message = &event.event.message;
        let as_json = message.as_json().and_then(|it| serde_json::from_str(it.get()).ok());
        add("message", as_json.unwrap_or_else(|| json!(message.as_str())));
    }
    if args.json {
        writeln!(out, "{shown}")?;
    } else {
        writeln!(out, "{shown:#}")?;
    }
    Ok(())
}

impl FilterArgs {
    fn read(&self, now: Timestamp) -> anyhow::Result<EventFilter> {
        Ok(EventFilter {
            state: self.state.map(|state| match state {
                StateArg::Waiting => State::Waiting,
                StateArg::Running => State::Running,
                StateArg::Done => State::Done,
                StateArg::Dead => State::Dead,
            }),
            event: self.event.clone(),
            endpoint: self.endpoint.clone(),
            subject: self.subject.clone(),
            handler: self.handler.clone(),
            since: self.since.map(|it| it.moment(now)).transpose()?,
            until: self.until.map(|it| it.moment(now)).transpose()?,
        })
    }
}

impl When {
    fn moment(self, now: Timestamp) -> anyhow::Result<Timestamp> {
        match self {
            Self::At(at) => Ok(at),
            Self::Ago(span) => now.checked_sub(span).context("a span reaches back too far"),
        }
    }
}

fn when(text: &str) -> Result<When, &'static str> {
    let at = text.parse().map(When::At).ok();
    at.or_else(|| duration(text).map(When::Ago))
        .ok_or("write RFC 3339, or a span back from now such as 2h")
}

fn to_json(summary: &EventSummary) -> Value {
    let event = &summary.event;
    let deliveries: Vec<Value> = summary
        .deliveries
        .iter()
        .map(|delivery| {
            json!({
                "handler": delivery.handler,
                "state": delivery.state.as_str(),
                "attempts": delivery.attempts,
                "next_attempt_at": delivery.next_attempt_at.map(rfc3339),
                "last_error": delivery.last_error,
            })
        })
        .collect();
    json!({
        "id": event.id,
        "endpoint": event.endpoint,
        "dialect": event.dialect.as_str(),
        "event": event.event,
        "subject": event.subject,
        "received_at": rfc3339(event.received_at),
        "state": summary.state.as_str(),
        "deliveries": deliveries,
    })
}

fn print_line(summary: &EventSummary, out: &mut impl Write) -> std::io::Result<()> {
    let event = &summary.event;
    write!(
        out,
        "{}  {}  {:7}  {:22}  {:10}  {}",
        event.id,
        rfc3339(event.received_at),
        summary.state.as_str(),
        event.event,
        event.endpoint,
        event.subject.as_deref().unwrap_or("-"),
    )?;
    for delivery in &summary.deliveries {
        write!(out, "  {}={}", delivery.handler, delivery.state.as_str())?;
        if let Some(error) = &delivery.last_error
            && delivery.state != State::Done
        {
            write!(out, " ({} attempts, {error})", delivery.attempts)?;
        }
    }
    writeln!(out)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
