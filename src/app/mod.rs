//! Wires the rooms into a service and runs it; used by the binary, by tests and by programs that embed it. Parses no arguments.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::HandlerKind;
use crate::config::Mode;
use crate::dispatcher::Details;
use crate::dispatcher::Dispatcher;
use crate::dispatcher::Handler;
use crate::dispatcher::Handlers;
use crate::dispatcher::Inline;
use crate::dispatcher::Routing;
use crate::event::EventIds;
use crate::handlers;
use crate::http;
use crate::idaas::IdaasClient;
use crate::inbox::Inbox;
use crate::inbox::InboxError;

mod reconcile;
mod store;

pub use reconcile::reconciler_beside;
pub use store::check_store;
pub use store::copy_store;
pub use store::migrate;
pub use store::operator;

/// How often old rows are deleted.
const HOUSEKEEPING: Duration = Duration::from_secs(30);

/// Between two steps of deleting, so that events need not queue behind them.
const HOUSEKEEPING_PAUSE: Duration = Duration::from_millis(20);

/// The sockets of a service, bound before anything else starts.
pub struct Listeners {
    pub callbacks: TcpListener,
    pub admin: TcpListener,
}

impl Listeners {
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            callbacks: bind("server.listen", config.server.listen).await?,
            admin: bind("admin.listen", config.admin.listen).await?,
        })
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{key}: cannot listen on {address}; free the address or set {key} to another")
    })
}

/// A service that is set up but does not run yet.
pub struct App {
    config: Config,
    clock: Arc<dyn Clock>,
    own_handlers: BTreeMap<String, Arc<dyn Handler>>,
}

impl App {
    pub fn new(config: Config) -> Self {
        Self { config, clock: Arc::new(SystemClock), own_handlers: BTreeMap::new() }
    }

    /// Adds a handler of the embedding program for the table `[handlers.NAME]` with `type = "rust"`, which
    /// says what it gets and how often it is tried.
    #[must_use]
    pub fn with_handler(
        mut self,
        name: impl Into<String>,
        handler: impl Handler + 'static,
    ) -> Self {
        self.own_handlers.insert(name.into(), Arc::new(handler));
        self
    }

    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Runs until `shutdown` is ready, then finishes what runs within `server.shutdown_timeout`.
    ///
    /// An error is a service that could not start, or a part of it that ended by itself.
    pub async fn run(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let (queued, inline) = (self.handlers(Mode::Queued)?, self.handlers(Mode::Inline)?);
        tokio::pin!(shutdown);
        let inbox = tokio::select! {
            inbox = store::open(&self.config, self.clock.now()) => inbox?,
            // A database that is away may be waited for.
            () = &mut shutdown => return Ok(()),
        };
        let (stop, stopping) = watch::channel(false);
        let (stop_admin, admin_stopping) = watch::channel(false);
        let limits = http::Limits {
            max_connections: self.config.server.max_connections,
            read_timeout: self.config.server.read_timeout,
        };
        let client = self.idaas_client()?;
        let details = Arc::new(self.details(client.clone(), &inbox));
        let inline = Inline::new(inline, Arc::clone(&details));
        let callbacks = http::callback_router(self.callback_state(&queued, inline, &inbox)?);
        let admin = http::AdminState { inbox: Arc::clone(&inbox), stopping: stopping.clone() };
        let mut callbacks =
            tokio::spawn(http::serve(listeners.callbacks, callbacks, limits, stopping));
        let mut admin = tokio::spawn(http::serve(
            listeners.admin,
            http::admin_router(admin),
            limits,
            admin_stopping,
        ));
        let mut dispatcher = Dispatcher::start(queued, &details, &inbox, &self.clock);
        let mut chores = tokio::spawn(self.chores(client.as_ref(), &inbox)?);
        tracing::info!(endpoints = self.config.endpoints.len(), "ready");

        let crashed = tokio::select! {
            () = &mut shutdown => None,
            _ = &mut callbacks => Some("the callback listener ended by itself"),
            _ = &mut admin => Some("the admin listener ended by itself"),
            _ = &mut chores => Some("the store ended by itself"),
            () = dispatcher.failed() => Some("a worker ended by itself"),
        };
        if let Some(part) = crashed {
            tracing::error!(part, "crashed");
            bail!(part);
        }
        tracing::info!(timeout = ?self.config.server.shutdown_timeout, "shutting down");
        stop.send_replace(true);
        chores.abort();
        let finished = async {
            tokio::join!(dispatcher.stop(), async { (&mut callbacks).await.is_ok() });
            inbox.close().await;
        };
        if tokio::time::timeout(self.config.server.shutdown_timeout, finished).await.is_err() {
            tracing::warn!(
                "server.shutdown_timeout is over; what still ran is tried again after the next start"
            );
        }
        // A request that was not waited for must not be accepted by a service that has stopped.
        callbacks.abort();
        stop_admin.send_replace(true);
        admin.abort();
        tracing::info!("stopped");
        Ok(())
    }

    /// Those of the given mode.
    fn handlers(&self, mode: Mode) -> anyhow::Result<Handlers> {
        let unused =
            self.own_handlers.keys().find(|name| !self.config.handlers.contains_key(*name));
        if let Some(name) = unused {
            bail!(
                "handlers.{name}: this program brings the handler; add the table with type = \"rust\""
            );
        }
        let mut handlers = Handlers::new();
        for (name, settings) in self.config.handlers.iter().filter(|(_, it)| it.mode == mode) {
            let handler = match (&settings.kind, self.own_handlers.get(name)) {
                (HandlerKind::Rust, Some(own)) => Arc::clone(own),
                _ => handlers::build(settings, &self.clock)
                    .with_context(|| format!("handlers.{name}: cannot be set up"))?,
            };
            handlers.insert(name.clone(), (settings.clone(), handler));
        }
        Ok(handlers)
    }

    fn idaas_client(&self) -> anyhow::Result<Option<Arc<IdaasClient>>> {
        let Some(settings) = &self.config.idaas else { return Ok(None) };
        let client = IdaasClient::new(settings, Arc::clone(&self.clock)).context("idaas")?;
        Ok(Some(Arc::new(client)))
    }

    fn details(&self, client: Option<Arc<IdaasClient>>, inbox: &Arc<dyn Inbox>) -> Details {
        let directory = self.config.directory.clone();
        Details::new(client, directory, Arc::clone(inbox), Arc::clone(&self.clock))
    }

    fn callback_state(
        &self,
        queued: &Handlers,
        inline: Inline,
        inbox: &Arc<dyn Inbox>,
    ) -> anyhow::Result<http::CallbackState> {
        let mut endpoints = std::collections::HashMap::new();
        for (name, settings) in &self.config.endpoints {
            let endpoint = http::Endpoint::new(name, settings.clone(), self.config.store.retention)
                .with_context(|| format!("endpoints.{name}.encrypt_key"))?;
            endpoints.insert(settings.path.clone(), endpoint);
        }
        Ok(http::CallbackState {
            endpoints,
            inbox: Arc::clone(inbox),
            routing: Routing::new(queued),
            inline,
            directory: self.config.directory.clone(),
            ids: EventIds::default(),
            clock: Arc::clone(&self.clock),
            max_body: self.config.server.max_body,
            read_timeout: self.config.server.read_timeout,
            trusted_proxies: self.config.server.trusted_proxies.clone(),
        })
    }

    /// What is done by the clock. Ends only when the store does, and may be dropped at any moment.
    fn chores(
        &self,
        client: Option<&Arc<IdaasClient>>,
        inbox: &Arc<dyn Inbox>,
    ) -> anyhow::Result<impl Future<Output = ()> + Send + use<>> {
        let housekeeping = self.housekeeping(inbox);
        let reconciling = reconcile::regularly(&self.config, client, inbox, &self.clock)?;
        Ok(async {
            tokio::select! {
                () = housekeeping => {}
                () = reconciling => {}
            }
        })
    }

    /// Ends only when the store does.
    fn housekeeping(&self, inbox: &Arc<dyn Inbox>) -> impl Future<Output = ()> + Send + use<> {
        let (inbox, clock) = (Arc::clone(inbox), Arc::clone(&self.clock));
        let retention = self.config.store.retention;
        let claims = self.config.endpoints.values().map(|it| http::claim_kept(it, retention));
        // An event outlives its claim, so that a repeated request can still be answered as the first was.
        let kept = claims.fold(retention, Duration::max);
        async move {
            loop {
                match tidy(&*inbox, &*clock, kept).await {
                    Err(InboxError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(%error, "housekeeping failed and will be tried again");
                    }
                    Ok(()) => {}
                }
                tokio::time::sleep(HOUSEKEEPING).await;
            }
        }
    }
}

async fn tidy(inbox: &dyn Inbox, clock: &dyn Clock, kept: Duration) -> Result<(), InboxError> {
    loop {
        let now = clock.now();
        let finished_before = now.saturating_sub(kept).unwrap_or(jiff::Timestamp::MIN);
        if inbox.prune(now, finished_before).await? == 0 {
            return Ok(());
        }
        tokio::time::sleep(HOUSEKEEPING_PAUSE).await;
    }
}

/// Whether a service could be made of these settings, as far as that can be told without starting it.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let app = App::new(config.clone());
    store::check(config)?;
    app.handlers(Mode::Queued)?;
    app.handlers(Mode::Inline).map(drop)
}
