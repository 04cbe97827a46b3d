//! Several services on one PostgreSQL database, and what becomes of them with it.

mod failover;
mod kills;
mod outage;
mod replicas;
