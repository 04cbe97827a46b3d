//! What the tests share: a running service and the sender's end of its connections. Judges nothing by itself.

pub(crate) mod app;
pub(crate) mod clock;
pub(crate) mod wire;

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
