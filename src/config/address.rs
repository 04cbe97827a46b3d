//! Checks URLs and paths of the settings. Connects to nothing and never repeats a URL, which may hold a password.

use std::path::PathBuf;

use reqwest::Url;
use secrecy::SecretString;

use crate::config::StoreUrl;

/// Parameters by which `PostgreSQL` takes a password too.
const PASSWORD_PARAMETERS: [&str; 2] = ["password", "sslpassword"];

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

/// With the text that may be shown.
pub(super) fn store(text: &str) -> Option<(StoreUrl, String)> {
    if let Some(path) = text.strip_prefix("sqlite://") {
        let file = !path.is_empty() && !path.ends_with('/') && !path.starts_with(':');
        let plain = !path.contains(['?', '#']) && !path.contains(char::is_control);
        return (file && plain).then(|| (StoreUrl::Sqlite(PathBuf::from(path)), text.to_owned()));
    }
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let shown = without_password(Url::parse(text).ok()?)?;
        return Some((StoreUrl::Postgres(SecretString::from(text)), shown));
    }
    None
}

/// The path of an endpoint: what may stand in a URL's path, without percent-encoding, since paths are compared as sent.
pub(super) fn is_path(text: &str) -> bool {
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&it);
    text.starts_with('/') && text.bytes().all(fits)
}

fn without_password(mut url: Url) -> Option<String> {
    if url.password().is_some() {
        url.set_password(Some("***")).ok()?;
    }
    let shown: Vec<(String, String)> = url
        .query_pairs()
        .map(|(name, value)| {
            let secret = PASSWORD_PARAMETERS.contains(&name.to_lowercase().as_str());
            (name.into_owned(), if secret { "***".to_owned() } else { value.into_owned() })
        })
        .collect();
    if !shown.is_empty() {
        url.query_pairs_mut().clear().extend_pairs(shown);
    }
    Some(url.into())
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
        ] {
            let (store, shown) = store(text).unwrap();
            assert!(!shown.contains("canary") && !shown.contains("can%61ry"), "{shown}");
            assert!(!format!("{store:?}").contains("canary"));
        }
        assert_eq!(store("postgres://u@h/db").unwrap().1, "postgres://u@h/db");
    }

    #[test]
    fn a_store_is_a_file_or_a_postgresql_database() {
        assert_eq!(store("sqlite://a.db").unwrap().1, "sqlite://a.db");
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
