//! `events list` and `events show`: prints what is stored. Changes nothing.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use anyhow::bail;
use clap::Args;
use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use crate::app;
use crate::cli::events::filter::FilterArgs;
use crate::cli::print;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::event::printable;
use crate::event::rfc3339;
use crate::inbox::EventSummary;
use crate::inbox::SqliteReader;
use crate::inbox::State;

/// Events read at once, so that a long list needs little memory.
const PAGE: usize = 500;

/// The status of every stored event's answer: what is answered otherwise is not stored.
const ANSWERED: u16 = 200;

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The event's id
    id: Uuid,
    /// Print the message too; it holds people's data
    #[arg(long)]
    show_message: bool,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn list(args: &ListArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = SqliteReader::open(&app::sqlite_path(config)?).context("store.url")?;
    print(|out| print_list(args, &store, out))
}

pub(super) fn show(args: &ShowArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = SqliteReader::open(&app::sqlite_path(config)?).context("store.url")?;
    print(|out| print_event(args, &store, out))
}

fn print_list(args: &ListArgs, store: &SqliteReader, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = args.filter.read(&[], SystemClock.now());
    let mut left = args.filter.limit.unwrap_or(usize::MAX);
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

fn print_event(args: &ShowArgs, store: &SqliteReader, out: &mut impl Write) -> anyhow::Result<()> {
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
        event.subject.as_deref().map_or_else(|| "-".to_owned(), printable),
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
