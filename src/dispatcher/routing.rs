//! Which handlers get which event. Runs none of them.

use std::sync::Arc;

use crate::config;
use crate::event::Pattern;

/// The patterns of all queued handlers.
pub struct Routing(Vec<Route>);

struct Route {
    handler: Arc<str>,
    events: Vec<Pattern>,
    endpoints: Vec<Pattern>,
}

impl Routing {
    pub fn new<'a>(handlers: impl Iterator<Item = (&'a str, &'a config::Handler)>) -> Self {
        let route = |(name, settings): (&str, &config::Handler)| Route {
            handler: name.into(),
            events: settings.events.clone(),
            endpoints: settings.endpoints.clone(),
        };
        Self(handlers.map(route).collect())
    }

    /// In the order of the handlers' names.
    pub fn handlers(&self, endpoint: &str, event: &str) -> Vec<Arc<str>> {
        let fits = |patterns: &[Pattern], name| patterns.iter().any(|it| it.matches(name));
        let takes = |it: &&Route| fits(&it.endpoints, endpoint) && fits(&it.events, event);
        self.0.iter().filter(takes).map(|it| Arc::clone(&it.handler)).collect()
    }
}
