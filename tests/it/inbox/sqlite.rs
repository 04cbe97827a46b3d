//! What only a file can get into: crashes, foreign contents, full disks, locks. The promises themselves are in `cases`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bamboohook::event::Message;
use bamboohook::event::RecordKind;
use bamboohook::inbox::Acceptance;
use bamboohook::inbox::Change;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::InboxError;
use bamboohook::inbox::NewEvent;
use bamboohook::inbox::OpenError;
use bamboohook::inbox::Outcome;
use bamboohook::inbox::RecordChange;
use bamboohook::inbox::SqliteEditor;
use bamboohook::inbox::SqliteInbox;
use bamboohook::inbox::SqliteReader;
use bamboohook::inbox::State;
use bamboohook::inbox::Subject;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cases::at;
use super::cases::claim;
use super::cases::event;
use super::cases::finish;
use super::cases::store;
use crate::support::mount::Mount;
use crate::support::store::query;
use crate::support::wait::eventually;

/// The schema of the first version; what a store of then holds must survive every later one.
const FIRST_SCHEMA: &str = include_str!("../../../src/inbox/migrations/sqlite/0001_events.sql");

struct Place {
    _directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("store.db");
        Self { _directory: directory, path }
    }

    fn open(&self) -> Arc<dyn Inbox> {
        open(&self.path)
    }

    fn refusal(&self) -> OpenError {
        refusal(&self.path)
    }
}

fn open(path: &Path) -> Arc<dyn Inbox> {
    Arc::new(SqliteInbox::open(path, at(0)).unwrap())
}

fn refusal(path: &Path) -> OpenError {
    match SqliteInbox::open(path, at(0)) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(error) => error,
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn stored_messages(path: &Path) -> Vec<String> {
    let events = SqliteReader::open(path).unwrap();
    let events = events.events(&EventFilter::default(), None, usize::MAX).unwrap();
    events.into_iter().map(|it| it.event.message.as_str().to_owned()).collect()
}

fn take_write_lock(path: &Path) -> Connection {
    let other = Connection::open(path).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_running_waits_again() {
    let place = Place::new();
    let inbox = place.open();
    for subject in ["user-1", "user-1", "user-2"] {
        store(&inbox, event(Some(subject))).await;
    }
    assert_eq!(claim(&inbox, 0).await.len(), 2);
    // The lease is not over by then: no other process can hold it, so nobody waits for it.
    inbox.close().await;
    let inbox = place.open();
    let again = claim(&inbox, 1).await;
    assert_eq!(again.iter().map(|it| it.key.attempt).collect::<Vec<_>>(), [2, 2]);
    assert!(claim(&inbox, 1).await.is_empty(), "order holds as before");
}

/// Another connection sees only what is committed, so it must see what was acknowledged, at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_committed() {
    let place = Place::new();
    let inbox = place.open();
    let other = Connection::open(&place.path).unwrap();
    let mut count = other.prepare("SELECT count(*) FROM events").unwrap();
    for number in 1..=300 {
        store(&inbox, event(Some("user-1"))).await;
        let committed: i64 = count.query_row([], |row| row.get(0)).unwrap();
        assert_eq!(committed, number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_on_one_store_is_refused_until_the_first_is_closed() {
    let place = Place::new();
    let inbox = place.open();
    let refusal = place.refusal();
    assert!(matches!(&refusal, OpenError::InUse { .. }), "{refusal}");
    assert!(refusal.to_string().contains("another `bamboohook serve` uses this store"));
    // The refused one has done no harm.
    store(&inbox, event(None)).await;
    inbox.close().await;
    let inbox = place.open();
    assert_eq!(claim(&inbox, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_write_to_a_store_beside_the_service_that_has_it() {
    let place = Place::new();
    let inbox = place.open();
    store(&inbox, event(Some("user-1"))).await;
    let mut editor = SqliteEditor::open(&place.path).unwrap();
    assert_eq!(editor.retry(&EventFilter::default(), at(1)), Ok(1));
    assert_eq!(editor.discard(&EventFilter::default(), at(2)), Ok(1));
    assert!(claim(&inbox, 3).await.is_empty());
    let beside: Arc<dyn Inbox> = Arc::new(SqliteInbox::open_beside(&place.path).unwrap());
    store(&beside, event(Some("user-1"))).await;
    beside.close().await;
    assert_eq!(claim(&inbox, 4).await.len(), 1);
}

#[test]
fn a_file_of_another_program_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let other = Connection::open(&place.path).unwrap();
    other
        .execute_batch("CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('x')")
        .unwrap();
    drop(other);
    let before = fs::read(&place.path).unwrap();
    assert!(matches!(place.refusal(), OpenError::Foreign { .. }));
    assert!(matches!(SqliteReader::open(&place.path), Err(OpenError::Foreign { .. })));
    assert!(fs::read(&place.path).unwrap() == before, "the file was changed");
}

#[test]
fn a_store_with_another_programs_mark_is_refused_even_without_tables() {
    let place = Place::new();
    let other = Connection::open(&place.path).unwrap();
    other.pragma_update(None, "application_id", 7).unwrap();
    drop(other);
    assert!(matches!(place.refusal(), OpenError::Foreign { .. }));
}

#[test]
fn text_is_not_a_store() {
    let place = Place::new();
    let long = "not a database, but longer than the head of one\n".repeat(100);
    for text in ["ab", "[server]\nlisten = \"127.0.0.1:8080\"\n", &long] {
        fs::write(&place.path, text).unwrap();
        let refusal = place.refusal();
        assert!(matches!(&refusal, OpenError::Foreign { .. }), "{refusal}");
        assert!(matches!(SqliteReader::open(&place.path), Err(OpenError::Foreign { .. })));
        assert_eq!(fs::read_to_string(&place.path).unwrap(), text);
    }
}

#[test]
fn a_folder_is_not_a_store_and_neither_is_a_path_to_nowhere() {
    let place = Place::new();
    fs::create_dir(&place.path).unwrap();
    for path in [place.path.clone(), place.path.join("missing").join("store.db")] {
        let refusal = refusal(&path);
        assert!(matches!(&refusal, OpenError::Unopenable { .. }), "{refusal}");
        assert!(refusal.to_string().contains(&path.display().to_string()), "{refusal}");
    }
    let missing = place.path.join("store.db");
    assert!(matches!(SqliteReader::open(&missing), Err(OpenError::Missing { .. })));
    assert!(!missing.exists(), "who only looks makes nothing");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let place = Place::new();
    place.open().close().await;
    let other = Connection::open(&place.path).unwrap();
    other.execute("INSERT INTO schema_versions (version) VALUES (99)", []).unwrap();
    drop(other);
    let refusal = place.refusal();
    assert!(matches!(&refusal, OpenError::Newer { found: 99, .. }), "{refusal}");
    assert!(matches!(SqliteReader::open(&place.path), Err(OpenError::Newer { .. })));
}

/// With an event of each state in it.
fn store_of_the_first_version() -> Place {
    let place = Place::new();
    let old = Connection::open(&place.path).unwrap();
    old.pragma_update(None, "application_id", 0x626d_6268).unwrap();
    old.execute_batch(FIRST_SCHEMA).unwrap();
    old.execute_batch(
        "CREATE TABLE schema_versions (
             version INTEGER PRIMARY KEY,
             applied_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
         ) STRICT;
         INSERT INTO schema_versions (version) VALUES (1);
         INSERT INTO events VALUES
             (1, x'019f0000000070008000000000000001', 'default', 'eiam', 'UPDATE_USER', 'user-1', 'n1',
              '1783609195000', 1783609195000, 1783609200000, '{\"id\":\"user-1\"}', '{\"id\":\"user-1\"}'),
             (2, x'019f0000000070008000000000000002', 'default', 'ciam', 'USER_LOGIN', 'user-2', 'n2',
              '1783609195', 1783609195000, 1783609200000, 'user-2', ''),
             (3, x'019f0000000070008000000000000003', 'default', 'ciam', 'USER_LOGIN', 'user-2', 'n3',
              '1783609195', 1783609195000, 1783609200000, 'user-2', ''),
             (4, x'019f0000000070008000000000000004', 'default', 'ciam', 'USER_LOGIN', NULL, 'n4',
              '1783609195', 1783609195000, 1783609200000, 'x', '');
         INSERT INTO deliveries VALUES
             (1, 'a', 11, 2, 1, NULL, NULL, NULL),
             (2, 'a', 22, 1, 3, NULL, 1783609999000, 'HTTP 500'),
             (3, 'a', 22, 0, 0, NULL, NULL, NULL),
             (4, 'a', NULL, 3, 15, NULL, NULL, 'HTTP 503');
         INSERT INTO duplicate_keys VALUES
             ('default', 1783609195000, zeroblob(32), 1783609800000, 1);",
    )
    .unwrap();
    drop(old);
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_first_version_keeps_its_events() {
    let place = store_of_the_first_version();
    let inbox = place.open();
    let states: Vec<_> = SqliteReader::open(&place.path)
        .unwrap()
        .events(&EventFilter::default(), None, 10)
        .unwrap()
        .into_iter()
        .map(|it| it.state)
        .collect();
    assert_eq!(states, [State::Dead, State::Waiting, State::Waiting, State::Done]);
    let mut repeated = event(Some("user-1"));
    repeated.duplicate_key.mac = [0; 32];
    repeated.duplicate_key.signed_at = 1_783_609_195_000;
    let Acceptance::Duplicate(Some(receipt)) = inbox.accept(repeated).await.unwrap() else {
        panic!("the key is lost");
    };
    assert_eq!(receipt.reply, "{\"id\":\"user-1\"}");
    let claimed = claim(&inbox, 1).await;
    assert_eq!((claimed.len(), claimed[0].key.sequence, claimed[0].key.attempt), (1, 2, 4));
    assert!(finish(&inbox, &claimed[0], 1, Outcome::Done).await);
    assert_eq!(claim(&inbox, 1).await[0].key.sequence, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_the_first_version_gets_a_directory_that_fills_with_what_comes() {
    let place = store_of_the_first_version();
    let inbox = place.open();
    let reader = Connection::open(&place.path).unwrap();
    let users = || query(&reader, "SELECT endpoint, id, disabled, deleted FROM users ORDER BY id");
    assert!(users().is_empty());
    let change = RecordChange {
        kind: RecordKind::User,
        change: Change::Update,
        id: Some("user-1".to_owned()),
        assigned_id: None,
        name: None,
        attributes: "{}".to_owned(),
        disabled: Some(true),
        changed_at: None,
    };
    let subject = Subject::Record(Box::new(change));
    store(&inbox, NewEvent { subject, ..event(None) }).await;
    assert_eq!(users(), [["default", "user-1", "1", "0"]]);
    let versions = query(&reader, "SELECT version FROM schema_versions ORDER BY version");
    assert_eq!(versions, [["1"], ["2"], ["3"], ["4"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_may_read_a_store() {
    let place = Place::new();
    let inbox = place.open();
    store(&inbox, event(None)).await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let mode = fs::metadata(beside(&place.path, suffix)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "store.db{suffix}");
    }
    inbox.close().await;
    assert!(!beside(&place.path, "-wal").exists(), "one file is left to copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_lock_fails_writes_in_time_and_leaves_no_trace() {
    let place = Place::new();
    let inbox = place.open();
    store(&inbox, event(None)).await;
    let lock = take_write_lock(&place.path);
    let refused = event(Some("user-1"));
    let began = Instant::now();
    assert_eq!(inbox.accept(refused.clone()).await, Err(InboxError::Locked));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(inbox.check().await, Err(InboxError::Locked));
    // Looking into the store needs no lock.
    assert_eq!(stored_messages(&place.path).len(), 1);
    drop(lock);
    inbox.check().await.unwrap();
    store(&inbox, refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_another_program_has_locked_does_not_open() {
    let place = Place::new();
    place.open().close().await;
    let lock = take_write_lock(&place.path);
    let path = place.path.clone();
    let refused = tokio::task::spawn_blocking(move || refusal(&path)).await.unwrap();
    assert!(matches!(&refused, OpenError::Locked { .. }), "{refused}");
    drop(lock);
    store(&place.open(), event(None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_wait_is_refused_at_once_and_nothing_else_is() {
    const MORE_THAN_FIT: usize = 4000;
    let place = Place::new();
    let inbox = place.open();
    store(&inbox, event(None)).await;
    let lock = take_write_lock(&place.path);
    let events: Vec<_> = (0..MORE_THAN_FIT).map(|_| event(None)).collect();
    let (told, mut results) = tokio::sync::mpsc::unbounded_channel();
    let mut accepts = JoinSet::new();
    for event in events {
        let (inbox, told) = (Arc::clone(&inbox), told.clone());
        accepts.spawn(async move {
            let result = inbox.accept(event.clone()).await;
            told.send((event, result)).unwrap();
        });
    }
    drop(told);
    let (mut refused, mut stored) = (Vec::new(), 1);
    let (first, result) = results.recv().await.unwrap();
    assert_eq!(result, Err(InboxError::Saturated));
    refused.push(first);
    drop(lock);
    while let Some((event, result)) = results.recv().await {
        match result {
            Ok(Acceptance::Stored(_)) => stored += 1,
            Err(InboxError::Saturated | InboxError::Locked) => refused.push(event),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored_messages(&place.path).len(), stored);
    assert!(stored > 1000, "only {stored} were stored");
    // What was refused has not been seen: the same requests may come again.
    for event in refused.into_iter().take(100) {
        store(&inbox, event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_is_got_over_alone() {
    let Some(mount) = Mount::new(2048) else { return };
    let path = mount.path().join("store.db");
    let inbox = open(&path);
    let before = event(Some("user-1"));
    store(&inbox, before.clone()).await;
    let claimed = claim(&inbox, 0).await;
    let ballast = mount.fill();
    let bulky = |number: usize| NewEvent {
        message: Message::new(format!("{number} {}", "x".repeat(20_000))),
        ..event(Some("user-1"))
    };
    let refused = bulky(0);
    let error =
        eventually("the disk is full", async || match inbox.accept(refused.clone()).await {
            Err(error) => Some(error),
            Ok(_) => panic!("acknowledged on a full disk"),
        })
        .await;
    assert_eq!(error, InboxError::Full);
    assert_eq!(stored_messages(&path), [before.message.as_str()]);
    fs::remove_file(ballast).unwrap();
    inbox.check().await.unwrap();
    store(&inbox, refused.clone()).await;
    assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
    assert_eq!(claim(&inbox, 0).await[0].event.message, refused.message);
    inbox.close().await;
    let inbox = open(&path);
    assert!(matches!(inbox.accept(before).await.unwrap(), Acceptance::Duplicate(Some(_))));
    inbox.close().await;
}

/// Fills the disk by storing alone, so that a commit fails in the middle of what it writes.
#[tokio::test(flavor = "multi_thread")]
async fn what_fits_before_the_disk_is_full_is_all_there() {
    let Some(mount) = Mount::new(1024) else { return };
    let path = mount.path().join("store.db");
    let inbox = open(&path);
    // A batch that does not fit is refused as a whole, so batches are kept small.
    let mut streams: JoinSet<(Vec<String>, usize)> = (0..4)
        .map(|stream| {
            let inbox = Arc::clone(&inbox);
            async move {
                let (mut stored, mut refused) = (Vec::new(), 0);
                for number in 0..75 {
                    let text = format!("{stream} {number} {}", "x".repeat(10_000));
                    let message = Message::new(&*text);
                    match inbox.accept(NewEvent { message, ..event(None) }).await {
                        Ok(_) => stored.push(text),
                        Err(InboxError::Full) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (stored, refused)
            }
        })
        .collect();
    let (mut stored, mut refused) = (Vec::new(), 0);
    while let Some(stream) = streams.join_next().await {
        let (of_stream, refused_there) = stream.unwrap();
        stored.extend(of_stream);
        refused += refused_there;
    }
    assert!(refused > 0 && !stored.is_empty(), "{refused} refused, {} stored", stored.len());
    inbox.close().await;
    let mut there = stored_messages(&path);
    there.sort();
    stored.sort();
    assert!(there == stored, "{} stored, {} there", stored.len(), there.len());
}

#[test]
fn a_disk_that_is_full_from_the_start_is_named() {
    let Some(mount) = Mount::new(256) else { return };
    mount.fill();
    let refusal = refusal(&mount.path().join("store.db"));
    assert!(matches!(&refusal, OpenError::Full { .. }), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_is_named_with_the_cure() {
    let Some(mount) = Mount::new(2048) else { return };
    let path = mount.path().join("store.db");
    let inbox = open(&path);
    store(&inbox, event(None)).await;
    inbox.close().await;
    drop(inbox);
    mount.make_read_only();
    for path in [path, mount.path().join("new.db")] {
        let refusal = refusal(&path);
        assert!(matches!(&refusal, OpenError::ReadOnly { .. }), "{refusal}");
    }
}

#[test]
fn a_read_only_file_is_named_with_the_cure() {
    let place = Place::new();
    drop(Connection::open(&place.path).unwrap());
    fs::write(&place.path, "").unwrap();
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::File::options().append(true).open(&place.path).is_ok() {
        eprintln!("skipped: to this user no file is read-only");
        return;
    }
    let refusal = place.refusal();
    assert!(matches!(&refusal, OpenError::ReadOnly { .. }), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_store_starts_over_while_events_stream_in() {
    let place = Place::new();
    let inbox = place.open();
    let streams: JoinSet<()> = (0..64)
        .map(|_| {
            let inbox = Arc::clone(&inbox);
            async move {
                loop {
                    let message = Message::new("x".repeat(10_000));
                    store(&inbox, NewEvent { message, ..event(None) }).await;
                }
            }
        })
        .collect();
    let wal = beside(&place.path, "-wal");
    let first = log_number(&wal).unwrap_or_default();
    eventually("the log starts over three times", async || {
        (log_number(&wal)? >= first + 3).then_some(())
    })
    .await;
    drop(streams);
    inbox.close().await;
}

/// How often the log began anew: bytes 12 to 15 of its head (sqlite.org/fileformat.html, 4.1).
fn log_number(wal: &Path) -> Option<u32> {
    let mut head = [0; 16];
    fs::File::open(wal).ok()?.read_exact(&mut head).ok()?;
    Some(u32::from_be_bytes(*head.last_chunk()?))
}
