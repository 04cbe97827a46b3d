//! The service from outside, all in one binary: what senders, operators and attackers meet. Tests no function by itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that cannot go on has failed; clippy's permission for tests does not reach their helpers"
)]
#![expect(clippy::format_collect, reason = "the texts of a test are short and have to be read")]

mod architecture;
mod bodies;
mod callback;
mod config;
mod connections;
mod crash;
mod delivery;
mod details;
mod idaas;
mod identify;
mod identities;
mod inbox;
mod leaks;
mod messages;
mod postgres;
mod process;
mod reconcile;
mod replay;
mod requests;
mod served_vectors;
mod signature;
mod support;
mod timestamps;
mod token;
mod vectors;
