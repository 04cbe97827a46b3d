//! The store on a PostgreSQL database that several services share. Keeps nothing that one of them alone knows.

mod connect;

pub use connect::PostgresOptions;
