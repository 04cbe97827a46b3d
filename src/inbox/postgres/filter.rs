//! Which rows a filter means, as conditions with parameters. Runs no statement.

use tokio_postgres::types::ToSql;

use crate::inbox::EventFilter;
use crate::inbox::State;

/// Whether an event is dead, waiting or done follows from its deliveries and is stored nowhere else.
pub(super) const EVENT_STATE: &str = "(CASE
     WHEN EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.state = 3) THEN 3
     WHEN EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.state <= 1) THEN 0
     ELSE 2 END)::smallint";

const RUNNING: &str =
    "EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.state = ?)";

const OF_HANDLER: &str =
    "EXISTS (SELECT 1 FROM deliveries AS d WHERE d.sequence = events.sequence AND d.handler = ?)";

/// Conditions that all have to hold, and the values of their parameters.
pub(super) struct Conditions {
    sql: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Conditions {
    /// Of events.
    pub(super) fn of(filter: &EventFilter) -> Self {
        let mut conditions = Self { sql: "TRUE".to_owned(), values: Vec::new() };
        if !filter.ids.is_empty() {
            conditions.add("events.id = ANY(?)", filter.ids.clone());
        }
        match filter.state {
            None => {}
            Some(State::Running) => conditions.add(RUNNING, State::Running.number()),
            Some(state) => conditions.add(&format!("{EVENT_STATE} = ?"), state.number()),
        }
        let texts = [
            ("events.event = ?", &filter.event),
            ("events.endpoint = ?", &filter.endpoint),
            ("events.subject = ?", &filter.subject),
            (OF_HANDLER, &filter.handler),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                conditions.add(condition, text.clone());
            }
        }
        if let Some(since) = filter.since {
            conditions.add("events.received_at >= ?", since.as_millisecond());
        }
        if let Some(until) = filter.until {
            conditions.add("events.received_at < ?", until.as_millisecond());
        }
        conditions
    }

    /// Of deliveries too, named `meant`: those that a retry or a discard changes. A delivery that runs is left
    /// to the handler that has it.
    pub(super) fn of_meant(filter: &EventFilter) -> Self {
        let mut conditions = Self::of(filter);
        let states = match filter.state {
            None => vec![State::Waiting.number(), State::Dead.number()],
            Some(State::Running) => Vec::new(),
            Some(state) => vec![state.number()],
        };
        conditions.add("meant.state = ANY(?)", states);
        if let Some(handler) = &filter.handler {
            conditions.add("meant.handler = ?", handler.clone());
        }
        conditions
    }

    /// `?` stands for the value.
    pub(super) fn add(&mut self, condition: &str, value: impl ToSql + Sync + Send + 'static) {
        let parameter = self.parameter(value);
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('?', &parameter));
    }

    /// The name of a parameter with this value.
    pub(super) fn parameter(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    pub(super) fn values(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}
