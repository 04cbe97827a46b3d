//! The store on a PostgreSQL database that several services share. Keeps nothing that one of them alone knows.

mod connect;
mod editing;
mod filter;
mod operator;
mod order;
mod rows;
mod turn;

pub use connect::PostgresOptions;
pub use operator::PostgresOperator;
