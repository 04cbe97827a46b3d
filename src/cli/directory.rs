//! `directory`: lists the records of the directory. Changes nothing.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::app;
use crate::cli::print;
use crate::config::Config;
use crate::event::RecordKind;
use crate::event::rfc3339;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::SqliteReader;

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

pub(super) fn run(args: &DirectoryArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let store = SqliteReader::open(&app::sqlite_path(config)?).context("store.url")?;
    print(|out| list(args, &store, out))
}

fn list(args: &DirectoryArgs, store: &SqliteReader, out: &mut impl Write) -> anyhow::Result<()> {
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
        let page = store.records(&query)?;
        let Some(last) = page.last() else { return Ok(()) };
        query.after = Some((last.endpoint.clone(), last.id.clone()));
        for record in &page {
            if args.json {
                writeln!(out, "{}", to_json(record))?;
            } else {
                print_line(record, out)?;
            }
        }
    }
}

fn to_json(record: &Record) -> Value {
    let attributes: Value = serde_json::from_str(&record.attributes).unwrap_or_default();
    let attribute = |name: &str| attributes.get(name).cloned().unwrap_or_default();
    match record.kind {
        RecordKind::User => json!({
            "endpoint": record.endpoint,
            "id": record.id,
            "username": record.name,
            "disabled": record.disabled,
            "deleted": record.deleted,
            "attributes": attributes,
            "updated_at": rfc3339(record.updated_at),
        }),
        RecordKind::Organization => json!({
            "endpoint": record.endpoint,
            "id": record.id,
            "code": record.name,
            "name": attribute("name"),
            // The application's own, or that of IDaaS.
            "parent_id": if attribute("parentId").is_null() { attribute("parent_id") } else { attribute("parentId") },
            "disabled": record.disabled,
            "deleted": record.deleted,
            "attributes": attributes,
            "updated_at": rfc3339(record.updated_at),
        }),
    }
}

fn print_line(record: &Record, out: &mut impl Write) -> std::io::Result<()> {
    let state = match (record.deleted, record.disabled) {
        (true, _) => "deleted",
        (false, true) => "disabled",
        (false, false) => "live",
    };
    // The application's own, or that of IDaaS.
    let parents = match record.kind {
        RecordKind::User => ["organizationId", "org_id"],
        RecordKind::Organization => ["parentId", "parent_id"],
    };
    let attributes: Value = serde_json::from_str(&record.attributes).unwrap_or_default();
    writeln!(
        out,
        "{:10}  {:36}  {:8}  {:20}  {}",
        record.endpoint,
        record.id,
        state,
        record.name.as_deref().unwrap_or("-"),
        parents.iter().find_map(|it| attributes.get(it)?.as_str()).unwrap_or("-"),
    )
}
