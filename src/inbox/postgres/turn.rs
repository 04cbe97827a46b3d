//! The lock that whoever writes to the store holds until its commit. Guards no claim: those skip what is locked.

use tokio_postgres::Error;
use tokio_postgres::Transaction;

/// Key of the advisory lock that whoever writes holds until its commit; only claims go without it.
///
/// Like the one writer on SQLite, it makes what is written the same as if it came from one process: numbers of
/// events become visible in their order, no two processes decide about one name or one subject's next delivery
/// at the same time, and nothing can deadlock. It is held for two round trips at most; whoever stalls with it
/// loses its connection after `statement_timeout`. (The digits are the letters "bmbhook".)
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
