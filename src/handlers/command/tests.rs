//! Real programs: what they get, how their end is understood, and that nothing of them is left. No test waits for a fixed time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::event::Dialect;
use crate::event::Document;
use crate::event::Message;
use crate::event::UserDetails;
use crate::handlers::command::CommandHandler;

const PATH: &str = "/usr/bin:/bin";
const DEADLINE: Duration = Duration::from_secs(5);

/// Far more than a pipe holds.
const LARGE: usize = 1024 * 1024;

fn command(argv: &[&str]) -> CommandHandler {
    let argv: Vec<String> = argv.iter().map(|&it| it.to_owned()).collect();
    let env = [("PATH", PATH), ("A", "b  'c' $(id)\nd")];
    let env: BTreeMap<String, SecretString> =
        env.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    CommandHandler::new(&argv, &env).unwrap()
}

/// The script finds the folder in `$1`.
fn script(folder: &TempDir, text: &str) -> CommandHandler {
    let path = folder.path().join("script.sh");
    fs::write(&path, text).unwrap();
    command(&["/bin/sh", path.to_str().unwrap(), folder.path().to_str().unwrap()])
}

fn document(message: &str) -> Document {
    Document {
        id: Uuid::nil(),
        endpoint: "default".to_owned(),
        dialect: Dialect::Ciam,
        event: "USER_CREATE".to_owned(),
        subject: None,
        time: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
        attempt: 1,
        message: Message::new(message),
        user: UserDetails::Unasked,
    }
}

/// What `run` returns, which must not take long.
async fn run(handler: &CommandHandler, document: &[u8]) -> Result<String, HandlerError> {
    let output = tokio::time::timeout(DEADLINE, handler.run(document)).await.expect("it hangs");
    output.map(|it| String::from_utf8(it).unwrap())
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs until the script has written `pids`, then drops the run.
async fn drop_when_started(handler: &CommandHandler, folder: &TempDir) -> Vec<String> {
    let path = folder.path().join("pids");
    let written = eventually("pids", || fs::read_to_string(&path).ok());
    let pids = tokio::select! {
        ended = handler.run(b"{}") => panic!("ended by itself: {ended:?}"),
        pids = written => pids,
    };
    fs::remove_file(path).unwrap();
    pids.split_whitespace().map(str::to_owned).collect()
}

fn is_there(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

/// A grandchild that was killed may stay a zombie until the process that inherits it waits for it.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|it| !it.rsplit(')').next().is_some_and(|it| it.trim_start().starts_with('Z')))
}

async fn reason(handler: &CommandHandler) -> String {
    match run(handler, b"{}").await.unwrap_err() {
        HandlerError::Retry { reason, after: None } => reason.into_owned(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_document_arrives_whole_and_the_answer_is_the_reply() {
    let folder = TempDir::new().unwrap();
    let handler = script(&folder, "cat > \"$1/document\"; echo '{\"id\":7}'");
    for message in ["{}", &"x".repeat(LARGE)] {
        let document = document(message);
        let reply = handler.handle(&document).await.unwrap();
        assert_eq!(reply.id.as_deref(), Some("7"));
        let arrived = fs::read_to_string(folder.path().join("document")).unwrap();
        assert!(arrived == document.to_json(), "{} bytes", arrived.len());
    }
}

#[tokio::test]
async fn an_answer_that_is_no_reply_is_success_all_the_same() {
    for argv in [&["/bin/echo", "done"][..], &["/bin/true"]] {
        assert_eq!(command(argv).handle(&document("{}")).await.unwrap().id, None);
    }
}

#[tokio::test]
async fn a_program_need_not_read_the_document() {
    let document = vec![b'x'; LARGE];
    for text in ["exit 0", "exec 0<&-; exit 0", "head -c 1 > \"$1/byte\"; exit 0"] {
        let folder = TempDir::new().unwrap();
        assert_eq!(run(&script(&folder, text), &document).await, Ok(String::new()), "{text}");
    }
}

#[tokio::test]
async fn the_environment_is_what_the_settings_say_and_no_more() {
    let output = run(&command(&["/usr/bin/env", "-0"]), b"{}").await.unwrap();
    let mut variables: Vec<&str> = output.split_terminator('\0').collect();
    variables.sort_unstable();
    assert_eq!(variables, ["A=b  'c' $(id)\nd", &format!("PATH={PATH}")]);
}

#[tokio::test]
async fn arguments_arrive_as_they_are_written() {
    let arguments =
        ["a b", "", "'\"", "$(id)", "`id`", "$PATH", "*", "; exit 3", "| cat", "\\", "-n", "张\n"];
    let mut argv = vec!["/usr/bin/printf", "%s\\0"];
    argv.extend(arguments);
    let output = run(&command(&argv), b"{}").await.unwrap();
    assert_eq!(output.split_terminator('\0').collect::<Vec<_>>(), arguments);
}

#[tokio::test]
async fn the_way_it_ends_decides_and_what_it_writes_is_told_nobody() {
    let folder = TempDir::new().unwrap();
    let noisy = |end: &str| script(&folder, &format!("echo canary; echo canary >&2; {end}"));
    assert_eq!(run(&noisy("exit 0"), b"{}").await, Ok("canary\n".to_owned()));
    let missing = HandlerError::Missing { reason: "exit status 67".into(), after: None };
    assert_eq!(run(&noisy("exit 67"), b"{}").await, Err(missing));
    assert_eq!(reason(&noisy("exit 1")).await, "exit status 1");
    assert_eq!(reason(&noisy("exit 255")).await, "exit status 255");
    assert_eq!(reason(&noisy("kill -9 $$")).await, "killed by signal 9");
    assert_eq!(reason(&noisy("kill -15 $$")).await, "killed by signal 15");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named_without_its_arguments() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("program");
    let program = path.to_str().unwrap();
    let handler = command(&[program, "canary"]);
    let expected = format!("{program} cannot be run: No such file or directory (os error 2)");
    assert_eq!(reason(&handler).await, expected);
    fs::write(&path, "#!/bin/sh\n").unwrap();
    let expected = format!("{program} cannot be run: Permission denied (os error 13)");
    assert_eq!(reason(&handler).await, expected);
    assert!(CommandHandler::new(&[], &BTreeMap::new()).is_err());
}

#[tokio::test]
async fn a_dropped_run_takes_children_with_it_that_ignore_sigterm() {
    let folder = TempDir::new().unwrap();
    let text = "trap '' TERM; (sleep 60; sleep 60) & sleep 60 & \
                echo $$ $! > \"$1/new\"; mv \"$1/new\" \"$1/pids\"; wait; sleep 60";
    let pids = drop_when_started(&script(&folder, text), &folder).await;
    let [leader, child] = pids.as_slice() else { panic!("{pids:?}") };
    eventually("the program is gone", || (!is_there(leader)).then_some(())).await;
    eventually("its child is gone", || (!is_running(child)).then_some(())).await;
}

#[test]
fn nothing_runs_on_when_the_runtime_ends() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pids");
    let text = "sleep 60 & echo $$ $! > \"$1/new\"; mv \"$1/new\" \"$1/pids\"; wait";
    let handler = script(&folder, text);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.spawn(async move { handler.run(b"{}").await });
    let pids = runtime.block_on(eventually("pids", || fs::read_to_string(&path).ok()));
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for pid in pids.split_whitespace() {
        runtime.block_on(eventually("it is gone", || (!is_running(pid)).then_some(())));
    }
}

#[tokio::test]
async fn what_runs_on_behind_a_finished_program_is_not_waited_for_but_killed() {
    let folder = TempDir::new().unwrap();
    // The first holds both pipes open and reads nothing, the second has let go of them.
    let text = "sleep 60 <&0 & echo $!; sleep 60 > /dev/null < /dev/null & echo $!; exit 0";
    let output = run(&script(&folder, text), &vec![b'x'; LARGE]).await.unwrap();
    let pids: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(pids.len(), 2);
    for pid in pids {
        eventually("it is gone", || (!is_running(pid)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_does_not_hold_the_program_up() {
    let folder = TempDir::new().unwrap();
    let text = "head -c 10485760 /dev/zero >&2; head -c 10485760 /dev/zero; cat > \"$1/document\"";
    let output = run(&script(&folder, text), &vec![b'x'; LARGE]).await.unwrap();
    assert_eq!(output.len(), 64 * 1024);
    assert_eq!(fs::metadata(folder.path().join("document")).unwrap().len(), LARGE as u64);
}

#[tokio::test]
async fn a_program_that_closes_its_output_early_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let text = "exec 1>&-; cat > \"$1/document\"; sleep 0.05; exit 9";
    assert_eq!(reason(&script(&folder, text)).await, "exit status 9");
}

#[tokio::test]
async fn no_zombies_are_left() {
    let folder = TempDir::new().unwrap();
    let handler = Arc::new(script(&folder, "echo $$"));
    let mut finished = JoinSet::new();
    for _ in 0..40 {
        let handler = Arc::clone(&handler);
        finished.spawn(async move { run(&handler, b"{}").await.unwrap() });
    }
    for pid in finished.join_all().await {
        assert!(!is_there(pid.trim()), "{pid}");
    }
    let handler = script(&folder, "echo $$ > \"$1/new\"; mv \"$1/new\" \"$1/pids\"; exec sleep 60");
    for _ in 0..10 {
        for pid in drop_when_started(&handler, &folder).await {
            eventually("it is gone", || (!is_there(&pid)).then_some(())).await;
        }
    }
}
