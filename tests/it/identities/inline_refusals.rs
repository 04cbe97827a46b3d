//! Inline handlers that refuse, fail, take too long or give the wrong id: nothing of the event stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bamboohook::dispatcher::Handler;
use bamboohook::dispatcher::HandlerError;
use bamboohook::dispatcher::Reply;
use bamboohook::event::Dialect;
use bamboohook::event::Document;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

use super::inline::Deciding;
use super::inline::INLINE;
use super::inline::Verdict;
use super::inline::id;
use super::inline::inline_command;
use super::inline::own;
use crate::support::process::id_in;
use crate::support::service::Service;
use crate::support::service::endpoint;
use crate::support::service::http_handler;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::store::rows;

const MISSING: &str = "no such record";
const FAILED: &str = "the event could not be handled, try again";

/// What an inline handler says when it is asked.
type Say = fn() -> Verdict;

/// A service whose inline handler `decide` says what the test puts there, beside a queued one.
struct Decided {
    service: Service,
    verdict: Arc<Mutex<Say>>,
}

impl Decided {
    async fn start() -> Self {
        let verdict: Arc<Mutex<Say>> = Arc::new(Mutex::new(|| Ok(Reply::default())));
        let said = Arc::clone(&verdict);
        let tables = [own("decide", ""), "[handlers.queued]\ntype = \"log\"\n".to_owned()].concat();
        let service = Service::start_with(&tables, |app| {
            app.with_handler(
                "decide",
                Deciding(move |_: &Document| {
                    let verdict = *said.lock().unwrap();
                    verdict()
                }),
            )
        })
        .await;
        Self { service, verdict }
    }

    fn say(&self, verdict: Say) {
        *self.verdict.lock().unwrap() = verdict;
    }
}

#[tokio::test]
async fn what_an_inline_handler_refuses_has_never_come() {
    let decided = Decided::start().await;
    let service = &decided.service;
    let known = service.id_of("CREATE_USER", r#"{"username":"known","mobile":"1"}"#).await;
    service.drained().await;
    let before = rows(&service.store());
    let verdicts: [(Say, u16, &str); 4] = [
        (|| Err(HandlerError::Missing { reason: "gone".into(), after: None }), 404, MISSING),
        (|| Err(HandlerError::retry("canary")), 500, FAILED),
        (|| Err(HandlerError::reject("canary")), 500, FAILED),
        (|| panic!("canary"), 500, FAILED),
    ];
    let update = json!({ "id": known, "username": "renamed", "mobile": "2" }).to_string();
    let delete = json!({ "id": known }).to_string();
    for (event, message) in [
        ("CREATE_USER", r#"{"username":"new"}"#),
        ("CREATE_USER", r#"{"username":"known","mobile":"3"}"#),
        ("UPDATE_USER", &update),
        ("UPDATE_USER", r#"{"id":"unknown"}"#),
        ("CREATE_GROUP", "{}"),
        ("PING", "x"),
        ("USER_DISABLE", "customer"),
        ("DELETE_USER", &delete),
    ] {
        let dialect = if event == "USER_DISABLE" { Dialect::Ciam } else { Dialect::Eiam };
        let callback = service.callback(dialect, event, message);
        for (verdict, status, said) in verdicts {
            decided.say(verdict);
            assert_eq!(service.send(&callback).await.refused(status), said, "{event}");
            assert_eq!(rows(&service.store()), before, "{event} left something");
        }
    }
    // The very same request, once the handler agrees.
    let callback = service.callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"new"}"#);
    service.send(&callback).await.refused(500);
    decided.say(|| Ok(Reply::default()));
    assert_eq!(service.send(&callback).await.status, 200);
    service.send(&callback).await.refused(409);
}

#[tokio::test]
async fn a_later_handler_that_fails_undoes_what_an_earlier_one_decided() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let tables = [own("a", ""), own("b", ""), own("c", "")].concat();
    let log = |name: &'static str| {
        let asked = Arc::clone(&asked);
        move || asked.lock().unwrap().push(name)
    };
    let (of_a, of_b, of_c) = (log("a"), log("b"), log("c"));
    let service = Service::start_with(&tables, |app| {
        app.with_handler(
            "a",
            Deciding(move |_: &Document| {
                of_a();
                id("7")
            }),
        )
        .with_handler(
            "b",
            Deciding(move |_: &Document| {
                of_b();
                Err(HandlerError::retry("b"))
            }),
        )
        .with_handler(
            "c",
            Deciding(move |_: &Document| {
                of_c();
                id("8")
            }),
        )
    })
    .await;
    let before = rows(&service.store());
    service.refused("CREATE_USER", r#"{"username":"zhangsan"}"#, 500).await;
    assert_eq!(*asked.lock().unwrap(), ["a", "b"], "the first failure ends it");
    assert_eq!(rows(&service.store()), before);
}

#[tokio::test]
async fn an_http_receiver_refuses_by_its_status() {
    let decide = Sink::start().await;
    let service = Service::start(&http_handler("decide", decide.url(), INLINE)).await;
    let before = rows(&service.store());
    let callback = service.callback(Dialect::Eiam, "UPDATE_USER", r#"{"id":"7"}"#);
    for (told, wanted) in [(404, 404), (500, 500), (410, 500), (302, 500), (401, 500), (409, 500)] {
        let told = Told::status(told).saying(r#"{"id":"7"}"#).header("location", decide.url());
        decide.answer(told);
        service.send(&callback).await.refused(wanted);
    }
    assert_eq!(decide.count(), 6, "none is asked twice for one request");
    drop(decide);
    service.send(&callback).await.refused(500);
    assert_eq!(rows(&service.store()), before);
}

#[tokio::test]
async fn a_command_refuses_by_its_exit_status() {
    for (script, status) in [
        ("exit 67", 404),
        ("echo '{\"id\":\"7\"}'; exit 1", 500),
        ("echo '{\"id\":\"7\"}'; kill -9 $$", 500),
    ] {
        let directory = TempDir::new().unwrap();
        let table = inline_command(directory.path(), script);
        let service = Service::start_in(directory, &table, |app| app).await;
        let before = rows(&service.store());
        service.refused("CREATE_USER", r#"{"username":"zhangsan"}"#, status).await;
        assert_eq!(rows(&service.store()), before, "{script}");
    }
    let missing =
        inline_command(Path::new("/tmp"), "").replace("/tmp/decide.sh", "/nowhere/decide");
    let service = Service::start(&missing).await;
    service.refused("CREATE_USER", r#"{"username":"zhangsan"}"#, 500).await;
}

/// Counts how many are asked, and never answers.
struct Hanging(Arc<watch::Sender<u32>>);

#[async_trait]
impl Handler for Hanging {
    async fn handle(&self, _document: &Document) -> Verdict {
        self.0.send_modify(|count| *count += 1);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_has_failed() {
    let (asked, _) = watch::channel(0);
    let asked = Arc::new(asked);
    for (reply_timeout, timeout) in [("200ms", "30s"), ("30s", "200ms")] {
        let tables = [
            format!("{}reply_timeout = \"{reply_timeout}\"\n", endpoint("default")),
            own("decide", &format!("timeout = \"{timeout}\"")),
        ];
        let handler = Hanging(Arc::clone(&asked));
        let service =
            Service::start_with(&tables.concat(), |app| app.with_handler("decide", handler)).await;
        let before = rows(&service.store());
        let began = Instant::now();
        service.refused("CREATE_USER", r#"{"username":"zhangsan"}"#, 500).await;
        let took = began.elapsed();
        assert!((Duration::from_millis(200)..Duration::from_secs(10)).contains(&took), "{took:?}");
        assert_eq!(rows(&service.store()), before);
    }
    assert_eq!(*asked.borrow(), 2);
}

/// Answers after a while.
struct Slow;

#[async_trait]
impl Handler for Slow {
    async fn handle(&self, _document: &Document) -> Verdict {
        tokio::time::sleep(Duration::from_millis(600)).await;
        Ok(Reply::default())
    }
}

#[tokio::test]
async fn the_time_for_the_answer_is_one_for_all_handlers_together() {
    let tables = [
        format!("{}reply_timeout = \"1s\"\n", endpoint("default")),
        own("a", ""),
        own("b", "events = [\"*_USER\"]"),
    ];
    let service = Service::start_with(&tables.concat(), |app| {
        app.with_handler("a", Slow).with_handler("b", Slow)
    })
    .await;
    service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd"}"#).await;
    service.refused("CREATE_USER", r#"{"username":"zhangsan"}"#, 500).await;
}

#[tokio::test]
async fn an_id_of_another_record_or_one_that_differs_changes_nothing() {
    let decided = Decided::start().await;
    let service = &decided.service;
    decided.say(|| id("live"));
    service.id_of("CREATE_USER", r#"{"username":"live"}"#).await;
    decided.say(|| id("gone"));
    service.id_of("CREATE_USER", r#"{"username":"gone"}"#).await;
    service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"id":"gone"}"#).await;
    service.drained().await;
    let before = rows(&service.store());
    let taken: [(&str, &str, Say); 8] = [
        ("CREATE_USER", r#"{"username":"new"}"#, || id("live")),
        ("CREATE_USER", r#"{"username":"new"}"#, || id("gone")),
        // The same person's name again is another person.
        ("CREATE_USER", r#"{"username":"gone"}"#, || id("gone")),
        ("CREATE_USER", "{}", || id("live")),
        ("UPDATE_USER", r#"{"username":"new"}"#, || id("live")),
        // These have an id.
        ("CREATE_USER", r#"{"username":"live"}"#, || id("other")),
        ("UPDATE_USER", r#"{"id":"live","username":"renamed"}"#, || id("other")),
        ("UPDATE_USER", r#"{"id":"unknown"}"#, || id("other")),
    ];
    for (event, message, verdict) in taken {
        decided.say(verdict);
        let callback = service.callback(Dialect::Eiam, event, message);
        for _ in 0..2 {
            assert_eq!(service.send(&callback).await.refused(500), FAILED, "{event} {message}");
        }
        assert_eq!(rows(&service.store()), before, "{event} {message}");
    }
    decided.say(|| id("new"));
    let callback = service.callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"new"}"#);
    let simulator = service.simulator("default", Dialect::Eiam);
    assert_eq!(id_in(&simulator, &service.send(&callback).await), "new");
    decided.say(|| id("other"));
    let customer = service.callback(Dialect::Ciam, "USER_LOGIN", "customer");
    service.send(&customer).await.refused(500);
}

#[tokio::test]
async fn what_the_directory_refuses_anyway_is_not_asked_about() {
    let decide = Sink::start().await;
    let lines = format!("{INLINE}events = [\"UPDATE_*\"]");
    let service = Service::start(&http_handler("decide", decide.url(), &lines)).await;
    service.id_of("CREATE_USER", r#"{"username":"zhangsan"}"#).await;
    let before = rows(&service.store());
    service.refused("UPDATE_USER", r#"{"id":"7","username":"zhangsan"}"#, 400).await;
    service.refused("UPDATE_USER", r#"{"name":"nobody"}"#, 400).await;
    assert_eq!((decide.count(), rows(&service.store())), (0, before));
}
