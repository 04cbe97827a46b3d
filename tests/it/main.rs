//! One binary for all tests that see bamboohook from outside.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails has to say so, also in its helpers"
)]

mod crash;
mod delivery;
mod inbox;
mod process;
mod support;
