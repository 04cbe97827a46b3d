//! `events list` and `events show`: prints what is stored. Changes nothing.

use std::io::Write;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;
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
use crate::inbox::Operator;
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

pub(super) async fn list(args: &ListArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = app::operator(config)?;
    print(async |out| print_list(args, &store, out).await).await
}

pub(super) async fn show(args: &ShowArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = app::operator(config)?;
    print(async |out| print_event(args, &store, out).await).await
}

async fn print_list(args: &ListArgs, store: &Operator, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = args.filter.read(&[], SystemClock.now());
    let mut left = args.filter.limit.unwrap_or(usize::MAX);
    let mut before = None;
    while left > 0 {
        let page = store.events(&filter, before, left.min(PAGE)).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.sequence);
        left = left.saturating_sub(page.len());
        for event in &page {
            if args.json { writeln!(out, "{}", to_json(event))? } else { print_line(event, out)? }
        }
    }
    Ok(())
}

async fn print_event(
    args: &ShowArgs,
    store: &Operator,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some(event) = store.event(args.id).await? else {
        bail!("no event {} is stored; it may be past store.retention", args.id);
    };
    let shown = shown(&event, args.show_message)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&shown)?)?;
    } else {
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
    }
    Ok(())
}

/// What `events list --json` says of an event, and more.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    listed: Value,
    nonce: &'a str,
    timestamp: Option<u64>,
    status: u16,
    /// In the digits that it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Box<RawValue>>,
}

fn shown(summary: &EventSummary, show_message: bool) -> anyhow::Result<Shown<'_>> {
    let message = &summary.event.message;
    let message = match message.as_json() {
        _ if !show_message => None,
        Some(json) => Some(json.to_owned()),
        None => Some(to_raw_value(message.as_str())?),
    };
    Ok(Shown {
        listed: to_json(summary),
        nonce: &summary.nonce,
        timestamp: summary.timestamp.parse().ok(),
        status: ANSWERED,
        message,
    })
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::shown;
    use crate::event::Dialect;
    use crate::event::Message;
    use crate::event::UserDetails;
    use crate::inbox::EventSummary;
    use crate::inbox::State;
    use crate::inbox::StoredEvent;

    fn summary(message: &str) -> EventSummary {
        EventSummary {
            sequence: 1,
            event: StoredEvent {
                id: Uuid::nil(),
                endpoint: "default".to_owned(),
                dialect: Dialect::Eiam,
                event: "CREATE_USER".to_owned(),
                subject: None,
                requested_at: Timestamp::UNIX_EPOCH,
                received_at: Timestamp::UNIX_EPOCH,
                message: Message::new(message),
                user: UserDetails::Unasked,
            },
            nonce: "n".to_owned(),
            timestamp: "1783611176476".to_owned(),
            state: State::Done,
            deliveries: Vec::new(),
        }
    }

    #[test]
    fn a_message_is_shown_in_its_own_digits_and_only_when_asked_for() {
        let shown = |message: &str, asked| {
            serde_json::to_string(&shown(&summary(message), asked).unwrap()).unwrap()
        };
        let with_number = shown(r#"{"n":1e400, "big":123456789012345678901234567890}"#, true);
        assert!(
            with_number.ends_with(
                r#""nonce":"n","timestamp":1783611176476,"status":200,"message":{"n":1e400, "big":123456789012345678901234567890}}"#
            ),
            "{with_number}"
        );
        assert!(shown("bare-id", true).ends_with(r#""message":"bare-id"}"#));
        assert!(!shown("bare-id", false).contains("bare-id"));
    }
}
