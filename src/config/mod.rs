//! Settings: their shape, loading, checking and redacted printing; the only reader of the environment. Starts nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serializer;

use crate::event::Attributes;
use crate::event::Dialect;
use crate::event::Message;
use crate::event::Pattern;

mod address;
mod choice;
mod cidr;
mod endpoint;
mod handler;
mod load;
mod print;
mod problem;
mod process;
mod secret;
mod section;
mod source;
mod units;

pub use cidr::Cidr;
pub use cidr::CidrError;
pub use load::Loaded;
pub use load::environment;
pub use load::file_from;
pub use problem::ConfigError;
pub use problem::Problem;
pub use units::duration;

/// Every setting of one process, checked: what can be wrong in a file has been refused by [`Config::load`].
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub admin: Admin,
    pub log: Log,
    pub store: Store,
    /// Absent without an `[idaas]` table; then no details are looked up.
    pub idaas: Option<Idaas>,
    /// By name; never empty.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// By name, which is also the order in which inline handlers run.
    pub handlers: BTreeMap<String, Handler>,
    pub directory: Directory,
    pub reconcile: Reconcile,
}

#[derive(Debug, Clone)]
pub struct Server {
    pub listen: SocketAddr,
    /// Bytes.
    pub max_body: usize,
    /// For the headers and the body of one request together.
    pub read_timeout: Duration,
    pub max_connections: usize,
    pub shutdown_timeout: Duration,
    pub trusted_proxies: Vec<Cidr>,
}

#[derive(Debug, Clone)]
pub struct Admin {
    pub listen: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Log {
    pub format: LogFormat,
    /// A `RUST_LOG` directive list; `RUST_LOG` itself has already won here.
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text where stdout is a terminal, JSON otherwise.
    Auto,
    Json,
    Text,
}

#[derive(Debug, Clone)]
pub struct Store {
    pub url: StoreUrl,
    /// For PostgreSQL, where the URL has none. This and the next two mean nothing to SQLite.
    pub password: Option<SecretString>,
    /// Connections of one process.
    pub pool_size: usize,
    pub statement_timeout: Duration,
    /// How long finished events and their deliveries are kept.
    pub retention: Duration,
}

#[derive(Debug, Clone)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    /// The whole URL, password included.
    Postgres(SecretString),
}

#[derive(Debug, Clone)]
pub struct Idaas {
    /// Without a trailing slash.
    pub base_url: String,
    pub client_id: String,
    pub client_secret: SecretString,
    pub auth: IdaasAuth,
    pub timeout: Duration,
    /// Seconds east of UTC, for the zone-less times of the API.
    pub time_zone: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdaasAuth {
    Basic,
    Form,
}

/// One callback address, registered in IDaaS for one application.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub path: String,
    /// `None` is `auto`: each request tells by its field names.
    pub dialect: Option<Dialect>,
    /// Never empty; the first is what `send` uses.
    pub token: Vec<SecretString>,
    /// Empty exactly with `allow_unsigned`.
    pub sign_key: Vec<SecretString>,
    pub signature_algorithm: SignatureAlgorithm,
    /// A template of `{nonce}`, `{timestamp}`, `{event}` and `{data}`.
    pub signature_message: String,
    /// Empty exactly with `allow_plaintext`; each 16, 24 or 32 bytes of UTF-8.
    pub encrypt_key: Vec<SecretString>,
    pub cipher: CipherSetting,
    pub iv: IvSetting,
    pub envelope: EnvelopeSetting,
    pub allow_unsigned: bool,
    pub allow_plaintext: bool,
    /// `None` is `off`.
    pub timestamp_tolerance: Option<Duration>,
    pub on_duplicate: OnDuplicate,
    pub on_unknown_event: OnUnknownEvent,
    pub check_url_reply: CheckUrlReply,
    pub reply_timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    Auto,
    HmacSha256,
    HmacSha1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherSetting {
    Auto,
    AesGcm,
    AesEcb,
    AesCbc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IvSetting {
    Auto,
    Prefix12,
    Prefix16,
    Suffix12,
    Zero12,
    Zero16,
    Key12,
    Key16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvelopeSetting {
    Auto,
    Delimited,
    Json,
    Bare,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    Reject,
    Answer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknownEvent {
    Accept,
    Reject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckUrlReply {
    Echo,
    Success,
}

/// One `[handlers.NAME]` table.
#[derive(Debug, Clone)]
pub struct Handler {
    pub kind: HandlerKind,
    pub events: Vec<Pattern>,
    pub endpoints: Vec<Pattern>,
    pub mode: Mode,
    /// Attempts of this handler that may run at once; at least 1.
    pub concurrency: usize,
    /// For one attempt.
    pub timeout: Duration,
    /// At least 1.
    pub max_attempts: u32,
    pub retry_first: Duration,
    pub retry_max: Duration,
    pub details: bool,
    pub details_by: DetailsBy,
}

#[derive(Debug, Clone)]
pub enum HandlerKind {
    Log,
    Http {
        url: String,
        /// Values may hold credentials, so they are secrets.
        headers: BTreeMap<String, SecretString>,
        /// Key text for the Standard Webhooks headers, as written: `whsec_…` or plain text.
        secret: Option<SecretString>,
    },
    Command {
        argv: Vec<String>,
        /// The command's whole environment: `PATH` of this process is in it, unless the table has its own.
        /// Values may hold credentials, so they are secrets.
        env: BTreeMap<String, SecretString>,
    },
    /// A handler that the embedding program supplies under this table's name; the `bamboohook` binary has none.
    Rust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Queued,
    Inline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DetailsBy {
    Id,
    Username,
}

#[derive(Debug, Clone)]
pub struct Directory {
    pub enabled: bool,
    pub exclude: Vec<String>,
}

impl Directory {
    /// Those of a record's attributes that may be stored, as a JSON object: not its own id, nothing that is
    /// excluded, in either case. An empty one where the message names none.
    pub fn kept(&self, message: &Message) -> String {
        let attributes = message.attributes().ok().flatten();
        attributes.map_or_else(|| "{}".to_owned(), |it| self.kept_of(&it))
    }

    /// The same of attributes that are read already.
    pub fn kept_of(&self, attributes: &Attributes<'_>) -> String {
        let excluded = |name: &str| self.exclude.iter().any(|it| it.eq_ignore_ascii_case(name));
        let kept =
            attributes.iter().filter(|(name, _)| self.enabled && *name != "id" && !excluded(name));
        let mut json = serde_json::Serializer::new(Vec::new());
        match json.collect_map(kept) {
            Ok(()) => String::from_utf8(json.into_inner()).unwrap_or_default(),
            Err(_never) => "{}".to_owned(),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Reconcile {
    /// `None` is `off`.
    pub every: Option<Duration>,
    /// Empty is all.
    pub endpoints: Vec<String>,
    /// 0 to 1.
    pub max_delete_share: f64,
}
