//! Looking up one user: what is found, what is missing, what is shared, what is asked on the wire. Knows no page.

use std::sync::Arc;
use std::time::Duration;

use bamboohook::clock::Clock;
use bamboohook::config::IdaasAuth;
use serde_json::json;

use crate::idaas::Tenant;
use crate::idaas::name_of;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;
use crate::support::wait::pass;

#[tokio::test]
async fn a_user_comes_as_received_with_credentials_of_either_kind() {
    for auth in [IdaasAuth::Basic, IdaasAuth::Form] {
        let tenant = Tenant::with(|it| it.auth = auth).await;
        let user = json!({ "user_id": "7", "name": "张三", "locked": "false", "x": [1.50, null] });
        tenant.fake.put_user(user.clone());
        let found = tenant.user("7").await.unwrap().unwrap();
        assert_eq!(found.get(), user.to_string());
        assert_eq!(tenant.fake.lines()[0], "POST /api/v2/tenant/token");
        assert_eq!(tenant.fake.lines()[1], "GET /api/v2/tenant/users/7");
    }
}

#[tokio::test]
async fn who_does_not_exist_is_missing_and_no_error() {
    let tenant = Tenant::of("7").await;
    assert!(tenant.user("8").await.unwrap().is_none());
    let now = tenant.clock.now();
    assert!(tenant.client.user_by_name("lisi", now).await.unwrap().is_none());
    assert!(tenant.client.user_by_name("", now).await.unwrap().is_none());
    let found = tenant.client.user_by_name("zhangsan", now).await;
    assert_eq!(name_of(&found), "zhangsan");
    assert_eq!(tenant.fake.count(Operation::UserByName), 2);

    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
    tenant.fake.remove_user("7");
    tenant.clock.pass(1);
    assert!(tenant.user("7").await.unwrap().is_none());
}

#[tokio::test]
async fn only_a_code_says_that_a_user_does_not_exist() {
    let tenant = Tenant::of("7").await;
    for (status, body, missing) in [
        (400, r#"{"error_code":" USER. 0001"}"#, true),
        (404, r#"{"error_code":"IDAAS.TENANT.USER.0001"}"#, true),
        (200, r#"{"error_code":"USER.0001","error_msg":"no such user"}"#, true),
        (404, "<html>nginx</html>", false),
        (404, "{}", false),
        (400, r#"{"error_code":"USER.0002"}"#, false),
        (403, r#"{"error_code":"IP.0001"}"#, false),
        (500, r#"{"error_code":"USER.0001"}"#, false),
    ] {
        tenant.fake.spoil(Operation::User, 1, &Fault::Answer(status, None, body.to_owned()));
        tenant.clock.pass(1);
        let found = tenant.user("7").await;
        assert_eq!(found.as_ref().is_ok_and(Option::is_none), missing, "{status} {body}");
        assert_eq!(found.is_err(), !missing, "{status} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_users_need_one_token_and_two_hundred_look_ups() {
    let tenant = Tenant::start().await;
    for number in 0..200 {
        let (id, name) = (format!("id-{number}"), format!("name-{number}"));
        tenant.fake.put_user(json!({ "user_id": id, "user_name": name }));
    }
    tenant.fake.hold(Operation::User);
    let look_ups = tenant.look_up((0..200).map(|it| format!("id-{it}")));
    tenant.fake.arrived(Operation::User, 16).await;
    assert_eq!(tenant.fake.count(Operation::User), 16, "no more calls than that at once");
    tenant.fake.release();
    let mut names: Vec<_> = look_ups.join_all().await.iter().map(name_of).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 200);
    assert_eq!(tenant.fake.count(Operation::User), 200);
    assert_eq!(tenant.fake.count(Operation::Token), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_look_ups_of_one_user_are_one_call() {
    let tenant = Tenant::of("7").await;
    tenant.fake.hold(Operation::User);
    let look_ups = tenant.look_up((0..200).map(|_| "7".to_owned()));
    tenant.fake.arrived(Operation::User, 1).await;
    tenant.fake.release();
    assert!(look_ups.join_all().await.iter().all(|it| name_of(it) == "zhangsan"));
    assert_eq!(tenant.fake.count(Operation::User), 1);
}

#[tokio::test]
async fn what_was_fetched_before_the_event_arrived_is_not_used() {
    let tenant = Tenant::of("7").await;
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
    assert_eq!(tenant.fake.count(Operation::User), 1, "the same moment");

    let earlier = tenant.clock.now();
    tenant.clock.pass(1);
    tenant.fake.put_user(json!({ "user_id": "7", "user_name": "zhangsan2" }));
    assert_eq!(name_of(&tenant.client.user("7", earlier).await), "zhangsan");
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan2");
    assert_eq!(name_of(&tenant.client.user("7", earlier).await), "zhangsan2");
    assert_eq!(tenant.fake.count(Operation::User), 2);
}

#[tokio::test]
async fn an_answer_is_used_again_for_three_seconds_only() {
    let tenant = Tenant::of("7").await;
    for (seconds, calls) in [(0, 1), (2, 1), (2, 2)] {
        pass(Duration::from_secs(seconds)).await;
        assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
        assert_eq!(tenant.fake.count(Operation::User), calls);
    }
}

#[tokio::test]
async fn an_event_that_arrives_during_a_fetch_gets_its_own() {
    let tenant = Tenant::of("7").await;
    tenant.fake.hold(Operation::User);
    let mut look_ups = tenant.look_up(["7".to_owned()]);
    tenant.fake.arrived(Operation::User, 1).await;
    tenant.clock.pass(1);
    let not_before = tenant.clock.now();
    let client = Arc::clone(&tenant.client);
    look_ups.spawn(async move { client.user("7", not_before).await });
    tenant.fake.arrived(Operation::User, 2).await;
    tenant.fake.release();
    assert_eq!(look_ups.join_all().await.len(), 2);
    assert_eq!(tenant.fake.count(Operation::User), 2);
}

#[tokio::test]
async fn a_clock_that_was_set_back_makes_nothing_fresh() {
    let tenant = Tenant::of("7").await;
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
    *tenant.clock.0.lock().unwrap() -= Duration::from_mins(1);
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
    assert_eq!(tenant.fake.count(Operation::User), 2);
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_its_fetch_to_the_others() {
    let tenant = Tenant::of("7").await;
    tenant.fake.spoil(Operation::User, 1, &Fault::Hang);
    let mut first = tenant.look_up(["7".to_owned()]);
    tenant.fake.arrived(Operation::User, 1).await;
    let second = tenant.look_up(["7".to_owned()]);
    tokio::task::yield_now().await;
    first.shutdown().await;
    assert_eq!(name_of(&second.join_all().await[0]), "zhangsan");
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
    assert_eq!(tenant.fake.count(Operation::User), 2);
}

#[tokio::test]
async fn a_hostile_id_stays_one_segment_of_the_path() {
    let tenant = Tenant::start().await;
    for (id, written) in [
        ("a/b", "a%2Fb"),
        ("../token", "..%2Ftoken"),
        ("..\\..", "..%5C.."),
        ("%2f", "%252f"),
        ("%2e%2e", "%252e%252e"),
        (".%2E", ".%252E"),
        ("...", "..."),
        ("a?limit=1", "a%3Flimit%3D1"),
        ("a#b", "a%23b"),
        ("a\r\nHost: b\r\n\r\nGET /x", "a%0D%0AHost%3A%20b%0D%0A%0D%0AGET%20%2Fx"),
        ("\0", "%00"),
        ("user-by-username/", "user-by-username%2F"),
        ("张 三", "%E5%BC%A0%20%E4%B8%89"),
    ] {
        tenant.fake.put_user(json!({ "user_id": id, "user_name": id }));
        assert_eq!(name_of(&tenant.user(id).await), id);
        let line = tenant.fake.lines().pop().unwrap();
        assert_eq!(line, format!("GET /api/v2/tenant/users/{written}"));
    }
    let calls = tenant.fake.lines().len();
    for id in ["", ".", "..", &"9".repeat(600)] {
        assert!(tenant.user(id).await.unwrap().is_none(), "{id}");
    }
    assert_eq!(tenant.fake.lines().len(), calls, "nobody was asked");
    assert_eq!(tenant.fake.count(Operation::Other), 0);
}
