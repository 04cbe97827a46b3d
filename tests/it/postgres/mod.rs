//! What the store on PostgreSQL does beyond the promises that every store makes, for one service and for several.

mod connecting;
mod copying;
mod failover;
mod kills;
mod operating;
mod outage;
mod replicas;
