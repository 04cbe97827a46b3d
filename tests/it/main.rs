//! Everything that is tested from outside, as one program.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod idaas;
mod support;
