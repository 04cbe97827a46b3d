//! CIAM: the directory becomes what IDaaS lists, and handlers learn of it. Breaks nothing on the way.

use bamboohook::event::Dialect;
use serde_json::Value;
use serde_json::json;

use crate::reconcile::World;
use crate::reconcile::organization;
use crate::reconcile::pairs;
use crate::reconcile::user;
use crate::reconcile::with;
use crate::support::sink::Received;
use crate::support::sink::Sink;

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_reaches_the_directory_and_the_handlers_once() {
    let sink = Sink::start().await;
    let handler = format!("[handlers.sink]\ntype = \"http\"\nurl = \"{}\"\n", sink.url());
    let world = World::start_with(Dialect::Ciam, "max_delete_share = 0.5", &handler).await;
    for (id, name) in [("u1", "ann"), ("u2", "bob"), ("u3", "cem")] {
        world.fake.put_user(user(id, name, "18900000001"));
    }
    world.fake.put_organization(organization("hq", None, "Head office"));
    world.fake.put_organization(organization("it", Some("hq"), "IT"));
    let created = pairs(&[
        ("RECONCILE_ORGANIZATION_CREATED", "hq"),
        ("RECONCILE_ORGANIZATION_CREATED", "it"),
        ("RECONCILE_USER_CREATED", "u1"),
        ("RECONCILE_USER_CREATED", "u2"),
        ("RECONCILE_USER_CREATED", "u3"),
    ]);
    assert_eq!(world.news().await, created);
    assert_eq!(world.message("RECONCILE_USER_CREATED")["user_id"].as_str().map(str::len), Some(2));
    let bob = world.user("u2");
    assert_eq!((bob.name.as_deref(), bob.disabled, bob.deleted), (Some("bob"), false, false));
    assert_eq!(bob.attributes, user("u2", "bob", "18900000001"));
    assert_eq!(world.organizations()[1].name.as_deref(), Some("code-it"));
    let documents = sink.wait_for(5).await;
    let document = documents.iter().map(Received::json).find(|it| it["subject"] == "u2").unwrap();
    assert_eq!(document["type"], "com.bamboocloud.idaas.RECONCILE_USER_CREATED");
    assert_eq!(document["data"]["message"], user("u2", "bob", "18900000001"));
    assert_eq!(world.news().await, []);

    world.fake.put_user(with(user("u1", "ann", "18900000001"), "disabled", "TRUE"));
    world.fake.put_user(with(
        user("u2", "robert", "18900000001"),
        "extension",
        json!({"grade": 8}),
    ));
    world.fake.remove_user("u3");
    world.fake.put_user(user("u4", "dora", "18900000004"));
    world.fake.put_organization(organization("it", Some("hq"), "Information technology"));
    let changed = pairs(&[
        ("RECONCILE_ORGANIZATION_UPDATED", "it"),
        ("RECONCILE_USER_CREATED", "u4"),
        ("RECONCILE_USER_DELETED", "u3"),
        ("RECONCILE_USER_UPDATED", "u1"),
        ("RECONCILE_USER_UPDATED", "u2"),
    ]);
    assert_eq!(world.news().await, changed);
    assert_eq!(world.message("RECONCILE_USER_DELETED"), json!({ "id": "u3", "username": "cem" }));
    assert!(world.user("u1").disabled && world.user("u3").deleted);
    assert_eq!(world.user("u2").name.as_deref(), Some("robert"));
    assert_eq!(world.organizations()[1].attributes["name"], "Information technology");
    assert_eq!(world.news().await, []);

    world.fake.put_user(user("u3", "cem", "18900000001"));
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_CREATED", "u3")]));
    assert!(!world.user("u3").deleted);
    assert_eq!(world.news().await, []);
    sink.wait_for(11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_events_have_made_is_completed_and_what_they_deleted_stays_so() {
    let world = World::start(Dialect::Ciam, "").await;
    world.fake.put_user(user("u1", "ann", "18900000001"));
    world.deliver(Dialect::Ciam, "USER_CREATE", "u1").await;
    world.deliver(Dialect::Ciam, "USER_CREATE", "u2").await;
    world.deliver(Dialect::Ciam, "USER_DELETE", "u2").await;
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_UPDATED", "u1")]));
    assert_eq!(world.user("u1").name.as_deref(), Some("ann"));
    assert!(world.user("u2").deleted);
    assert_eq!(world.news().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_may_change_hands() {
    let world = World::start(Dialect::Ciam, "max_delete_share = 1.0").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.fake.put_user(user("u2", "bob", "2"));
    world.fake.put_user(user("u3", "cem", "3"));
    world.news().await;
    world.fake.put_user(user("u1", "bob", "1"));
    world.fake.put_user(user("u2", "ann", "2"));
    world.fake.remove_user("u3");
    world.fake.put_user(user("u4", "CEM", "4"));
    assert_eq!(world.news().await.len(), 4);
    let names: Vec<_> = world.users().into_iter().filter(|it| !it.deleted).collect();
    let names: Vec<_> = names.iter().map(|it| it.name.as_deref()).collect();
    assert_eq!(names, [Some("bob"), Some("ann"), Some("CEM")]);
    assert_eq!(world.news().await, []);
    // IDaaS forbids it; should it happen all the same, it must not be news for ever.
    world.fake.put_user(user("u5", "bob", "5"));
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_CREATED", "u5")]));
    assert_eq!(world.news().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_idaas_said_earlier_overwrites_nothing() {
    let world = World::start(Dialect::Ciam, "").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.news().await;
    let older = with(user("u1", "ann", "2"), "updated_at", "2026-07-09 23:21:52");
    world.fake.put_user(older);
    assert_eq!(world.news().await, []);
    assert_eq!(world.user("u1").attributes["mobile"], "1");
    // A new time alone says nothing, nor does another way to write the same.
    let same = with(user("u1", "ann", "1"), "updated_at", "2026-07-09 23:21:54");
    world.fake.put_user(with(with(same, "locked", false), "disabled", "False"));
    assert_eq!(world.news().await, []);
    world.fake.put_user(with(user("u1", "ann", "3"), "updated_at", "2026-07-09 23:21:55"));
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_UPDATED", "u1")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_differences_and_changes_nothing() {
    let world = World::start(Dialect::Ciam, "max_delete_share = 1.0").await;
    world.fake.put_user(user("u1", "ann", "18900000001"));
    world.fake.put_user(user("u2", "bob", "18900000002"));
    world.news().await;
    world.fake.put_user(user("u1", "ann", "18900000003"));
    world.fake.remove_user("u2");
    world.fake.put_user(user("u3", "cem", "18900000004"));
    let before = (world.told(), world.users());
    let text = world.reconcile(&["--dry-run"]).await;
    assert_eq!((world.told(), world.users()), before);
    let lines: Vec<Vec<&str>> = text.lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["~", "user", "default", "u1", "ann"]);
    assert_eq!(lines[1], ["+", "user", "default", "u3", "cem"]);
    assert_eq!(lines[2], ["-", "user", "default", "u2", "bob"]);
    assert_eq!(text.lines().nth(3), Some("organizations: 0 created, 0 updated, 0 deleted"));
    assert_eq!(text.lines().nth(4), Some("users: 1 created, 1 updated, 1 deleted"));
    assert!(!text.contains("189") && !text.contains("Name of"));
    let text = world.reconcile(&["--dry-run", "--json"]).await;
    let lines: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(
        lines[0],
        json!({"change": "updated", "kind": "user", "endpoint": "default", "id": "u1", "name": "ann"})
    );
    let counts = json!({"created": 1, "updated": 1, "deleted": 1});
    let none = json!({"created": 0, "updated": 0, "deleted": 0});
    assert_eq!(lines[3], json!({"dry_run": true, "users": counts, "organizations": none}));
    let text = world.reconcile(&["--json"]).await;
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary, json!({"dry_run": false, "users": counts, "organizations": none}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_deletions_is_refused_and_nothing_else_is_done_either() {
    let world = World::start(Dialect::Ciam, "").await;
    for number in 0..20 {
        world.fake.put_user(user(&format!("u{number:02}"), &format!("name{number}"), "1"));
    }
    world.news().await;
    for number in 0..3 {
        world.fake.remove_user(&format!("u{number:02}"));
    }
    world.fake.put_user(user("u99", "new", "1"));
    world.fake.put_organization(organization("hq", None, "Head office"));
    let error = world.refused().await;
    assert!(error.contains("3 of 20 users") && error.contains("max_delete_share"), "{error}");
    let dry = world.try_reconcile(&["--dry-run"]).await;
    assert_eq!(dry.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&dry.stdout).contains("users: 1 created, 0 updated, 3 deleted")
    );
    // A tenth of them may go.
    world.fake.put_user(user("u00", "name0", "1"));
    assert_eq!(world.news().await.len(), 4);
    assert_eq!(world.news().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_keeps_only_what_its_settings_permit() {
    let world = World::start_with(Dialect::Ciam, "", "[directory]\nexclude = [\"Mobile\"]\n").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.news().await;
    assert_eq!(world.user("u1").attributes.get("mobile"), None);
    world.fake.put_user(user("u1", "ann", "2"));
    assert_eq!(world.news().await, []);

    let world = World::start_with(Dialect::Ciam, "", "[directory]\nenabled = false\n").await;
    world.fake.put_user(with(user("u1", "ann", "1"), "disabled", true));
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_CREATED", "u1")]));
    assert_eq!(world.user("u1").attributes, json!({}));
    assert!(!world.user("u1").disabled);
    assert_eq!(world.news().await, []);
    world.fake.put_user(user("u1", "anna", "1"));
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_UPDATED", "u1")]));
}
