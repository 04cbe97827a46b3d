//! The first connection: waits for a server that is not there yet, and tells what is there. Changes only the schema.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::inbox::OpenError;
use crate::inbox::postgres::connect::PostgresOptions;
use crate::inbox::postgres::error::PostgresError;
use crate::inbox::postgres::failure::may_pass;
use crate::inbox::postgres::failure::while_opening;
use crate::inbox::postgres::schema;
use crate::inbox::postgres::schema::Migrated;

/// How long a server may take to be there at start, as one does that is started at the same time.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
const BETWEEN_WARNINGS: Duration = Duration::from_secs(5);

/// 13, as the server counts.
const OLDEST_SERVER: u32 = 13;

/// What is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// Of PostgreSQL, as the server writes it.
    pub server_version: String,
    /// 0 where there is no store yet.
    pub schema_found: i64,
    /// What this program works with.
    pub schema_known: i64,
    pub tls: bool,
    /// A standby is not.
    pub writable: bool,
}

struct Session {
    version: String,
    version_number: u32,
    encoding: String,
    tls: bool,
    writable: bool,
    acknowledges_early: bool,
}

impl PostgresOptions {
    /// Makes the store, or brings it up to date. Waits for the server as long as a start may take.
    pub async fn migrate(&self) -> Result<Migrated, OpenError> {
        let mut client = self.reach().await?;
        Ok(schema::migrate(self.shown(), &mut client).await?)
    }

    /// Looks and changes nothing. Does not wait for a server that is not there.
    pub async fn examine(&self) -> Result<Examination, OpenError> {
        let (client, session) = match self.open().await {
            // What a standby has to say is better than that it is one.
            Err(PostgresError::ReadOnly { .. }) => self.reading().open().await?,
            result => result?,
        };
        Ok(Examination {
            schema_found: schema::found(self.shown(), &client).await?,
            schema_known: schema::KNOWN,
            server_version: session.version,
            tls: session.tls,
            writable: session.writable,
        })
    }

    /// Refuses anything but a store that this program can use as it is. Does not wait for a server that is not
    /// there.
    pub(super) async fn check_schema(&self) -> Result<(), OpenError> {
        let (client, _session) = self.open().await?;
        Ok(schema::check(self.shown(), &client).await?)
    }

    /// The first connection of a service. Tries again while what keeps it away may pass by itself, and says so
    /// in the log.
    pub(super) async fn reach(&self) -> Result<Client, PostgresError> {
        let start = Instant::now();
        let mut warned: Option<Instant> = None;
        loop {
            let cause = match self.open().await {
                Ok((client, session)) => {
                    self.warn_of(&session);
                    return Ok(client);
                }
                Err(cause) if may_pass(&cause) && start.elapsed() < PATIENCE => cause,
                Err(cause) => return Err(cause),
            };
            if warned.is_none_or(|it| it.elapsed() >= BETWEEN_WARNINGS) {
                let said = std::error::Error::source(&cause).map(ToString::to_string);
                tracing::warn!(
                    patience = ?PATIENCE.saturating_sub(start.elapsed()),
                    error = %cause,
                    cause = said,
                    "the store cannot be reached yet"
                );
                warned = Some(Instant::now());
            }
            sleep(PAUSE).await;
        }
    }

    /// A connection to a server that will do.
    async fn open(&self) -> Result<(Client, Session), PostgresError> {
        let at = self.shown();
        let failed = |cause: tokio_postgres::Error| while_opening(at, &cause);
        let client = self.client().await.map_err(failed)?;
        let session = session(&client).await.map_err(failed)?;
        let at = at.to_owned();
        if session.version_number / 10_000 < OLDEST_SERVER {
            return Err(PostgresError::OldServer {
                at,
                found: session.version,
                needed: OLDEST_SERVER,
            });
        }
        if session.encoding != "UTF8" {
            return Err(PostgresError::Encoding { at, found: session.encoding });
        }
        Ok((client, session))
    }

    fn warn_of(&self, session: &Session) {
        if !session.tls && self.is_exposed_without_tls() {
            tracing::warn!(
                store = self.shown(),
                "no TLS: passwords and events can be read on their way; set sslmode in store.url"
            );
        }
        if session.acknowledges_early {
            tracing::warn!(
                store = self.shown(),
                "synchronous_commit is off: the server may lose events that are acknowledged; set it to on"
            );
        }
    }
}

async fn session(client: &Client) -> Result<Session, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version'),
                    current_setting('server_version_num')::bigint,
                    current_setting('server_encoding'),
                    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
                    current_setting('transaction_read_only') = 'off',
                    current_setting('synchronous_commit') = 'off'",
            &[],
        )
        .await?;
    let version_number: i64 = row.try_get(1)?;
    Ok(Session {
        version: row.try_get(0)?,
        version_number: u32::try_from(version_number).unwrap_or(0),
        encoding: row.try_get(2)?,
        tls: row.try_get(3)?,
        writable: row.try_get(4)?,
        acknowledges_early: row.try_get(5)?,
    })
}
