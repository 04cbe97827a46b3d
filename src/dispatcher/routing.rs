//! Which handlers get which event. Runs none of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config;
use crate::config::Mode;
use crate::dispatcher::Handlers;

/// The patterns of all queued handlers.
pub struct Routing(Vec<(Arc<str>, config::Handler)>);

impl Routing {
    pub fn new(handlers: &Handlers) -> Self {
        let route = |(name, (settings, _)): (&String, &(config::Handler, _))| {
            (name.as_str().into(), settings.clone())
        };
        Self(handlers.iter().map(route).collect())
    }

    /// Of settings alone, for who stores events and runs no handler.
    pub fn of(handlers: &BTreeMap<String, config::Handler>) -> Self {
        let queued = handlers.iter().filter(|(_, settings)| settings.mode == Mode::Queued);
        Self(queued.map(|(name, settings)| (name.as_str().into(), settings.clone())).collect())
    }

    /// In the order of the handlers' names.
    pub fn handlers(&self, endpoint: &str, event: &str) -> Vec<Arc<str>> {
        let fitting = self.0.iter().filter(|(_, settings)| takes(settings, endpoint, event));
        fitting.map(|(name, _)| Arc::clone(name)).collect()
    }
}

pub(super) fn takes(settings: &config::Handler, endpoint: &str, event: &str) -> bool {
    settings.endpoints.iter().any(|it| it.matches(endpoint))
        && settings.events.iter().any(|it| it.matches(event))
}
