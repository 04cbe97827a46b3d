//! One callback address at work: its settings with the checks and keys made from them. Handles no request.

use std::sync::Arc;
use std::sync::Once;
use std::time::Duration;

use crate::config;
use crate::crypto::Codec;
use crate::crypto::KeyLength;
use crate::verifier::Freshness;
use crate::verifier::SignatureCheck;
use crate::verifier::TokenCheck;

pub struct Endpoint {
    pub(super) name: Arc<str>,
    pub(super) settings: config::Endpoint,
    pub(super) token: TokenCheck,
    pub(super) freshness: Freshness,
    pub(super) signature: SignatureCheck,
    /// Absent where the endpoint takes plaintext.
    pub(super) codec: Option<Codec>,
    /// How long the same signed request is recognised.
    pub(super) claim_kept: Duration,
    /// What the automatic settings found is said once.
    pub(super) found: Once,
}

impl Endpoint {
    /// `retention` is the memory of an endpoint that takes timestamps of any age.
    pub fn new(
        name: &str,
        settings: config::Endpoint,
        retention: Duration,
    ) -> Result<Self, KeyLength> {
        Ok(Self {
            name: name.into(),
            token: TokenCheck::new(&settings.token),
            freshness: Freshness::new(settings.timestamp_tolerance),
            signature: SignatureCheck::new(&settings),
            codec: Codec::new(&settings)?,
            claim_kept: claim_kept(&settings, retention),
            found: Once::new(),
            settings,
        })
    }
}

/// Twice the tolerance: a request may be that much younger than it says, and is then stale that much later.
pub fn claim_kept(settings: &config::Endpoint, retention: Duration) -> Duration {
    settings.timestamp_tolerance.map_or(retention, |tolerance| tolerance.saturating_mul(2))
}
