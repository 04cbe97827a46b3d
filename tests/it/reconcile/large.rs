//! A company: 20,000 users and 500 organisations, how many calls and how much memory they take. Measures no time.

use std::fs;
use std::process::Stdio;

use bamboohook::event::Dialect;

use crate::reconcile::World;
use crate::reconcile::organization;
use crate::reconcile::user;
use crate::support::fake_idaas::Operation;
use crate::support::process::bamboohook;

const USERS: usize = 20_000;
const ORGANIZATIONS: usize = 500;
const MOST_MEMORY: u64 = 100 * 1024;

/// Runs it and returns what it says, with the most memory that it ever had, in KiB.
async fn measured(world: &World) -> (String, u64) {
    let mut command = bamboohook();
    command.args(["reconcile", "--config"]).arg(world.process.config_file());
    let mut command = tokio::process::Command::from(command);
    let child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let output = child.wait_with_output();
    tokio::pin!(output);
    let mut most = 0;
    loop {
        tokio::select! {
            output = &mut output => {
                let output = output.unwrap();
                assert!(output.status.success());
                return (String::from_utf8(output.stdout).unwrap(), most);
            }
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {
                let text = fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|it| it.strip_prefix("VmHWM:"));
                let peak = line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok());
                most = most.max(peak.unwrap_or(0));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_users_take_one_walk_and_little_memory() {
    let world = World::start(Dialect::Ciam, "").await;
    for number in 0..USERS {
        world.fake.put_user(user(&format!("u{number:05}"), &format!("name{number}"), "1"));
    }
    for number in 0..ORGANIZATIONS {
        let parent = (number > 0).then_some("o000");
        world.fake.put_organization(organization(&format!("o{number:03}"), parent, "Name"));
    }
    let count = |operation| world.fake.count(operation);
    for (run, created) in [(1, (USERS, ORGANIZATIONS)), (2, (0, 0))] {
        let (text, memory) = measured(&world).await;
        let (users, organizations) = created;
        assert!(text.contains(&format!("users: {users} created, 0 updated, 0 deleted")), "{text}");
        assert!(text.contains(&format!("organizations: {organizations} created")), "{text}");
        assert!(memory > 0 && memory < MOST_MEMORY, "{memory} KiB");
        // One page of the only root, five of the others.
        assert_eq!(
            (count(Operation::Users), count(Operation::Organizations)),
            (run * 200, run * 6)
        );
        assert_eq!(count(Operation::Token), run);
    }
    assert_eq!(world.told().len(), USERS + ORGANIZATIONS);
}
