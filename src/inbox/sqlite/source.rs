//! Reads a whole store for whoever copies it, and keeps services away from it meanwhile. Leaves it as it is.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;
use rusqlite::TransactionBehavior;
use rusqlite::types::Value;
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

use crate::inbox::CopyError;
use crate::inbox::OpenError;
use crate::inbox::copy::Cell;
use crate::inbox::copy::Kind;
use crate::inbox::copy::Part;
use crate::inbox::copy::TABLES;
use crate::inbox::copy::Table;
use crate::inbox::sqlite::accept;
use crate::inbox::sqlite::deliveries;
use crate::inbox::sqlite::file;

/// Rows and bytes of text after which a page is full.
const PAGE_ROWS: usize = 1000;
const PAGE_BYTES: usize = 1 << 20;

/// A store to be copied. No service can use it as long as this lives.
pub struct SqliteSource(file::Store);

impl SqliteSource {
    /// Opens an existing store and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        file::open(path).map(Self)
    }

    /// Sends everything as the next start would find it. Blocks; ends early where nobody receives any more.
    pub(crate) fn read(mut self, now: Timestamp, parts: &Sender<Part>) -> Result<Self, CopyError> {
        let failed = |cause: rusqlite::Error| CopyError::Reading(cause.into());
        // Taken back at the end, and until then nothing else can write.
        let transaction = self
            .0
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        deliveries::recover(&transaction, Timestamp::MAX, now)
            .and_then(|_recovered| accept::release_all(&transaction))
            .map_err(failed)?;
        for table in &TABLES {
            read_table(&transaction, table, parts)?;
        }
        transaction.rollback().map_err(failed)?;
        Ok(self)
    }
}

fn read_table(
    store: &Connection,
    table: &'static Table,
    parts: &Sender<Part>,
) -> Result<(), CopyError> {
    let failed = |cause: rusqlite::Error| CopyError::Reading(cause.into());
    let count = format!("SELECT count(*) FROM {}", table.name);
    let total: i64 = store.query_row(&count, [], |row| row.get(0)).map_err(failed)?;
    if parts.blocking_send(Part::Begins(table, total.unsigned_abs())).is_err() {
        return Ok(());
    }
    // Every table's first columns are its key, which is also the order in which it lies on the disk.
    let sql = format!("SELECT {} FROM {}", table.column_list(), table.name);
    let mut statement = store.prepare(&sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let (mut page, mut bytes) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next().map_err(failed)? {
        let mut cells = Vec::with_capacity(table.columns.len());
        for (index, (column, kind)) in table.columns.iter().enumerate() {
            let value = row.get(index).map_err(failed)?;
            let cell =
                cell(*kind, value).ok_or(CopyError::Unstorable { table: table.name, column })?;
            bytes = bytes.saturating_add(size(&cell));
            cells.push(cell);
        }
        page.push(cells);
        if page.len() >= PAGE_ROWS || bytes >= PAGE_BYTES {
            bytes = 0;
            if parts.blocking_send(Part::Rows(std::mem::take(&mut page))).is_err() {
                return Ok(());
            }
        }
    }
    // Where it is not received, the copy has failed already.
    drop(parts.blocking_send(Part::Rows(page)));
    Ok(())
}

/// `None` where no column of a store holds such a value.
fn cell(kind: Kind, value: Value) -> Option<Cell> {
    Some(match (kind, value) {
        (_, Value::Null) => Cell::Null,
        (_, Value::Integer(number)) => Cell::Number(number),
        (Kind::Bytes, Value::Text(text)) => Cell::Bytes(text.into_bytes()),
        (_, Value::Text(text)) => Cell::Text(text),
        (Kind::Id, Value::Blob(bytes)) => Cell::Id(Uuid::from_slice(&bytes).ok()?),
        (_, Value::Blob(bytes)) => Cell::Bytes(bytes),
        (_, Value::Real(_)) => return None,
    })
}

fn size(cell: &Cell) -> usize {
    match cell {
        Cell::Null | Cell::Number(_) | Cell::Id(_) => 0,
        Cell::Text(text) => text.len(),
        Cell::Bytes(bytes) => bytes.len(),
    }
}
