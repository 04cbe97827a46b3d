//! The rows that one commit writes, column by column as `unnest` takes them. Decides nothing.

use std::collections::HashMap;
use std::collections::HashSet;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::event::UserDetails;
use crate::inbox::DeliveryKey;
use crate::inbox::Finish;
use crate::inbox::NewDetails;
use crate::inbox::NewEvent;
use crate::inbox::Receipt;
use crate::inbox::delivery::Ended;
use crate::inbox::postgres::batch::KeyOf;
use crate::inbox::postgres::writer::Done;

/// The parameters of one statement.
pub(super) type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Rows as one vector for each column, which is one parameter of a statement, in the order that it has there.
macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident $(<$life:lifetime>)? { $first:ident: $kind:ty, $($column:ident: $kinds:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Default)]
            pub(super) struct $name $(<$life>)? {
                $first: Vec<$kind>,
                $($column: Vec<$kinds>,)*
            }

            impl $(<$life>)? $name $(<$life>)? {
                pub(super) fn is_empty(&self) -> bool {
                    self.$first.is_empty()
                }

                pub(super) fn parameters(&self) -> Parameters<'_> {
                    vec![&self.$first, $(&self.$column),*]
                }
            }
        )*
    };
}

pub(super) use columns;

columns! {
    EventRows<'a> {
        sequence: i64,
        id: Uuid,
        endpoint: &'a str,
        dialect: &'static str,
        event: &'a str,
        subject: Option<String>,
        nonce: &'a str,
        timestamp: &'a str,
        requested_at: i64,
        received_at: i64,
        message: &'a [u8],
        reply: Vec<u8>,
    }

    DeliveryRows<'a> {
        sequence: i64,
        handler: &'a str,
        subject_key: Option<i64>,
        due: i64,
        follows: bool,
    }

    HeldRows<'a> {
        endpoint: &'a str,
        signed_at: i64,
        mac: &'a [u8],
        kept_until: i64,
        sequence: Option<i64>,
        holder: Option<Uuid>,
    }

    FreedRows<'a> {
        endpoint: &'a str,
        signed_at: i64,
        mac: &'a [u8],
    }

    DetailsRows<'a> {
        sequence: i64,
        user: Option<&'a str>,
    }

    FinishRows<'a> {
        sequence: i64,
        handler: &'a str,
        claim: i64,
        state: i16,
        attempts: i32,
        next_attempt_at: Option<i64>,
        error: Option<&'a str>,
    }

    /// Deliveries that have ended, whose subjects' next ones may go.
    EndedRows<'a> {
        sequence: i64,
        handler: &'a str,
        subject_key: i64,
        now: i64,
    }

    /// Deliveries that wait again, behind older ones of their subjects if there are any.
    AgainRows<'a> {
        sequence: i64,
        handler: &'a str,
        subject_key: i64,
    }

    LeaseRows<'a> {
        sequence: i64,
        handler: &'a str,
        claim: i64,
        until: i64,
    }
}

/// All of one commit.
#[derive(Default)]
pub(super) struct Writes<'a> {
    pub(super) keys: HashMap<KeyOf, KeyWrite>,
    pub(super) events: EventRows<'a>,
    pub(super) deliveries: DeliveryRows<'a>,
    pub(super) details: HashMap<i64, Option<&'a str>>,
    pub(super) finishes: Finishes<'a>,
    pub(super) leases: LeaseRows<'a>,
    /// Write something, whatever else there is.
    pub(super) proves: bool,
}

/// What becomes of a duplicate key in the end.
pub(super) enum KeyWrite {
    Hold {
        kept_until: i64,
        sequence: Option<i64>,
        holder: Option<Uuid>,
        /// It is not in the table.
        is_new: bool,
    },
    Free,
}

impl<'a> Writes<'a> {
    pub(super) fn add_event(&mut self, sequence: i64, event: &'a NewEvent, receipt: &Receipt) {
        let rows = &mut self.events;
        rows.sequence.push(sequence);
        rows.id.push(receipt.id);
        rows.endpoint.push(&event.endpoint);
        rows.dialect.push(event.dialect.as_str());
        rows.event.push(&event.event);
        rows.subject.push(receipt.subject.clone());
        rows.nonce.push(&event.nonce);
        rows.timestamp.push(&event.timestamp);
        rows.requested_at.push(event.requested_at.as_millisecond());
        rows.received_at.push(event.received_at.as_millisecond());
        rows.message.push(event.message.as_str().as_bytes());
        rows.reply.push(receipt.reply.clone().into_bytes());
    }

    /// `follows`: an older one of the subject is in the same commit.
    pub(super) fn add_delivery(
        &mut self,
        sequence: i64,
        handler: &'a str,
        subject_key: Option<i64>,
        due: Timestamp,
        follows: bool,
    ) {
        let rows = &mut self.deliveries;
        rows.sequence.push(sequence);
        rows.handler.push(handler);
        rows.subject_key.push(subject_key);
        rows.due.push(due.as_millisecond());
        rows.follows.push(follows);
    }

    /// Gives back a key that no event has.
    pub(super) fn free_key(&mut self, key: KeyOf) {
        let kept = matches!(self.keys.get(&key), Some(KeyWrite::Hold { sequence: Some(_), .. }));
        if !kept {
            self.keys.insert(key, KeyWrite::Free);
        }
    }

    pub(super) fn add_details(&mut self, details: &'a NewDetails) {
        let user = match &details.user {
            UserDetails::Unasked => return,
            UserDetails::Missing => None,
            UserDetails::Found(user) => Some(user.get()),
        };
        self.details.insert(details.sequence, user);
    }

    pub(super) fn extend(&mut self, keys: &'a [DeliveryKey], until: Timestamp) {
        let rows = &mut self.leases;
        for key in keys {
            rows.sequence.push(key.sequence);
            rows.handler.push(&key.handler);
            rows.claim.push(key.claim);
            rows.until.push(until.as_millisecond());
        }
    }

    /// Whether a delivery may become claimable.
    pub(super) fn frees_deliveries(&self) -> bool {
        !self.deliveries.is_empty() || !self.finishes.rows.is_empty()
    }

    /// Keys that are not in the table, or those that are.
    pub(super) fn held_keys(&self, new: bool) -> HeldRows<'_> {
        let mut rows = HeldRows::default();
        for ((endpoint, signed_at, mac), write) in &self.keys {
            if let KeyWrite::Hold { kept_until, sequence, holder, is_new } = write
                && *is_new == new
            {
                rows.endpoint.push(endpoint);
                rows.signed_at.push(*signed_at);
                rows.mac.push(mac);
                rows.kept_until.push(*kept_until);
                rows.sequence.push(*sequence);
                rows.holder.push(*holder);
            }
        }
        rows
    }

    pub(super) fn freed_keys(&self) -> FreedRows<'_> {
        let freed = self.keys.iter().filter(|(_, write)| matches!(write, KeyWrite::Free));
        freed_rows(freed.map(|(key, _)| key))
    }

    pub(super) fn details(&self) -> DetailsRows<'_> {
        DetailsRows {
            sequence: self.details.keys().copied().collect(),
            user: self.details.values().copied().collect(),
        }
    }
}

pub(super) fn freed_rows<'a>(keys: impl Iterator<Item = &'a KeyOf>) -> FreedRows<'a> {
    let mut rows = FreedRows::default();
    for (endpoint, signed_at, mac) in keys {
        rows.endpoint.push(endpoint);
        rows.signed_at.push(*signed_at);
        rows.mac.push(mac);
    }
    rows
}

/// Attempts that have ended, and what follows from it for the order of their subjects.
#[derive(Default)]
pub(super) struct Finishes<'a> {
    pub(super) rows: FinishRows<'a>,
    pub(super) ended: EndedRows<'a>,
    pub(super) again: AgainRows<'a>,
    seen: HashSet<&'a DeliveryKey>,
}

impl<'a> Finishes<'a> {
    /// `false`: the same attempt has ended in this commit already.
    pub(super) fn add(&mut self, finish: &'a Finish) -> bool {
        let Finish { key, now, .. } = finish;
        if !self.seen.insert(key) {
            return false;
        }
        let Ended { state, attempts, next_attempt_at, error } = finish.ended();
        self.rows.sequence.push(key.sequence);
        self.rows.handler.push(&key.handler);
        self.rows.claim.push(key.claim);
        self.rows.state.push(state.number());
        self.rows.attempts.push(number(attempts));
        self.rows.next_attempt_at.push(next_attempt_at.map(Timestamp::as_millisecond));
        self.rows.error.push(error);
        if let Some(subject_key) = key.subject_key {
            self.ended.sequence.push(key.sequence);
            self.ended.handler.push(&key.handler);
            self.ended.subject_key.push(subject_key);
            self.ended.now.push(now.as_millisecond());
            if next_attempt_at.is_some() {
                self.again.sequence.push(key.sequence);
                self.again.handler.push(&key.handler);
                self.again.subject_key.push(subject_key);
            }
        }
        true
    }

    /// Of those that [`Finishes::add`] took, in its order, whose lease was still held: `places` counts from 1.
    pub(super) fn tell(places: &HashSet<i64>, done: &mut [Done]) {
        let taken = done.iter_mut().filter_map(|it| match it {
            Done::Finished(held) if *held => Some(held),
            _ => None,
        });
        for (place, held) in (1..).zip(taken) {
            *held = places.contains(&place);
        }
    }
}

fn number(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}
