//! Everything that can go wrong before the first difference is stored. What goes wrong later stands elsewhere.

use bamboohook::event::Dialect;
use serde_json::Value;
use serde_json::json;

use crate::reconcile::World;
use crate::reconcile::pairs;
use crate::reconcile::stderr;
use crate::reconcile::user;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;
use crate::support::process::Process;
use crate::support::process::Settings;

/// A page in place of the fake's own.
fn page(total: usize, users: &[Value]) -> Fault {
    Fault::Answer(200, None, json!({ "total": total, "users": users }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_api_midway_changes_nothing() {
    let world = World::start(Dialect::Ciam, "").await;
    world.fake.put_user(user("u1", "ann", "1"));
    let garbage = Fault::Answer(200, None, "{".to_owned());
    for (fault, reason) in [
        (Fault::Answer(500, None, String::new()), "out of order"),
        (Fault::Answer(429, Some("60"), String::new()), "429"),
        (garbage, "not a page"),
        (Fault::Redirect, "redirects"),
    ] {
        world.fake.spoil(Operation::Users, 1, &fault);
        let error = world.refused().await;
        assert!(error.contains(reason) && error.contains("nothing was changed"), "{error}");
    }
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_CREATED", "u1")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_under_the_walk_is_read_again() {
    let world = World::start(Dialect::Ciam, "").await;
    for id in ["u1", "u2", "u3"] {
        world.fake.put_user(user(id, id, "1"));
    }
    // The first page says three and has two; the second one is the fake's own, behind the end.
    let two = [user("u1", "u1", "1"), user("u2", "u2", "1")];
    world.fake.spoil(Operation::Users, 1, &page(3, &two));
    assert_eq!(world.news().await.len(), 3);
    // Another total on the second page.
    world.fake.spoil(Operation::Users, 1, &page(4, &two));
    assert_eq!(world.news().await, []);
    // One record on two pages is one record.
    let twice = [&two[..], &[user("u1", "u1", "1"), user("u3", "u3", "1")]].concat();
    world.fake.spoil(Operation::Users, 1, &page(3, &twice));
    assert_eq!(world.news().await, []);

    world.fake.spoil(Operation::Users, 6, &page(3, &two));
    let error = world.refused().await;
    assert!(error.contains("list of users") && error.contains("kept changing"), "{error}");
    // Three walks of two pages each, and no fourth.
    assert_eq!(world.news().await, []);
    world.fake.spoil(Operation::Users, 3, &page(1, &two));
    assert!(world.refused().await.contains("kept changing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_slips_from_one_page_to_the_next_is_not_deleted() {
    let world = World::start(Dialect::Ciam, "max_delete_share = 1.0").await;
    for id in ["u1", "u2", "u3"] {
        world.fake.put_user(user(id, id, "1"));
    }
    world.news().await;
    world.fake.remove_user("u1");
    // The total is right, yet u2 is missing: it moved up when u1, which had been read, was deleted.
    let listed = [user("u1", "u1", "1"), user("u3", "u3", "1")];
    world.fake.spoil(Operation::Users, 1, &page(2, &listed));
    assert_eq!(world.news().await, []);
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_DELETED", "u1")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_event_changes_during_the_walk_is_left_to_the_next_run() {
    let world = World::start(Dialect::Ciam, "max_delete_share = 1.0").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.fake.put_user(user("u2", "bob", "1"));
    world.news().await;
    world.fake.hold(Operation::Users);
    let walks = world.fake.count(Operation::Users);
    let running = world.try_reconcile(&[]);
    let meanwhile = async {
        world.fake.arrived(Operation::Users, walks + 1).await;
        world.deliver(Dialect::Ciam, "USER_DELETE", "u1").await;
        world.deliver(Dialect::Ciam, "USER_CREATE", "u3").await;
        world.fake.release();
    };
    let (output, ()) = tokio::join!(running, meanwhile);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(world.user("u1").deleted && !world.user("u3").deleted);
    let events = world.told();
    assert!(!events[4..].iter().any(|it| it.0.starts_with("RECONCILE")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_runs_at_a_time() {
    let world = World::start(Dialect::Ciam, "").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.fake.hold(Operation::Users);
    let running = world.try_reconcile(&[]);
    let meanwhile = async {
        world.fake.arrived(Operation::Users, 1).await;
        let error = world.refused().await;
        world.fake.release();
        error
    };
    let (output, error) = tokio::join!(running, meanwhile);
    assert!(error.contains("another reconcile runs"), "{error}");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_with_its_cure() {
    let process = Process::start(Settings::default()).await;
    let refused = async |arguments: &[&str]| {
        let output = process.command(arguments).await;
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let error = refused(&["reconcile"]).await;
    assert!(error.contains("add the [idaas] table"), "{error}");
    let tables =
        "[idaas]\nbase_url = \"http://127.0.0.1:1\"\nclient_id = \"a\"\nclient_secret = \"b\"\n";
    let process =
        Process::start(Settings { tables: tables.to_owned(), ..Settings::default() }).await;
    let refused = process.command(&["reconcile"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let error = stderr(&refused);
    assert!(error.contains("endpoints.default.dialect") && error.contains("auto"), "{error}");
    let mut process = process;
    process.kill9();
    std::fs::remove_file(process.store()).unwrap();
    let error = stderr(&process.command(&["reconcile"]).await);
    assert!(error.contains("no store is there"), "{error}");
}
