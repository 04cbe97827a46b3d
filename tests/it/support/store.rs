//! A look at the rows of a store, past everything that reads it otherwise. Changes nothing.

use std::path::Path;
use std::path::PathBuf;

use bamboohook::config::Config;
use bamboohook::config::StoreUrl;
use rusqlite::Connection;

/// The file of a store that is one.
pub(crate) fn path(config: &Config) -> PathBuf {
    match &config.store.url {
        StoreUrl::Sqlite(path) => path.clone(),
        StoreUrl::Postgres(_) => panic!("the store is no file"),
    }
}

/// Every row of every table as text: two stores with the same rows hold the same.
pub(crate) fn rows(store: &Path) -> Vec<String> {
    let store = Connection::open(store).unwrap();
    let tables = query(&store, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let mut rows = Vec::new();
    for table in tables.into_iter().map(|it| it[0].clone()) {
        for row in query(&store, &format!("SELECT * FROM {table}")) {
            rows.push(format!("{table}: {}", row.join(" | ")));
        }
    }
    rows
}

/// The values of each row as text; NULL is "-".
pub(crate) fn query(store: &Connection, sql: &str) -> Vec<Vec<String>> {
    use rusqlite::types::Value;

    let mut statement = store.prepare(sql).unwrap();
    let columns = statement.column_count();
    let text = |value: Value| match value {
        Value::Null => "-".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => crate::support::hex(&bytes),
    };
    let rows = statement.query_map([], |row| {
        (0..columns).map(|column| row.get(column).map(text)).collect::<rusqlite::Result<_>>()
    });
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}
