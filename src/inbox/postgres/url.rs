//! The URL of a database as libpq reads it. Reaches nothing, and repeats no password.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio_postgres::config::ChannelBinding;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::config::TargetSessionAttrs;

use crate::inbox::postgres::error::PostgresError;
use crate::inbox::postgres::tls::TlsFiles;
use crate::inbox::postgres::tls::TlsMode;

const USUAL_PORT: u16 = 5432;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVES_IDLE: Duration = Duration::from_secs(10);

const WHOLE: &str = "must be a whole number of at least 1";
const ENCODE: &str =
    "write @ as %40, : as %3A, / as %2F, ? as %3F and % as %25 in the user and the password";

/// What a URL says, with our defaults for what it does not say.
pub(super) struct Url {
    /// Everything but the server: login, database, time-outs, session.
    pub(super) config: tokio_postgres::Config,
    /// The servers in the order in which they are tried; never empty.
    pub(super) servers: Vec<Server>,
    /// For one server, from the first packet to the end of the login.
    pub(super) connect_timeout: Duration,
    pub(super) tls: TlsFiles,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// A name, an address, or a path of a socket's folder; TLS compares it with the certificate.
    pub(super) host: String,
    /// Where the URL gives it beside the name, or in place of one.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

impl Server {
    pub(super) fn is_socket(&self) -> bool {
        self.address.is_none() && self.host.starts_with('/')
    }
}

/// `options` are ours for the session; those of the URL come after them, and win.
pub(super) fn parse(url: &SecretString, options: &str) -> Result<Url, PostgresError> {
    let text = url.expose_secret();
    let rest = ["postgres://", "postgresql://"]
        .into_iter()
        .find_map(|it| text.strip_prefix(it))
        .ok_or(fault("it must begin with postgres://"))?;
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before.split_once('/').unwrap_or((before, ""));
    let mut reading = Reading::new(options);
    let hosts = match authority.split_once('@') {
        Some((login, hosts)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            reading.user(&decoded(user)?);
            reading.password(&decoded(password)?);
            hosts
        }
        None => authority,
    };
    if hosts.contains('@') || database.contains('@') {
        return Err(fault(ENCODE));
    }
    reading.authority(hosts)?;
    reading.database(&decoded(database)?);
    for pair in query.split('&').filter(|it| !it.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or(fault("each parameter must be written name=value"))?;
        let (name, value) = (decoded(name)?, decoded(value)?);
        reading.parameter(&name, &value)?;
    }
    reading.finish()
}

/// What has been read so far. Where a parameter repeats what stands before it, the later one holds.
struct Reading {
    config: tokio_postgres::Config,
    options: String,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    connect_timeout: Duration,
    mode: Option<TlsMode>,
    tls: TlsFiles,
}

impl Reading {
    fn new(options: &str) -> Self {
        let mut config = tokio_postgres::Config::new();
        config
            .application_name("bamboohook")
            .tcp_user_timeout(TCP_USER_TIMEOUT)
            .keepalives_idle(KEEPALIVES_IDLE)
            // A demoted primary, or a standby that stands first, is passed over.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Self {
            config,
            options: options.to_owned(),
            hosts: Vec::new(),
            addresses: Vec::new(),
            ports: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
            mode: None,
            tls: TlsFiles::default(),
        }
    }

    fn user(&mut self, user: &str) {
        if !user.is_empty() {
            self.config.user(user);
        }
    }

    fn password(&mut self, password: &str) {
        if !password.is_empty() {
            self.config.password(password);
        }
    }

    fn database(&mut self, name: &str) {
        if !name.is_empty() {
            self.config.dbname(name);
        }
    }

    fn authority(&mut self, hosts: &str) -> Result<(), PostgresError> {
        for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
            let unclosed = "an IPv6 address must be written [address] or [address]:port";
            let (host, port) = match host.strip_prefix('[') {
                Some(bracketed) => match bracketed.split_once(']').ok_or(fault(unclosed))? {
                    (host, "") => (host, ""),
                    (host, port) => (host, port.strip_prefix(':').ok_or(fault(unclosed))?),
                },
                None => host.split_once(':').unwrap_or((host, "")),
            };
            self.hosts.push(decoded(host)?);
            self.ports.push(port_of(&decoded(port)?).map_err(|_same| fault(PORT))?);
        }
        Ok(())
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), PostgresError> {
        let wrong = |fault| Err(PostgresError::Parameter { name: name.to_owned(), fault });
        let seconds = || whole(name, value).map(Duration::from_secs);
        match name {
            "user" => self.user(value),
            "password" => self.password(value),
            "dbname" => self.database(value),
            "host" => self.hosts = value.split(',').map(str::to_owned).collect(),
            "hostaddr" => match value.split(',').map(str::parse).collect() {
                Ok(addresses) => self.addresses = addresses,
                Err(_not_one) => return wrong("must be IP addresses, separated by commas"),
            },
            "port" => match value.split(',').map(port_of).collect() {
                Ok(ports) => self.ports = ports,
                Err(_not_one) => return wrong(PORT),
            },
            "application_name" => drop(self.config.application_name(value)),
            "options" => self.options = format!("{} {value}", self.options),
            "connect_timeout" => self.connect_timeout = seconds()?,
            "tcp_user_timeout" => {
                self.config.tcp_user_timeout(Duration::from_millis(whole(name, value)?));
            }
            "keepalives" => match value {
                "0" => drop(self.config.keepalives(false)),
                "1" => drop(self.config.keepalives(true)),
                _ => return wrong("must be 0 or 1"),
            },
            "keepalives_idle" => drop(self.config.keepalives_idle(seconds()?)),
            "keepalives_interval" => drop(self.config.keepalives_interval(seconds()?)),
            "keepalives_count" => match value.parse() {
                Ok(count) => drop(self.config.keepalives_retries(count)),
                Err(_not_one) => return wrong(WHOLE),
            },
            "target_session_attrs" => match value {
                "read-write" | "primary" => {}
                "any" => drop(self.config.target_session_attrs(TargetSessionAttrs::Any)),
                _ => {
                    return wrong("must be read-write, primary or any, since the store is written");
                }
            },
            "channel_binding" => {
                let binding = match value {
                    "disable" => ChannelBinding::Disable,
                    "prefer" => ChannelBinding::Prefer,
                    "require" => ChannelBinding::Require,
                    _ => return wrong("must be disable, prefer or require"),
                };
                self.config.channel_binding(binding);
            }
            // What is so in any case.
            "client_encoding" if ["utf8", "utf-8", "auto"].contains(&&*value.to_lowercase()) => {}
            "gssencmode" if ["disable", "prefer"].contains(&value) => {}
            "load_balance_hosts" if value == "disable" => {}
            _ => return self.tls_parameter(name, value),
        }
        Ok(())
    }

    fn tls_parameter(&mut self, name: &str, value: &str) -> Result<(), PostgresError> {
        let wrong = |fault| Err(PostgresError::Parameter { name: name.to_owned(), fault });
        let path = || Some(PathBuf::from(value)).filter(|_| !value.is_empty());
        match name {
            "sslmode" => match TlsMode::from_word(value) {
                Some(mode) => self.mode = Some(mode),
                None => {
                    return wrong(
                        "must be disable, allow, prefer, require, verify-ca or verify-full",
                    );
                }
            },
            // As JDBC writes it.
            "ssl" if value == "true" => self.mode = Some(TlsMode::Require),
            "sslrootcert" => {
                self.tls.system_roots = value == "system";
                self.tls.roots = path().filter(|_| value != "system");
            }
            "sslcert" => self.tls.certificate = path(),
            "sslkey" => self.tls.key = path(),
            "sslnegotiation" => match value {
                "postgres" => drop(self.config.ssl_negotiation(SslNegotiation::Postgres)),
                "direct" => drop(self.config.ssl_negotiation(SslNegotiation::Direct)),
                _ => return wrong("must be postgres or direct"),
            },
            "sslpassword" => {
                return wrong("is not supported; name a key that is not encrypted in sslkey");
            }
            "ssl" | "client_encoding" | "gssencmode" | "load_balance_hosts" => {
                return wrong("is not supported with this value; remove it");
            }
            _ => {
                return wrong(
                    "is not known here; remove it, or write it as libpq does (sslmode, sslrootcert, …)",
                );
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Url, PostgresError> {
        let servers = self.servers()?;
        self.config.options(self.options.trim());
        let direct = self.config.get_ssl_negotiation() == SslNegotiation::Direct;
        self.tls.mode = match (self.mode, self.tls.system_roots) {
            (None, true) => TlsMode::VerifyFull,
            (mode, _) => mode.unwrap_or(TlsMode::Prefer),
        };
        if direct && self.tls.mode < TlsMode::Require {
            return Err(PostgresError::Parameter {
                name: "sslnegotiation".to_owned(),
                fault: "needs sslmode=require, verify-ca or verify-full with direct; set one",
            });
        }
        Ok(Url {
            config: self.config,
            servers,
            connect_timeout: self.connect_timeout,
            tls: self.tls,
        })
    }

    fn servers(&self) -> Result<Vec<Server>, PostgresError> {
        let (hosts, addresses) = (self.hosts.len(), self.addresses.len());
        if hosts == 0 && addresses == 0 {
            return Err(fault("it names no host; write postgres://user@host/db, or ?host=/folder"));
        }
        if hosts > 0 && addresses > 0 && hosts != addresses {
            return Err(fault("there must be as many addresses in hostaddr as there are hosts"));
        }
        let count = hosts.max(addresses);
        if self.ports.len() > 1 && self.ports.len() != count {
            return Err(fault("there must be one port, or as many as there are hosts"));
        }
        let port = |index: usize| self.ports.get(index).or(self.ports.first());
        let servers = (0..count).map(|index| {
            let address = self.addresses.get(index).copied();
            let host = self.hosts.get(index).cloned().filter(|it| !it.is_empty());
            Ok(Server {
                host: match (host, address) {
                    (Some(host), _) => host,
                    (None, Some(address)) => address.to_string(),
                    (None, None) => return Err(fault("one of its hosts is empty; remove a comma")),
                },
                address,
                port: port(index).copied().unwrap_or(USUAL_PORT),
            })
        });
        servers.collect()
    }
}

const PORT: &str = "a port must be a number from 1 to 65535";

/// An empty one is the usual one.
fn port_of(text: &str) -> Result<u16, ()> {
    if text.is_empty() {
        return Ok(USUAL_PORT);
    }
    text.parse().ok().filter(|it| *it > 0).ok_or(())
}

fn whole(name: &str, value: &str) -> Result<u64, PostgresError> {
    let number = value.trim().parse::<u32>().ok().filter(|it| *it > 0);
    number.map(u64::from).ok_or(PostgresError::Parameter { name: name.to_owned(), fault: WHOLE })
}

fn decoded(text: &str) -> Result<String, PostgresError> {
    // The decoder takes a lone % as it is; libpq does not.
    let mut rest = text.split('%');
    rest.next();
    let whole = rest.all(|it| it.len() >= 2 && it.bytes().take(2).all(|it| it.is_ascii_hexdigit()));
    let decoded = percent_decode_str(text).decode_utf8().ok();
    let decoded = decoded.filter(|it| whole && !it.contains('\0'));
    decoded.map(Into::into).ok_or(fault(ENCODE))
}

fn fault(fault: &'static str) -> PostgresError {
    PostgresError::Url { fault }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::SecretString;
    use tokio_postgres::config::TargetSessionAttrs;

    use super::Server;
    use super::Url;
    use super::parse;
    use crate::inbox::postgres::error::PostgresError;
    use crate::inbox::postgres::tls::TlsMode;

    fn read(url: &str) -> Result<Url, PostgresError> {
        parse(&SecretString::from(url), "-c a=1")
    }

    fn servers(url: &str) -> Vec<(String, u16)> {
        let servers = read(url).unwrap().servers;
        servers.into_iter().map(|Server { host, port, .. }| (host, port)).collect()
    }

    #[test]
    fn what_is_not_said_is_ours() {
        let url = read("postgres://h").unwrap();
        assert_eq!(url.servers, [Server { host: "h".to_owned(), address: None, port: 5432 }]);
        assert_eq!(url.connect_timeout, Duration::from_secs(5));
        assert_eq!(url.tls.mode, TlsMode::Prefer);
        let config = url.config;
        assert_eq!(config.get_application_name(), Some("bamboohook"));
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(10)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(10));
        assert_eq!(config.get_options(), Some("-c a=1"));
        assert_eq!((config.get_user(), config.get_dbname()), (None, None));
    }

    #[test]
    fn what_is_said_holds() {
        let url = "postgresql://u%40x:p%2F%3A%40w@h1:5433,[::1]:5434,[fe80::1]/d%20b?sslmode=verify-full\
                   &sslrootcert=/ca.pem&application_name=x&options=-c%20b%3D2&connect_timeout=9\
                   &tcp_user_timeout=1500&keepalives_idle=7&target_session_attrs=any";
        let url = read(url).unwrap();
        let config = &url.config;
        assert_eq!(config.get_user(), Some("u@x"));
        assert_eq!(config.get_password(), Some(&b"p/:@w"[..]));
        assert_eq!(config.get_dbname(), Some("d b"));
        assert_eq!(config.get_application_name(), Some("x"));
        // The later one of a session's options holds.
        assert_eq!(config.get_options(), Some("-c a=1 -c b=2"));
        assert_eq!(url.connect_timeout, Duration::from_secs(9));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(7));
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::Any);
        assert_eq!(url.tls.mode, TlsMode::VerifyFull);
        assert_eq!(url.tls.roots.as_deref(), Some("/ca.pem".as_ref()));
        let ports: Vec<u16> = url.servers.iter().map(|it| it.port).collect();
        assert_eq!(ports, [5433, 5434, 5432]);
    }

    #[test]
    fn servers_stand_in_several_places() {
        let socket = "/var/run/postgresql".to_owned();
        for (url, expected) in [
            ("postgres:///d?host=/var/run/postgresql", vec![(socket.clone(), 5432)]),
            ("postgres://u:p@/d?host=/var/run/postgresql&port=1", vec![(socket.clone(), 1)]),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/d", vec![(socket, 5432)]),
            ("postgres:///?host=a,b&port=1,2", vec![("a".to_owned(), 1), ("b".to_owned(), 2)]),
            ("postgres:///?host=a,b&port=3", vec![("a".to_owned(), 3), ("b".to_owned(), 3)]),
            ("postgres:///?hostaddr=127.0.0.1", vec![("127.0.0.1".to_owned(), 5432)]),
            ("postgres://a/?hostaddr=::1", vec![("a".to_owned(), 5432)]),
        ] {
            assert_eq!(servers(url), expected, "{url}");
        }
        assert_eq!(
            read("postgres:///?user=a&password=b&dbname=c&host=d").unwrap().config.get_dbname(),
            Some("c")
        );
        let system = read("postgres://h?sslrootcert=system").unwrap().tls;
        assert_eq!((system.mode, system.system_roots), (TlsMode::VerifyFull, true));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (url, part) in [
            ("mysql://u:canary@h", "begin with postgres://"),
            ("postgres://u:canary@", "names no host"),
            ("postgres://", "names no host"),
            ("postgres://u:canary@canary@h", "%40"),
            ("postgres://u:canary/x@h/d", "%40"),
            ("postgres://u:canary", "number from 1 to 65535"),
            ("postgres://u:12/canary@h/d", "%40"),
            ("postgres://u:can%ary@h", "%25"),
            ("postgres://u:canary%00@h", "%25"),
            ("postgres://u:canary@h:0", "number from 1 to 65535"),
            ("postgres://u:canary@[::1", "IPv6"),
            ("postgres://u:canary@a,,b", "is empty"),
            ("postgres://u:canary@a,b?port=1,2,3", "one port"),
            ("postgres://u:canary@a,b?hostaddr=::1", "as many addresses"),
            ("postgres://u:canary@a?hostaddr=b", "\"hostaddr\": must be IP addresses"),
            ("postgres://u:canary@a?sslmode", "name=value"),
            ("postgres://u:canary@a?sslmode=on", "\"sslmode\": must be disable, allow"),
            ("postgres://u:canary@a?sslcrl=x", "\"sslcrl\": is not known"),
            ("postgres://u:canary@a?sslpassword=canary", "\"sslpassword\": is not supported"),
            ("postgres://u:canary@a?connect_timeout=0", "\"connect_timeout\": must be a whole"),
            ("postgres://u:canary@a?target_session_attrs=standby", "read-write, primary or any"),
            ("postgres://u:canary@a?sslnegotiation=direct", "needs sslmode=require"),
            ("postgres://u:canary@a?gssencmode=require", "\"gssencmode\": is not supported"),
        ] {
            let Err(error) = read(url) else { panic!("{url}") };
            let text = format!("{error} {error:?}");
            assert!(text.contains(part), "{url}: {text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
