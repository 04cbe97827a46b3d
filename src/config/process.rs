//! Reads the tables that exist once: listeners, log, store, the IDaaS API, directory, reconciliation. Opens none of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::config::Admin;
use crate::config::Directory;
use crate::config::Endpoint;
use crate::config::Idaas;
use crate::config::IdaasAuth;
use crate::config::Log;
use crate::config::LogFormat;
use crate::config::Reconcile;
use crate::config::Server;
use crate::config::Store;
use crate::config::StoreUrl;
use crate::config::address;
use crate::config::print;
use crate::config::section::Refused;
use crate::config::section::Section;
use crate::config::source::FILE;
use crate::config::units;

const SMALLEST_BODY: usize = 1 << 10;
const LARGEST_BODY: usize = 64 << 20;
/// One connection is not enough where one waits for what another has to do.
const SMALLEST_POOL: u32 = 2;
const LARGEST_POOL: u32 = 100;

const LISTEN: &str = "must be an IP address and a port in quotes, such as \"127.0.0.1:8080\"";
const MAX_BODY: &str =
    "must be a size from 1KiB to 64MiB in quotes, such as \"256KiB\" (units: B, KiB, MiB, GiB)";
const CIDR: &str =
    "must be an address or a CIDR such as \"10.0.0.0/8\", without bits beyond its prefix";
const LEVEL: &str = "must be RUST_LOG directives such as \"info\" or \"info,bamboohook=debug\" \
    (levels: off, error, warn, info, debug, trace)";
const STORE: &str = "must be \"sqlite://relative.db\" or \"sqlite:///absolute.db\" without parameters, or \
    \"postgres://user@host/db\" with @ : / ? # % of a password percent-encoded";
const BASE_URL: &str = "must be an http:// or https:// URL without user, password, query or fragment, such as \
    \"https://tenant.example.com\"";
const TIME_ZONE: &str = "must be an offset from UTC in quotes, such as \"+08:00\"";

pub(super) fn server(mut section: Section<'_>) -> Result<Server, Refused> {
    let listen = section.parsed("listen", LISTEN, |text| text.parse().ok());
    let max_body = section.parsed("max_body", MAX_BODY, |text| {
        units::size(text).filter(|it| (SMALLEST_BODY..=LARGEST_BODY).contains(it))
    });
    let read_timeout = section.duration("read_timeout");
    let max_connections = section.count("max_connections");
    let shutdown_timeout = section.duration("shutdown_timeout");
    let trusted_proxies = section.list("trusted_proxies", CIDR, |text| text.parse().ok());
    section.finish();
    Ok(Server {
        listen: listen?,
        max_body: max_body?,
        read_timeout: read_timeout?,
        max_connections: max_connections?,
        shutdown_timeout: shutdown_timeout?,
        trusted_proxies: trusted_proxies?,
    })
}

/// `server` is where the callbacks come in, if that could be read.
pub(super) fn admin(
    mut section: Section<'_>,
    server: Option<SocketAddr>,
) -> Result<Admin, Refused> {
    let listen: Result<SocketAddr, Refused> =
        section.parsed("listen", LISTEN, |text| text.parse().ok());
    if let (Ok(admin), Some(server)) = (listen, server)
        && admin.port() != 0
        && admin.port() == server.port()
        && (admin.ip() == server.ip()
            || admin.ip().is_unspecified()
            || server.ip().is_unspecified())
    {
        section.wrong("listen", "takes the port of server.listen; give one of them another port");
    }
    section.finish();
    Ok(Admin { listen: listen? })
}

pub(super) fn log(mut section: Section<'_>) -> Result<Log, Refused> {
    let format = section.choice("format", LogFormat::WORDS);
    let level =
        section.parsed("level", LEVEL, |text| are_directives(text).then(|| text.to_owned()));
    section.finish();
    Ok(Log { format: format?, level: level? })
}

pub(super) fn store(mut section: Section<'_>) -> Result<Store, Refused> {
    let address = section.plain_text("url", STORE).and_then(|text| match address::store(&text) {
        Some(address) => {
            section.print("url", &print::text(&address.shown));
            let hidden = address.shown != text && section.origin_of("url").starts_with(FILE);
            section.report().secrets_in_file |= hidden;
            Ok(address)
        }
        None => Err(section.wrong("url", STORE)),
    });
    let mut password = section.secret("password");
    if let (Ok(address), Ok(Some(_))) = (&address, &password) {
        let from_file = !section.origin_of("password_file").is_empty();
        let key = if from_file { "password_file" } else { "password" };
        if let StoreUrl::Sqlite(_) = address.url {
            password = Err(section.wrong(
                key,
                "is for PostgreSQL, and store.url names an SQLite file; remove one of them",
            ));
        } else if address.has_password {
            password = Err(section
                .wrong(key, "is set, and the URL in store.url has a password; remove one of them"));
        }
    }
    let pool_size = section.count_within("pool_size", SMALLEST_POOL..=LARGEST_POOL);
    let statement_timeout = section.duration("statement_timeout");
    let retention = section.duration("retention");
    section.finish();
    Ok(Store {
        url: address?.url,
        password: password?,
        pool_size: pool_size?,
        statement_timeout: statement_timeout?,
        retention: retention?,
    })
}

pub(super) fn idaas(mut section: Section<'_>) -> Result<Idaas, Refused> {
    let base_url = required(&mut section, "base_url", BASE_URL, address::base);
    let rule = "must be the client's id in quotes, without white space around it";
    let client_id = required(&mut section, "client_id", rule, |text| {
        (!text.is_empty() && text.trim() == text && !text.contains(char::is_control))
            .then(|| text.to_owned())
    });
    let client_secret = section
        .secret("client_secret")
        .and_then(|it| it.ok_or_else(|| section.missing_secret("client_secret", "")));
    let auth = section.choice("auth", IdaasAuth::WORDS);
    let timeout = section.duration("timeout");
    let time_zone = section.parsed("time_zone", TIME_ZONE, units::offset);
    section.finish();
    Ok(Idaas {
        base_url: base_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        auth: auth?,
        timeout: timeout?,
        time_zone: time_zone?,
    })
}

pub(super) fn directory(mut section: Section<'_>) -> Result<Directory, Refused> {
    let enabled = section.flag("enabled");
    let exclude = section.list("exclude", "must be the name of an attribute, not empty", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    });
    section.finish();
    Ok(Directory { enabled: enabled?, exclude: exclude? })
}

/// `names` are those of all endpoints, `endpoints` those that could be read.
pub(super) fn reconcile(
    mut section: Section<'_>,
    names: &[String],
    endpoints: &BTreeMap<String, Endpoint>,
    has_idaas: bool,
) -> Result<Reconcile, Refused> {
    let every = section.duration_or_off("every");
    if matches!(every, Ok(Some(_))) && !has_idaas {
        section.wrong("every", "needs the IDaaS API; add the [idaas] table, or set it to \"off\"");
    }
    let rule = format!("must be the name of an endpoint; there are: {}", names.join(", "));
    let chosen =
        section.list("endpoints", &rule, |text| names.iter().find(|it| *it == text).cloned());
    if let (Ok(chosen), Ok(every)) = (&chosen, every) {
        let all = chosen.is_empty() && every.is_some();
        for name in if all { names } else { chosen } {
            if endpoints.get(name).is_some_and(|it| it.dialect.is_none()) {
                let text = format!(
                    "takes in {name}, whose dialect is \"auto\"; set endpoints.{name}.dialect to \"eiam\" or \"ciam\""
                );
                section.wrong("endpoints", &text);
            }
        }
    }
    let max_delete_share = section.share("max_delete_share");
    section.finish();
    Ok(Reconcile { every: every?, endpoints: chosen?, max_delete_share: max_delete_share? })
}

/// A key whose built-in value is an example only.
fn required<T>(
    section: &mut Section<'_>,
    key: &str,
    rule: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Refused> {
    if section.is_default(key) {
        return Err(section.missing(key, "\"…\""));
    }
    section.parsed(key, rule, parse)
}

/// As far as it can be told without the logger: `target[span{field=value}]=level`, all but one part of it optional.
fn are_directives(text: &str) -> bool {
    if text.trim().is_empty() || text.contains(char::is_control) {
        return false;
    }
    // Spans may hold commas and equal signs of their own.
    let mut depth = 0_usize;
    let outside: String = text
        .chars()
        .filter(|it| {
            match it {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && *it != ']'
        })
        .collect();
    depth == 0
        && outside
            .split(',')
            .all(|it| it.split_once('=').is_none_or(|(_, level)| is_level(level.trim())))
}

fn is_level(text: &str) -> bool {
    let words = ["off", "error", "warn", "info", "debug", "trace", "0", "1", "2", "3", "4", "5"];
    words.iter().any(|it| it.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::are_directives;

    #[test]
    fn directives_end_in_a_level() {
        for text in [
            "info",
            "bamboohook",
            "INFO,hyper=warn",
            "a::b[span{x=\"1,2\"}]=debug,warn",
            "a=0",
            "[span]",
        ] {
            assert!(are_directives(text), "{text}");
        }
        for text in ["", " ", "a=loud", "info,a=", "a[b=info", "info\n"] {
            assert!(!are_directives(text), "{text:?}");
        }
    }
}
