//! What the tests share: the service in this process and as a process, its senders and its receivers. Judges nothing by itself.

pub(crate) mod app;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod fake_idaas;
pub(crate) mod fleet;
pub(crate) mod load;
pub(crate) mod mount;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod service;
pub(crate) mod sink;
pub(crate) mod store;
pub(crate) mod wait;
pub(crate) mod wire;

/// In lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
