//! Lists that come in pages. Walks none: what to do about one that changes meanwhile is the walker's to decide.

use serde_json::value::RawValue;

use crate::idaas::IdaasError;
use crate::idaas::field;

pub(super) const MALFORMED: IdaasError =
    IdaasError::Malformed { reason: "the answer of IDaaS is not a page of records" };

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// From 0. The API calls it `offset`, but counts pages (PROTOCOL.md 7).
    pub number: u32,
    /// Records on a page; the API takes 10 to 100, so that is what is asked for.
    pub size: u32,
}

/// Some records of a list that has `total` of them in all at this moment.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub total: u64,
    /// Empty behind the end of the list.
    pub records: Vec<T>,
}

impl PageRequest {
    pub(super) fn query(self) -> String {
        format!("offset={}&limit={}", self.number, self.size.clamp(10, 100))
    }
}

impl<T> Page<T> {
    /// Of an answer's fields. A page without its total, or with a record that `read` does not understand, is
    /// refused as a whole: a walk over it would miss someone.
    pub(super) fn read(
        total: Option<&RawValue>,
        records: Option<Vec<&RawValue>>,
        read: impl Fn(&RawValue) -> Result<T, IdaasError>,
    ) -> Result<Self, IdaasError> {
        let total = field::count(total).ok_or(MALFORMED)?;
        let records = match records {
            Some(records) => records.into_iter().map(read).collect::<Result<_, _>>()?,
            None if total == 0 => Vec::new(),
            None => return Err(MALFORMED),
        };
        Ok(Self { total, records })
    }
}
