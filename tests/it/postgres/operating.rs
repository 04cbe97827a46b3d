//! Operators beside the services: on either store they see the same and change the same.

use std::fmt::Write;
use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;

use bamboohook::event::RecordKind;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::Operator;
use bamboohook::inbox::PostgresOperator;
use bamboohook::inbox::PostgresOptions;
use bamboohook::inbox::RecordQuery;
use bamboohook::inbox::SqliteInbox;
use bamboohook::inbox::SqliteOperator;
use bamboohook::inbox::State;
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;
use tokio_postgres::Client;
use tokio_postgres::NoTls;
use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

use crate::support::postgres::Database;
use crate::support::store;
use crate::support::wait::eventually;

const DELIVERIES: &str = "SELECT sequence, handler, subject_key, state, attempts, next_attempt_at, lease_until, last_error
     FROM deliveries ORDER BY sequence, handler";

const EVENTS: i64 = 120;

/// One millisecond after another from here.
const BEGINNING: i64 = 1_783_609_200_000;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(BEGINNING + milliseconds).unwrap()
}

fn id(sequence: i64) -> Uuid {
    Uuid::from_u128(0x0197_f1a0_7c1e_7b30_9d5c_0000_0000_0000 | u128::from(sequence.unsigned_abs()))
}

#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// The statements that fill an empty store, each in the words of its database.
fn filling(dialect: Dialect) -> String {
    let (open, close, bytes) = match dialect {
        Dialect::Sqlite => ("x'", "'", ""),
        Dialect::Postgres => ("'", "'::uuid", "::bytea"),
    };
    let (yes, no) = if dialect == Dialect::Sqlite { ("1", "0") } else { ("true", "false") };
    let mut sql = String::new();
    for sequence in 1..=EVENTS {
        let endpoint = if sequence % 5 == 0 { "other" } else { "default" };
        let subject = subject(sequence).map_or("NULL".to_owned(), |it| format!("'person {it}'"));
        let event = if sequence % 3 == 0 { "USER_DELETE" } else { "USER_UPDATE" };
        writeln!(
            sql,
            "INSERT INTO events (sequence, id, endpoint, dialect, event, subject, nonce, timestamp, requested_at, \
             received_at, message, reply) VALUES ({sequence}, {open}{}{close}, '{endpoint}', 'ciam', '{event}', \
             {subject}, 'nonce', '1783609195000', {}, {}, '{{\"张\":{sequence}}}'{bytes}, ''{bytes});",
            id(sequence).simple(),
            BEGINNING - 5,
            BEGINNING + sequence,
        )
        .unwrap();
        if sequence % 7 == 0 {
            let user = if sequence % 2 == 0 { "NULL" } else { "'{\"n\":1e400}'" };
            writeln!(sql, "INSERT INTO details VALUES ({sequence}, {user});").unwrap();
        }
        let (kind, deleted) = if sequence % 2 == 0 { ("user", no) } else { ("organization", yes) };
        writeln!(
            sql,
            "INSERT INTO directory (endpoint, kind, id, name, name_key, deleted, updated_at, changed_at) VALUES \
             ('{endpoint}', '{kind}', 'Id-{sequence}', 'N{sequence}', 'n{sequence}', {deleted}, {BEGINNING}, NULL);"
        )
        .unwrap();
    }
    for row in deliveries() {
        writeln!(sql, "INSERT INTO deliveries ({DELIVERY_COLUMNS}) VALUES ({row});").unwrap();
    }
    sql
}

const DELIVERY_COLUMNS: &str =
    "sequence, handler, subject_key, state, attempts, next_attempt_at, lease_until, last_error";

fn subject(sequence: i64) -> Option<i64> {
    (sequence % 4 != 0).then_some(sequence * 31 % 11)
}

/// In states of every kind, of each subject the oldest unfinished one due unless one runs.
fn deliveries() -> Vec<String> {
    let mut rows = Vec::new();
    for handler in ["Zebra", "audit", "people"] {
        let state = |it: i64| ((it * 2_654_435_761) >> 7) % 4;
        let mut waiting_or_running: Vec<Option<i64>> = Vec::new();
        let mut runs: Vec<Option<i64>> = Vec::new();
        let of_handler: Vec<i64> =
            (1..=EVENTS).filter(|it| (it + i64::from(handler.as_bytes()[0])) % 3 != 0).collect();
        let mut states: Vec<(i64, i64)> = Vec::new();
        for sequence in &of_handler {
            let key = subject(*sequence);
            let mut state = state(sequence + i64::from(handler.as_bytes()[1]));
            if state == 1 && key.is_some() {
                // One of a subject runs at most.
                if runs.contains(&key) { state = 0 } else { runs.push(key) }
            }
            states.push((*sequence, state));
        }
        for (sequence, state) in states {
            let key = subject(sequence);
            let first = key.is_none() || !waiting_or_running.contains(&key);
            let admitted = state == 0 && first && (key.is_none() || !runs.contains(&key));
            if state <= 1 {
                waiting_or_running.push(key);
            }
            let text = |it: Option<i64>| it.map_or("NULL".to_owned(), |it| it.to_string());
            let next = text(admitted.then_some(BEGINNING + 1000));
            let lease = text((state == 1).then_some(BEGINNING + 30_000));
            let error = if sequence % 2 == 0 { "NULL" } else { "'HTTP 500'" };
            let attempts = sequence % 5;
            let key = text(key);
            rows.push(format!(
                "{sequence}, '{handler}', {key}, {state}, {attempts}, {next}, {lease}, {error}"
            ));
        }
    }
    rows
}

/// One store of each kind with the same in it.
struct Pair {
    directory: TempDir,
    database: Database,
    client: Client,
}

impl Pair {
    async fn create() -> Option<Self> {
        let database = Database::create().await?;
        let client = database.client().await;
        let pair = Self { directory: TempDir::new().unwrap(), database, client };
        pair.options().migrate().await.unwrap();
        SqliteInbox::open(&pair.path(), at(0)).unwrap().close().await;
        pair.refill().await;
        Some(pair)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    async fn refill(&self) {
        let tables = ["events", "details", "directory", "deliveries"];
        let empty: String = tables.map(|it| format!("DELETE FROM {it};\n")).concat();
        let sqlite = rusqlite::Connection::open(self.path()).unwrap();
        let filling = |dialect| format!("BEGIN;{empty}{}COMMIT;", filling(dialect));
        sqlite.execute_batch(&filling(Dialect::Sqlite)).unwrap();
        self.client.batch_execute(&filling(Dialect::Postgres)).await.unwrap();
    }

    fn sqlite(&self) -> Operator {
        Operator::Sqlite(SqliteOperator::open(&self.path()).unwrap())
    }

    fn options(&self) -> PostgresOptions {
        let timeout = Duration::from_secs(30);
        PostgresOptions::new(&self.database.url().into(), None, 2, timeout).unwrap()
    }

    async fn postgres(&self) -> Operator {
        Operator::Postgres(PostgresOperator::open(&self.options()).await.unwrap())
    }

    async fn somebody_waits(&self) {
        let waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        // Within a transaction the view stays as it was.
        let client = self.database.client().await;
        eventually("somebody waits for a lock", async || {
            (!client.query(waits, &[]).await.unwrap().is_empty()).then_some(())
        })
        .await;
    }

    async fn deliveries(&self) -> [Vec<Vec<String>>; 2] {
        let sqlite = rusqlite::Connection::open(self.path()).unwrap();
        let collated = DELIVERIES.replace("handler\n", "handler COLLATE \"C\"\n");
        let found = self.client.simple_query(&format!("{collated} COLLATE \"C\"")).await.unwrap();
        let rows = found.iter().filter_map(|it| match it {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let text = |it: Option<&str>| it.unwrap_or("-").to_owned();
        let rows = rows.map(|row| (0..row.len()).map(|it| text(row.get(it))).collect());
        [store::query(&sqlite, DELIVERIES), rows.collect()]
    }
}

fn filters() -> Vec<EventFilter> {
    let text = |it: &str| Some(it.to_owned());
    let with_state = |state| EventFilter { state: Some(state), ..EventFilter::default() };
    vec![
        EventFilter::default(),
        EventFilter { ids: (1..80).step_by(3).map(id).collect(), ..EventFilter::default() },
        EventFilter { ids: vec![id(9999)], ..EventFilter::default() },
        with_state(State::Waiting),
        with_state(State::Running),
        with_state(State::Done),
        with_state(State::Dead),
        EventFilter { handler: text("audit"), ..with_state(State::Done) },
        EventFilter { handler: text("people"), ..with_state(State::Dead) },
        EventFilter { event: text("USER_DELETE"), ..EventFilter::default() },
        EventFilter { endpoint: text("other"), ..with_state(State::Waiting) },
        EventFilter { subject: text("person 3"), ..EventFilter::default() },
        EventFilter { subject: text("'; --"), ..EventFilter::default() },
        EventFilter { since: Some(at(40)), until: Some(at(80)), ..EventFilter::default() },
    ]
}

#[tokio::test]
async fn every_filter_lists_the_same_on_either_store() {
    let Some(pair) = Pair::create().await else { return };
    let (sqlite, postgres) = (pair.sqlite(), pair.postgres().await);
    for filter in filters() {
        for (before, most) in [(None, usize::MAX), (Some(90), 7), (Some(1), 7), (None, 0)] {
            let one = sqlite.events(&filter, before, most).await.unwrap();
            let other = postgres.events(&filter, before, most).await.unwrap();
            assert_eq!(format!("{one:?}"), format!("{other:?}"), "{filter:?}");
            let texts = one.iter().zip(&other).all(|(a, b)| a.event.message == b.event.message);
            assert!(texts, "{filter:?}");
        }
        let counts = (sqlite.count(&filter).await.unwrap(), postgres.count(&filter).await.unwrap());
        assert_eq!(counts.0, counts.1, "{filter:?}");
    }
    assert_eq!(postgres.event(id(7)).await.unwrap().unwrap().sequence, 7);
    assert!(postgres.event(id(9999)).await.unwrap().is_none());
}

#[tokio::test]
async fn the_directory_is_listed_the_same_on_either_store_page_by_page() {
    let Some(pair) = Pair::create().await else { return };
    let (sqlite, postgres) = (pair.sqlite(), pair.postgres().await);
    for kind in [RecordKind::User, RecordKind::Organization] {
        for (endpoint, deleted_too) in [(None, true), (None, false), (Some("other"), true)] {
            let endpoint = endpoint.map(str::to_owned);
            let mut query = RecordQuery { kind, endpoint, deleted_too, after: None, most: 7 };
            loop {
                let one = sqlite.records(&query).await.unwrap();
                let other = postgres.records(&query).await.unwrap();
                assert_eq!(format!("{one:?}"), format!("{other:?}"), "{query:?}");
                let Some(last) = one.last() else { break };
                query.after = Some((last.endpoint.clone(), last.id.clone()));
            }
        }
    }
}

#[tokio::test]
async fn every_retry_and_discard_leaves_the_same_on_either_store() {
    let Some(pair) = Pair::create().await else { return };
    let (sqlite, postgres) = (pair.sqlite(), pair.postgres().await);
    for filter in filters() {
        for discard in [false, true] {
            pair.refill().await;
            let mut changed = Vec::new();
            for store in [&sqlite, &postgres] {
                // Twice: what was done already is done again or is not meant any more.
                for now in [at(5000), at(6000)] {
                    changed.push(if discard {
                        store.discard(&filter, now).await.unwrap()
                    } else {
                        store.retry(&filter, now).await.unwrap()
                    });
                }
            }
            assert_eq!(changed[..2], changed[2..], "{filter:?}");
            let [one, other] = pair.deliveries().await;
            assert_eq!(one, other, "{filter:?}, discard {discard}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_under_way_is_not_overtaken() {
    let Some(pair) = Pair::create().await else { return };
    let client = &pair.client;
    client
        .batch_execute(
            "DELETE FROM deliveries;
             INSERT INTO deliveries (sequence, handler, subject_key, state, attempts, next_attempt_at, lease_until, last_error)
             VALUES (1, 'a', 5, 3, 2, NULL, NULL, NULL), (2, 'a', 5, 0, 0, 7, NULL, NULL);
             BEGIN;
             UPDATE deliveries SET state = 1, attempts = 1, next_attempt_at = NULL, lease_until = 9 WHERE sequence = 2",
        )
        .await
        .unwrap();
    let postgres = pair.postgres().await;
    let filter = EventFilter { state: Some(State::Dead), ..EventFilter::default() };
    let retry = tokio::spawn(async move { postgres.retry(&filter, at(5000)).await });
    pair.somebody_waits().await;
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(retry.await.unwrap().unwrap(), 1);
    // The older one is admitted when the one that runs has ended.
    let [_, rows] = pair.deliveries().await;
    assert_eq!(
        rows,
        [["1", "a", "5", "0", "0", "-", "-", "-"], ["2", "a", "5", "1", "1", "-", "9", "-"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_waits_for_its_turn_and_wakes_the_services() {
    let Some(pair) = Pair::create().await else { return };
    let (listening, mut connection) =
        tokio_postgres::connect(&pair.database.url(), NoTls).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message.unwrap() {
                drop(tell.send(notification.channel().to_owned()));
            }
        }
    });
    listening.batch_execute("LISTEN bamboohook").await.unwrap();
    let turn = "BEGIN; SELECT pg_advisory_xact_lock(x'00626d62686f6f6b'::bigint)";
    pair.client.batch_execute(turn).await.unwrap();
    let postgres = pair.postgres().await;
    let retry = tokio::spawn(async move { postgres.retry(&EventFilter::default(), at(0)).await });
    pair.somebody_waits().await;
    assert!(told.try_recv().is_err());
    pair.client.batch_execute("COMMIT").await.unwrap();
    assert!(retry.await.unwrap().unwrap() > 0);
    assert_eq!(told.recv().await.as_deref(), Some("bamboohook"));
}
