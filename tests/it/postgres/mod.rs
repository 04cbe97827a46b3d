//! What the store on PostgreSQL does beyond the promises that every store makes. Knows no HTTP.

mod connecting;
mod operating;
