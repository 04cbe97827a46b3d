//! The token: fetched once for all, renewed in time, and what happens without one. Judges no record.

use std::time::Duration;

use bamboohook::idaas::IdaasError;
use serde_json::json;

use crate::idaas::Found;
use crate::idaas::Tenant;
use crate::idaas::name_of;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;
use crate::support::wait::pass;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_in_mid_flight_is_renewed_once_for_all() {
    for fault in [Fault::Unauthorized, Fault::InvalidToken] {
        let tenant = Tenant::of("first").await;
        for number in 0..50 {
            tenant.fake.put_user(json!({ "user_id": format!("{number}"), "user_name": "x" }));
        }
        assert_eq!(name_of(&tenant.user("first").await), "zhangsan");
        tenant.fake.hold(Operation::User);
        tenant.fake.spoil(Operation::User, 16, &fault);
        let look_ups = tenant.look_up((0..50).map(|it| it.to_string()));
        tenant.fake.arrived(Operation::User, 1 + 16).await;
        tenant.fake.expire_tokens();
        tenant.fake.release();
        assert!(look_ups.join_all().await.iter().all(|it| name_of(it) == "x"));
        assert_eq!(tenant.fake.count(Operation::Token), 2);
        assert_eq!(tenant.fake.count(Operation::User), 1 + 50 + 16);
    }
}

#[tokio::test]
async fn a_refused_new_token_is_not_tried_for_ever() {
    for fault in [Fault::Unauthorized, Fault::InvalidToken] {
        let tenant = Tenant::of("7").await;
        tenant.fake.spoil(Operation::User, 9, &fault);
        let found = tenant.user("7").await;
        assert!(matches!(found, Err(IdaasError::Refused { .. })), "{found:?}");
        assert_eq!(tenant.fake.count(Operation::User), 2);
        assert_eq!(tenant.fake.count(Operation::Token), 2);
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let tenant = Tenant::of("7").await;
    tenant.fake.set_expires_in(json!("600"));
    for (seconds, tokens) in [(0, 1), (539, 1), (2, 2), (0, 2)] {
        pass(Duration::from_secs(seconds)).await;
        tenant.clock.pass(1);
        assert_eq!(name_of(&tenant.user("7").await), "zhangsan");
        assert_eq!(tenant.fake.count(Operation::Token), tokens);
    }
    assert_eq!(tenant.fake.count(Operation::User), 4, "none of them was refused");
}

#[tokio::test]
async fn all_who_wait_for_a_token_share_the_failure() {
    let tenant = Tenant::start().await;
    for (fault, refused) in [
        (Fault::Answer(500, None, String::new()), false),
        (Fault::Answer(401, None, r#"{"error":"invalid_client"}"#.to_owned()), true),
        (Fault::Answer(403, None, String::new()), true),
    ] {
        let before = tenant.fake.count(Operation::Token);
        tenant.fake.spoil(Operation::Token, 1, &fault);
        tenant.fake.hold(Operation::Token);
        let look_ups = tenant.look_up((0..16).map(|it| it.to_string()));
        tenant.fake.arrived(Operation::Token, before + 1).await;
        tenant.fake.release();
        let all = look_ups.join_all().await;
        let expected = |it: &Found| match it {
            Err(IdaasError::Refused { .. }) => refused,
            Err(IdaasError::Unavailable { .. }) => !refused,
            _ => false,
        };
        assert!(all.iter().all(expected), "{all:?}");
        assert_eq!(tenant.fake.count(Operation::Token), before + 1);
    }
    assert_eq!(tenant.fake.count(Operation::User), 0);
}

#[tokio::test]
async fn an_answer_that_is_no_token_is_refused() {
    let tenant = Tenant::start().await;
    for body in ["", "[]", "{}", r#"{"access_token":7}"#, r#"{"access_token":"a\nb"}"#] {
        tenant.fake.spoil(Operation::Token, 1, &Fault::Answer(200, None, body.to_owned()));
        let found = tenant.user("7").await;
        assert!(matches!(found, Err(IdaasError::Malformed { .. })), "{body}: {found:?}");
    }
    assert_eq!(tenant.fake.count(Operation::User), 0);
}
