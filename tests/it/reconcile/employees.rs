//! EIAM: only what the application knows, by username and code. Shows nobody whom it may not see.

use bamboohook::event::Dialect;
use serde_json::json;

use crate::reconcile::World;
use crate::reconcile::organization;
use crate::reconcile::pairs;
use crate::reconcile::user;
use crate::reconcile::with;

#[tokio::test(flavor = "multi_thread")]
async fn known_records_are_brought_level_and_hidden_people_stay_hidden() {
    let world = World::start(Dialect::Eiam, "max_delete_share = 1.0").await;
    let zhang = r#"{"username":"ZhangSan","name":"Zhang","mobile":18900000001,"title":"Dr"}"#;
    let zhang = world.deliver(Dialect::Eiam, "CREATE_USER", zhang).await;
    let li = world.deliver(Dialect::Eiam, "CREATE_USER", r#"{"username":"li","name":"Li"}"#).await;
    let it = r#"{"code":"code-it","name":"IT","parentId":"x"}"#;
    let it = world.deliver(Dialect::Eiam, "CREATE_ORGANIZATION", it).await;
    world.fake.put_user(with(user("f1", "zhangsan", "18900000001"), "name", "Zhang"));
    world.fake.put_user(with(user("f2", "LI", "18900000002"), "name", "Li"));
    world.fake.put_user(user("f3", "hidden", "18900000003"));
    world.fake.put_organization(organization("o1", None, "IT"));
    world.fake.put_organization(with(organization("o2", Some("o1"), "IT"), "org_code", "code-it"));
    assert_eq!(world.news().await, []);

    let changed = with(user("f1", "zhangsan", "18900000009"), "name", "Zhang San");
    world.fake.put_user(changed.clone());
    world.fake.put_user(with(with(user("f2", "li", "2"), "name", "Li"), "disabled", true));
    let renamed = organization("o2", Some("o1"), "Information technology");
    world.fake.put_organization(with(renamed, "org_code", "code-it"));
    let mut expected = pairs(&[
        ("RECONCILE_ORGANIZATION_UPDATED", &it),
        ("RECONCILE_USER_UPDATED", &zhang),
        ("RECONCILE_USER_UPDATED", &li),
    ]);
    expected.sort();
    assert_eq!(world.news().await, expected);
    let row = world.user(&zhang);
    assert_eq!(row.name.as_deref(), Some("ZhangSan"));
    // What the tenant does not map, such as the mail address, does not appear.
    let attributes = json!({"username": "ZhangSan", "name": "Zhang San", "mobile": "18900000009", "title": "Dr"});
    assert_eq!(row.attributes, attributes);
    assert!(world.user(&li).disabled && world.user(&li).attributes.get("mobile").is_none());
    assert_eq!(world.organizations()[0].attributes["name"], "Information technology");
    let events = world.process.events();
    let event = events.iter().find(|event| {
        event.event.subject.as_deref() == Some(&zhang) && event.event.event.starts_with("RECONCILE")
    });
    assert_eq!(event.unwrap().event.message.as_json().unwrap().get(), changed.to_string());
    assert_eq!(world.news().await, []);

    world.fake.remove_user("f1");
    world.fake.remove_organization("o2");
    let mut expected =
        pairs(&[("RECONCILE_ORGANIZATION_DELETED", &it), ("RECONCILE_USER_DELETED", &zhang)]);
    expected.sort();
    assert_eq!(world.news().await, expected);
    let message = world.message("RECONCILE_USER_DELETED");
    assert_eq!(message, json!({ "id": zhang, "username": "ZhangSan" }));
    let message = world.message("RECONCILE_ORGANIZATION_DELETED");
    assert_eq!(message, json!({ "id": it, "code": "code-it" }));
    assert_eq!(world.news().await, []);
    assert_eq!(world.users().len(), 2);
    // Who is deleted is known no more.
    world.fake.put_user(user("f1", "zhangsan", "1"));
    assert_eq!(world.news().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_event_counts_for_as_long_as_idaas_agrees() {
    let world = World::start(Dialect::Eiam, "").await;
    let create = r#"{"username":"li","name":"Li","disabled":false}"#;
    let id = world.deliver(Dialect::Eiam, "CREATE_USER", create).await;
    world.fake.put_user(with(user("f1", "li", "1"), "name", "Li Si"));
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_UPDATED", &id)]));
    let update = json!({ "id": id, "name": "Li Wu", "disabled": true }).to_string();
    world.deliver(Dialect::Eiam, "UPDATE_USER", &update).await;
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_UPDATED", &id)]));
    let row = world.user(&id);
    assert_eq!((&row.attributes["name"], row.disabled), (&json!("Li Si"), false));
    assert_eq!(row.attributes["disabled"], false);
    assert_eq!(world.news().await, []);
}
