//! Inline handlers that agree: whose id wins, who is told of it, who is asked at all. Refusals are in `inline_refusals`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bamboohook::app::App;
use bamboohook::dispatcher::Handler;
use bamboohook::dispatcher::HandlerError;
use bamboohook::dispatcher::Reply;
use bamboohook::event::Dialect;
use bamboohook::event::Document;
use bamboohook::event::RecordKind;
use bamboohook::inbox::State;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::process::id_in;
use crate::support::process::post;
use crate::support::service::Service;
use crate::support::service::endpoint;
use crate::support::service::http_handler;
use crate::support::sink::Received;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::wait::eventually;

pub(super) const INLINE: &str = "mode = \"inline\"\n";

pub(super) type Verdict = Result<Reply, HandlerError>;

/// A handler of the embedding program that does as it is told.
pub(super) struct Deciding<F>(pub(super) F);

#[async_trait]
impl<F: Fn(&Document) -> Verdict + Send + Sync> Handler for Deciding<F> {
    async fn handle(&self, document: &Document) -> Verdict {
        self.0(document)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where handlers may fail")]
pub(super) fn id(id: &str) -> Verdict {
    Ok(Reply { id: Some(id.to_owned()) })
}

/// The table of an inline handler that the test brings along.
pub(super) fn own(name: &str, lines: &str) -> String {
    format!("[handlers.{name}]\ntype = \"rust\"\n{INLINE}{lines}\n")
}

/// A script as the only inline handler.
pub(super) fn inline_command(directory: &Path, script: &str) -> String {
    let path = directory.join("decide.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("[handlers.decide]\ntype = \"command\"\nargv = [\"{}\"]\n{INLINE}", path.display())
}

/// The username of the document's message.
fn username(received: &Received) -> String {
    received.json()["data"]["message"]["username"].as_str().unwrap().to_lowercase()
}

#[tokio::test]
async fn the_id_of_an_inline_handler_is_the_records_from_its_first_answer_on() {
    let (decide, queued) = (Sink::start().await, Sink::start().await);
    let tables =
        [http_handler("decide", decide.url(), INLINE), http_handler("queued", queued.url(), "")];
    let service = Service::start(&tables.concat()).await;
    decide.answer_with(|received| {
        Told::status(200).saying(json!({ "id": format!("hr-{}", username(received)) }).to_string())
    });
    let message = r#"{"username":"ZhangSan","n":1.50}"#;
    assert_eq!(service.id_of("CREATE_USER", message).await, "hr-zhangsan");
    assert_eq!(service.user("hr-zhangsan").name.as_deref(), Some("ZhangSan"));
    assert_eq!(service.id_of("CREATE_USER", r#"{"username":"zhangsan"}"#).await, "hr-zhangsan");
    service.drained().await;
    // It is asked as any handler is, about a record that has no id yet, and then about one that has.
    let [first, second] = &*decide.received() else { panic!("asked {} times", decide.count()) };
    let text = str::from_utf8(&first.body).unwrap();
    assert!(text.contains(&format!("\"message\":{message}")), "{text}");
    let stored = service.events();
    assert_eq!(first.json()["id"], stored[0].event.id.to_string());
    assert_eq!(first.json()["data"]["attempt"], 1);
    assert_eq!(first.json().get("subject"), None);
    assert_eq!(second.subject(), "hr-zhangsan");
    let subjects: Vec<String> = queued.received().iter().map(Received::subject).collect();
    assert_eq!(subjects, ["hr-zhangsan", "hr-zhangsan"]);
    let deliveries: Vec<_> = stored.iter().flat_map(|it| &it.deliveries).collect();
    assert!(deliveries.iter().all(|it| it.handler == "queued" && it.state == State::Done));
}

#[tokio::test]
async fn an_answer_without_an_id_leaves_the_id_to_the_directory() {
    let decide = Sink::start().await;
    let service = Service::start(&http_handler("decide", decide.url(), INLINE)).await;
    let bodies = [
        "",
        "ok",
        "{}",
        "[7]",
        r#"{"id":""}"#,
        r#"{"id":"  "}"#,
        r#"{"id":null}"#,
        "{\"id\":\"7\"",
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        decide.answer(Told::status(200).saying(body));
        let message = json!({ "username": format!("user{number}") }).to_string();
        let id = service.id_of("CREATE_USER", &message).await;
        assert!(id.parse::<Uuid>().is_ok(), "{body}: {id}");
        assert_eq!(service.id_of("CREATE_USER", &message).await, id, "{body}");
    }
    decide.answer(Told::status(201).saying(r#"{"id":10200300400500600700800900,"more":[]}"#));
    let id = service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd"}"#).await;
    assert_eq!(id, "10200300400500600700800900");
}

#[tokio::test]
async fn inline_handlers_run_in_the_order_of_their_names_and_the_first_id_wins() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let names = ["c", "a", "b", "users-only"];
    let tables: String = names.iter().map(|name| own(name, "")).collect();
    let tables = tables.replace(
        "[handlers.users-only]\n",
        "[handlers.users-only]\nevents = [\"*_USER\"]\nendpoints = [\"default\"]\n",
    );
    let service = Service::start_with(&tables, |mut app: App| {
        for name in names {
            let asked = Arc::clone(&asked);
            app = app.with_handler(
                name,
                Deciding(move |_: &Document| {
                    asked.lock().unwrap().push(name);
                    if name == "a" { Ok(Reply::default()) } else { id(name) }
                }),
            );
        }
        app
    })
    .await;
    assert_eq!(service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd"}"#).await, "b");
    assert_eq!(*asked.lock().unwrap(), ["a", "b", "c"], "each is asked, also when the id is known");
    service.deliver(Dialect::Eiam, "CHECK_URL", "2852325935078").await;
    service.deliver(Dialect::Eiam, "CHECK_URL ", "2852325935078").await;
    assert_eq!(asked.lock().unwrap().len(), 3, "CHECK_URL goes to nobody");
    service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"id":"7"}"#).await;
    assert_eq!(asked.lock().unwrap()[3..], ["a", "b", "c", "users-only"]);
    assert!(service.events().iter().all(|it| it.deliveries.is_empty()), "nothing is queued");
}

#[tokio::test]
async fn an_id_that_is_the_records_own_is_no_conflict() {
    let service = Service::start_with(&own("decide", ""), |app| {
        app.with_handler("decide", Deciding(|_: &Document| id("7")))
    })
    .await;
    let create = r#"{"username":"zhangsan"}"#;
    for (event, message) in [
        ("CREATE_USER", create),
        ("CREATE_USER", create),
        ("UPDATE_USER", r#"{"id":"7","username":"lisi"}"#),
        ("UPDATE_USER", r#"{"username":"LiSi","mobile":"1"}"#),
        ("CREATE_USER", r#"{"username":"lisi"}"#),
        // The kinds do not share ids, and what has no directory has no conflicts.
        ("UPDATE_ORGANIZATION", r#"{"code":"unknown"}"#),
        ("CREATE_GROUP", "{}"),
        ("CREATE_GROUP", "{}"),
    ] {
        assert_eq!(service.id_of(event, message).await, "7", "{event}");
    }
    // A deletion has no id to give: what its handlers say of one goes unheard.
    service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"id":"unknown"}"#).await;
    service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"id":"7"}"#).await;
    assert!(service.user("7").deleted);
    service.deliver(Dialect::Ciam, "USER_LOGIN", "7").await;
}

#[tokio::test]
async fn a_command_decides_with_what_it_prints() {
    let directory = TempDir::new().unwrap();
    let table = inline_command(
        directory.path(),
        r#"sed -n 's/.*"username":"\([a-z]*\)".*/{"id":"hr-\1"}/p'"#,
    );
    let service = Service::start_in(directory, &table, |app| app).await;
    assert_eq!(service.id_of("CREATE_USER", r#"{"username":"zhangsan"}"#).await, "hr-zhangsan");
    let silent = service.id_of("CREATE_USER", r#"{"username":"7"}"#).await;
    assert!(silent.parse::<Uuid>().is_ok(), "{silent}");
}

/// What stands behind `on_duplicate`, and how a copy is answered once the first one is.
async fn copies(on_duplicate: &str, afterwards: u16) {
    let decide = Sink::start().await;
    let (gate, _) = watch::channel(false);
    decide.answer(Told::status(200).saying(r#"{"id":"7"}"#).once(&gate));
    let tables = [
        format!("{}on_duplicate = \"{on_duplicate}\"\n", endpoint("default")),
        http_handler("decide", decide.url(), INLINE),
    ];
    let service = Service::start(&tables.concat()).await;
    let simulator = service.simulator("default", Dialect::Eiam);
    let callback = service.callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"zhangsan"}"#);
    let (first, copies) = tokio::join!(service.send(&callback), async {
        decide.wait_for(1).await;
        let mut copies = Vec::new();
        for _ in 0..3 {
            copies.push(service.send(&callback).await.refused(409));
        }
        gate.send_replace(true);
        copies
    });
    assert!(copies.iter().all(|it| it == "the same signed request is being handled"));
    assert_eq!(id_in(&simulator, &first), "7");
    let copy = service.send(&callback).await;
    assert_eq!(copy.status, afterwards);
    if afterwards == 200 {
        assert_eq!(id_in(&simulator, &copy), "7");
        assert_ne!(copy.body, first.body, "sealed anew");
        // Also where the record has another name or is gone by now: it is the stored answer.
        service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"id":"7"}"#).await;
        assert_eq!(id_in(&simulator, &service.send(&callback).await), "7");
    }
    assert_eq!(service.records(RecordKind::User).len(), 1);
    let creates = service.events().iter().filter(|it| it.event.event == "CREATE_USER").count();
    assert_eq!(creates, 1);
}

#[tokio::test]
async fn copies_are_refused_while_the_first_runs_and_afterwards() {
    copies("reject", 409).await;
}

#[tokio::test]
async fn copies_are_refused_while_the_first_runs_and_then_get_its_answer() {
    copies("answer", 200).await;
}

#[tokio::test]
async fn a_sender_that_hangs_up_stops_nothing() {
    let decide = Sink::start().await;
    let (gate, _) = watch::channel(false);
    decide.answer(Told::status(200).saying(r#"{"id":"7"}"#).once(&gate));
    let tables = [
        format!("{}on_duplicate = \"answer\"\n", endpoint("default")),
        http_handler("decide", decide.url(), INLINE),
    ];
    let service = Service::start(&tables.concat()).await;
    let simulator = service.simulator("default", Dialect::Eiam);
    let callback = service.callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"zhangsan"}"#);
    tokio::select! {
        answer = service.send(&callback) => panic!("answered {}", answer.status),
        _ = decide.wait_for(1) => {}
    }
    // The connection is closed by now, and its copy still finds the first one running.
    service.send(&callback).await.refused(409);
    gate.send_replace(true);
    eventually("the event is stored", async || (service.events().len() == 1).then_some(())).await;
    assert_eq!(id_in(&simulator, &service.send(&callback).await), "7");
    assert_eq!(decide.count(), 1);
}

/// A handler that makes an id up each time would re-bind the account; the directory does not let it.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_changes_its_mind_changes_no_id() {
    let calls = AtomicUsize::new(0);
    let service = Service::start_with(&own("decide", ""), |app| {
        app.with_handler(
            "decide",
            Deciding(move |_: &Document| id(&calls.fetch_add(1, Ordering::SeqCst).to_string())),
        )
    })
    .await;
    let tasks: JoinSet<_> = (0..50)
        .map(|_| {
            let callback =
                service.callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"zhangsan"}"#);
            let (client, url) = (service.client(), service.url("default"));
            let simulator = service.simulator("default", Dialect::Eiam);
            async move {
                let answer = post(&client, &url, &simulator, &callback).await.unwrap();
                (answer.status == 200).then(|| id_in(&simulator, &answer)).ok_or(answer.status)
            }
        })
        .collect();
    let answers: Vec<_> = tasks.join_all().await;
    let ids: BTreeSet<&String> = answers.iter().flatten().collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|it| it.is_ok() || *it == Err(500)), "{answers:?}");
    let accepted = answers.iter().flatten().count();
    assert_eq!((service.events().len(), service.records(RecordKind::User).len()), (accepted, 1));
    let data: Vec<Value> = service.events().iter().map(|it| json!(it.event.subject)).collect();
    assert!(data.iter().all(|it| *it == json!(ids.first().unwrap())));
}
