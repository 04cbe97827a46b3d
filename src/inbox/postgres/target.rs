//! Writes a whole store into an empty database, in one transaction. Reads nothing but counts.

use std::pin::pin;

use tokio_postgres::Client;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::ToSql;
use tokio_postgres::types::Type;

use crate::inbox::CopiedTable;
use crate::inbox::CopyError;
use crate::inbox::PostgresOptions;
use crate::inbox::copy::Cell;
use crate::inbox::copy::Kind;
use crate::inbox::copy::TABLES;
use crate::inbox::copy::Table;
use crate::inbox::postgres::failure::cause_text;
use crate::inbox::postgres::text::storable;
use crate::inbox::postgres::turn::announce;
use crate::inbox::postgres::turn::take_turn;

/// A connection to the database that is to be filled.
pub(crate) struct Target(Client);

/// Nothing of it is there before [`Filling::commit`], nor where that is never called.
pub(crate) struct Filling<'a>(Transaction<'a>);

impl Target {
    pub(crate) async fn connect(options: &PostgresOptions) -> Result<Self, CopyError> {
        Ok(Self(options.client().await?))
    }

    /// Keeps every writer out from here on.
    pub(crate) async fn begin(&mut self) -> Result<Filling<'_>, CopyError> {
        let transaction = self.0.transaction().await?;
        // A page may be long in coming, and an index long in growing.
        let patience =
            "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
        transaction.batch_execute(patience).await?;
        take_turn(&transaction).await?;
        let filling = Filling(transaction);
        for table in &TABLES {
            if filling.count(table.name).await? > 0 {
                return Err(CopyError::NotEmpty);
            }
        }
        Ok(filling)
    }
}

impl Filling<'_> {
    pub(crate) async fn write(&self, table: &Table, rows: &[Vec<Cell>]) -> Result<(), CopyError> {
        let sql = format!("COPY {} ({}) FROM STDIN BINARY", table.name, table.column_list());
        let sink = self.0.copy_in(&sql).await?;
        let types: Vec<Type> = table.columns.iter().map(|(_, kind)| column_type(*kind)).collect();
        let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
        for row in rows {
            let kinds = table.columns.iter().map(|(_, kind)| *kind);
            let values: Vec<_> = kinds.zip(row).map(|(kind, cell)| value(kind, cell)).collect();
            writer.as_mut().write_raw(values).await?;
        }
        writer.finish().await?;
        Ok(())
    }

    /// Counts what has arrived, continues the numbers behind the last one, and makes it all durable.
    pub(crate) async fn commit(self, copied: &[CopiedTable]) -> Result<(), CopyError> {
        for &CopiedTable { table, done, total } in copied {
            let written = self.count(table).await?;
            if written != total || done != total {
                return Err(CopyError::Miscounted { table, read: total, written });
            }
        }
        let next = "SELECT coalesce(max(sequence), 0) + 1 FROM events";
        let row = self.0.query_one(next, &[]).await?;
        let next: i64 = row.try_get(0)?;
        // Unlike `setval` this is part of the transaction.
        let restart = format!("ALTER TABLE events ALTER COLUMN sequence RESTART WITH {next}");
        self.0.batch_execute(&restart).await?;
        let tables = TABLES.map(|table| table.name).join(", ");
        self.0.batch_execute(&format!("ANALYZE {tables}")).await?;
        announce(&self.0).await?;
        Ok(self.0.commit().await?)
    }

    async fn count(&self, table: &str) -> Result<u64, CopyError> {
        let sql = format!("SELECT count(*) FROM {table}");
        let row = self.0.query_one(&sql, &[]).await?;
        let count: i64 = row.try_get(0)?;
        Ok(count.unsigned_abs())
    }
}

/// In the type of its column. What does not fit into that is null, which no such column takes.
fn value<'a>(kind: Kind, cell: &'a Cell) -> Box<dyn ToSql + Sync + Send + 'a> {
    match kind {
        Kind::Small => Box::new(cell.number().and_then(|it| i16::try_from(it).ok())),
        Kind::Integer => Box::new(cell.number().and_then(|it| i32::try_from(it).ok())),
        Kind::Big => Box::new(cell.number()),
        Kind::Flag => Box::new(cell.number().map(|it| it != 0)),
        Kind::Text => Box::new(cell.text().map(storable)),
        Kind::Bytes => Box::new(cell.bytes()),
        Kind::Id => Box::new(cell.id()),
    }
}

fn column_type(kind: Kind) -> Type {
    match kind {
        Kind::Small => Type::INT2,
        Kind::Integer => Type::INT4,
        Kind::Big => Type::INT8,
        Kind::Flag => Type::BOOL,
        Kind::Text => Type::TEXT,
        Kind::Bytes => Type::BYTEA,
        Kind::Id => Type::UUID,
    }
}

impl From<tokio_postgres::Error> for CopyError {
    fn from(cause: tokio_postgres::Error) -> Self {
        Self::Writing(cause_text(&cause).into())
    }
}
