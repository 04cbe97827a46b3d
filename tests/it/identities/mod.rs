//! Who a record is, from its first event to its last and beyond: ids, names, and handlers that decide about them.

mod editing;
mod inline;
mod inline_process;
mod inline_refusals;
mod life;
mod listing;
mod merging;
mod names;
mod races;
