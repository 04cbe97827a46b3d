//! The writer's own connection: one transaction in two flights, each sent as a whole. Decides nothing about what is written.

use std::collections::HashMap;
use std::collections::HashSet;

use tokio_postgres::Client;
use tokio_postgres::Error;
use tokio_postgres::Row;
use tokio_postgres::Statement;
use uuid::Uuid;

use crate::inbox::Receipt;
use crate::inbox::postgres::PostgresOptions;
use crate::inbox::postgres::batch::Asked;
use crate::inbox::postgres::batch::Found;
use crate::inbox::postgres::batch::Held;
use crate::inbox::postgres::batch::Holder;
use crate::inbox::postgres::batch::KeyOf;
use crate::inbox::postgres::batch::key_of;
use crate::inbox::postgres::records::RecordWrites;
use crate::inbox::postgres::records::Records;
use crate::inbox::postgres::statements::Statements;
use crate::inbox::postgres::turn::TURN;
use crate::inbox::postgres::writer::Doubt;
use crate::inbox::postgres::writer::Doubted;
use crate::inbox::postgres::writes::Parameters;
use crate::inbox::postgres::writes::Writes;
use crate::inbox::postgres::writes::columns;

/// Each statement sees what was committed before it, also what was while the turn was waited for; whatever else
/// the database has for its default.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// A commit that has not reached the disk is none. Stricter settings, which wait for standbys too, stay.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false)
     WHERE current_setting('synchronous_commit') = 'off'";

columns! {
    DoubtedEvents<'a> {
        endpoint: &'a str,
        signed_at: i64,
        mac: &'a [u8],
        id: Uuid,
    }

    DoubtedReservations<'a> {
        endpoint: &'a str,
        signed_at: i64,
        mac: &'a [u8],
        until: i64,
    }
}

/// Dropped in the middle of a transaction, it ends the connection and so the transaction.
pub(super) struct Session {
    client: Client,
    statements: Statements,
}

impl Session {
    pub(super) async fn open(options: &PostgresOptions) -> Result<Self, Error> {
        let client = options.client().await?;
        client.query(DURABLE, &[]).await?;
        let statements = Statements::prepare(&client).await?;
        Ok(Self { client, statements })
    }

    /// Whether the connection is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a transaction, waits for its turn, and reads what was asked for.
    ///
    /// Each statement is sent when it is first polled, so they go in the order in which they stand here,
    /// without waiting for the answers of those before.
    pub(super) async fn begin(
        &self,
        process: Uuid,
        doubts: &[Doubt],
        asked: &Asked<'_>,
    ) -> Result<Found, Error> {
        let (_begun, _turn, _marked, _freed, keys, records, places) = tokio::try_join!(
            biased;
            self.client.batch_execute(BEGIN),
            self.client.query(&self.statements.take_turn, &[&TURN]),
            self.mark_unanswered(process, doubts),
            self.free_unanswered(process, doubts),
            self.held_keys(asked),
            self.records(asked),
            self.places(asked),
        )?;
        Ok(Found { keys, records, places })
    }

    /// Writes, and commits. Returns the places of the finishes whose lease was still held.
    pub(super) async fn write(
        &self,
        writes: &Writes<'_>,
        records: &RecordWrites,
        wakes: Option<Uuid>,
    ) -> Result<HashSet<i64>, Error> {
        let Writes { events, deliveries, finishes, leases, .. } = writes;
        let (inserted, held) = (writes.held_keys(true), writes.held_keys(false));
        let (freed, details) = (writes.freed_keys(), writes.details());
        let (renamed, written) = (&records.renamed, &records.written);
        let it = &self.statements;
        let process = wakes.map(|it| it.to_string());
        let (ended, ..) = tokio::try_join!(
            biased;
            self.rows(&it.finish, finishes.rows.is_empty(), finishes.rows.parameters()),
            self.run(&it.yield_to_older, finishes.again.is_empty(), finishes.again.parameters()),
            self.run(&it.free_keys, freed.is_empty(), freed.parameters()),
            self.run(&it.insert_keys, inserted.is_empty(), inserted.parameters()),
            self.run(&it.hold_keys, held.is_empty(), held.parameters()),
            self.run(&it.insert_events, events.is_empty(), events.parameters()),
            self.run(&it.insert_deliveries, deliveries.is_empty(), deliveries.parameters()),
            self.run(&it.admit_next, finishes.ended.is_empty(), finishes.ended.parameters()),
            self.run(&it.clear_names, renamed.is_empty(), renamed.parameters()),
            self.run(&it.write_records, written.is_empty(), written.parameters()),
            self.run(&it.write_details, details.is_empty(), details.parameters()),
            self.run(&it.extend, leases.is_empty(), leases.parameters()),
            self.run(&it.prove, !writes.proves, Vec::new()),
            self.run(&it.notify, process.is_none(), vec![&process]),
            self.client.batch_execute("COMMIT"),
        )?;
        ended.iter().map(|row| row.try_get(0)).collect()
    }

    /// Usable again after a statement was refused; `None` where the connection is gone too.
    pub(super) async fn rolled_back(self) -> Option<Self> {
        self.client.batch_execute("ROLLBACK").await.ok().map(|()| self)
    }

    async fn mark_unanswered(&self, process: Uuid, doubts: &[Doubt]) -> Result<(), Error> {
        let mut rows = DoubtedEvents::default();
        for Doubt { endpoint, key, of } in doubts {
            if let Doubted::Event(id) = of {
                rows.endpoint.push(endpoint);
                rows.signed_at.push(key.signed_at);
                rows.mac.push(&key.mac);
                rows.id.push(*id);
            }
        }
        let mut parameters = rows.parameters();
        parameters.push(&process);
        self.run(&self.statements.mark_unanswered, rows.is_empty(), parameters).await
    }

    async fn free_unanswered(&self, process: Uuid, doubts: &[Doubt]) -> Result<(), Error> {
        let mut rows = DoubtedReservations::default();
        for Doubt { endpoint, key, of } in doubts {
            if let Doubted::Reservation { until } = of {
                rows.endpoint.push(endpoint);
                rows.signed_at.push(key.signed_at);
                rows.mac.push(&key.mac);
                rows.until.push(until.as_millisecond());
            }
        }
        let mut parameters = rows.parameters();
        parameters.push(&process);
        self.run(&self.statements.free_unanswered, rows.is_empty(), parameters).await
    }

    async fn held_keys(&self, asked: &Asked<'_>) -> Result<HashMap<KeyOf, Held>, Error> {
        let keys = &asked.keys;
        let endpoints: Vec<&str> = keys.iter().map(|(endpoint, _)| &***endpoint).collect();
        let signed_at: Vec<i64> = keys.iter().map(|(_, key)| key.signed_at).collect();
        let macs: Vec<&[u8]> = keys.iter().map(|(_, key)| &key.mac[..]).collect();
        let parameters: Parameters<'_> = vec![&endpoints, &signed_at, &macs];
        let rows = self.rows(&self.statements.held_keys, keys.is_empty(), parameters).await?;
        let mut held = HashMap::with_capacity(rows.len());
        for row in rows {
            let place = row.try_get::<_, i64>(0)?;
            let asked = usize::try_from(place - 1).ok().and_then(|place| keys.get(place));
            if let Some((endpoint, key)) = asked {
                held.insert(key_of(endpoint, key), held_key(&row)?);
            }
        }
        Ok(held)
    }

    async fn records(&self, asked: &Asked<'_>) -> Result<Records, Error> {
        let records = &asked.records;
        let rows =
            self.rows(&self.statements.records, records.is_empty(), records.parameters()).await?;
        Records::of(&rows)
    }

    async fn places(&self, asked: &Asked<'_>) -> Result<Vec<i64>, Error> {
        let parameters: Parameters<'_> = vec![&asked.events];
        let rows = self.rows(&self.statements.places, asked.events == 0, parameters).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    async fn run(
        &self,
        statement: &Statement,
        needless: bool,
        parameters: Parameters<'_>,
    ) -> Result<(), Error> {
        self.rows(statement, needless, parameters).await.map(drop)
    }

    async fn rows(
        &self,
        statement: &Statement,
        needless: bool,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        if needless {
            return Ok(Vec::new());
        }
        self.client.query(statement, &parameters).await
    }
}

fn held_key(row: &Row) -> Result<Held, Error> {
    let sequence: Option<i64> = row.try_get(2)?;
    let is_unanswered: bool = row.try_get(3)?;
    let id: Option<Uuid> = row.try_get(4)?;
    let holder = match (sequence, id) {
        (None, _) => Holder::Running,
        (Some(_), None) => Holder::Event(None),
        (Some(sequence), Some(id)) => {
            let receipt = Receipt {
                id,
                subject: row.try_get(5)?,
                reply: String::from_utf8_lossy(row.try_get(6)?).into_owned(),
                deletes_unknown: false,
            };
            if is_unanswered {
                Holder::Unanswered { sequence, receipt }
            } else {
                Holder::Event(Some(receipt))
            }
        }
    };
    Ok(Held { kept_until: row.try_get(1)?, holder })
}
