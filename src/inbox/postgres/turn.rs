//! The lock that whoever writes to the store holds until its commit. Guards no claim: those skip what is locked.

use tokio_postgres::Error;
use tokio_postgres::Transaction;

/// "bmbhook".
pub(super) const TURN: i64 = 0x62_6d_62_68_6f_6f_6b;

/// On which running services listen for deliveries that have become claimable.
pub(super) const CHANNEL: &str = "bamboohook";

/// Waits for whoever writes, and keeps the others waiting until this transaction ends.
pub(super) async fn take_turn(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&TURN]).await.map(drop)
}

/// Wakes the running services once this transaction is committed.
pub(super) async fn announce(transaction: &Transaction<'_>) -> Result<(), Error> {
    transaction.execute("SELECT pg_notify($1, '')", &[&CHANNEL]).await.map(drop)
}
