//! The store on a PostgreSQL database that several services share. Keeps nothing that one of them alone knows.

mod connect;
mod error;
mod failure;
mod reach;
mod schema;
mod tls;
mod url;

pub use connect::PostgresOptions;
pub use error::PostgresError;
pub use reach::Examination;
pub use schema::Migrated;
