//! Which record an event means: names, ids, renames, deletions. What becomes of its attributes is in `merging`.

use bamboohook::event::Dialect;
use bamboohook::event::RecordKind;
use serde_json::json;
use uuid::Uuid;

use crate::support::service::Service;
use crate::support::service::endpoint;
use crate::support::store::rows;

fn user(username: &str) -> String {
    json!({ "username": username }).to_string()
}

fn renamed(id: &str, username: &str) -> String {
    json!({ "id": id, "username": username }).to_string()
}

async fn deleted(service: &Service, id: &str) {
    service.deliver(Dialect::Eiam, "DELETE_USER", &json!({ "id": id }).to_string()).await;
}

#[tokio::test]
async fn a_created_user_is_found_again_by_name_whatever_its_case() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", &user("zhangsan")).await;
    id.parse::<Uuid>().unwrap();
    for name in ["zhangsan", "ZhangSan", "ZHANGSAN"] {
        assert_eq!(service.id_of("CREATE_USER", &user(name)).await, id, "{name}");
    }
    // Case is more than ASCII.
    let accented = service.id_of("CREATE_USER", &user("Élodie")).await;
    assert_eq!(service.id_of("CREATE_USER", &user("éLODIE")).await, accented);
    assert_ne!(accented, id);
    let record = service.user(&id);
    assert_eq!(record.name.as_deref(), Some("ZHANGSAN"), "as last received");
    assert_eq!(service.records(RecordKind::User).len(), 2);
}

#[tokio::test]
async fn a_created_organization_is_found_again_by_its_exact_code() {
    let service = Service::start("").await;
    let organization = async |code: &str| {
        service.id_of("CREATE_ORGANIZATION", &json!({ "code": code }).to_string()).await
    };
    let id = organization("rd").await;
    assert_eq!(organization("rd").await, id);
    assert_ne!(organization("RD").await, id);
    // A number names what its digits name.
    let number = service.id_of("CREATE_ORGANIZATION", r#"{"code":1000003}"#).await;
    assert_eq!(organization("1000003").await, number);
    // Users and organisations do not share names.
    assert_ne!(service.id_of("CREATE_USER", &user("rd")).await, id);
    assert_eq!(service.records(RecordKind::Organization).len(), 3);
}

#[tokio::test]
async fn ids_outlast_a_restart() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", &user("zhangsan")).await;
    let directory = service.stop().await;
    let service = Service::start_in(directory, "", |app| app).await;
    assert_eq!(service.id_of("CREATE_USER", &user("zhangsan")).await, id);
}

#[tokio::test]
async fn the_same_names_at_two_endpoints_are_two_records() {
    let service = Service::start(&endpoint("shop")).await;
    let here = service.id_of("CREATE_USER", &user("zhangsan")).await;
    let there = service.id_at("shop", "CREATE_USER", &user("zhangsan")).await;
    assert_ne!(here, there);
    deleted(&service, &there).await;
    assert_eq!(service.id_at("shop", "CREATE_USER", &user("zhangsan")).await, there);
    // An id of one endpoint is unknown at the other, where it makes a record of its own.
    let update = renamed(&here, "lisi");
    assert_eq!(service.id_at("shop", "UPDATE_USER", &update).await, here);
    let names: Vec<_> = service
        .records(RecordKind::User)
        .into_iter()
        .filter(|it| it.id == here)
        .map(|it| (it.endpoint, it.name.unwrap()))
        .collect();
    let at = |endpoint: &str, name: &str| (endpoint.to_owned(), name.to_owned());
    assert_eq!(names, [at("default", "zhangsan"), at("shop", "lisi")]);
}

#[tokio::test]
async fn a_rename_moves_the_name() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", &user("zhangsan")).await;
    assert_eq!(service.id_of("UPDATE_USER", &renamed(&id, "zhang.san")).await, id);
    assert_eq!(service.id_of("CREATE_USER", &user("Zhang.San")).await, id);
    let other = service.id_of("CREATE_USER", &user("zhangsan")).await;
    assert_ne!(other, id, "the old name is free for someone else");
    assert_eq!(service.id_of("CREATE_USER", &user("zhangsan")).await, other);
    // Only its case: the name is the record's own.
    assert_eq!(service.id_of("UPDATE_USER", &renamed(&id, "ZHANG.SAN")).await, id);
}

#[tokio::test]
async fn two_people_exchange_their_names_by_way_of_a_third() {
    let service = Service::start("").await;
    let one = service.id_of("CREATE_USER", &user("one")).await;
    let two = service.id_of("CREATE_USER", &user("two")).await;
    for (id, name) in [(&one, "spare"), (&two, "one"), (&one, "two")] {
        assert_eq!(service.id_of("UPDATE_USER", &renamed(id, name)).await, *id);
    }
    assert_eq!(service.id_of("CREATE_USER", &user("one")).await, two);
    assert_eq!(service.id_of("CREATE_USER", &user("two")).await, one);
}

#[tokio::test]
async fn after_a_deletion_the_name_gets_a_new_id() {
    let service = Service::start("").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = service.id_of("CREATE_USER", &user("zhangsan")).await;
        assert!(!ids.contains(&id), "never the id of another record");
        deleted(&service, &id).await;
        ids.push(id);
    }
    let records = service.records(RecordKind::User);
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|it| it.deleted && it.name.as_deref() == Some("zhangsan")));
}

#[tokio::test]
async fn an_update_of_a_deleted_record_does_not_bring_it_back() {
    let service = Service::start("").await;
    let first = service.id_of("CREATE_USER", &user("zhangsan")).await;
    deleted(&service, &first).await;
    let late = json!({ "id": first, "username": "zhangsan", "mobile": "1", "disabled": true });
    assert_eq!(service.id_of("UPDATE_USER", &late.to_string()).await, first);
    let record = service.user(&first);
    assert!(record.deleted && record.disabled, "it takes note all the same");
    let second = service.id_of("CREATE_USER", &user("zhangsan")).await;
    assert_ne!(second, first);
    // Also where the name belongs to someone else by now, who keeps it.
    assert_eq!(service.id_of("UPDATE_USER", &late.to_string()).await, first);
    assert_eq!(service.id_of("CREATE_USER", &user("zhangsan")).await, second);
    assert!(service.user(&first).deleted && !service.user(&second).deleted);
}

#[tokio::test]
async fn an_update_of_an_unknown_id_makes_the_record_under_this_id() {
    let service = Service::start("").await;
    let update = r#"{"id":"known elsewhere/7","username":"zhangsan","name":"张三"}"#;
    assert_eq!(service.id_of("UPDATE_USER", update).await, "known elsewhere/7");
    assert_eq!(service.id_of("CREATE_USER", &user("zhangsan")).await, "known elsewhere/7");
    assert_eq!(service.id_of("UPDATE_ORGANIZATION", r#"{"id":7}"#).await, "7");
    let organization = service.record(RecordKind::Organization, "7");
    assert_eq!((organization.name, organization.deleted), (None, false));
    assert_eq!(service.id_of("UPDATE_ORGANIZATION", r#"{"id":7,"code":"rd"}"#).await, "7");
    assert_eq!(service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd"}"#).await, "7");
}

#[tokio::test]
async fn an_update_without_an_id_goes_by_the_name() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", &user("zhangsan")).await;
    let update = r#"{"username":"ZHANGSAN","name":"张三","id":null}"#;
    assert_eq!(service.id_of("UPDATE_USER", update).await, id);
    assert!(service.user(&id).attributes.contains("张三"));
    // An unknown name makes the record, which a CREATE then finds.
    let other = service.id_of("UPDATE_USER", &user("lisi")).await;
    assert_ne!(other, id);
    assert_eq!(service.id_of("CREATE_USER", &user("lisi")).await, other);
}

#[tokio::test]
async fn an_update_that_names_nobody_is_refused_and_leaves_no_trace() {
    let service = Service::start("").await;
    let before = rows(&service.store());
    for (event, attribute, message) in [
        ("UPDATE_USER", "username", r#"{"name":"张三"}"#),
        ("UPDATE_USER", "username", r#"{"id":"","username":" "}"#),
        ("UPDATE_USER", "username", r#"{"id":true,"username":["zhangsan"]}"#),
        ("UPDATE_USER", "username", "no JSON"),
        ("UPDATE_ORGANIZATION", "code", r#"{"username":"zhangsan"}"#),
    ] {
        let said = service.refused(event, message, 400).await;
        assert!(said.contains("id") && said.contains(attribute), "{said}");
    }
    assert_eq!(rows(&service.store()), before);
}

#[tokio::test]
async fn an_id_or_a_name_of_more_than_1000_bytes_is_refused_and_leaves_no_trace() {
    let service = Service::start("").await;
    let (longest, long) = ("a".repeat(1000), "a".repeat(1001));
    assert_eq!(service.id_of("UPDATE_USER", &renamed(&longest, &longest)).await, longest);
    let before = rows(&service.store());
    for (event, message) in [
        ("CREATE_USER", user(&long)),
        ("UPDATE_USER", renamed("7", &long)),
        ("UPDATE_USER", renamed(&long, "zhangsan")),
        ("DELETE_USER", json!({ "id": long }).to_string()),
        ("CREATE_ORGANIZATION", json!({ "code": "张".repeat(334) }).to_string()),
    ] {
        let said = service.refused(event, &message, 400).await;
        assert_eq!(said, "the id or the name is longer than 1000 bytes", "{event}");
    }
    assert_eq!(rows(&service.store()), before);
}

#[tokio::test]
async fn a_taken_name_is_refused_and_the_same_request_accepted_once_it_is_free() {
    let service = Service::start("").await;
    let holder = service.id_of("CREATE_USER", &user("zhangsan")).await;
    let other = service.id_of("CREATE_USER", &user("lisi")).await;
    let before = rows(&service.store());
    let update = json!({ "id": other, "username": "ZhangSan", "name": "new" }).to_string();
    let rename = service.callback(Dialect::Eiam, "UPDATE_USER", &update);
    for _ in 0..2 {
        let said = service.send(&rename).await.refused(400);
        assert_eq!(said, "the name belongs to another record");
    }
    // Nor can an id that nobody has take it.
    service.refused("UPDATE_USER", &renamed("unknown", "zhangsan"), 400).await;
    assert_eq!(rows(&service.store()), before);
    deleted(&service, &holder).await;
    assert_eq!(service.send(&rename).await.status, 200);
    assert_eq!(service.id_of("CREATE_USER", &user("zhangsan")).await, other);
}

#[tokio::test]
async fn a_create_that_names_nobody_gets_a_fresh_id_each_time() {
    let service = Service::start("").await;
    let mut ids = Vec::new();
    for (event, message) in [
        ("CREATE_USER", "{}"),
        ("CREATE_USER", "{}"),
        ("CREATE_USER", r#"{"name":"张三"}"#),
        ("CREATE_USER", r#"{"username":null}"#),
        ("CREATE_USER", r#"{"username":"  "}"#),
        ("CREATE_USER", "no JSON"),
        ("CREATE_USER", "no JSON"),
        ("CREATE_USER", r#"["zhangsan"]"#),
        ("CREATE_ORGANIZATION", r#"{"username":"zhangsan"}"#),
        // No event of the vendor's, but by its name an answer owes it an id.
        ("CREATE_GROUP", r#"{"code":"rd"}"#),
        ("CREATE_GROUP", r#"{"code":"rd"}"#),
    ] {
        let id = service.id_of(event, message).await;
        assert!(!ids.contains(&id), "{event} {message}");
        ids.push(id);
    }
    assert_eq!(service.records(RecordKind::User).len(), 8);
    assert_eq!(service.events()[9].event.subject.as_ref(), Some(&ids[9]));
    // Such a record is found by its id.
    assert_eq!(service.id_of("UPDATE_USER", &renamed(&ids[0], "zhangsan")).await, ids[0]);
    assert_eq!(service.id_of("CREATE_USER", &user("zhangsan")).await, ids[0]);
}

#[tokio::test]
async fn an_id_that_a_create_carries_is_not_believed() {
    let service = Service::start("").await;
    let first = service.id_of("CREATE_USER", &user("zhangsan")).await;
    let claimed = service.id_of("CREATE_USER", &renamed(&first, "lisi")).await;
    assert_ne!(claimed, first, "it would take another's record over");
    assert_eq!(service.user(&first).name.as_deref(), Some("zhangsan"));
}

#[tokio::test]
async fn a_deletion_of_something_unknown_is_accepted_and_makes_nothing() {
    let service = Service::start("").await;
    service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"id":"nobody"}"#).await;
    service.deliver(Dialect::Eiam, "DELETE_USER", r#"{"username":"nobody"}"#).await;
    service.deliver(Dialect::Eiam, "DELETE_ORGANIZATION", "no JSON").await;
    assert_eq!(service.events().len(), 3);
    assert_eq!(service.events()[0].event.subject.as_deref(), Some("nobody"));
    assert!(service.records(RecordKind::User).is_empty());
    assert!(service.records(RecordKind::Organization).is_empty());
}

#[tokio::test]
async fn a_deletion_may_go_by_the_name_and_come_twice() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", &user("zhangsan")).await;
    service.deliver(Dialect::Eiam, "DELETE_USER", &user("ZhangSan")).await;
    assert!(service.user(&id).deleted);
    assert_eq!(service.events()[1].event.subject.as_deref(), Some(&*id));
    deleted(&service, &id).await;
    assert!(service.user(&id).deleted);
    // Deleted records have no name, so this means nobody.
    service.deliver(Dialect::Eiam, "DELETE_USER", &user("zhangsan")).await;
    assert_eq!(service.events()[3].event.subject, None);
}

#[tokio::test]
async fn customers_are_kept_by_the_id_that_idaas_gives_them() {
    let service = Service::start("").await;
    let id = "20200223170310946-34EE-3403BF88A";
    for (event, disabled, deleted) in [
        ("USER_CREATE", false, false),
        ("USER_DISABLE", true, false),
        ("USER_LOGIN", true, false),
        ("USER_ENABLE", false, false),
        ("USER_DISABLE", true, false),
        ("USER_DELETE", true, true),
        ("USER_UPDATE", true, true),
    ] {
        service.deliver(Dialect::Ciam, event, id).await;
        let record = service.user(id);
        assert_eq!((record.disabled, record.deleted), (disabled, deleted), "{event}");
        assert_eq!((record.name, &*record.attributes), (None, "{}"), "{event}");
    }
    service.deliver(Dialect::Ciam, "USER_DELETE", "nobody").await;
    service.deliver(Dialect::Ciam, "USER_NEW_THING", "someone").await;
    assert_eq!(service.records(RecordKind::User).len(), 1, "only what is known makes a record");
    service.deliver(Dialect::Ciam, "USER_LOGIN", "first seen at a login").await;
    assert_eq!(service.records(RecordKind::User).len(), 2);
}
