//! Who a record is, from its first event to its last and beyond: ids, names, and handlers that decide about them.
mod editing;
mod listing;
mod merging;
