//! The IDaaS API: token, users, organisations; the only room that calls IDaaS. Decides nothing about what it finds.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config;
use crate::outbound::OutboundError;

mod answer;
mod call;
mod error;
mod field;
mod lookups;
mod organizations;
mod page;
mod path;
mod token;
mod users;

pub use error::IdaasError;
pub use organizations::Organization;
pub use organizations::Scope;
pub use page::Page;
pub use page::PageRequest;
pub use users::Membership;
pub use users::User;

use call::Api;
use lookups::Lookups;

/// Asks one tenant's IDaaS. One for the whole process: callers share its token, its cache and its limits.
///
/// A method makes one call, and a second one where its token turns out to be stale. Every request, the one for
/// a token too, ends within `idaas.timeout`, and so does the wait for a turn. Nothing else is repeated here.
pub struct IdaasClient {
    api: Api,
    lookups: Lookups,
    time_zone: i32,
}

impl IdaasClient {
    /// Makes no call yet.
    pub fn new(settings: &config::Idaas, clock: Arc<dyn Clock>) -> Result<Self, OutboundError> {
        Ok(Self {
            api: Api::new(settings, Arc::clone(&clock))?,
            lookups: Lookups::new(clock),
            time_zone: settings.time_zone,
        })
    }
}

impl fmt::Debug for IdaasClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdaasClient").finish_non_exhaustive()
    }
}
