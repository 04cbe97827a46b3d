//! What the tests stand on: the service in this process and as a process, and what it delivers to.

pub(crate) mod mount;
pub(crate) mod process;
pub(crate) mod service;
pub(crate) mod sink;
pub(crate) mod wait;
