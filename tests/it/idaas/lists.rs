//! Users and organisations by the page. Walks no list to its end.

use bamboohook::idaas::IdaasError;
use bamboohook::idaas::Membership;
use bamboohook::idaas::PageRequest;
use bamboohook::idaas::Scope;
use serde_json::Value;
use serde_json::json;

use crate::idaas::FIRST;
use crate::idaas::Tenant;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;

#[tokio::test]
async fn lists_come_by_page_number() {
    let tenant = Tenant::start().await;
    for number in 0..25 {
        tenant.fake.put_user(json!({ "user_id": format!("{number:02}") }));
    }
    for (number, records) in [(0, 10), (1, 10), (2, 5), (3, 0)] {
        let page = tenant.client.users(PageRequest { number, size: 10 }).await.unwrap();
        assert_eq!((page.total, page.records.len()), (25, records));
        if let Some(user) = page.records.first() {
            assert_eq!(user.id, format!("{number}0"));
        }
    }
    tenant.client.users(PageRequest { number: 0, size: 1000 }).await.unwrap();
    let line = tenant.fake.lines().pop().unwrap();
    assert_eq!(line, "GET /api/v2/tenant/users?offset=0&limit=100");
}

#[tokio::test]
async fn both_scopes_together_are_all_organizations() {
    let tenant = Tenant::start().await;
    for (id, parent) in [("hq", Value::Null), ("a", json!("hq")), ("b", json!("a"))] {
        tenant.fake.put_organization(json!({
            "org_id": id, "parent_id": parent, "org_code": id, "disabled": "true",
            "updated_at": "2026-07-09 23:21:53",
        }));
    }
    let roots = tenant.client.organizations(Scope::Roots, FIRST).await.unwrap();
    assert_eq!((roots.total, roots.records.len()), (1, 1));
    let root = &roots.records[0];
    assert_eq!((root.id.as_str(), root.parent_id.as_deref()), ("hq", None));
    assert_eq!((root.code.as_deref(), root.disabled), (Some("hq"), Some(true)));
    assert_eq!(root.updated_at.unwrap().to_string(), "2026-07-09T15:21:53Z");

    let others = tenant.client.organizations(Scope::NonRoots, FIRST).await.unwrap();
    let parents: Vec<_> = others.records.iter().map(|it| it.parent_id.as_deref()).collect();
    assert_eq!((others.total, parents), (2, vec![Some("hq"), Some("a")]));

    tenant.fake.remove_organization("b");
    let others = tenant.client.organizations(Scope::NonRoots, FIRST).await.unwrap();
    assert_eq!(others.total, 1);
}

#[tokio::test]
async fn types_may_vary_and_what_is_not_understood_is_left_out() {
    let tenant = Tenant::start().await;
    let body = json!({ "total": "1", "users": [{
        "user_id": 7, "user_name": null, "mobile": 18_900_000_001_u64, "name": {}, "disabled": "TRUE",
        "locked": 0, "created_at": "2026-07-09 23:21:53", "updated_at": "yesterday",
        "user_org_relation_list": [{ "org_id": "a", "relation_type": 1 }, null, { "org_id": 2 }, 3],
    }]});
    tenant.fake.spoil(Operation::Users, 1, &Fault::Answer(200, None, body.to_string()));
    let page = tenant.client.users(FIRST).await.unwrap();
    let user = &page.records[0];
    assert_eq!((page.total, user.id.as_str(), user.username.as_deref()), (1, "7", None));
    assert_eq!((user.mobile.as_deref(), user.name.as_deref()), (Some("18900000001"), None));
    assert_eq!((user.disabled, user.locked), (Some(true), Some(false)));
    assert_eq!(user.created_at.unwrap().to_string(), "2026-07-09T15:21:53Z");
    assert_eq!(user.updated_at, None);
    let membership = |id: &str, kind: Option<&str>| Membership {
        organization_id: id.to_owned(),
        relation_type: kind.map(str::to_owned),
    };
    assert_eq!(user.memberships, [membership("a", Some("1")), membership("2", None)]);
    assert_eq!(tenant.client.read_user(&user.raw).unwrap().id, "7");
}

#[tokio::test]
async fn a_page_that_would_lose_someone_is_refused() {
    let tenant = Tenant::start().await;
    for body in [
        r#"{"users":[]}"#,
        r#"{"total":1}"#,
        r#"{"total":1,"users":null}"#,
        r#"{"total":1,"users":{}}"#,
        r#"{"total":1,"users":[{"user_id":null}]}"#,
        r#"{"total":-1,"users":[]}"#,
        "[]",
    ] {
        tenant.fake.spoil(Operation::Users, 1, &Fault::Answer(200, None, body.to_owned()));
        let page = tenant.client.users(FIRST).await;
        assert!(matches!(page, Err(IdaasError::Malformed { .. })), "{body}: {page:?}");
    }
    let empty = Fault::Answer(200, None, r#"{"total":0,"users":null}"#.to_owned());
    tenant.fake.spoil(Operation::Users, 1, &empty);
    assert_eq!(tenant.client.users(FIRST).await.unwrap().total, 0);
}
