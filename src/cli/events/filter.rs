//! Which events a command means, by its arguments. Reads no store.

use std::time::Duration;

use clap::Args;
use clap::ValueEnum;
use jiff::Timestamp;
use uuid::Uuid;

use crate::config::duration;
use crate::inbox::EventFilter;
use crate::inbox::State;

#[derive(Args)]
pub(super) struct FilterArgs {
    /// Events in this state; `running` means with a delivery that runs
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// The event's name, as in `USER_CREATE`
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// The endpoint's name
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// The id of the user or organisation
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// With a delivery of this handler
    #[arg(long, value_name = "NAME")]
    handler: Option<String>,
    /// Received at or after: RFC 3339, or a span back from now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<When>,
    /// Received before: RFC 3339, or a span back from now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<When>,
    /// At most this many events, the newest
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum StateArg {
    Waiting,
    Running,
    Done,
    Dead,
}

#[derive(Clone, Copy)]
enum When {
    At(Timestamp),
    Ago(Duration),
}

impl FilterArgs {
    pub(super) fn read(&self, ids: &[Uuid], now: Timestamp) -> EventFilter {
        EventFilter {
            ids: ids.to_vec(),
            state: self.state.map(|state| match state {
                StateArg::Waiting => State::Waiting,
                StateArg::Running => State::Running,
                StateArg::Done => State::Done,
                StateArg::Dead => State::Dead,
            }),
            event: self.event.clone(),
            endpoint: self.endpoint.clone(),
            subject: self.subject.clone(),
            handler: self.handler.clone(),
            since: self.since.map(|it| it.moment(now)),
            until: self.until.map(|it| it.moment(now)),
        }
    }

    /// Whether anything at all narrows the events down.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [&self.event, &self.endpoint, &self.subject, &self.handler];
        texts.into_iter().all(Option::is_none)
            && self.state.is_none()
            && self.since.is_none()
            && self.until.is_none()
            && self.limit.is_none()
    }
}

impl When {
    fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.saturating_sub(span).unwrap_or(Timestamp::MIN),
        }
    }
}

fn when(text: &str) -> Result<When, &'static str> {
    let at = text.parse().map(When::At).ok();
    at.or_else(|| duration(text).map(When::Ago))
        .ok_or("write RFC 3339, or a span back from now such as 2h")
}
