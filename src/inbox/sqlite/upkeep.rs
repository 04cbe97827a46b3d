//! Brings the file of a store up to date, and looks whether it is fine. Reads no event.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::TransactionBehavior;

use crate::inbox::Finding;
use crate::inbox::InboxError;
use crate::inbox::Migrated;
use crate::inbox::OpenError;
use crate::inbox::sqlite::accept;
use crate::inbox::sqlite::file;
use crate::inbox::sqlite::schema;

/// Blocks.
pub(in crate::inbox) fn migrate(path: &Path) -> Result<Migrated, OpenError> {
    let from = if path.exists() {
        let connection = file::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::version(path, &connection)?
    } else {
        0
    };
    if from < schema::KNOWN {
        file::open(path)?;
    }
    Ok(Migrated { from, to: schema::KNOWN })
}

/// Blocks, for a large store for some time.
pub(in crate::inbox) fn check(path: &Path) -> Vec<Finding> {
    let mut connection = match file::open_any_version(path) {
        Ok(connection) => connection,
        Err(error) => return vec![Finding::failed("reachable", &error)],
    };
    let mut findings = vec![Finding::fine("reachable", path.display().to_string())];
    match schema::version(path, &connection) {
        Ok(found) => findings.push(Finding::of_schema(found, schema::KNOWN)),
        Err(error) => findings.push(Finding::failed("schema", &error)),
    }
    if findings.last().is_some_and(|schema| schema.fine) {
        findings.push(writable(&mut connection));
        findings.push(intact(&connection));
        findings.push(content(&connection));
    }
    findings
}

fn writable(connection: &mut Connection) -> Finding {
    let mut prove = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        accept::prove_writable(&transaction)?;
        transaction.rollback()
    };
    let error = match prove() {
        Ok(()) => return Finding::fine("writable", "yes"),
        Err(cause) => file::while_running(&cause),
    };
    let cure = match error {
        InboxError::Locked => "close the program that has it open",
        InboxError::Full => "make room",
        _ => "check the owner and mode of the file and its folder, and the mount",
    };
    Finding::wrong("writable", format!("{error}; {cure}"))
}

fn intact(connection: &Connection) -> Finding {
    let said = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match said {
        Ok(said) if said == "ok" => Finding::fine("intact", "quick_check finds nothing"),
        Ok(said) => Finding::wrong(
            "intact",
            format!("{}; bring back a copy of the file", said.replace('\n', " ")),
        ),
        Err(error) => Finding::failed("intact", &error),
    }
}

fn content(connection: &Connection) -> Finding {
    let counted = connection.query_row(
        "SELECT (SELECT count(*) FROM events),
                (SELECT count(*) FROM deliveries WHERE state <= 1),
                (SELECT count(*) FROM deliveries WHERE state = 3)",
        [],
        |row| Ok(Finding::of_content(row.get(0)?, row.get(1)?, row.get(2)?)),
    );
    counted.unwrap_or_else(|error| Finding::failed("content", &error))
}
