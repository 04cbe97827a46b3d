//! Which handlers get which event. Runs none of them.

use std::sync::Arc;

use crate::config;
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
