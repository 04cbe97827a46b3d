//! What the directory keeps of a record: merged attributes, `disabled`, and nothing that it must not keep.

use std::collections::BTreeMap;
use std::time::Duration;

use bamboohook::clock::Clock;
use bamboohook::event::Dialect;
use bamboohook::event::RecordKind;
use bamboohook::inbox::Record;
use rusqlite::Connection;
use serde_json::json;
use serde_json::value::RawValue;

use crate::support::service::Service;
use crate::support::store::query;
use crate::support::store::rows;

/// Each attribute in the very text that is stored.
fn attributes(record: &Record) -> BTreeMap<String, String> {
    let attributes: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&record.attributes).unwrap();
    attributes.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const VALUES: [(&str, &str); 13] = [
    ("big", "123456789012345678901234567890"),
    ("huge", "1e400"),
    ("exact", "1.50"),
    ("negative", "-0"),
    ("yes", "true"),
    ("no", "false"),
    ("nothing", "null"),
    ("list", r#"[1, "b",  {"c":null}]"#),
    ("nested", r#"{"a" : {"b":[ ]},"a":2}"#),
    ("escaped", r#""\u5f20\/\ud83d\ude00""#),
    ("text", "\"张三 R&D\""),
    ("empty", "\"\""),
    ("职位", "\"x\""),
];

#[tokio::test]
async fn an_update_merges_and_every_value_keeps_its_type_and_its_digits() {
    let service = Service::start("").await;
    let created = r#"{"username":"zhangsan","list":"old","stays":7,"unknown":{"x":[1]}}"#;
    let id = service.id_of("CREATE_USER", created).await;
    let members: Vec<String> =
        VALUES.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    let update = format!("{{ \"id\" : \"{id}\",{} }}", members.join(" , "));
    assert_eq!(service.id_of("UPDATE_USER", &update).await, id);
    let mut expected = texts(&VALUES);
    expected.extend(texts(&[
        ("username", "\"zhangsan\""),
        ("stays", "7"),
        ("unknown", r#"{"x":[1]}"#),
    ]));
    assert_eq!(attributes(&service.user(&id)), expected);
    // An update of nothing changes nothing, and one of one attribute no other.
    service.id_of("UPDATE_USER", &json!({ "id": id }).to_string()).await;
    assert_eq!(attributes(&service.user(&id)), expected);
    service.id_of("UPDATE_USER", &format!("{{\"id\":\"{id}\",\"stays\":null}}")).await;
    expected.insert("stays".to_owned(), "null".to_owned());
    assert_eq!(attributes(&service.user(&id)), expected);
}

#[tokio::test]
async fn a_create_of_someone_known_merges_too() {
    let service = Service::start("").await;
    let first = r#"{"username":"zhangsan","mobile":"1","disabled":true}"#;
    let id = service.id_of("CREATE_USER", first).await;
    let again = r#"{"username":"ZhangSan","email":"z@example.com"}"#;
    assert_eq!(service.id_of("CREATE_USER", again).await, id);
    let record = service.user(&id);
    assert!(record.disabled, "an absent attribute is unchanged");
    let expected = texts(&[
        ("username", "\"ZhangSan\""),
        ("mobile", "\"1\""),
        ("disabled", "true"),
        ("email", "\"z@example.com\""),
    ]);
    assert_eq!(attributes(&record), expected);
}

#[tokio::test]
async fn records_say_when_they_changed_last() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", r#"{"username":"zhangsan"}"#).await;
    assert_eq!(service.user(&id).updated_at, service.clock.now());
    service.clock.advance(Duration::from_millis(61_234));
    service.deliver(Dialect::Eiam, "DELETE_USER", &json!({ "id": id }).to_string()).await;
    assert_eq!(service.user(&id).updated_at, service.clock.now());
}

#[tokio::test]
async fn organizations_are_merged_alike() {
    let service = Service::start("").await;
    let created = r#"{"code":"rd","name":"研发","parentId":"root","leader":"zhangsan"}"#;
    let id = service.id_of("CREATE_ORGANIZATION", created).await;
    let moved = json!({ "id": id, "code": "rnd", "parentId": "other" }).to_string();
    assert_eq!(service.id_of("UPDATE_ORGANIZATION", &moved).await, id);
    let record = service.record(RecordKind::Organization, &id);
    assert_eq!(record.name.as_deref(), Some("rnd"));
    let expected = texts(&[
        ("code", "\"rnd\""),
        ("name", "\"研发\""),
        ("parentId", "\"other\""),
        ("leader", "\"zhangsan\""),
    ]);
    assert_eq!(attributes(&record), expected);
    assert_ne!(service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd"}"#).await, id);
    service.deliver(Dialect::Eiam, "DELETE_ORGANIZATION", &json!({ "id": id }).to_string()).await;
    assert!(service.record(RecordKind::Organization, &id).deleted);
    assert_ne!(service.id_of("CREATE_ORGANIZATION", r#"{"code":"rnd"}"#).await, id);
}

#[tokio::test]
async fn disabled_is_understood_as_tenants_write_it() {
    let service = Service::start("").await;
    let id = service.id_of("CREATE_USER", r#"{"username":"zhangsan"}"#).await;
    let mut expected = false;
    for (value, disabled) in [
        ("true", Some(true)),
        ("null", None),
        ("\"false\"", Some(false)),
        ("\"TRUE\"", Some(true)),
        ("0", Some(false)),
        ("1", Some(true)),
        ("\"0\"", Some(false)),
        ("\"1\"", Some(true)),
        ("\"False\"", Some(false)),
        ("\"perhaps\"", None),
        ("2", None),
        ("[true]", None),
        ("\"\"", None),
    ] {
        service.id_of("UPDATE_USER", &format!("{{\"id\":\"{id}\",\"disabled\":{value}}}")).await;
        expected = disabled.unwrap_or(expected);
        let record = service.user(&id);
        assert_eq!(record.disabled, expected, "{value}");
        assert_eq!(attributes(&record)["disabled"], value, "it keeps its type");
    }
}

/// The rows of the directory and of its views. The events themselves keep what they were sent.
fn directory_of(service: &Service) -> String {
    let store = Connection::open(service.store()).unwrap();
    let tables = ["directory", "users", "organizations"];
    let rows =
        tables.map(|table| format!("{:?}", query(&store, &format!("SELECT * FROM {table}"))));
    rows.concat()
}

#[tokio::test]
async fn passwords_are_never_kept() {
    let service = Service::start("").await;
    let created = r#"{"username":"zhangsan","password":"canary-1","Password":"canary-2"}"#;
    let id = service.id_of("CREATE_USER", created).await;
    let update = json!({ "id": id, "password": "canary-3", "PASSWORD": 7, "mobile": "189" });
    service.id_of("UPDATE_USER", &update.to_string()).await;
    service.id_of("UPDATE_USER", r#"{"id":"new","p\u0061ssword":"canary-4"}"#).await;
    service.id_of("CREATE_ORGANIZATION", r#"{"code":"rd","password":"canary-5"}"#).await;
    let text = directory_of(&service);
    assert!(text.contains("189") && !text.contains("canary"), "{text}");
    assert!(!text.to_lowercase().contains("password"), "{text}");
}

#[tokio::test]
async fn other_attributes_are_kept_out_on_request() {
    let service = Service::start("[directory]\nexclude = [\"mobile\", \"身份证\"]\n").await;
    let created = r#"{"username":"zhangsan","password":"kept","mobile":"canary-1","身份证":"canary-2","email":"e"}"#;
    let id = service.id_of("CREATE_USER", created).await;
    let expected =
        texts(&[("username", "\"zhangsan\""), ("password", "\"kept\""), ("email", "\"e\"")]);
    assert_eq!(attributes(&service.user(&id)), expected);
    assert!(!directory_of(&service).contains("canary"));
}

#[tokio::test]
async fn a_directory_that_is_switched_off_keeps_ids_and_names_alone() {
    let service = Service::start("[directory]\nenabled = false\n").await;
    let created = r#"{"username":"zhangsan","name":"canary","disabled":true}"#;
    let id = service.id_of("CREATE_USER", created).await;
    assert_eq!(service.id_of("CREATE_USER", r#"{"username":"ZHANGSAN"}"#).await, id);
    let update = json!({ "id": id, "username": "lisi", "mobile": "canary" }).to_string();
    assert_eq!(service.id_of("UPDATE_USER", &update).await, id);
    service.deliver(Dialect::Ciam, "USER_DISABLE", "customer").await;
    let kept: Vec<_> = service
        .records(RecordKind::User)
        .into_iter()
        .map(|it| (it.name, it.disabled, it.deleted, it.attributes))
        .collect();
    let customer = (None, false, false, "{}".to_owned());
    assert_eq!(kept.len(), 2);
    assert!(kept.contains(&customer), "{kept:?}");
    assert!(kept.contains(&(Some("lisi".to_owned()), false, false, "{}".to_owned())), "{kept:?}");
    assert!(!directory_of(&service).contains("canary"));
    // What makes ids safe works as before.
    service.deliver(Dialect::Eiam, "DELETE_USER", &json!({ "id": id }).to_string()).await;
    assert_ne!(service.id_of("CREATE_USER", r#"{"username":"lisi"}"#).await, id);
}

#[tokio::test]
async fn an_attribute_that_is_named_twice_is_refused_and_nothing_is_kept_of_it() {
    let service = Service::start("").await;
    let before = rows(&service.store());
    service.refused("CREATE_USER", r#"{"username":"a","user\u006eame":"b"}"#, 400).await;
    assert_eq!(rows(&service.store()), before);
}
