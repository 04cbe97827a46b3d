//! Looks into the store beside the services that use it: lists events, shows one, lists records. Changes nothing.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use deadpool_postgres::Pool;
use tokio_postgres::Error;
use tokio_postgres::GenericClient;
use tokio_postgres::IsolationLevel;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::inbox::DeliverySummary;
use crate::inbox::EventFilter;
use crate::inbox::EventSummary;
use crate::inbox::InboxError;
use crate::inbox::OpenError;
use crate::inbox::PostgresError;
use crate::inbox::PostgresOptions;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::State;
use crate::inbox::delivery::timestamp;
use crate::inbox::postgres::failure::from_pool;
use crate::inbox::postgres::failure::while_running;
use crate::inbox::postgres::filter::Conditions;
use crate::inbox::postgres::filter::EVENT_STATE;
use crate::inbox::postgres::rows::EVENT_COLUMNS;
use crate::inbox::postgres::rows::RECORD_COLUMNS;
use crate::inbox::postgres::rows::record;
use crate::inbox::postgres::rows::stored_event;
use crate::inbox::record::kind_text;

/// What [`Operator`](crate::inbox::Operator) does on a database that services use meanwhile.
pub struct PostgresOperator(Pool);

impl PostgresOperator {
    /// Also where the server only reads, as a standby does; then nothing can be changed.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        match options.check_schema().await {
            Err(OpenError::Postgres(PostgresError::ReadOnly { .. })) => {
                let reading = options.reading();
                reading.check_schema().await?;
                reading.pool().map(Self)
            }
            checked => checked.and_then(|()| options.pool()).map(Self),
        }
    }

    pub(crate) async fn events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<EventSummary>, InboxError> {
        let mut client = self.client().await?;
        page(&mut client, filter, before, most).await.map_err(|cause| while_running(&cause))
    }

    pub(crate) async fn event(&self, id: Uuid) -> Result<Option<EventSummary>, InboxError> {
        let filter = EventFilter { ids: vec![id], ..EventFilter::default() };
        Ok(self.events(&filter, None, 1).await?.pop())
    }

    pub(crate) async fn records(&self, query: &RecordQuery) -> Result<Vec<Record>, InboxError> {
        let client = self.client().await?;
        records(&**client, query).await.map_err(|cause| while_running(&cause))
    }

    pub(super) async fn client(&self) -> Result<Object, InboxError> {
        self.0.get().await.map_err(|cause| from_pool(&cause))
    }
}

/// Two statements of one moment: an event and its deliveries agree.
async fn page(
    client: &mut Object,
    filter: &EventFilter,
    before: Option<i64>,
    most: usize,
) -> Result<Vec<EventSummary>, Error> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let mut conditions = Conditions::of(filter);
    if let Some(before) = before {
        conditions.add("events.sequence < ?", before);
    }
    let most = conditions.parameter(i64::try_from(most).unwrap_or(i64::MAX));
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, events.sequence, events.nonce, events.timestamp, {EVENT_STATE}
         FROM events LEFT JOIN details ON details.sequence = events.sequence
         WHERE {} ORDER BY events.sequence DESC LIMIT {most}",
        conditions.sql()
    );
    let found = transaction.query(&sql, &conditions.values()).await?;
    let mut events: Vec<EventSummary> =
        found.iter().map(event_summary).collect::<Result<_, _>>()?;
    let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
    let deliveries = transaction
        .query(
            "SELECT sequence, handler, state, attempts, next_attempt_at, last_error
             FROM deliveries WHERE sequence = ANY($1) ORDER BY sequence, handler COLLATE \"C\"",
            &[&sequences],
        )
        .await?;
    transaction.commit().await?;
    let mut of_event: BTreeMap<i64, Vec<DeliverySummary>> = BTreeMap::new();
    for row in &deliveries {
        of_event.entry(row.try_get(0)?).or_default().push(delivery_summary(row)?);
    }
    for event in &mut events {
        event.deliveries = of_event.remove(&event.sequence).unwrap_or_default();
    }
    Ok(events)
}

/// One page of the directory.
pub(super) async fn records(
    client: &impl GenericClient,
    query: &RecordQuery,
) -> Result<Vec<Record>, Error> {
    let most = i64::try_from(query.most).unwrap_or(i64::MAX);
    let (last_endpoint, last_id) = query.after.clone().unwrap_or_default();
    // The kind stands in the comparison and the order because it stands in the key between the two.
    let sql = format!(
        "SELECT {RECORD_COLUMNS} FROM directory
         WHERE kind = $1 AND ($2::text IS NULL OR endpoint = $2) AND ($3 OR NOT deleted)
           AND (endpoint, kind, id) > ($4, $1, $5)
         ORDER BY endpoint, kind, id LIMIT $6"
    );
    let kind = kind_text(query.kind);
    let found = client
        .query(&sql, &[&kind, &query.endpoint, &query.deleted_too, &last_endpoint, &last_id, &most])
        .await?;
    found.iter().map(record).collect()
}

fn event_summary(row: &Row) -> Result<EventSummary, Error> {
    Ok(EventSummary {
        event: stored_event(row)?,
        sequence: row.try_get(10)?,
        nonce: row.try_get(11)?,
        timestamp: row.try_get(12)?,
        state: State::of(row.try_get(13)?),
        deliveries: Vec::new(),
    })
}

fn delivery_summary(row: &Row) -> Result<DeliverySummary, Error> {
    Ok(DeliverySummary {
        handler: row.try_get(1)?,
        state: State::of(row.try_get(2)?),
        attempts: row.try_get::<_, i32>(3)?.unsigned_abs(),
        next_attempt_at: row.try_get::<_, Option<i64>>(4)?.map(timestamp),
        last_error: row.try_get(5)?,
    })
}
