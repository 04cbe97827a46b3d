//! The service from outside, all in one binary: what senders, operators and attackers meet. Tests no function by itself.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed; clippy's permission for tests does not reach their helpers"
)]

mod architecture;
mod bodies;
mod callback;
mod config;
mod connections;
mod identify;
mod leaks;
mod messages;
mod replay;
mod requests;
mod signature;
mod support;
mod timestamps;
mod token;
mod vectors;
