//! What the tests share: a running service and the sender's end of its connections. Judges nothing by itself.

pub(crate) mod app;
pub(crate) mod clock;
pub(crate) mod wire;
