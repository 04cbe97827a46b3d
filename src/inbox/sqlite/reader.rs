//! Looks into a store beside the service that writes it: lists events and shows one. Changes nothing.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::OptionalExtension;
use rusqlite::Row;
use rusqlite::params;
use rusqlite::types::ToSql;
use uuid::Uuid;

use crate::event::RecordKind;
use crate::inbox::DeliverySummary;
use crate::inbox::EventFilter;
use crate::inbox::EventSummary;
use crate::inbox::InboxError;
use crate::inbox::OpenError;
use crate::inbox::Record;
use crate::inbox::RecordQuery;
use crate::inbox::State;
use crate::inbox::delivery::timestamp;
use crate::inbox::record::kind_text;
use crate::inbox::sqlite::deliveries::EVENT_COLUMNS;
use crate::inbox::sqlite::deliveries::stored_event;
use crate::inbox::sqlite::file;

/// Whether an event is dead, waiting or done follows from its deliveries and is stored nowhere else.
const EVENT_STATE: &str = "CASE
     WHEN EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.state = 3) THEN 3
     WHEN EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.state <= 1) THEN 0
     ELSE 2 END";

/// A reader's connection. Methods block: call them where that is allowed.
pub struct SqliteReader(Connection);

impl SqliteReader {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        file::open_to_read(path).map(Self)
    }

    /// One page, newest first: at most `most` events older than `before`, which is the
    /// [`EventSummary::sequence`] of the last one of the page before.
    pub fn events(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<EventSummary>, InboxError> {
        self.select(filter, before, most).map_err(|cause| file::while_running(&cause))
    }

    pub fn event(&self, id: Uuid) -> Result<Option<EventSummary>, InboxError> {
        let find = || {
            let sql = format!("{} WHERE events.id = ?1", select_events());
            let found =
                self.0.prepare(&sql)?.query_row([id.as_bytes()], event_summary).optional()?;
            found.map(|event| self.with_deliveries(event)).transpose()
        };
        find().map_err(|cause: rusqlite::Error| file::while_running(&cause))
    }

    /// One page of the directory.
    pub fn records(&self, query: &RecordQuery) -> Result<Vec<Record>, InboxError> {
        let most = i64::try_from(query.most).unwrap_or(i64::MAX);
        let (last_endpoint, last_id) = query.after.clone().unwrap_or_default();
        let find = || {
            self.0
                .prepare_cached(
                    "SELECT endpoint, id, name, disabled, deleted, attributes, updated_at, changed_at
                     FROM directory
                     WHERE kind = ?1 AND (?2 IS NULL OR endpoint = ?2) AND (?3 OR deleted = 0)
                       AND (endpoint, id) > (?4, ?5)
                     ORDER BY endpoint, id LIMIT ?6",
                )?
                .query_map(
                    params![
                        kind_text(query.kind),
                        query.endpoint,
                        query.deleted_too,
                        last_endpoint,
                        last_id,
                        most
                    ],
                    |row| record(query.kind, row),
                )?
                .collect::<rusqlite::Result<_>>()
        };
        find().map_err(|cause| file::while_running(&cause))
    }

    fn select(
        &self,
        filter: &EventFilter,
        before: Option<i64>,
        most: usize,
    ) -> rusqlite::Result<Vec<EventSummary>> {
        let (conditions, mut values) = conditions(filter, before);
        values.push(Box::new(i64::try_from(most).unwrap_or(i64::MAX)));
        let sql = format!(
            "{} WHERE {conditions} ORDER BY events.sequence DESC LIMIT ?{}",
            select_events(),
            values.len()
        );
        let events: Vec<EventSummary> = self
            .0
            .prepare_cached(&sql)?
            .query_map(rusqlite::params_from_iter(values), event_summary)?
            .collect::<rusqlite::Result<_>>()?;
        events.into_iter().map(|event| self.with_deliveries(event)).collect()
    }

    fn with_deliveries(&self, mut event: EventSummary) -> rusqlite::Result<EventSummary> {
        event.deliveries = self
            .0
            .prepare_cached(
                "SELECT handler, state, attempts, next_attempt_at, last_error
                 FROM deliveries WHERE sequence = ?1 ORDER BY handler",
            )?
            .query_map(params![event.sequence], |row| {
                Ok(DeliverySummary {
                    handler: row.get(0)?,
                    state: State::of(row.get(1)?),
                    attempts: row.get(2)?,
                    next_attempt_at: row.get::<_, Option<i64>>(3)?.map(timestamp),
                    last_error: row.get(4)?,
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(event)
    }
}

fn select_events() -> String {
    format!(
        "SELECT {EVENT_COLUMNS}, events.sequence, events.nonce, events.timestamp, {EVENT_STATE}
         FROM events LEFT JOIN details ON details.sequence = events.sequence"
    )
}

/// An SQL condition and the values of its parameters, in order.
pub(super) fn conditions(
    filter: &EventFilter,
    before: Option<i64>,
) -> (String, Vec<Box<dyn ToSql>>) {
    let mut conditions = vec!["TRUE".to_owned()];
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("?{}", values.len())));
    };
    if !filter.ids.is_empty() {
        // One parameter for all of them: a statement may not have as many as there may be ids.
        let ids: Vec<String> = filter.ids.iter().map(|id| id.simple().to_string()).collect();
        let ids = serde_json::json!(ids).to_string();
        add("events.id IN (SELECT unhex(value) FROM json_each(?))", Box::new(ids));
    }
    if let Some(before) = before {
        add("events.sequence < ?", Box::new(before));
    }
    if let Some(state) = filter.state {
        match state {
            State::Running => add(
                "EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.state = ?)",
                Box::new(state.number()),
            ),
            _ => add(&format!("{EVENT_STATE} = ?"), Box::new(state.number())),
        }
    }
    let texts = [
        ("events.event = ?", &filter.event),
        ("events.endpoint = ?", &filter.endpoint),
        ("events.subject = ?", &filter.subject),
        (
            "EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.handler = ?)",
            &filter.handler,
        ),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            add(condition, Box::new(text.clone()));
        }
    }
    if let Some(since) = filter.since {
        add("events.received_at >= ?", Box::new(since.as_millisecond()));
    }
    if let Some(until) = filter.until {
        add("events.received_at < ?", Box::new(until.as_millisecond()));
    }
    (conditions.join(" AND "), values)
}

fn event_summary(row: &Row<'_>) -> rusqlite::Result<EventSummary> {
    Ok(EventSummary {
        event: stored_event(row)?,
        sequence: row.get(10)?,
        nonce: row.get(11)?,
        timestamp: row.get(12)?,
        state: State::of(row.get(13)?),
        deliveries: Vec::new(),
    })
}

fn record(kind: RecordKind, row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        kind,
        endpoint: row.get(0)?,
        id: row.get(1)?,
        name: row.get(2)?,
        disabled: row.get(3)?,
        deleted: row.get(4)?,
        attributes: row.get(5)?,
        updated_at: timestamp(row.get(6)?),
        changed_at: row.get::<_, Option<i64>>(7)?.map(timestamp),
    })
}
