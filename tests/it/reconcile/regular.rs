//! The service reconciles by itself, at every interval, and stops when it is told to. Runs no command.

use bamboohook::event::Dialect;
use serde_json::Value;

use crate::reconcile::World;
use crate::reconcile::user;
use crate::support::fake_idaas::Fault;
use crate::support::fake_idaas::Operation;
use crate::support::wait::eventually;

impl World {
    async fn logged(&self, message: &str, fits: impl Fn(&Value) -> bool) {
        eventually(&format!("the log says: {message}"), async || {
            let lines = self.process.log();
            lines.iter().any(|it| it["message"] == message && fits(it)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_heals_itself_and_outlives_a_failure() {
    let world = World::start(Dialect::Ciam, "every = \"200ms\"").await;
    world.logged("reconciled", |it| it["users_created"] == 0).await;
    world.fake.spoil(Operation::Users, 1, &Fault::Answer(500, None, String::new()));
    world.logged("reconciling failed", |_| true).await;
    world.fake.put_user(user("u1", "ann", "18900000001"));
    world.logged("reconciled", |it| it["users_created"] == 1).await;
    assert_eq!(world.told().len(), 1);
    let log = world.process.log().iter().map(ToString::to_string).collect::<String>();
    assert!(!log.contains("ann") && !log.contains("18900000001"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_hold_up_the_end_of_the_service() {
    let mut world = World::start(Dialect::Ciam, "every = \"100ms\"").await;
    world.fake.put_user(user("u1", "ann", "1"));
    world.fake.hold(Operation::Users);
    world.fake.arrived(Operation::Users, 1).await;
    world.process.terminate();
    assert!(world.process.ended().await.success());
    assert_eq!(world.told(), []);
}
