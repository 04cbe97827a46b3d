//! Checks URLs and paths of the settings. Connects to nothing and never repeats a URL, which may hold a password.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use secrecy::SecretString;

use crate::config::StoreUrl;

/// Parameters of a `PostgreSQL` URL whose values are no secret. Of any other, also a misspelt one, the value is hidden.
const SHOWN_PARAMETERS: [&str; 25] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "port",
    "ssl",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Where the store is, as far as that can be told without opening it.
pub(super) struct StoreAddress {
    pub(super) url: StoreUrl,
    /// The URL as it may be shown.
    pub(super) shown: String,
    pub(super) has_password: bool,
}

/// Whether it is an absolute HTTP URL without a user or a password in it.
pub(super) fn is_http(text: &str) -> bool {
    let absolute = text.starts_with("http://") || text.starts_with("https://");
    let visible = text.bytes().all(|it| it.is_ascii_graphic());
    let authority = text.split('/').nth(2).unwrap_or_default();
    absolute
        && visible
        && !authority.is_empty()
        && !authority.contains('@')
        && Url::parse(text).is_ok_and(|it| it.username().is_empty() && it.password().is_none())
}

/// The base of the API's paths, without slashes at its end.
pub(super) fn base(text: &str) -> Option<String> {
    let bare = is_http(text) && !text.contains(['?', '#']);
    bare.then(|| text.trim_end_matches('/').to_owned())
}

pub(super) fn store(text: &str) -> Option<StoreAddress> {
    if text.contains(char::is_control) {
        return None;
    }
    if let Some(path) = text.strip_prefix("sqlite://") {
        let file = !path.is_empty() && !path.ends_with('/') && !path.starts_with(':');
        return (file && !path.contains(['?', '#'])).then(|| StoreAddress {
            url: StoreUrl::Sqlite(PathBuf::from(path)),
            shown: text.to_owned(),
            has_password: false,
        });
    }
    let scheme = ["postgres://", "postgresql://"].into_iter().find(|it| text.starts_with(it))?;
    let (shown, has_password) = without_password(text.strip_prefix(scheme)?)?;
    Some(StoreAddress {
        url: StoreUrl::Postgres(SecretString::from(text)),
        shown: format!("{scheme}{shown}"),
        has_password,
    })
}

/// The path of an endpoint: what may stand in a URL's path, without percent-encoding, since paths are compared as sent.
pub(super) fn is_path(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&it);
    text.starts_with('/') && text.bytes().all(fits)
}

/// What follows the scheme of a `PostgreSQL` URL, and whether a password was in it.
///
/// `None` where something stands in the wrong place that may be the end of a password with `/` or `?` in it.
fn without_password(rest: &str) -> Option<(String, bool)> {
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let (authority, database) = match before.split_once('/') {
        Some((authority, database)) => (authority, Some(database)),
        None => (before, None),
    };
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    if !are_hosts(hosts) || database.is_some_and(|it| it.contains('@')) {
        return None;
    }
    let mut shown = String::new();
    let mut has_password = false;
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        has_password = !password.is_empty();
        shown.push_str(user);
        shown.push_str(if has_password { ":***@" } else { "@" });
    }
    shown.push_str(hosts);
    if let Some(database) = database {
        shown.push('/');
        shown.push_str(database);
    }
    if let Some(query) = query {
        let pairs: Option<Vec<String>> = query.split('&').map(shown_parameter).collect();
        has_password |= query.split('&').any(is_password);
        shown.push('?');
        shown.push_str(&pairs?.join("&"));
    }
    Some((shown, has_password))
}

/// One or several hosts, each with or without a port.
fn are_hosts(text: &str) -> bool {
    text.split(',').all(|it| {
        let (host, port) = match it.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((host, "")) => (host, ""),
            Some((host, port)) => match port.strip_prefix(':') {
                Some(port) => (host, port),
                None => return false,
            },
            None => match it.split_once(':') {
                Some((host, port)) if !host.starts_with('[') => (host, port),
                None if !it.starts_with('[') => (it, ""),
                _ => return false,
            },
        };
        !host.contains(['[', ']', ' ']) && (port.is_empty() || port.parse::<u16>().is_ok())
    })
}

fn shown_parameter(pair: &str) -> Option<String> {
    let (name, value) = pair.split_once('=')?;
    if name.contains('@') || (value.contains('@') && !["user", "password"].contains(&name)) {
        return None;
    }
    Some(if SHOWN_PARAMETERS.contains(&name) { pair.to_owned() } else { format!("{name}=***") })
}

fn is_password(pair: &str) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    !value.is_empty() && percent_decode_str(name).eq("password".bytes())
}

#[cfg(test)]
mod tests {
    use super::base;
    use super::is_http;
    use super::is_path;
    use super::store;

    #[test]
    fn http_urls_are_absolute_and_name_no_user() {
        for text in
            ["http://a", "https://a.example:8443/x?y=1", "http://[::1]:80/", "http://127.0.0.1/@x"]
        {
            assert!(is_http(text), "{text}");
        }
        for text in [
            "",
            "a.example",
            "ftp://a",
            "http:a",
            "http://",
            "https:///x",
            "http://u@a",
            "http://u:p@a/",
            "http://@a/",
            "http://a b/",
            "http://a\n",
            "http://a:99999/",
            "http://[::1/",
            "//a",
            "http:\\\\a",
            "http://u:p\\@a/",
        ] {
            assert!(!is_http(text), "{text:?}");
        }
    }

    #[test]
    fn a_base_url_loses_its_trailing_slashes() {
        assert_eq!(base("https://a/b//").as_deref(), Some("https://a/b"));
        assert_eq!(base("https://a?x"), None);
        assert_eq!(base("https://a/#x"), None);
    }

    #[test]
    fn passwords_of_a_store_are_not_shown() {
        for text in [
            "postgres://u:canary@h/db",
            "postgresql://u:canary@h:5432/db?sslmode=require",
            "postgres://u:can%61ry@h/db",
            "postgres://h/db?user=u&password=canary",
            "postgres://h/db?PassWord=canary&sslpassword=canary",
            "postgres://u:canary@canary@h/db",
            "postgres://u:canary@h1:5432,h2:5433/db?target_session_attrs=read-write",
            "postgres://u:canary@[::1]:5432,[fe80::1]/db",
            "postgres://u:canary@/db?host=/var/run/postgresql",
            "postgres:///db?host=/var/run/postgresql&password=canary",
            "postgres://u:canary@/",
            "postgres://u:canary@",
            "postgres://u:canary:canary@h",
            "postgres://u:canary#canary@h/db",
            "postgres://u:%2Fcanary@h/db",
            "postgres://h/db?p%61ssword=canary",
            "postgres://h/db?passwrod=canary",
            "postgres://h/db?password=a@canary",
        ] {
            let store = store(text).unwrap();
            let shown = &store.shown;
            assert!(!shown.contains("canary") && !shown.contains("can%61ry"), "{shown}");
            assert!(shown.contains("***"), "{shown}");
            assert!(!format!("{:?}", store.url).contains("canary"));
        }
        for text in [
            "postgres://u:canary/x@h/db",
            "postgres://u:12/canary@h/db",
            "postgres://u:canary?x@h/db",
            "postgres://u:12?canary@h/db",
            "postgres://u:12?canary=x@h/db",
            "postgres://u:12?x=1&canary@h/db",
            "postgres://u:12?sslmode=canary@h/db",
        ] {
            assert!(store(text).is_none_or(|it| !it.shown.contains("canary")), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_of_a_store_is_shown_as_written() {
        for text in [
            "postgres://u@h/db",
            "postgres://h",
            "postgres://h1:5432,h2:5433/db?target_session_attrs=read-write",
            "postgres://[::1]:5432,[fe80::1]/db",
            "postgres://%2Fvar%2Frun%2Fpostgresql/db",
            "postgres:///db?host=/var/run/postgresql",
            "postgresql://u@/db?host=h1,h2&port=5432,5433&user=a@b",
        ] {
            let store = store(text).unwrap();
            assert_eq!(store.shown, text);
            assert!(!store.has_password, "{text}");
        }
    }

    #[test]
    fn a_password_is_seen_in_both_of_its_places() {
        for (text, expected) in [
            ("postgres://u:canary@h", true),
            ("postgres://u:@h", false),
            ("postgres://u@h?password=canary", true),
            ("postgres://u@h?p%61ssword=canary", true),
            ("postgres://u@h?password=", false),
            ("postgres://u@h?sslmode=require", false),
        ] {
            assert_eq!(store(text).unwrap().has_password, expected, "{text}");
        }
    }

    #[test]
    fn a_store_is_a_file_or_a_postgresql_database() {
        assert_eq!(store("sqlite://a.db").unwrap().shown, "sqlite://a.db");
        assert!(store("sqlite:///var/lib/a.db").is_some());
        for text in [
            "",
            "a.db",
            "sqlite:a.db",
            "sqlite://",
            "sqlite://dir/",
            "sqlite://:memory:",
            "sqlite://a.db?mode=ro",
            "mysql://h/db",
            "postgres://h:p/db",
            "Postgres://h/db",
            "postgres://h:99999/db",
            "postgres://[::1/db",
            "postgres://::1/db",
            "postgres://h/db?sslmode",
            "postgres://h/\ndb",
        ] {
            assert!(store(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_path_is_written_as_it_is_sent() {
        for text in ["/", "/callback", "/a/b-c_d.e~f/"] {
            assert!(is_path(text), "{text}");
        }
        for text in ["", "callback", "/a b", "/a?b", "/a#b", "/a%20b", "/{a}", "/回调", "/a\n"] {
            assert!(!is_path(text), "{text}");
        }
    }
}
