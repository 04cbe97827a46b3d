//! An IDaaS that is slow, broken, overloaded or not an IDaaS. Judges no good answer but the one after a fault.

use std::time::Duration;

use bamboohook::idaas::IdaasError;
use serde_json::json;
use tokio::net::TcpListener;

use crate::idaas::FIRST;
use crate::idaas::Tenant;
use crate::idaas::is_unavailable;
use crate::idaas::name_of;
use crate::idaas::reason;
use crate::support::fake_idaas::CLIENT_SECRET;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;
use crate::support::wait::pass;

#[tokio::test]
async fn a_wish_to_be_left_alone_holds_for_all_calls() {
    let tenant = Tenant::of("7").await;
    let fault = Fault::Answer(429, Some("30"), "{}".to_owned());
    tenant.fake.spoil(Operation::User, 1, &fault);
    assert!(is_unavailable(&tenant.user("7").await, Some(Duration::from_secs(30))));

    let Err(IdaasError::Unavailable { after: Some(left), .. }) = tenant.user("8").await else {
        panic!("asked again at once");
    };
    assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(20), "{left:?}");
    assert!(tenant.client.users(FIRST).await.is_err());
    assert_eq!(tenant.fake.lines().len(), 2, "a token and the call that met the limit");

    pass(Duration::from_secs(30)).await;
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
}

#[tokio::test]
async fn a_wish_may_be_a_date_or_missing() {
    let tenant = Tenant::of("7").await;
    let date = "Thu, 09 Jul 2026 15:21:55 GMT";
    for (wish, expected) in [(None, None), (Some("soon"), None), (Some(date), Some(2))] {
        tenant.fake.spoil(Operation::User, 1, &Fault::Answer(429, wish, "slow down".to_owned()));
        let found = tenant.user("7").await;
        assert!(is_unavailable(&found, expected.map(Duration::from_secs)), "{wish:?} {found:?}");
    }
}

#[tokio::test]
async fn a_server_error_is_not_repeated_here_and_passes() {
    let tenant = Tenant::of("7").await;
    tenant.fake.spoil(Operation::User, 2, &Fault::Answer(500, None, "oops".to_owned()));
    tenant.fake.spoil(Operation::User, 1, &Fault::Answer(503, None, "{}".to_owned()));
    for calls in 1..=3 {
        assert!(is_unavailable(&tenant.user("7").await, None));
        assert_eq!(tenant.fake.count(Operation::User), calls);
    }
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
}

#[tokio::test]
async fn silence_ends_with_the_time_out_wherever_it_begins() {
    let tenant = Tenant::with(|it| it.timeout = Duration::from_millis(500)).await;
    tenant.fake.put_user(json!({ "user_id": "7", "user_name": "zhangsan" }));
    tenant.fake.spoil(Operation::Token, 1, &Fault::Hang);
    assert_eq!(reason(tenant.user("7").await), "IDaaS did not answer in time");
    for fault in [Fault::Hang, Fault::HangInBody] {
        tenant.fake.spoil(Operation::User, 1, &fault);
        let found = tenant.user("7").await;
        assert!(is_unavailable(&found, None));
        assert_eq!(reason(found), "IDaaS did not answer in time");
    }
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_do_not_pile_up_behind_a_server_that_hangs() {
    let tenant = Tenant::with(|it| it.timeout = Duration::from_millis(300)).await;
    tenant.fake.hold(Operation::User);
    let began = std::time::Instant::now();
    let all = tenant.look_up((0..400).map(|it| it.to_string())).join_all().await;
    assert!(all.iter().all(|it| is_unavailable(it, None)));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(tenant.fake.count(Operation::User) <= 48, "{}", tenant.fake.count(Operation::User));
    tenant.fake.release();
}

#[tokio::test]
async fn a_connection_that_breaks_or_is_refused_is_for_later() {
    let tenant = Tenant::of("7").await;
    tenant.fake.spoil(Operation::User, 1, &Fault::Disconnect);
    assert!(is_unavailable(&tenant.user("7").await, None));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let tenant = Tenant::with(|it| it.base_url = url).await;
    let found = tenant.user("7").await;
    assert!(is_unavailable(&found, None));
    assert_eq!(reason(found), "no connection to IDaaS");
}

#[tokio::test]
async fn answers_that_are_no_users_are_refused() {
    let tenant = Tenant::of("7").await;
    let mut faults: Vec<_> =
        ["", "<html>", "[]", "null", "7", r#""7""#, "{", r#"{"a":1}x"#, "\u{feff}{}"]
            .map(|it| Fault::Answer(200, None, it.to_owned()))
            .into();
    faults.push(Fault::Answer(204, None, String::new()));
    faults.push(Fault::Large(10 * 1024 * 1024));
    for fault in faults {
        tenant.fake.spoil(Operation::User, 1, &fault);
        let found = tenant.user("7").await;
        assert!(matches!(found, Err(IdaasError::Malformed { .. })), "{found:?}");
    }
    assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
}

#[tokio::test]
async fn any_2xx_is_success() {
    let tenant = Tenant::of("7").await;
    let body = r#"{"user_id":"7","user_name":"a","error":"none"}"#;
    tenant.fake.spoil(Operation::User, 1, &Fault::Answer(203, None, body.to_owned()));
    assert_eq!(name_of(&tenant.user("7").await), "a");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let tenant = Tenant::of("7").await;
    for operation in [Operation::Token, Operation::User] {
        tenant.fake.spoil(operation, 1, &Fault::Redirect);
        let found = tenant.user("7").await;
        assert!(matches!(found, Err(IdaasError::Refused { .. })), "{found:?}");
    }
    assert_eq!(tenant.fake.count(Operation::Other), 0);
}

#[tokio::test]
async fn neither_debug_nor_errors_show_a_secret_or_a_user() {
    let tenant = Tenant::of("geheim-id").await;
    let mut shown = vec![format!("{:?}", tenant.client)];
    for body in [
        r#"{"error_code":"geheim-body","error_msg":"fake-token-1"}"#,
        r#"{"error":"invalid_token","error_description":"fake-token-1 geheim-body"}"#,
        "geheim-body",
    ] {
        for status in [200, 400, 401, 403, 429, 500] {
            tenant.fake.spoil(Operation::User, 2, &Fault::Answer(status, None, body.to_owned()));
            let found = tenant.user("geheim-id").await;
            shown.push(format!("{0:?} {0}", found.unwrap_err()));
            tenant.fake.mend();
        }
    }
    tenant.fake.spoil(Operation::User, 1, &Fault::Disconnect);
    shown.push(format!("{0:?} {0}", tenant.user("geheim-id").await.unwrap_err()));
    let user = tenant.user("geheim-id").await.unwrap().unwrap();
    assert!(!format!("{:?}", tenant.client.read_user(&user).unwrap()).contains("zhangsan"));
    let shown = shown.join("\n");
    for secret in [CLIENT_SECRET, "fake-token", "geheim"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
