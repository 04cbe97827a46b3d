//! Tasks that one process at a time may do, by locks that end with the connection which holds them. Does none of them.

use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::Error;

use crate::inbox::PostgresOptions;

/// First key of the locks; the second is the task's.
const TASKS: i32 = 0x62_6d_62_68;

/// The server frees a lock a moment after its holder has hung up, so a taken one is worth another look.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// Dropping the client ends its connection, and so the lock. `None`: another process has it.
pub(super) async fn take(options: &PostgresOptions, task: &str) -> Result<Option<Client>, Error> {
    let client = options.client().await?;
    for look in 1..=LOOKS {
        let row = client
            .query_one("SELECT pg_try_advisory_lock($1, hashtext($2))", &[&TASKS, &task])
            .await?;
        if row.try_get(0)? {
            return Ok(Some(client));
        }
        if look < LOOKS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(None)
}
