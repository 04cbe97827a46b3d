//! Hears what other processes have stored, so that this one's workers look at once. Reads no table.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::AsyncMessage;
use tokio_postgres::Error;
use uuid::Uuid;

use crate::inbox::PostgresOptions;
use crate::inbox::postgres::failure::cause_text;
use crate::inbox::postgres::turn::CHANNEL;

/// Between two attempts to reach a database that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Never ends; may be dropped at any moment. While it is deaf, workers still look by themselves.
pub(super) async fn listen(options: PostgresOptions, process: Uuid, arrivals: watch::Sender<u64>) {
    loop {
        if let Err(error) = hear(&options, process, &arrivals).await {
            tracing::debug!(error = cause_text(&error), "nothing is heard from other processes");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends with the connection.
async fn hear(
    options: &PostgresOptions,
    process: Uuid,
    arrivals: &watch::Sender<u64>,
) -> Result<(), Error> {
    let (client, mut connection) = options.connect().await?;
    let own = process.to_string();
    let command = format!("LISTEN {CHANNEL}");
    let listening = client.batch_execute(&command);
    tokio::pin!(listening);
    let mut listens = false;
    loop {
        tokio::select! {
            listened = &mut listening, if !listens => {
                listened?;
                listens = true;
                // What was said before is worth a look.
                announce(arrivals);
            }
            message = poll_fn(|context| connection.poll_message(context)) => match message {
                Some(Ok(AsyncMessage::Notification(heard))) if heard.payload() != own => {
                    announce(arrivals);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}

/// Wakes this process's workers.
pub(super) fn announce(arrivals: &watch::Sender<u64>) {
    arrivals.send_modify(|count| *count = count.wrapping_add(1));
}
