//! `directory`: lists the records of the directory. Changes nothing.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::app;
use crate::cli::print;
use crate::config::Config;
use crate::event::Message;
use crate::event::RecordKind;
use crate::event::printable;
use crate::event::rfc3339;
use crate::inbox::Operator;
use crate::inbox::Record;
use crate::inbox::RecordQuery;

/// Records read at once, so that a long list needs little memory.
const PAGE: usize = 500;

#[derive(Args)]
#[command(after_help = "Example:\n  bamboohook directory users --endpoint default --json")]
pub(super) struct DirectoryArgs {
    /// Which records
    #[arg(value_enum)]
    kind: KindArg,
    /// Of this endpoint only
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The deleted ones too
    #[arg(long)]
    deleted: bool,
    /// One JSON object a line, attributes included; they are people's data
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum KindArg {
    Users,
    Organizations,
}

pub(super) async fn run(args: &DirectoryArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = app::operator(config)?;
    print(async |out| list(args, &store, out).await).await
}

async fn list(args: &DirectoryArgs, store: &Operator, out: &mut impl Write) -> anyhow::Result<()> {
    let kind = match args.kind {
        KindArg::Users => RecordKind::User,
        KindArg::Organizations => RecordKind::Organization,
    };
    let mut query = RecordQuery {
        kind,
        endpoint: args.endpoint.clone(),
        deleted_too: args.deleted,
        after: None,
        most: PAGE,
    };
    loop {
        let page = store.records(&query).await?;
        let Some(last) = page.last() else { return Ok(()) };
        query.after = Some((last.endpoint.clone(), last.id.clone()));
        for record in &page {
            if args.json {
                writeln!(out, "{}", to_json(record)?)?;
            } else {
                print_line(record, out)?;
            }
        }
    }
}

#[derive(Serialize)]
struct User<'a> {
    endpoint: &'a str,
    id: &'a str,
    username: Option<&'a str>,
    disabled: bool,
    deleted: bool,
    /// As they are stored, so that numbers of any size keep their digits.
    attributes: &'a RawValue,
    updated_at: String,
}

#[derive(Serialize)]
struct Organization<'a> {
    endpoint: &'a str,
    id: &'a str,
    code: Option<&'a str>,
    name: Option<String>,
    parent_id: Option<String>,
    disabled: bool,
    deleted: bool,
    attributes: &'a RawValue,
    updated_at: String,
}

fn to_json(record: &Record) -> anyhow::Result<String> {
    let Record { endpoint, id, name, disabled, deleted, .. } = record;
    let (endpoint, id, disabled, deleted) = (&**endpoint, &**id, *disabled, *deleted);
    let attributes: &RawValue = serde_json::from_str(&record.attributes)?;
    let updated_at = rfc3339(record.updated_at);
    let line = match record.kind {
        RecordKind::User => {
            let username = name.as_deref();
            let user = User { endpoint, id, username, disabled, deleted, attributes, updated_at };
            serde_json::to_string(&user)
        }
        RecordKind::Organization => serde_json::to_string(&Organization {
            endpoint,
            id,
            code: name.as_deref(),
            name: attribute(record, "name"),
            parent_id: parent(record),
            disabled,
            deleted,
            attributes,
            updated_at,
        }),
    };
    Ok(line?)
}

/// The text of an attribute, as the SQL views show it.
fn attribute(record: &Record, name: &str) -> Option<String> {
    let message = Message::new(&*record.attributes);
    message.attributes().ok().flatten()?.text(name)
}

/// As the tenant sends it, or as IDaaS names it.
fn parent(record: &Record) -> Option<String> {
    attribute(record, "parentId").or_else(|| attribute(record, "parent_id"))
}

/// The first of several organisations is the primary one (PROTOCOL.md 5).
fn organization(record: &Record) -> Option<String> {
    let primary = || {
        let message = Message::new(&*record.attributes);
        message.attributes().ok().flatten()?.first("organizationIds")
    };
    attribute(record, "organizationId").or_else(primary).or_else(|| attribute(record, "org_id"))
}

fn print_line(record: &Record, out: &mut impl Write) -> std::io::Result<()> {
    let state = match (record.deleted, record.disabled) {
        (true, _) => "deleted",
        (false, true) => "disabled",
        (false, false) => "live",
    };
    let parent = match record.kind {
        RecordKind::User => organization(record),
        RecordKind::Organization => parent(record),
    };
    let shown = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), printable);
    writeln!(
        out,
        "{:10}  {:36}  {:8}  {:20}  {}",
        record.endpoint,
        printable(&record.id),
        state,
        shown(record.name.as_deref()),
        shown(parent.as_deref()),
    )
}
