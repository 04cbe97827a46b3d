//! Ways to the database: what a URL says, connections one by one and in a pool. Runs no statement of its own.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::Manager;
use deadpool_postgres::ManagerConfig;
use deadpool_postgres::Pool;
use deadpool_postgres::RecyclingMethod;
use deadpool_postgres::Runtime;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Client;
use tokio_postgres::Config;
use tokio_postgres::NoTls;
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::inbox::OpenError;
use crate::inbox::postgres::error::Cause;
use crate::inbox::postgres::error::PostgresError;
use crate::inbox::postgres::failure;
use crate::inbox::postgres::tls;
use crate::inbox::postgres::tls::TlsMode;
use crate::inbox::postgres::url;
use crate::inbox::postgres::url::Server;

/// How long someone waits for a connection that others have.
const POOL_PATIENCE: Duration = Duration::from_secs(5);

/// A service's statements are right by index and in the order in which they join, whatever the tables hold. What
/// the planner remembers of a table that was empty a minute ago would have it read the whole of it for each commit.
const BY_INDEX: &str = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
     -c enable_bitmapscan=off -c join_collapse_limit=1 -c from_collapse_limit=1 -c plan_cache_mode=force_generic_plan -c jit=off";

/// The half of a connection that has to be polled, and that notifications come from.
pub(super) type Connection =
    tokio_postgres::Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// How the database is reached, checked as far as that can be done without reaching it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// Of no server yet.
    config: Config,
    servers: Vec<Server>,
    connect_timeout: Duration,
    tls: MakeRustlsConnect,
    tls_mode: TlsMode,
    shown: String,
    pool_size: usize,
    statement_timeout: Duration,
}

impl PostgresOptions {
    /// From a URL as libpq reads it; the files that it names are read now.
    ///
    /// A statement and a lock each take `statement_timeout` at most, unless `options` in the URL say otherwise. A
    /// pause within a transaction takes half of it, so that who stalls while others wait is given up before they are.
    pub fn new(
        url: &SecretString,
        password: Option<&SecretString>,
        pool_size: usize,
        statement_timeout: Duration,
    ) -> Result<Self, OpenError> {
        // The server takes 31 bits, and 0 for no limit at all.
        let limit = statement_timeout.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
        let pause = limit.div_ceil(2);
        let options = format!(
            "-c statement_timeout={limit} -c lock_timeout={limit} \
             -c idle_in_transaction_session_timeout={pause} -c client_min_messages=warning \
             -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off"
        );
        let mut url = url::parse(url, &options)?;
        if let Some(password) = password {
            url.config.password(password.expose_secret());
        }
        Ok(Self {
            shown: shown(&url.config, &url.servers),
            tls: tls::connector(&url.tls)?,
            tls_mode: url.tls.mode,
            config: url.config,
            servers: url.servers,
            connect_timeout: url.connect_timeout,
            pool_size,
            statement_timeout,
        })
    }

    /// The URL without password and parameters.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// Whether somebody may listen to a password on its way to a server on another machine.
    pub(super) fn is_exposed_without_tls(&self) -> bool {
        let near = |it: &Server| {
            let address = it.address.or_else(|| it.host.parse().ok());
            it.is_socket() || it.host == "localhost" || address.is_some_and(|it| it.is_loopback())
        };
        self.config.get_password().is_some() && !self.servers.iter().all(near)
    }

    /// The same for statements that find what they need by index.
    pub(super) fn by_index(mut self) -> Self {
        let options = self.config.get_options().unwrap_or_default();
        let options = format!("{options} {BY_INDEX}");
        self.config.options(options);
        self
    }

    /// The same where a server that only reads will do.
    pub(super) fn reading(&self) -> Self {
        let mut options = self.clone();
        options.config.target_session_attrs(TargetSessionAttrs::Any);
        options
    }

    /// Nobody waits for it longer than some seconds: [`failure::from_pool`] says what a time-out means.
    pub(super) fn pool(&self) -> Result<Pool, OpenError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager =
            Manager::from_connect(self.config.clone(), Connecting(self.clone()), recycling);
        let pool = Pool::builder(manager)
            .max_size(self.pool_size)
            .wait_timeout(Some(POOL_PATIENCE))
            .runtime(Runtime::Tokio1)
            .build();
        pool.map_err(|cause| {
            let at = self.shown.clone();
            PostgresError::Unopenable { at, cause: Cause(cause.to_string()) }.into()
        })
    }

    /// A connection outside the pool, to the first server that fits. Does nothing unless it is polled.
    ///
    /// Of several failures it tells what a server has said before what the network has.
    pub(super) async fn connect(&self) -> Result<(Client, Connection), tokio_postgres::Error> {
        let mut failed: Option<tokio_postgres::Error> = None;
        for server in &self.servers {
            for address in self.addresses(server).await {
                // Boxed, since it takes much memory and happens rarely.
                match Box::pin(self.connect_to(server, address)).await {
                    Ok(connected) => return Ok(connected),
                    Err(cause) => {
                        let telling = failed.as_ref().is_none_or(|it| it.code().is_none());
                        failed = if telling { Some(cause) } else { failed };
                    }
                }
            }
        }
        Err(match failed {
            Some(cause) => cause,
            None => silence().await,
        })
    }

    /// The same with its other half running; it ends when the client is dropped.
    pub(super) async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.connect().await?;
        spawn(connection);
        Ok(client)
    }

    /// `None` leaves it to the library, which then has the words for a name that nobody knows.
    async fn addresses(&self, server: &Server) -> Vec<Option<IpAddr>> {
        if server.address.is_some() || server.is_socket() {
            return vec![server.address];
        }
        match timeout(self.connect_timeout, lookup_host((&*server.host, server.port))).await {
            Ok(Ok(found)) => {
                let found: Vec<_> = found.map(|it| Some(it.ip())).collect();
                if found.is_empty() { vec![None] } else { found }
            }
            Ok(Err(_)) | Err(_) => vec![None],
        }
    }

    /// With and without TLS in the order of the mode.
    async fn connect_to(
        &self,
        server: &Server,
        address: Option<IpAddr>,
    ) -> Result<(Client, Connection), tokio_postgres::Error> {
        let mut config = self.config.clone();
        config.host(&server.host).port(server.port);
        if let Some(address) = address {
            config.hostaddr(address);
        }
        let (first, second) = match self.tls_mode {
            // As libpq has it, nobody listens at a socket.
            _ if server.is_socket() => (SslMode::Disable, None),
            TlsMode::Disable => (SslMode::Disable, None),
            TlsMode::Allow => (SslMode::Disable, Some(SslMode::Require)),
            TlsMode::Prefer => (SslMode::Prefer, Some(SslMode::Disable)),
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => (SslMode::Require, None),
        };
        let result = self.attempt(config.ssl_mode(first)).await;
        match (result, second) {
            // What pg_hba.conf says when it has no line for a connection of this kind.
            (Err(cause), Some(second))
                if failure::is_tls(&cause)
                    || cause.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) =>
            {
                self.attempt(config.ssl_mode(second))
                    .await
                    .map_err(|second| if failure::is_tls(&second) { cause } else { second })
            }
            (result, _) => result,
        }
    }

    /// The library's own time-out ends with the first packet; a server that is stuck takes that one too.
    async fn attempt(
        &self,
        config: &Config,
    ) -> Result<(Client, Connection), tokio_postgres::Error> {
        match timeout(self.connect_timeout, config.connect(self.tls.clone())).await {
            Ok(result) => result,
            Err(_elapsed) => Err(silence().await),
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PostgresOptions")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

struct Connecting(PostgresOptions);

impl deadpool_postgres::Connect for Connecting {
    fn connect(
        &self,
        _config: &Config,
    ) -> Pin<
        Box<
            dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>>
                + Send
                + '_,
        >,
    > {
        Box::pin(async {
            let (client, connection) = self.0.connect().await?;
            Ok((client, spawn(connection)))
        })
    }
}

/// Polls a connection that nobody expects notifications of.
pub(super) fn spawn(connection: Connection) -> JoinHandle<()> {
    tokio::spawn(async {
        // Whoever uses it learns of it as well, and has more to say.
        if let Err(cause) = connection.await {
            tracing::debug!(cause = failure::cause_text(&cause), "a connection to the store ended");
        }
    })
}

/// The library's error of a server that has not answered in time; the library alone can make one.
async fn silence() -> tokio_postgres::Error {
    let stream = tokio::io::join(Silent, tokio::io::sink());
    match Config::new().user("nobody").connect_raw(stream, NoTls).await {
        Err(cause) => cause,
        // Without an answer nobody gets in.
        Ok(_never) => std::future::pending().await,
    }
}

struct Silent;

impl AsyncRead for Silent {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        _buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

fn shown(config: &Config, servers: &[Server]) -> String {
    let user = config.get_user().map(|it| format!("{it}@")).unwrap_or_default();
    let database = config.get_dbname().map(|it| format!("/{it}")).unwrap_or_default();
    let servers: Vec<String> =
        servers
            .iter()
            .map(|Server { host, port, .. }| {
                if host.contains(':') {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }
            })
            .collect();
    format!("postgres://{user}{}{database}", servers.join(","))
}
