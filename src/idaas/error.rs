//! What can go wrong with a call to IDaaS, by what the caller can do about it. Repeats nothing that was sent or received.

use std::time::Duration;

/// A call to IDaaS brought nothing. The texts are fixed: no user, token, secret or answer is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdaasError {
    /// May succeed later, without anybody doing anything.
    #[error("{reason}")]
    Unavailable {
        reason: &'static str,
        /// Not before this time has passed, where IDaaS said so.
        after: Option<Duration>,
    },
    /// Fails until someone changes the settings here or the rights at IDaaS.
    #[error("{reason}")]
    Refused { reason: &'static str },
    /// IDaaS answered with something that is not its API's.
    #[error("{reason}")]
    Malformed { reason: &'static str },
}

impl IdaasError {
    pub(super) const fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable { reason, after: None }
    }
}
