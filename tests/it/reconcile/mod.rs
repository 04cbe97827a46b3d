//! The directory against the list of IDaaS, by the real binary beside a real service. Compares no JSON by itself.

use std::fmt::Write;
use std::process::Output;

use bamboohook::event::Dialect;
use bamboohook::event::RecordKind;
use bamboohook::inbox::Record;
use bamboohook::inbox::RecordQuery;
use bamboohook::inbox::SqliteReader;
use serde_json::Value;
use serde_json::json;

use crate::support::fake_idaas::CLIENT_ID;
use crate::support::fake_idaas::CLIENT_SECRET;
use crate::support::fake_idaas::FakeIdaas;
use crate::support::process::Process;
use crate::support::process::Settings;

mod customers;
mod employees;
mod faults;
mod interrupted;
mod large;
mod regular;

/// A service with the endpoint `default`, and the IDaaS that its settings name.
struct World {
    fake: FakeIdaas,
    process: Process,
}

impl World {
    /// `lines` go into `[reconcile]`.
    async fn start(dialect: Dialect, lines: &str) -> Self {
        Self::start_with(dialect, lines, "").await
    }

    /// With further tables.
    async fn start_with(dialect: Dialect, lines: &str, tables: &str) -> Self {
        let fake = FakeIdaas::start().await;
        let mut settings =
            Settings { endpoint: format!("dialect = \"{dialect}\""), ..Settings::default() };
        write!(
            settings.tables,
            "[idaas]\nbase_url = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
             [reconcile]\n{lines}\n{tables}",
            fake.url()
        )
        .unwrap();
        let process = Process::start(settings).await;
        Self { fake, process }
    }

    async fn try_reconcile(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["reconcile"];
        all.extend(arguments);
        self.process.command(&all).await
    }

    /// What stdout says, of a run that has to succeed.
    async fn reconcile(&self, arguments: &[&str]) -> String {
        let output = self.try_reconcile(arguments).await;
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What stderr says, of a run that has to fail and to change nothing.
    async fn refused(&self) -> String {
        let before = (self.told(), self.users(), self.organizations());
        let output = self.try_reconcile(&[]).await;
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(output.stdout.is_empty());
        assert_eq!((self.told(), self.users(), self.organizations()), before);
        stderr(&output)
    }

    /// Runs, and returns what it has told: event and subject, sorted.
    async fn news(&self) -> Vec<(String, String)> {
        let before = self.told().len();
        self.reconcile(&[]).await;
        let mut news = self.told().split_off(before);
        news.sort();
        news
    }

    /// Event and subject of every event so far.
    fn told(&self) -> Vec<(String, String)> {
        let events = self.process.events().into_iter().map(|it| it.event);
        events.map(|it| (it.event, it.subject.unwrap_or_default())).collect()
    }

    /// The message of the latest event of this name.
    fn message(&self, event: &str) -> Value {
        let events = self.process.events();
        let event = events.iter().rfind(|it| it.event.event == event).unwrap();
        serde_json::from_str(event.event.message.as_str()).unwrap()
    }

    fn users(&self) -> Vec<Row> {
        self.records(RecordKind::User)
    }

    fn organizations(&self) -> Vec<Row> {
        self.records(RecordKind::Organization)
    }

    fn records(&self, kind: RecordKind) -> Vec<Row> {
        let query =
            RecordQuery { kind, endpoint: None, deleted_too: true, after: None, most: 10_000 };
        let reader = SqliteReader::open(&self.process.store()).unwrap();
        reader.records(&query).unwrap().into_iter().map(Row::of).collect()
    }

    fn user(&self, id: &str) -> Row {
        self.users().into_iter().find(|it| it.id == id).unwrap()
    }

    /// Delivers an event that has to be accepted, and returns the id in its answer, where there is one.
    async fn deliver(&self, dialect: Dialect, event: &str, message: &str) -> String {
        let callback = self.process.callback(dialect, event, message);
        let answer = self.process.send(&callback).await;
        assert_eq!(answer.status, 200, "{event}");
        let read = self.process.simulator(dialect).read_answer(answer.status, &answer.body);
        let data = read.unwrap().data.unwrap_or_default();
        let data: Value = serde_json::from_str(&data).unwrap_or_default();
        data.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// What matters of a record.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: String,
    name: Option<String>,
    disabled: bool,
    deleted: bool,
    attributes: Value,
}

impl Row {
    fn of(record: Record) -> Self {
        Self {
            id: record.id,
            name: record.name,
            disabled: record.disabled,
            deleted: record.deleted,
            attributes: serde_json::from_str(&record.attributes).unwrap(),
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// As the API describes one.
fn user(id: &str, username: &str, mobile: &str) -> Value {
    json!({
        "user_id": id, "org_id": "hq", "user_name": username, "name": format!("Name of {username}"),
        "mobile": mobile, "email": format!("{username}@example.com"), "disabled": false, "locked": "false",
        "created_at": "2026-07-01 08:00:00", "updated_at": "2026-07-09 23:21:53",
        "extension": { "grade": 7 }, "user_org_relation_list": [{ "org_id": "hq", "relation_type": 1 }],
    })
}

fn organization(id: &str, parent: Option<&str>, name: &str) -> Value {
    json!({
        "org_id": id, "parent_id": parent, "org_code": format!("code-{id}"), "name": name,
        "disabled": "false", "updated_at": "2026-07-09 23:21:53",
    })
}

/// With one field set to something else.
fn with(mut record: Value, field: &str, value: impl Into<Value>) -> Value {
    record[field] = value.into();
    record
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(event, subject)| ((*event).to_owned(), (*subject).to_owned())).collect()
}
