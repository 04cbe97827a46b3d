//! Runs that `kill -9` ends. The next one does the rest, and nothing twice.

use std::collections::BTreeSet;
use std::process::Child;
use std::process::Stdio;

use bamboohook::event::Dialect;

use crate::reconcile::World;
use crate::reconcile::pairs;
use crate::reconcile::user;
use crate::support::fake_idaas::Operation;
use crate::support::process::bamboohook;
use crate::support::wait::eventually;

const USERS: usize = 1500;

fn begin(world: &World) -> Child {
    let mut command = bamboohook();
    command.args(["reconcile", "--config"]).arg(world.process.config_file());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn kill9(mut child: Child) -> bool {
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_that_was_killed_repeats_cleanly() {
    let world = World::start(Dialect::Ciam, "").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.fake.hold(Operation::Users);
    let child = begin(&world);
    world.fake.arrived(Operation::Users, 1).await;
    assert!(kill9(child));
    world.fake.release();
    assert_eq!(world.told(), []);
    assert_eq!(world.news().await, pairs(&[("RECONCILE_USER_CREATED", "u1")]));
    assert_eq!(world.news().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn storing_that_was_killed_goes_on_where_it_was() {
    let world = World::start(Dialect::Ciam, "").await;
    for number in 0..USERS {
        world.fake.put_user(user(&format!("u{number:04}"), &format!("name{number}"), "1"));
    }
    let child = begin(&world);
    eventually("some are stored", async || (!world.told().is_empty()).then_some(())).await;
    assert!(kill9(child), "the run was over before it could be killed");
    let stored = world.told().len();
    assert!((1..USERS).contains(&stored), "{stored}");
    assert_eq!(world.news().await.len(), USERS - stored);
    let told: BTreeSet<_> = world.told().into_iter().collect();
    assert_eq!((told.len(), world.told().len()), (USERS, USERS));
    assert_eq!(world.users().len(), USERS);
    assert_eq!(world.news().await, []);
}
