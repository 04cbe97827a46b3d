//! Ways to a PostgreSQL server: URLs, TLS, failover, the schema, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bamboohook::config::Config;
use bamboohook::inbox::Examination;
use bamboohook::inbox::Migrated;
use bamboohook::inbox::OpenError;
use bamboohook::inbox::PostgresError;
use bamboohook::inbox::PostgresOptions;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::support::postgres::Database;

const SNAKEOIL: &str = "/etc/ssl/certs/ssl-cert-snakeoil.pem";

fn options(url: &str) -> Result<PostgresOptions, PostgresError> {
    let options = PostgresOptions::new(&SecretString::from(url), None, 4, Duration::from_secs(5));
    options.map_err(|error| match error {
        OpenError::Postgres(error) => error,
        error => panic!("{error}"),
    })
}

async fn examine(url: &str) -> Result<Examination, PostgresError> {
    match options(url)?.examine().await {
        Ok(examination) => Ok(examination),
        Err(OpenError::Postgres(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

async fn migrate(url: &str) -> Result<Migrated, PostgresError> {
    match options(url)?.migrate().await {
        Ok(migrated) => Ok(migrated),
        Err(OpenError::Postgres(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

/// The URL with more parameters.
fn with(url: &str, parameters: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}

/// The URL at another server, or at several.
fn at(url: &str, hosts: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, rest) = rest.split_once('/').unwrap();
    let login = authority.rsplit_once('@').map(|(login, _)| format!("{login}@"));
    format!("{scheme}://{}{hosts}/{rest}", login.unwrap_or_default())
}

fn host_of(url: &str) -> String {
    let authority = url.split_once("://").unwrap().1.split(['/', '?']).next().unwrap();
    authority.rsplit('@').next().unwrap().to_owned()
}

/// An address that nobody listens at.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Accepts connections and never says a word.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn said(error: &PostgresError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause}")
}

#[tokio::test]
async fn an_empty_database_becomes_a_store_once() {
    let Some(database) = Database::create().await else { return };
    let url = database.url();
    assert_eq!(examine(&url).await.unwrap().schema_found, 0);
    let first = migrate(&url).await.unwrap();
    assert_eq!(first.from, 0);
    let known = first.to;
    assert_eq!(migrate(&url).await.unwrap(), Migrated { from: known, to: known });
    let examination = examine(&url).await.unwrap();
    assert_eq!((examination.schema_found, examination.schema_known), (known, known));
    assert!(examination.writable);
    assert!(examination.server_version.starts_with(|it: char| it.is_ascii_digit()));
}

#[tokio::test]
async fn of_replicas_that_start_together_one_makes_the_schema() {
    let Some(database) = Database::create().await else { return };
    let url = database.url();
    let starts = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { migrate(&url).await.unwrap() })
    });
    let mut makers = 0;
    for start in starts.collect::<Vec<_>>() {
        let migrated = start.await.unwrap();
        makers += usize::from(migrated.from == 0);
    }
    assert_eq!(makers, 1);
    let client = database.client().await;
    let row = client.query_one("SELECT count(*) FROM schema_versions", &[]).await.unwrap();
    let versions: i64 = row.get(0);
    assert_eq!(versions, examine(&url).await.unwrap().schema_known);
}

#[tokio::test]
async fn a_database_of_someone_else_is_left_alone() {
    let Some(database) = Database::create().await else { return };
    let url = database.url();
    let client = database.client().await;
    for (before, after) in [
        ("CREATE TABLE other (id int)", "DROP TABLE other"),
        ("CREATE VIEW other AS SELECT 1 AS x", "DROP VIEW other"),
        ("CREATE TABLE schema_versions (name text)", "DROP TABLE schema_versions"),
        (
            "CREATE TABLE schema_versions (version bigint); INSERT INTO schema_versions VALUES (1)",
            "DROP TABLE schema_versions",
        ),
    ] {
        client.batch_execute(before).await.unwrap();
        for error in [migrate(&url).await.unwrap_err(), examine(&url).await.unwrap_err()] {
            assert!(matches!(error, PostgresError::Foreign { .. }), "{before}: {error}");
        }
        client.batch_execute(after).await.unwrap();
    }
    // Another schema of the database is another's business.
    client.batch_execute("CREATE SCHEMA theirs; CREATE TABLE theirs.x (id int)").await.unwrap();
    assert_eq!(migrate(&url).await.unwrap().from, 0);
    // And a store of our own may stand in it.
    client.batch_execute("CREATE SCHEMA \"Ours\"").await.unwrap();
    let ours = with(&url, "options=-c%20search_path%3D%22Ours%22");
    assert_eq!(examine(&ours).await.unwrap().schema_found, 0);
    assert_eq!(migrate(&ours).await.unwrap().from, 0);
    let error = migrate(&with(&url, "options=-csearch_path%3Dnowhere")).await.unwrap_err();
    assert!(matches!(error, PostgresError::NoSchema { .. }), "{error}");
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_left_alone() {
    let Some(database) = Database::create().await else { return };
    let url = database.url();
    let known = migrate(&url).await.unwrap().to;
    let client = database.client().await;
    client
        .execute("INSERT INTO schema_versions (version) VALUES ($1)", &[&(known + 1)])
        .await
        .unwrap();
    let error = migrate(&url).await.unwrap_err();
    let newer = matches!(error, PostgresError::Newer { found, known: it, .. } if found == known + 1 && it == known);
    assert!(newer, "{error}");
    let examination = examine(&url).await.unwrap();
    assert_eq!((examination.schema_found, examination.schema_known), (known + 1, known));
}

#[tokio::test]
async fn a_user_without_the_right_to_make_tables_is_told_so() {
    let Some(database) = Database::create().await else { return };
    let client = database.client().await;
    client
        .batch_execute(
            "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC",
        )
        .await
        .unwrap();
    let url = with(&database.url(), "options=-c%20role%3Dpg_monitor");
    let error = migrate(&url).await.unwrap_err();
    assert!(matches!(error, PostgresError::Rights { .. }), "{}", said(&error));
    assert!(said(&error).contains("42501"), "{}", said(&error));
}

#[tokio::test]
async fn the_modes_of_tls_mean_what_they_mean_to_libpq() {
    let Some(database) = Database::create().await else { return };
    let url = database.url();
    let has_tls = examine(&with(&url, "sslmode=require")).await.is_ok();
    if !has_tls {
        eprintln!("skipped: the server has no TLS");
        return;
    }
    for (mode, tls) in [("disable", false), ("allow", false), ("prefer", true), ("require", true)] {
        let url = with(&url, &format!("sslmode={mode}"));
        assert_eq!(examine(&url).await.unwrap().tls, tls, "{mode}");
    }
    assert!(examine(&url).await.unwrap().tls, "prefer is the default");
    let untrusted = with(&url, "sslrootcert=system");
    let error = examine(&untrusted).await.unwrap_err();
    assert!(matches!(error, PostgresError::Tls { .. }), "{}", said(&error));
    if !Path::new(SNAKEOIL).exists() {
        eprintln!("skipped: the server's certificate is not at {SNAKEOIL}");
        return;
    }
    let roots = format!("sslrootcert={SNAKEOIL}");
    for (mode, tls) in
        [("require", true), ("verify-ca", true), ("prefer", true), ("disable", false)]
    {
        let url = with(&url, &format!("sslmode={mode}&{roots}"));
        assert_eq!(examine(&url).await.map_err(|it| said(&it)).unwrap().tls, tls, "{mode}");
    }
}

#[tokio::test]
async fn a_verified_name_is_the_one_in_the_certificate() {
    let Some(database) = Database::create().await else { return };
    let url = database.url();
    let (host, port) = host_of(&url).split_once(':').map_or_else(
        || (host_of(&url), "5432".to_owned()),
        |(host, port)| (host.to_owned(), port.to_owned()),
    );
    let roots = format!("sslmode=verify-full&sslrootcert={SNAKEOIL}&hostaddr={host}&port={port}");
    let own = with(&at(&url, "localhost"), &roots);
    if host != "127.0.0.1" || examine(&own).await.is_err() {
        eprintln!("skipped: the server has no certificate for localhost at {SNAKEOIL}");
        return;
    }
    assert!(examine(&own).await.unwrap().tls);
    let other = with(&at(&url, "db.example.com"), &roots);
    let error = examine(&other).await.unwrap_err();
    assert!(matches!(error, PostgresError::Tls { .. }), "{}", said(&error));
    assert!(said(&error).contains("db.example.com"), "{}", said(&error));
    let any_name = other.replace("verify-full", "verify-ca");
    assert!(examine(&any_name).await.unwrap().tls);
}

#[tokio::test]
async fn servers_that_are_away_or_stuck_are_passed_over() {
    let Some(database) = Database::create().await else { return };
    let (url, (_listener, silent)) = (database.url(), silent().await);
    let real = host_of(&url);
    for first in [nowhere().await, "no-such-host.invalid".to_owned(), silent] {
        let several = with(&at(&url, &format!("{first},{real}")), "connect_timeout=1");
        let examination = examine(&several).await.map_err(|it| said(&it));
        assert!(examination.unwrap().writable, "{first}");
        let alone = with(&at(&url, &first), "connect_timeout=1");
        let error = examine(&alone).await.unwrap_err();
        assert!(matches!(error, PostgresError::Unreachable { .. }), "{first}: {}", said(&error));
    }
}

#[tokio::test]
async fn a_server_that_only_reads_is_told_from_one_that_is_away() {
    let Some(database) = Database::create().await else { return };
    let url = with(&database.url(), "options=-c%20default_transaction_read_only%3Don");
    let examination = examine(&url).await.unwrap();
    assert!(!examination.writable);
}

#[tokio::test]
async fn a_start_waits_for_a_server_that_is_not_there_yet() {
    let Some(database) = Database::create().await else { return };
    let real = host_of(&database.url());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = at(&database.url(), &listener.local_addr().unwrap().to_string());
    // It hangs up on those who come too early; each try may come twice, with TLS and without.
    let server = tokio::spawn(async move {
        for _ in 0..3 {
            drop(listener.accept().await.unwrap());
        }
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(&real).await.unwrap();
            tokio::spawn(async move {
                tokio::io::copy_bidirectional(&mut client, &mut server).await.is_ok()
            });
        }
    });
    assert_eq!(migrate(&url).await.unwrap().from, 0);
    server.abort();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named() {
    let Some(database) = Database::create().await else { return };
    let url = database.url().replace("bamboohook_test_", "no_such_database_");
    let error = migrate(&url).await.unwrap_err();
    assert!(matches!(error, PostgresError::NoDatabase { .. }), "{}", said(&error));
    assert!(said(&error).contains("no_such_database_"), "{}", said(&error));
}

#[test]
fn a_password_is_shown_nowhere() {
    let url = SecretString::from("postgres://u:canary@h1,h2:5433/db?password=canary");
    let password = SecretString::from("canary");
    let time = Duration::from_secs(5);
    let options = PostgresOptions::new(&url, Some(&password), 4, time).unwrap();
    assert_eq!(options.shown(), "postgres://u@h1:5432,h2:5433/db");
    assert!(!format!("{options:?}").contains("canary"));
}

#[test]
fn files_of_certificates_are_read_at_once() {
    let place = tempfile::tempdir().unwrap();
    let empty = place.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    let empty = empty.display();
    for (parameters, part) in [
        ("sslmode=verify-full".to_owned(), "\"sslrootcert\": is missing"),
        ("sslmode=require&sslrootcert=system".to_owned(), "verify-full"),
        (
            "sslmode=verify-ca&sslrootcert=/nowhere/ca.pem".to_owned(),
            "/nowhere/ca.pem cannot be read",
        ),
        (format!("sslmode=verify-ca&sslrootcert={empty}"), "holds no certificate"),
        (format!("sslcert={empty}"), "needs sslkey"),
        (format!("sslkey={empty}"), "needs sslcert"),
        (format!("sslcert={empty}&sslkey={empty}"), "holds no certificate"),
    ] {
        let error = options(&format!("postgres://u:canary@h/db?{parameters}")).unwrap_err();
        assert!(said(&error).contains(part), "{parameters}: {error}");
        assert!(!said(&error).contains("canary"));
    }
}

#[test]
fn settings_that_do_not_fit_together_are_found_before_anything_is_reached() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("bamboohook.toml");
    let keys = "[endpoints.default]\ntoken = \"canary-token\"\nallow_unsigned = true\nallow_plaintext = true\n";
    for (parameters, fits) in [("sslmode=require", true), ("sslmode=maybe", false)] {
        let url = format!("postgres://u:canary@h/db?{parameters}");
        fs::write(&file, format!("[store]\nurl = \"{url}\"\n{keys}")).unwrap();
        let loaded = Config::load(Some(&file), &BTreeMap::new()).unwrap();
        let checked = bamboohook::app::check(&loaded.config);
        assert_eq!(checked.is_ok(), fits, "{checked:?}");
        let text = checked.map_or_else(|it| format!("{it:#}"), |()| String::new());
        assert!(fits || text.starts_with("store.url: parameter \"sslmode\""), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }
}
