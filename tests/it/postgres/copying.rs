//! `store`: a store moves from SQLite to PostgreSQL with everything in it, is brought up to date and looked at.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use bamboohook::event::Dialect;
use bamboohook::event::Message;
use bamboohook::event::RecordKind;
use bamboohook::event::UserDetails;
use bamboohook::inbox::Acceptance;
use bamboohook::inbox::Change;
use bamboohook::inbox::Claim;
use bamboohook::inbox::DuplicateKey;
use bamboohook::inbox::Finish;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::NewDetails;
use bamboohook::inbox::NewEvent;
use bamboohook::inbox::Outcome;
use bamboohook::inbox::PostgresInbox;
use bamboohook::inbox::PostgresOptions;
use bamboohook::inbox::RecordChange;
use bamboohook::inbox::Reply;
use bamboohook::inbox::Reservation;
use bamboohook::inbox::SqliteInbox;
use bamboohook::inbox::Subject;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio_postgres::Client;
use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

use crate::support::postgres::Database;
use crate::support::process::bamboohook;
use crate::support::process::command;
use crate::support::process::failed;
use crate::support::process::json_lines;
use crate::support::process::stderr;
use crate::support::process::stdout;
use crate::support::service::endpoint;
use crate::support::store;

/// Each table with its columns as the two write them, the order of its rows, and its columns by name.
const TABLES: [[&str; 4]; 5] = [
    [
        "events",
        "sequence, lower(hex(id)), endpoint, dialect, event, subject, nonce, timestamp, requested_at, received_at, \
         lower(hex(message)), lower(hex(reply))",
        "sequence, replace(id::text, '-', ''), endpoint, dialect, event, subject, nonce, timestamp, requested_at, \
         received_at, encode(message, 'hex'), encode(reply, 'hex')",
        "dialect endpoint event id message nonce received_at reply requested_at sequence subject timestamp",
    ],
    [
        "duplicate_keys",
        "signed_at, endpoint, lower(hex(mac)), kept_until, sequence",
        "signed_at, endpoint, encode(mac, 'hex'), kept_until, sequence",
        "endpoint holder kept_until mac sequence signed_at",
    ],
    [
        "deliveries",
        "sequence, handler, subject_key, state, attempts, claims, next_attempt_at, lease_until, last_error",
        "sequence, handler, subject_key, state, attempts, claims, next_attempt_at, lease_until, last_error",
        "attempts claims handler last_error lease_until next_attempt_at sequence state subject_key",
    ],
    ["details", "sequence, \"user\"", "sequence, \"user\"", "sequence user"],
    [
        "directory",
        "id, kind, endpoint, name, name_key, disabled, deleted, attributes, updated_at, changed_at",
        "id, kind, endpoint, name, name_key, disabled::int, deleted::int, attributes, updated_at, changed_at",
        "attributes changed_at deleted disabled endpoint id kind name name_key updated_at",
    ],
];

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_783_609_200 + seconds).unwrap()
}

/// About the person of this name, for two handlers.
fn event(number: u8, subject: Subject) -> NewEvent {
    let signed_at = at(number.into()).as_millisecond();
    let mut mac = [0xff; 32];
    mac[0] = number;
    NewEvent {
        id: Uuid::from_u128(u128::from(number) << 100),
        endpoint: "default".into(),
        dialect: Dialect::Eiam,
        event: "UPDATE_USER".to_owned(),
        nonce: format!("nonce{number}"),
        timestamp: signed_at.to_string(),
        requested_at: at(number.into()),
        received_at: at(number.into()),
        message: Message::new(format!("张\0\u{1f600}\\ {number}")),
        duplicate_key: DuplicateKey { signed_at, mac, kept_until: at(1_000_000_000) },
        reserved: false,
        subject,
        reply: Reply::Text(format!("reply {number}")),
        handlers: vec!["audit".into(), "people".into()],
    }
}

fn record(change: Change, name: &str) -> Subject {
    Subject::Record(Box::new(RecordChange {
        kind: RecordKind::User,
        change,
        id: None,
        assigned_id: None,
        name: Some(name.to_owned()),
        attributes: r#"{"n":1e400,"name":"张\u0000三"}"#.to_owned(),
        disabled: Some(true),
        changed_at: Some(at(1)),
    }))
}

async fn claim(inbox: &dyn Inbox, handler: &str, most: usize, now: Timestamp) -> Vec<String> {
    let claim = Claim { handler: handler.into(), most, now, lease: Duration::from_secs(30) };
    let claimed = inbox.claim(claim).await.unwrap().deliveries;
    claimed
        .into_iter()
        .map(|it| format!("{} {} {:?}", it.key.sequence, it.key.attempt, it.event.message.as_str()))
        .collect()
}

/// A store on SQLite with something of everything in it, left as by `kill -9`, and an empty database.
struct Move {
    directory: TempDir,
    database: Database,
    client: Client,
}

impl Move {
    async fn prepare() -> Option<Self> {
        let database = Database::create().await?;
        let client = database.client().await;
        let this = Self { directory: TempDir::new().unwrap(), database, client };
        let inbox = SqliteInbox::open(&this.path(), at(0)).unwrap();
        for number in 1..=9 {
            let subject = match number {
                1 | 4 => record(Change::Create, "Zoë"),
                2 | 5 => record(Change::Create, "other"),
                7 => record(Change::Delete, "other"),
                3 => Subject::Nobody,
                _ => Subject::Known(format!("person\0{}", number % 2)),
            };
            let stored = inbox.accept(event(number, subject)).await.unwrap();
            assert!(matches!(stored, Acceptance::Stored(_)));
        }
        let found = UserDetails::Found(RawValue::from_string(r#"{"n":1e400}"#.to_owned()).unwrap());
        for (sequence, user) in [(1, UserDetails::Missing), (2, found)] {
            let endpoint = "default".to_owned();
            let details = NewDetails { sequence, endpoint, user, change: None, now: at(20) };
            inbox.keep_details(details).await.unwrap();
        }
        let claim =
            Claim { handler: "audit".into(), most: 4, now: at(20), lease: Duration::from_secs(30) };
        let outcomes = [
            Outcome::Done,
            Outcome::Dead { error: "died\0of it".to_owned() },
            Outcome::Retry { at: at(3000), error: "HTTP 500".to_owned() },
        ];
        let claimed = inbox.claim(claim).await.unwrap().deliveries;
        for (delivery, outcome) in claimed.into_iter().zip(outcomes) {
            inbox.finish(Finish { key: delivery.key, now: at(21), outcome }).await.unwrap();
        }
        let reservation = Reservation {
            endpoint: "default".into(),
            duplicate_key: event(10, Subject::Nobody).duplicate_key,
            subject: Subject::Nobody,
            now: at(20),
            until: at(1_000_000_000),
        };
        inbox.reserve(reservation).await.unwrap();
        inbox.close().await;
        Some(this)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    fn from(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }

    /// With this store in the settings.
    async fn command(&self, store: &str, arguments: &[&str]) -> Output {
        let file = self.directory.path().join("bamboohook.toml");
        fs::write(&file, format!("[store]\nurl = \"{store}\"\n{}", endpoint("default"))).unwrap();
        command(&file, arguments).await
    }

    async fn copy(&self) -> Output {
        self.command(&self.database.url(), &["store", "copy", "--from", &self.from()]).await
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let found = self.client.simple_query(sql).await.unwrap();
        let rows = found.iter().filter_map(|it| match it {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |it: Option<&str>| it.unwrap_or("-").to_owned();
        rows.map(|row| (0..row.len()).map(|it| text(row.get(it))).collect()).collect()
    }

    /// When what had been running became due again.
    async fn copied_at(&self) -> Timestamp {
        let sql = "SELECT max(next_attempt_at) FROM deliveries";
        let milliseconds = self.client.query_one(sql, &[]).await.unwrap().get(0);
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    async fn tables(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn events(&self) -> i64 {
        self.client.query_one("SELECT count(*) FROM events", &[]).await.unwrap().get(0)
    }

    async fn inbox(&self) -> PostgresInbox {
        let timeout = Duration::from_secs(5);
        let options = PostgresOptions::new(&self.database.url().into(), None, 4, timeout).unwrap();
        PostgresInbox::open(options).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_in_the_copy_as_a_restart_would_find_it() {
    let Some(moved) = Move::prepare().await else { return };
    let before = store::rows(&moved.path());
    let output = moved.copy().await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "events: 9 rows\nduplicate_keys: 9 rows\ndeliveries: 18 rows\ndetails: 2 rows\ndirectory: 2 rows\n"
    );
    // The old store is as it was.
    assert_eq!(store::rows(&moved.path()), before);
    SqliteInbox::open(&moved.path(), moved.copied_at().await).unwrap().close().await;
    let sqlite = rusqlite::Connection::open(moved.path()).unwrap();
    for [table, in_sqlite, in_postgres, columns] in TABLES {
        let old = format!("SELECT {in_sqlite} FROM {table} ORDER BY 1, 2");
        let new = format!("SELECT {in_postgres} FROM {table} ORDER BY 1, 2");
        let old: Vec<Vec<String>> = store::query(&sqlite, &old)
            .into_iter()
            .map(|row| row.into_iter().map(|it| it.replace('\0', "\u{fffd}")).collect())
            .collect();
        assert_eq!(moved.rows(&new).await, old, "{table}");
        // A column that is new has to be copied too.
        let names = format!(
            "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY column_name"
        );
        assert_eq!(moved.rows(&names).await.concat().join(" "), columns, "{table}");
    }
    // Those five and their schema's versions.
    assert_eq!(moved.tables().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_store_goes_on_where_the_old_one_ended() {
    let Some(moved) = Move::prepare().await else { return };
    assert_eq!(moved.copy().await.status.code(), Some(0));
    let later = at(100_000_000);
    let new = moved.inbox().await;
    let old = SqliteInbox::open(&moved.path(), moved.copied_at().await).unwrap();
    for inbox in [&new as &dyn Inbox, &old] {
        let again = inbox.accept(event(2, record(Change::Create, "other"))).await.unwrap();
        let Acceptance::Duplicate(Some(receipt)) = again else { panic!("{again:?}") };
        assert_eq!(receipt.reply, "reply 2");
        let reserved = event(10, record(Change::Update, "ZOË"));
        assert!(matches!(inbox.accept(reserved).await.unwrap(), Acceptance::Stored(_)));
    }
    for handler in ["people", "audit"] {
        // One after another, in the order of each subject.
        for _ in 0..12 {
            let (one, other) =
                (claim(&old, handler, 1, later).await, claim(&new, handler, 1, later).await);
            assert_eq!(one, other, "{handler}");
        }
    }
    // The newest event is behind the old ones, and of the record that has had the name since the first.
    let same = "SELECT one.subject = other.subject AND other.id > one.id FROM events AS one, events AS other
         WHERE one.sequence = 1 AND other.sequence > 9";
    assert_eq!(moved.rows(same).await, [["t"]]);
    old.close().await;
    new.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_whole_is_not_made() {
    let Some(moved) = Move::prepare().await else { return };
    let running = SqliteInbox::open(&moved.path(), at(50)).unwrap();
    let reason = failed(&moved.copy().await, 1);
    assert!(reason.contains("another `bamboohook serve` uses this store"), "{reason}");
    running.close().await;
    assert_eq!(moved.tables().await, 0);

    assert_eq!(moved.copy().await.status.code(), Some(0));
    let reason = failed(&moved.copy().await, 1);
    assert!(reason.contains("holds something already"), "{reason}");
    assert_eq!(moved.events().await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_from_sqlite_to_postgresql_and_shows_no_password() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("bamboohook.toml");
    let store = format!("sqlite://{}", directory.path().join("store.db").display());
    fs::write(&file, format!("[store]\nurl = \"{store}\"\n{}", endpoint("default"))).unwrap();
    let postgres = "postgres://u:canary@127.0.0.1:1/db";
    for (from, to) in [
        (&*store, None),
        (postgres, Some(postgres)),
        (postgres, Some(&*store)),
        (&*store, Some("mysql://u:canary@h/db")),
        ("u:canary@h", Some(postgres)),
    ] {
        let mut arguments = vec!["store", "copy", "--from", from];
        arguments.extend(to.map(|to| ["--to", to]).into_iter().flatten());
        let reason = failed(&command(&file, &arguments).await, 2);
        assert!(reason.contains("from SQLite to PostgreSQL"), "{reason}");
        assert!(!reason.contains("canary"), "{reason}");
    }
    assert_eq!(command(&file, &["store", "copy"]).await.status.code(), Some(2));
    // Nobody is there, and no old store either.
    let arguments = ["store", "copy", "--from", &store, "--to", postgres];
    let reason = failed(&command(&file, &arguments).await, 1);
    assert!(!reason.contains("canary"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_after_a_store_needs_no_endpoint() {
    let Some(moved) = Move::prepare().await else { return };
    let (from, to) = (moved.from(), moved.database.url());
    let run = |arguments: &[&str], store: &str| {
        let mut command = bamboohook();
        command.current_dir(moved.directory.path()).args(arguments);
        let output = command.env("BAMBOOHOOK__STORE__URL", store).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    };
    run(&["store", "copy", "--from", &from, "--to", &to], "sqlite://unused.db");
    run(&["store", "check"], &to);
    run(&["store", "migrate"], &to);
    assert_eq!(run(&["events", "list"], &to).lines().count(), 9);
    assert_eq!(run(&["directory", "users"], &to), run(&["directory", "users"], &from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_made_and_looked_at_by_command() {
    let Some(moved) = Move::prepare().await else { return };
    let (old, new) = (moved.from(), moved.database.url());
    let whats = |output: &Output| -> Vec<String> {
        let lines = stdout(output);
        let lines = lines.lines().map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
        lines
            .map(|it| format!("{} {} {}", it["what"], it["fine"], it["said"]).replace('"', ""))
            .collect()
    };
    let check = ["store", "check", "--json"];
    let output = moved.command(&new, &check).await;
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let schema = "schema false there is none; `bamboohook store migrate` makes it";
    assert_eq!(whats(&output).last().unwrap(), schema);
    assert_eq!(moved.tables().await, 0);

    for (store, version) in [(&new, "version 0 and is version 1"), (&new, "version 1 already")] {
        let said = stdout(&moved.command(store, &["store", "migrate"]).await);
        assert!(said.contains(version), "{said}");
    }
    let said = stdout(&moved.command(&old, &["store", "migrate"]).await);
    assert!(said.contains("already"), "{said}");

    // Beside a service, and without a trace.
    let running = SqliteInbox::open(&moved.path(), at(50)).unwrap();
    let before = store::rows(&moved.path());
    for (store, whole, content) in [
        (
            &old,
            "reachable schema writable intact content",
            "9 events, 16 deliveries waiting, 1 dead",
        ),
        (
            &new,
            "reachable server tls schema writable content",
            "0 events, 0 deliveries waiting, 0 dead",
        ),
    ] {
        let output = moved.command(store, &check).await;
        let lines = json_lines(&output);
        let looked_at: Vec<&str> = lines.iter().map(|it| it["what"].as_str().unwrap()).collect();
        assert_eq!(looked_at.join(" "), whole);
        assert_eq!(lines.last().unwrap()["said"], content);
    }
    assert_eq!(store::rows(&moved.path()), before);
    running.close().await;

    let missing = moved.command("sqlite:///nowhere/store.db", &["store", "check"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(stdout(&missing).starts_with("NOT FINE  reachable"), "{}", stdout(&missing));
}
