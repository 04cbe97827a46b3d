//! The directory as operators and applications read it: `directory users|organizations`, and the two SQL views.

use std::collections::BTreeSet;

use bamboohook::clock::Clock;
use bamboohook::event::Dialect;
use bamboohook::event::rfc3339;
use rusqlite::Connection;
use serde_json::json;

use crate::support::process::json_lines;
use crate::support::process::stdout;
use crate::support::service::Service;
use crate::support::service::endpoint;
use crate::support::store::query;

#[tokio::test]
async fn users_are_printed_with_exactly_the_promised_fields() {
    let service = Service::start("").await;
    let now = rfc3339(service.clock.now());
    let message =
        r#"{"username":"ZhangSan","name":"张三","disabled":"true","list":[1,{"a":null}]}"#;
    let id = service.id_of("CREATE_USER", message).await;
    let users = json_lines(&service.command(&["directory", "users", "--json"]).await);
    assert_eq!(
        users,
        [json!({
            "endpoint": "default",
            "id": id,
            "username": "ZhangSan",
            "disabled": true,
            "deleted": false,
            "attributes": { "username": "ZhangSan", "name": "张三", "disabled": "true", "list": [1, { "a": null }] },
            "updated_at": now,
        })]
    );
    service.deliver(Dialect::Ciam, "USER_LOGIN", "0").await;
    let users = json_lines(&service.command(&["directory", "users", "--json"]).await);
    assert_eq!((&users[0]["id"], &users[0]["username"]), (&json!("0"), &json!(null)));
    assert_eq!(users[0]["attributes"], json!({}));
}

#[tokio::test]
async fn organizations_are_printed_with_exactly_the_promised_fields() {
    let service = Service::start("").await;
    let now = rfc3339(service.clock.now());
    let parent = service.id_of("CREATE_ORGANIZATION", r#"{"code":"1"}"#).await;
    let message =
        json!({ "code": 1_000_003, "name": "研发 R&D", "parentId": parent, "leader": "x" });
    let id = service.id_of("CREATE_ORGANIZATION", &message.to_string()).await;
    let printed = json_lines(&service.command(&["directory", "organizations", "--json"]).await);
    let expected = json!({
        "endpoint": "default",
        "id": id,
        "code": "1000003",
        "name": "研发 R&D",
        "parent_id": parent,
        "disabled": false,
        "deleted": false,
        "attributes": message,
        "updated_at": now,
    });
    assert!(printed.contains(&expected), "{printed:?}");
    let root = printed.iter().find(|it| it["id"] == *parent).unwrap();
    assert_eq!((&root["name"], &root["parent_id"]), (&json!(null), &json!(null)));
}

#[tokio::test]
async fn attributes_are_printed_in_the_digits_that_they_came_in() {
    let service = Service::start("").await;
    let values = r#""big":123456789012345678901234567890,"huge":1e400,"money":1.50"#;
    let message = format!("{{\"username\":\"zhangsan\",\"organizationId\":7,{values}}}");
    service.id_of("CREATE_USER", &message).await;
    service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd","parentId":7,"huge":1e400}"#).await;
    let text = stdout(&service.command(&["directory", "users", "--json"]).await);
    assert!(text.contains(values), "{text}");
    let text = stdout(&service.command(&["directory", "organizations", "--json"]).await);
    assert!(text.contains("\"huge\":1e400") && text.contains("\"parent_id\":\"7\""), "{text}");
    let text = stdout(&service.command(&["directory", "users"]).await);
    assert_eq!(text.split_whitespace().last(), Some("7"), "{text}");
}

#[tokio::test]
async fn endpoints_and_deleted_records_are_chosen() {
    let service = Service::start(&endpoint("shop")).await;
    let live = service.id_of("CREATE_USER", r#"{"username":"live"}"#).await;
    let gone = service.id_of("CREATE_USER", r#"{"username":"gone"}"#).await;
    service.deliver(Dialect::Eiam, "DELETE_USER", &json!({ "id": gone }).to_string()).await;
    let other = service.id_at("shop", "CREATE_USER", r#"{"username":"live"}"#).await;
    let printed = async |arguments: &[&str]| -> BTreeSet<(String, bool)> {
        let arguments = [&["directory", "users", "--json"], arguments].concat();
        let lines = json_lines(&service.command(&arguments).await);
        let read = |it: &serde_json::Value| {
            (it["id"].as_str().unwrap().to_owned(), it["deleted"].as_bool().unwrap())
        };
        lines.iter().map(read).collect()
    };
    let (live, gone, other) = ((live, false), (gone, true), (other, false));
    assert_eq!(printed(&[]).await, BTreeSet::from([live.clone(), other.clone()]));
    assert_eq!(
        printed(&["--deleted"]).await,
        BTreeSet::from([live.clone(), gone.clone(), other.clone()])
    );
    assert_eq!(printed(&["--endpoint", "default"]).await, BTreeSet::from([live.clone()]));
    assert_eq!(
        printed(&["--endpoint", "default", "--deleted"]).await,
        BTreeSet::from([live, gone])
    );
    assert_eq!(printed(&["--endpoint", "shop"]).await, BTreeSet::from([other]));
    assert_eq!(printed(&["--endpoint", "sho"]).await, BTreeSet::new());
    let organizations = service.command(&["directory", "organizations"]).await;
    assert_eq!((organizations.status.code(), stdout(&organizations)), (Some(0), String::new()));
}

#[tokio::test]
async fn a_line_says_who_and_where_and_steers_no_terminal() {
    let service = Service::start("").await;
    let hostile = json!({ "username": "a\nb\u{1b}[31m\u{202e}", "organizationId": "o\u{9b}\n" });
    let hostile = service.id_of("CREATE_USER", &hostile.to_string()).await;
    let moved =
        r#"{"username":"zhangsan","organizationId":"rd","disabled":true,"mobile":"canary"}"#;
    let id = service.id_of("CREATE_USER", moved).await;
    service.id_of("UPDATE_USER", r#"{"id":"x\u001b[2Jy"}"#).await;
    let text = stdout(&service.command(&["directory", "users"]).await);
    assert_eq!(text.lines().count(), 3, "{text:?}");
    let steers = |it: char| it.is_control() && it != '\n' || it == '\u{202e}';
    assert!(!text.contains(steers) && !text.contains("canary"), "{text:?}");
    let words = |id: &str| -> Vec<&str> {
        text.lines().find(|it| it.contains(id)).unwrap().split_whitespace().collect()
    };
    assert_eq!(words(&id), ["default", &id, "disabled", "zhangsan", "rd"]);
    assert_eq!(words(&hostile)[2..], ["live", r"a\nb\u{1b}[31m\u{202e}", r"o\u{9b}\n"]);
    let listed = stdout(&service.command(&["events", "list"]).await);
    assert!(listed.lines().count() == 3 && !listed.contains(steers), "{listed:?}");
}

#[tokio::test]
async fn a_long_directory_is_printed_whole_and_in_order() {
    const RECORDS: usize = 1100;
    let service = Service::start("").await;
    Connection::open(service.store())
        .unwrap()
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {RECORDS})
             INSERT INTO directory (endpoint, kind, id, deleted, updated_at)
             SELECT endpoint, kind, kind || i, i % 10 = 0, 0
             FROM n,
                  (SELECT 'user' AS kind UNION ALL SELECT 'organization'),
                  (SELECT 'a' AS endpoint UNION ALL SELECT 'b')"
        ))
        .unwrap();
    for (arguments, count) in [
        (&["--deleted"][..], 2 * RECORDS),
        (&[], 2 * RECORDS * 9 / 10),
        (&["--endpoint", "b", "--deleted"], RECORDS),
    ] {
        for kind in ["users", "organizations"] {
            let arguments = [&["directory", kind, "--json"], arguments].concat();
            let lines = json_lines(&service.command(&arguments).await);
            let keys: Vec<_> = lines
                .iter()
                .map(|it| (it["endpoint"].as_str().unwrap(), it["id"].as_str().unwrap()))
                .collect();
            assert_eq!(keys.len(), count, "{arguments:?}");
            assert!(keys.is_sorted_by(|one, next| one < next), "each once and in order");
            assert!(keys.iter().all(|(_, id)| id.starts_with(kind.trim_end_matches('s'))));
        }
    }
}

/// The names and the order of the columns are a promise to the applications that read them.
#[tokio::test]
async fn the_views_say_what_the_commands_say() {
    let service = Service::start("").await;
    let user = r#"{"username":"ZhangSan","name":"张三","organizationId":"rd","n":1e400,"disabled":1,"password":"canary"}"#;
    let id = service.id_of("CREATE_USER", user).await;
    let listed = r#"{"username":"lisi","organizationIds":["first","second"]}"#;
    let several = service.id_of("CREATE_USER", listed).await;
    let code = r#"{"code":"rd","name":"研发","parentId":"root"}"#;
    let organization = service.id_of("CREATE_ORGANIZATION", code).await;
    service
        .deliver(Dialect::Eiam, "DELETE_ORGANIZATION", &json!({ "id": organization }).to_string())
        .await;
    let store = Connection::open(service.store()).unwrap();
    let columns = |view: &str| {
        let columns = query(&store, &format!("SELECT name, type FROM pragma_table_info('{view}')"));
        columns.into_iter().map(|it| it[0].clone()).collect::<Vec<_>>()
    };
    let common = ["disabled", "deleted", "attributes", "updated_at"];
    assert_eq!(
        columns("users"),
        [&["endpoint", "id", "username", "name", "organization_id"][..], &common].concat()
    );
    assert_eq!(
        columns("organizations"),
        [&["endpoint", "id", "code", "name", "parent_id"][..], &common].concat()
    );
    let now = rfc3339(service.clock.now());
    let find = |id: &str| query(&store, &format!("SELECT * FROM users WHERE id = '{id}'"));
    let attributes = service.user(&id).attributes;
    assert!(attributes.contains("1e400"));
    assert_eq!(
        find(&id),
        [["default", &*id, "ZhangSan", "张三", "rd", "1", "0", &*attributes, &*now]]
    );
    // The first of several organisations is the primary one (PROTOCOL.md 5).
    assert_eq!(find(&several)[0][4], "first");
    let attributes =
        service.record(bamboohook::event::RecordKind::Organization, &organization).attributes;
    assert_eq!(
        query(&store, "SELECT * FROM organizations"),
        [["default", &*organization, "rd", "研发", "root", "0", "1", &*attributes, &*now]]
    );
    let columns = stdout(&service.command(&["directory", "users"]).await);
    let line = columns.lines().find(|it| it.contains(&several)).unwrap();
    assert_eq!(line.split_whitespace().last(), Some("first"));
}
