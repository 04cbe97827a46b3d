//! Why a PostgreSQL database cannot be the store, each with its cure. Shows no password and no row.

use std::path::PathBuf;

/// `at` is the URL without its password and parameters.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("this is not the URL of a PostgreSQL database: {fault}")]
    Url { fault: &'static str },
    #[error("parameter {name:?}: {fault}")]
    Parameter { name: String, fault: &'static str },
    #[error("{parameter}: {path} cannot be read; name a readable file")]
    Unreadable {
        parameter: &'static str,
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{parameter}: {path} holds no {wanted} in PEM form; name a file that does")]
    NotPem { parameter: &'static str, path: PathBuf, wanted: &'static str },
    #[error("TLS cannot be set up; check sslrootcert, sslcert and sslkey in store.url")]
    TlsSetup(#[source] rustls::Error),
    #[error(
        "{at}: the database cannot be reached; check that it runs, the host, the port and firewalls"
    )]
    Unreachable {
        at: String,
        #[source]
        cause: Cause,
    },
    #[error(
        "{at}: the server refuses the login; check the user, store.password and the server's pg_hba.conf"
    )]
    Login {
        at: String,
        #[source]
        cause: Cause,
    },
    #[error(
        "{at}: there is no such database; make it with CREATE DATABASE, or name another in store.url"
    )]
    NoDatabase { at: String },
    #[error(
        "{at}: there is no TLS with this server; check its certificate, and sslmode and sslrootcert in store.url"
    )]
    Tls {
        at: String,
        #[source]
        cause: Cause,
    },
    #[error(
        "{at}: this server only reads, as a standby does; name the primary or all servers in store.url"
    )]
    ReadOnly { at: String },
    #[error("{at}: the server is PostgreSQL {found}; it has to be at least {needed}")]
    OldServer { at: String, found: String, needed: u32 },
    #[error("{at}: the database's encoding is {found}; make one with ENCODING 'UTF8'")]
    Encoding { at: String, found: String },
    #[error(
        "{at}: no schema of the search_path is there and may be used; create it or grant USAGE on it"
    )]
    NoSchema { at: String },
    #[error(
        "{at}: schema {schema} holds tables and no bamboohook store; name an empty database in store.url"
    )]
    Foreign { at: String, schema: String },
    #[error(
        "{at}: no store is there; `bamboohook serve` makes one, or name another database in store.url"
    )]
    Missing { at: String },
    #[error(
        "{at}: this store was made by a newer bamboohook (schema {found}, known {known}); use that version"
    )]
    Newer { at: String, found: i64, known: i64 },
    #[error(
        "{at}: the schema of this store is older (schema {found}, known {known}); start `bamboohook serve` once to bring it up to date"
    )]
    Older { at: String, found: i64, known: i64 },
    #[error(
        "{at}: the user lacks a right; let it own the database, or GRANT CREATE, USAGE on the schema"
    )]
    Rights {
        at: String,
        #[source]
        cause: Cause,
    },
    #[error("{at}: the disk of the database is full")]
    Full { at: String },
    #[error("{at}: the store cannot be opened")]
    Unopenable {
        at: String,
        #[source]
        cause: Cause,
    },
}

/// What the library or the server said, as far as it may be shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(pub(super) String);
