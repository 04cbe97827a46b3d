//! The details of users on their way from IDaaS to handlers and into the directory. The client's own faults are tested in `idaas`.

use std::collections::HashSet;

use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::app::ENDPOINT;
use crate::support::app::TestApp;
use crate::support::app::users;
use crate::support::fake_idaas::CLIENT_ID;
use crate::support::fake_idaas::CLIENT_SECRET;
use crate::support::fake_idaas::FakeIdaas;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;
use crate::support::wait::eventually;

async fn start(fake: &FakeIdaas, settings: &[(&str, &str)]) -> TestApp {
    let tables = format!(
        "{ENDPOINT}[idaas]\nbase_url = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n",
        fake.url()
    );
    TestApp::start_with(&tables, settings).await
}

fn user(id: &str) -> Value {
    json!({
        "user_id": id, "user_name": format!("name-of-{id}"), "name": "张三", "disabled": "false",
        "mobile": "18998765432", "password": "kept-nowhere", "updated_at": "2026-07-09 20:00:00",
    })
}

async fn documents(app: &mut TestApp, count: usize) -> Vec<Value> {
    let mut documents = Vec::new();
    while documents.len() < count {
        documents.push(serde_json::from_str(&app.document().await).unwrap());
    }
    documents
}

async fn deliver_all(app: &TestApp, event: &str, ids: impl Iterator<Item = String>) {
    let callbacks: Vec<_> = ids.map(|id| app.request(app.callback(event, &id).body())).collect();
    let address = app.address;
    let mut deliveries: JoinSet<u16> = callbacks
        .into_iter()
        .map(|request| async move {
            let mut wire = crate::support::wire::Wire::connect(address).await;
            wire.send(request).await;
            wire.answer().await.status
        })
        .collect();
    while let Some(status) = deliveries.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_events_of_as_many_users_cost_one_token_and_as_many_look_ups() {
    let fake = FakeIdaas::start().await;
    let ids: Vec<String> = (0..200).map(|number| format!("user-{number}")).collect();
    for id in &ids {
        fake.put_user(user(id));
    }
    let mut app = start(&fake, &[]).await;
    deliver_all(&app, "USER_UPDATE", ids.iter().cloned()).await;
    let documents = documents(&mut app, 200).await;
    for document in &documents {
        assert_eq!(document["data"]["user"], user(document["subject"].as_str().unwrap()));
    }
    let told: HashSet<&str> = documents.iter().map(|it| it["subject"].as_str().unwrap()).collect();
    assert_eq!(told.len(), 200);
    assert_eq!((fake.count(Operation::Token), fake.count(Operation::User)), (1, 200));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_events_of_one_user_at_once_cost_far_fewer_look_ups() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("7"));
    let mut app = start(&fake, &[]).await;
    deliver_all(&app, "USER_LOGIN", (0..200).map(|_| "7".to_owned())).await;
    for document in documents(&mut app, 200).await {
        assert_eq!(document["data"]["user"], user("7"));
    }
    let look_ups = fake.count(Operation::User);
    assert!(look_ups < 50, "{look_ups} look-ups");
    app.stop().await;
}

#[tokio::test]
async fn who_is_gone_is_null_and_whoever_was_deleted_is_not_asked_about() {
    let fake = FakeIdaas::start().await;
    let mut app = start(&fake, &[]).await;
    app.deliver(&app.callback("USER_UPDATE", "gone")).await.accepted();
    app.deliver(&app.callback("USER_DELETE", "7")).await.accepted();
    for document in documents(&mut app, 2).await {
        assert!(document["data"].as_object().unwrap().contains_key("user"));
        assert_eq!(document["data"]["user"], Value::Null);
    }
    assert_eq!(fake.count(Operation::User), 1);
    app.stop().await;
}

#[tokio::test]
async fn employees_are_looked_up_by_name_and_only_where_the_handler_says_so() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("idaas-7"));
    for (by, asked) in [("id", 0), ("username", 1)] {
        let mut app = start(&fake, &[("handlers.test.details_by", by)]).await;
        let before = fake.count(Operation::UserByName);
        for (event, message) in [
            ("CREATE_USER", r#"{"username":"name-of-idaas-7","mobile":"1"}"#),
            ("CREATE_ORGANIZATION", r#"{"code":"c","username":"name-of-idaas-7"}"#),
            ("DELETE_USER", r#"{"id":"app-9"}"#),
        ] {
            app.deliver(&app.callback(event, message)).await.accepted();
        }
        for document in documents(&mut app, 3).await {
            let details = document["data"].get("user");
            let named = document["data"]["event"] == "CREATE_USER" && by == "username";
            assert_eq!(details.cloned(), named.then(|| user("idaas-7")), "{by} {document}");
        }
        assert_eq!(fake.count(Operation::UserByName) - before, asked);
        assert!(users(&app.store()).iter().any(|it| it.attributes.contains("\"mobile\":\"1\"")));
        app.stop().await;
    }
}

#[tokio::test]
async fn without_details_nobody_is_asked() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("7"));
    let mut app = start(&fake, &[("handlers.test.details", "false")]).await;
    app.deliver(&app.callback("USER_LOGIN", "7")).await.accepted();
    assert!(documents(&mut app, 1).await[0]["data"].get("user").is_none());
    assert!(fake.lines().is_empty());
    app.stop().await;
}

#[tokio::test]
async fn a_look_up_that_fails_delays_the_delivery_and_is_made_once_for_all_handlers_and_attempts() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("7"));
    fake.spoil(Operation::User, 2, &Fault::Answer(500, None, "{}".to_owned()));
    let mut app =
        start(&fake, &[("handlers.audit.type", "log"), ("handlers.audit.details", "false")]).await;
    app.deliver(&app.callback("USER_LOGIN", "7")).await.accepted();
    for attempt in 1..=2 {
        let error = eventually("a failed look-up", async || {
            let deliveries = app.events().remove(0).deliveries;
            let failed = deliveries.into_iter().find(|it| it.handler == "test").unwrap();
            failed
                .last_error
                .filter(|_| failed.attempts == attempt && failed.next_attempt_at.is_some())
        })
        .await;
        assert!(error.starts_with("IDaaS look-up: "), "{error}");
        app.clock.move_by(60_000);
    }
    let document = documents(&mut app, 1).await.remove(0);
    assert_eq!(document["data"]["user"], user("7"));
    assert_eq!(document["data"]["attempt"], 3);
    assert_eq!(fake.count(Operation::User), 3);
    app.stop().await;
}

#[tokio::test]
async fn details_survive_a_restart_with_their_event() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("7"));
    // The first handler fails for good, the second asks nobody again.
    let settings = [
        ("handlers.sink.type", "http"),
        ("handlers.sink.url", "http://127.0.0.1:9/closed"),
        ("handlers.test.events", "NOTHING"),
    ];
    let app = start(&fake, &settings).await;
    app.deliver(&app.callback("USER_LOGIN", "7")).await.accepted();
    let tried = async |attempts| {
        eventually("an attempt", async || {
            let delivery = app.events().remove(0).deliveries.remove(0);
            (delivery.attempts >= attempts && delivery.last_error.is_some()).then_some(())
        })
        .await;
    };
    tried(1).await;
    assert_eq!(fake.count(Operation::User), 1);
    let app = app.restart().await;
    app.clock.move_by(3_600_000);
    eventually("a second attempt", async || {
        (app.events().remove(0).deliveries.remove(0).attempts >= 2).then_some(())
    })
    .await;
    assert_eq!(fake.count(Operation::User), 1, "what was kept is not asked again");
    app.stop().await;
}

#[tokio::test]
async fn the_directory_learns_of_customers_and_never_goes_back_in_time() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("7"));
    let mut app = start(&fake, &[]).await;
    let mut learn = async |details: Value| {
        fake.put_user(details);
        app.clock.move_by(10_000);
        app.deliver(&app.callback("USER_UPDATE", "7")).await.accepted();
        documents(&mut app, 1).await;
        users(&app.store()).remove(0)
    };
    let record = learn(user("7")).await;
    assert_eq!((record.name.as_deref(), record.disabled), (Some("name-of-7"), false));
    let attributes: Value = serde_json::from_str(&record.attributes).unwrap();
    assert_eq!(attributes["mobile"], "18998765432");
    assert!(attributes.get("password").is_none());

    let mut newer = user("7");
    newer["user_name"] = json!("renamed");
    newer["disabled"] = json!(true);
    newer["updated_at"] = json!("2026-07-09 21:00:00");
    let record = learn(newer).await;
    assert_eq!((record.name.as_deref(), record.disabled), (Some("renamed"), true));

    let record = learn(user("7")).await;
    assert_eq!((record.name.as_deref(), record.disabled), (Some("renamed"), true));
    app.stop().await;
}

#[tokio::test]
async fn an_inline_handler_gets_the_details_too() {
    let fake = FakeIdaas::start().await;
    fake.put_user(user("7"));
    let mut app = start(&fake, &[("handlers.test.mode", "inline")]).await;
    app.deliver(&app.callback("USER_LOGIN", "7")).await.accepted();
    assert_eq!(documents(&mut app, 1).await[0]["data"]["user"], user("7"));
    fake.spoil(Operation::User, 1, &Fault::Answer(500, None, "{}".to_owned()));
    app.clock.move_by(10_000);
    let callback = app.callback("USER_LOGIN", "7");
    app.deliver(&callback).await.refused(500);
    assert_eq!(app.events().len(), 1);
    app.deliver(&callback).await.accepted();
    app.stop().await;
}
