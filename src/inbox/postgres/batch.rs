//! What the requests of one commit come to, decided in memory between its two flights. Sends nothing.

use std::collections::HashMap;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::inbox::Acceptance;
use crate::inbox::DuplicateKey;
use crate::inbox::NewDetails;
use crate::inbox::NewEvent;
use crate::inbox::Receipt;
use crate::inbox::Reservation;
use crate::inbox::Reserved;
use crate::inbox::Subject;
use crate::inbox::delivery::subject_key;
use crate::inbox::postgres::records::AskedRecords;
use crate::inbox::postgres::records::RecordWrites;
use crate::inbox::postgres::records::Records;
use crate::inbox::postgres::writer::Done;
use crate::inbox::postgres::writer::Job;
use crate::inbox::postgres::writer::Request;
use crate::inbox::postgres::writes::KeyWrite;
use crate::inbox::postgres::writes::Writes;

/// What tells a duplicate key from every other of the store.
pub(super) type KeyOf = (Arc<str>, i64, [u8; 32]);

/// Who has a duplicate key.
#[derive(Clone)]
pub(super) enum Holder {
    Nobody,
    /// A request whose inline handlers run, of this process or another.
    Running,
    /// An event, with what was answered, unless it is past its retention.
    Event(Option<Receipt>),
    /// An event whose commit got no answer: whoever sent it was told to send it again.
    Unanswered {
        sequence: i64,
        receipt: Receipt,
    },
}

#[derive(Clone)]
pub(super) struct Held {
    pub(super) kept_until: i64,
    pub(super) holder: Holder,
}

/// What has to be read before the requests can be decided.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) keys: Vec<(&'a Arc<str>, &'a DuplicateKey)>,
    pub(super) records: AskedRecords<'a>,
    /// How many events there may be to store.
    pub(super) events: i64,
}

impl<'a> Asked<'a> {
    pub(super) fn of(jobs: &'a [Job]) -> Self {
        let mut asked = Self::default();
        for job in jobs {
            match &job.request {
                Request::Accept(event) => {
                    asked.events += 1;
                    asked.keys.push((&event.endpoint, &event.duplicate_key));
                    asked.subject(&event.endpoint, &event.subject);
                }
                Request::Reserve(reservation) => {
                    asked.keys.push((&reservation.endpoint, &reservation.duplicate_key));
                    asked.subject(&reservation.endpoint, &reservation.subject);
                }
                Request::KeepDetails(details) => {
                    if let Some(change) = &details.change {
                        asked.records.add(&details.endpoint, change);
                    }
                }
                Request::Release(..)
                | Request::Finish(_)
                | Request::Extend(..)
                | Request::Check => {}
            }
        }
        asked
    }

    fn subject(&mut self, endpoint: &'a str, subject: &'a Subject) {
        if let Subject::Record(change) = subject {
            self.records.add(endpoint, change);
        }
    }
}

/// What was read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) keys: HashMap<KeyOf, Held>,
    pub(super) records: Records,
    /// In rising order; as many as were asked for.
    pub(super) places: Vec<i64>,
}

pub(super) struct Batch<'a> {
    process: Uuid,
    /// Keys that are in the table, whatever becomes of them here.
    stored: HashSet<KeyOf>,
    keys: HashMap<KeyOf, Held>,
    records: Records,
    places: std::vec::IntoIter<i64>,
    /// Subjects that have a delivery in this batch already, by handler.
    followed: HashSet<(Arc<str>, i64)>,
    writes: Writes<'a>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(process: Uuid, found: Found) -> Self {
        Self {
            process,
            stored: found.keys.keys().cloned().collect(),
            keys: found.keys,
            records: found.records,
            places: found.places.into_iter(),
            followed: HashSet::new(),
            writes: Writes::default(),
        }
    }

    pub(super) fn perform(&mut self, request: &'a Request) -> Done {
        match request {
            Request::Accept(event) => Done::Accepted(self.accept(event)),
            Request::Reserve(reservation) => Done::Reserved(self.reserve(reservation)),
            Request::Release(endpoint, key) => {
                self.release(endpoint, key);
                Done::Nothing
            }
            // Whether its lease was still held shows when it is written.
            Request::Finish(finish) => Done::Finished(self.writes.finishes.add(finish)),
            Request::Extend(keys, until) => {
                self.writes.extend(keys, *until);
                Done::Nothing
            }
            Request::KeepDetails(details) => {
                self.keep_details(details);
                Done::Nothing
            }
            Request::Check => {
                self.writes.proves = true;
                Done::Nothing
            }
        }
    }

    pub(super) fn into_writes(self) -> (Writes<'a>, RecordWrites) {
        (self.writes, self.records.into_writes())
    }

    fn accept(&mut self, event: &'a NewEvent) -> Acceptance {
        let key = key_of(&event.endpoint, &event.duplicate_key);
        match self.holder(&key, event.received_at) {
            Holder::Nobody => {}
            Holder::Running if event.reserved => {}
            Holder::Running => return Acceptance::Running,
            Holder::Event(receipt) => return Acceptance::Duplicate(receipt),
            Holder::Unanswered { sequence, receipt } => {
                let holder = Holder::Event(Some(receipt.clone()));
                self.hold(key, event.duplicate_key.kept_until, Some(sequence), holder);
                return Acceptance::Stored(receipt);
            }
        }
        let Ok(receipt) = event.receipt(|change| {
            let now = event.received_at;
            Ok::<_, Infallible>(self.records.apply(&event.endpoint, change, now))
        });
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(refusal) => return Acceptance::Refused(refusal),
        };
        let sequence = self.places.next().unwrap_or_default();
        self.writes.add_event(sequence, event, &receipt);
        let stored = Receipt { deletes_unknown: false, ..receipt.clone() };
        let holder = Holder::Event(Some(stored));
        self.hold(key, event.duplicate_key.kept_until, Some(sequence), holder);
        self.deliver(sequence, event, &receipt);
        Acceptance::Stored(receipt)
    }

    fn deliver(&mut self, sequence: i64, event: &'a NewEvent, receipt: &Receipt) {
        let subject_key = receipt.subject.as_deref().map(|it| subject_key(&event.endpoint, it));
        for handler in &event.handlers {
            // What this statement adds is not in the table for it to see.
            let follows =
                subject_key.is_some_and(|key| !self.followed.insert((Arc::clone(handler), key)));
            self.writes.add_delivery(sequence, handler, subject_key, event.received_at, follows);
        }
    }

    fn reserve(&mut self, reservation: &Reservation) -> Reserved {
        let Reservation { endpoint, duplicate_key, subject, now, until } = reservation;
        let key = key_of(endpoint, duplicate_key);
        match self.holder(&key, *now) {
            Holder::Nobody => {}
            Holder::Running => return Reserved::Running,
            Holder::Event(receipt) => return Reserved::Duplicate(receipt),
            // The key is still that of the event, which is what accepting it will find.
            Holder::Unanswered { receipt, .. } => {
                return Reserved::Yours { subject: receipt.subject };
            }
        }
        let Ok(subject) =
            subject.resolved(|change| Ok::<_, Infallible>(self.records.resolve(endpoint, change)));
        let subject = match subject {
            Ok(subject) => subject,
            Err(refusal) => return Reserved::Refused(refusal),
        };
        self.hold(key, *until, None, Holder::Running);
        Reserved::Yours { subject }
    }

    fn release(&mut self, endpoint: &Arc<str>, duplicate_key: &DuplicateKey) {
        let key = key_of(endpoint, duplicate_key);
        self.writes.free_key(key.clone());
        if self.keys.get(&key).is_none_or(|it| matches!(it.holder, Holder::Running)) {
            self.keys.remove(&key);
        }
    }

    /// An observation is refused by nothing.
    fn keep_details(&mut self, details: &'a NewDetails) {
        self.writes.add_details(details);
        if let Some(change) = &details.change {
            let endpoint: Arc<str> = details.endpoint.as_str().into();
            drop(self.records.apply(&endpoint, change, details.now));
        }
    }

    fn holder(&self, key: &KeyOf, now: Timestamp) -> Holder {
        match self.keys.get(key) {
            Some(held) if held.kept_until >= now.as_millisecond() => held.holder.clone(),
            _ => Holder::Nobody,
        }
    }

    /// Takes the key, also from a holder whose time is over.
    fn hold(&mut self, key: KeyOf, kept_until: Timestamp, sequence: Option<i64>, holder: Holder) {
        let kept_until = kept_until.as_millisecond();
        // What an event has is nobody's to give back.
        let process = sequence.is_none().then_some(self.process);
        let is_new = !self.stored.contains(&key);
        let write = KeyWrite::Hold { kept_until, sequence, holder: process, is_new };
        self.writes.keys.insert(key.clone(), write);
        self.keys.insert(key, Held { kept_until, holder });
    }
}

pub(super) fn key_of(endpoint: &Arc<str>, key: &DuplicateKey) -> KeyOf {
    (Arc::clone(endpoint), key.signed_at, key.mac)
}
