//! What a store that several processes share can get into. Processes are inboxes of their own here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bamboohook::inbox::Acceptance;
use bamboohook::inbox::Delivery;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::InboxError;
use bamboohook::inbox::NewEvent;
use bamboohook::inbox::Operator;
use bamboohook::inbox::Outcome;
use bamboohook::inbox::PostgresInbox;
use bamboohook::inbox::PostgresOperator;
use bamboohook::inbox::PostgresOptions;
use bamboohook::inbox::Reserved;
use bamboohook::inbox::State;
use bamboohook::inbox::Subject;
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::PostgresDatabase;
use super::Stores;
use super::cases::accept_at_once;
use super::cases::at;
use super::cases::claim;
use super::cases::claim_for;
use super::cases::event;
use super::cases::finish;
use super::cases::store;
use super::record_cases::create;
use super::record_cases::id_of;
use super::record_cases::reserve;
use crate::support::postgres::Database;
use crate::support::postgres::stored;
use crate::support::wait::eventually;

async fn replicas(place: &PostgresDatabase) -> [Arc<dyn Inbox>; 3] {
    [place.open(at(0)).await, place.open(at(0)).await, place.open(at(0)).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn of_copies_at_several_replicas_exactly_one_stores() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let replicas = replicas(&place).await;
    for _round in 0..20 {
        let event = event(Some("user-1"));
        let copies: JoinSet<Acceptance> = (0..60)
            .map(|copy| {
                let (inbox, event) = (Arc::clone(&replicas[copy % 3]), event.clone());
                async move { inbox.accept(event).await.unwrap() }
            })
            .collect();
        let answers = copies.join_all().await;
        let stored = answers.iter().filter(|it| matches!(it, Acceptance::Stored(_)));
        assert_eq!(stored.count(), 1);
        let duplicates = answers.iter().filter(|it| matches!(it, Acceptance::Duplicate(Some(_))));
        assert_eq!(duplicates.count(), 59);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_gets_one_id_at_all_replicas() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let replicas = replicas(&place).await;
    for round in 0..20 {
        let creates: JoinSet<String> = (0..30)
            .map(|copy| {
                let inbox = Arc::clone(&replicas[copy % 3]);
                async move { id_of(&inbox, create(&format!("zhang-{round}"))).await }
            })
            .collect();
        let ids: BTreeSet<String> = creates.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 1);
    }
}

/// Three replicas accept, claim and finish side by side, in any order that comes: of each subject one delivery
/// runs at a time, in order of arrival.
#[tokio::test(flavor = "multi_thread")]
async fn order_holds_across_replicas() {
    const SUBJECTS: usize = 12;
    const EVENTS: usize = 40;
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let replicas = replicas(&place).await;
    let (seen, _) = watch::channel(BTreeMap::<String, Vec<String>>::new());
    let mut senders: JoinSet<()> = (0..SUBJECTS)
        .map(|subject| {
            let replicas = replicas.clone();
            async move {
                for number in 0..EVENTS {
                    let name = format!("user-{subject}");
                    let event = NewEvent {
                        message: bamboohook::event::Message::new(format!("{number}")),
                        ..event(Some(&name))
                    };
                    store(&replicas[(subject + number) % 3], event).await;
                }
            }
        })
        .collect();
    let workers: Vec<_> = replicas
        .iter()
        .flat_map(|inbox| [Arc::clone(inbox), Arc::clone(inbox)])
        .enumerate()
        .map(|(worker, inbox)| tokio::spawn(work(worker, inbox, seen.clone())))
        .collect();
    while let Some(sent) = senders.join_next().await {
        sent.unwrap();
    }
    eventually("everything is delivered", async || {
        let done: usize = seen.borrow().values().map(Vec::len).sum();
        (done == SUBJECTS * EVENTS).then_some(())
    })
    .await;
    for worker in workers {
        worker.abort();
    }
    let expected: Vec<String> = (0..EVENTS).map(|it| it.to_string()).collect();
    for (subject, messages) in &*seen.borrow() {
        assert_eq!(*messages, expected, "{subject}");
    }
}

/// Every fourth attempt fails and is made again.
async fn work(
    worker: usize,
    inbox: Arc<dyn Inbox>,
    seen: watch::Sender<BTreeMap<String, Vec<String>>>,
) {
    let mut attempts = worker;
    loop {
        let claimed = claim_for(&inbox, "a", 3, 1).await;
        if claimed.is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for delivery in claimed {
            attempts += 1;
            let outcome = if attempts.is_multiple_of(4) {
                Outcome::Retry { at: at(1), error: "HTTP 500".to_owned() }
            } else {
                let subject = delivery.event.subject.clone().unwrap();
                let message = delivery.event.message.as_str().to_owned();
                seen.send_modify(|seen| seen.entry(subject).or_default().push(message));
                Outcome::Done
            };
            assert!(finish(&inbox, &delivery, 1, outcome).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_claim_past_each_other() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let replicas = replicas(&place).await;
    let mut accepts: JoinSet<_> = (0..300)
        .map(|_| {
            let inbox = Arc::clone(&replicas[0]);
            async move { store(&inbox, event(None)).await.id }
        })
        .collect();
    let mut stored = BTreeSet::new();
    while let Some(id) = accepts.join_next().await {
        stored.insert(id.unwrap());
    }
    let claims: JoinSet<Vec<Delivery>> = (0..30)
        .map(|number| {
            let inbox = Arc::clone(&replicas[number % 3]);
            async move { claim_for(&inbox, "a", 10, 0).await }
        })
        .collect();
    let claimed: Vec<_> =
        claims.join_all().await.into_iter().flatten().map(|it| it.event.id).collect();
    let distinct: BTreeSet<_> = claimed.iter().copied().collect();
    assert_eq!(distinct.len(), claimed.len(), "nothing was claimed twice");
    let rest = claim(&replicas[1], 0).await.into_iter().map(|it| it.event.id);
    assert_eq!(distinct.into_iter().chain(rest).collect::<BTreeSet<_>>(), stored);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_passes_over_what_another_one_is_about_to_take() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let (taken, free) = (event(None), event(None));
    store(&inbox, taken.clone()).await;
    store(&inbox, free.clone()).await;
    let mut client = place.0.client().await;
    let taking = client.transaction().await.unwrap();
    let oldest = "SELECT FROM deliveries ORDER BY sequence LIMIT 1 FOR UPDATE";
    taking.query(oldest, &[]).await.unwrap();
    let claimed = claim(&inbox, 0).await;
    assert_eq!(claimed.iter().map(|it| it.event.id).collect::<Vec<_>>(), [free.id]);
    taking.rollback().await.unwrap();
    assert_eq!(claim(&inbox, 0).await[0].event.id, taken.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_stores_and_finishes_wakes_the_others() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let [first, second, _] = replicas(&place).await;
    let mut arrivals = second.arrivals();
    let mut woken = async || {
        tokio::time::timeout(Duration::from_secs(10), arrivals.changed()).await.unwrap().unwrap();
    };
    // It says so itself when it has begun to listen.
    woken().await;
    store(&first, event(Some("user-1"))).await;
    woken().await;
    store(&first, event(Some("user-1"))).await;
    woken().await;
    let claimed = claim(&first, 0).await;
    assert!(finish(&first, &claimed[0], 0, Outcome::Done).await);
    woken().await;
    assert_eq!(claim(&second, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_at_one_replica_does_not_touch_the_attempt_of_another() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let [first, second, _] = replicas(&place).await;
    store(&first, event(Some("user-1"))).await;
    store(&first, event(Some("user-1"))).await;
    let lost = claim(&first, 0).await;
    assert_eq!(second.recover(at(30)).await.unwrap(), 1);
    let taken = claim(&second, 30).await;
    assert_eq!((taken.len(), taken[0].key.attempt), (1, 2));
    first.extend(vec![lost[0].key.clone()], at(100)).await.unwrap();
    assert!(!finish(&first, &lost[0], 31, Outcome::Done).await);
    assert!(claim(&first, 31).await.is_empty(), "the second one still runs");
    assert_eq!(first.recover(at(60)).await.unwrap(), 1, "a lost lease was not extended");
}

/// Of one subject the first event's delivery is dead, the second's was lost to another replica that has ended it,
/// and the third's runs there.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_end_lets_nothing_overtake_what_runs() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let [first, second, _] = replicas(&place).await;
    for _ in 0..3 {
        store(&first, event(Some("user-1"))).await;
    }
    let oldest = claim(&first, 0).await;
    let dead = Outcome::Dead { error: "HTTP 500".to_owned() };
    assert!(finish(&first, &oldest[0], 0, dead).await);
    let lost = claim(&first, 0).await;
    assert_eq!(second.recover(at(30)).await.unwrap(), 1);
    let taken = claim(&second, 30).await;
    assert_eq!(taken[0].key.sequence, lost[0].key.sequence);
    assert!(finish(&second, &taken[0], 30, Outcome::Done).await);
    let running = claim(&second, 30).await;
    assert_eq!(retry_dead(&place).await, 1);
    for outcome in [Outcome::Done, Outcome::Retry { at: at(31), error: "HTTP 500".to_owned() }] {
        assert!(!finish(&first, &lost[0], 31, outcome).await);
        assert!(claim(&first, 31).await.is_empty(), "one attempt of a subject at a time");
    }
    assert!(finish(&second, &running[0], 32, Outcome::Done).await);
    assert_eq!(claim(&first, 32).await[0].key.sequence, oldest[0].key.sequence);
}

/// An older delivery that was asked for again goes before the one that has to wait again.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_again_gives_way_to_an_older_one() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let dead = || Outcome::Dead { error: "HTTP 500".to_owned() };
    // By the end of its attempt, and by the end of its lease.
    for subject in ["user-1", "user-2"] {
        store(&inbox, event(Some(subject))).await;
        store(&inbox, event(Some(subject))).await;
        let oldest = claim(&inbox, 0).await;
        assert!(finish(&inbox, &oldest[0], 0, dead()).await);
        let other = claim(&inbox, 0).await;
        assert_eq!(retry_dead(&place).await, 1);
        if subject == "user-1" {
            let again = Outcome::Retry { at: at(1), error: "HTTP 500".to_owned() };
            assert!(finish(&inbox, &other[0], 1, again).await);
        } else {
            assert_eq!(inbox.recover(at(30)).await.unwrap(), 1);
        }
        for expected in [&oldest, &other] {
            let claimed = claim(&inbox, 30).await;
            assert_eq!(claimed.len(), 1, "one attempt of a subject at a time");
            assert_eq!(claimed[0].key.sequence, expected[0].key.sequence);
            assert!(finish(&inbox, &claimed[0], 30, Outcome::Done).await);
        }
    }
}

/// As an operator does it.
async fn retry_dead(place: &PostgresDatabase) -> usize {
    let options = PostgresOptions::new(&place.0.url().into(), None, 2, Duration::from_secs(30));
    let operator = Operator::Postgres(PostgresOperator::open(&options.unwrap()).await.unwrap());
    let filter = EventFilter { state: Some(State::Dead), ..EventFilter::default() };
    operator.retry(&filter, at(1)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_one_replicas_alone() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let [first, second, _] = replicas(&place).await;
    let guard = first.exclusive("reconcile").await.unwrap().unwrap();
    assert!(second.exclusive("reconcile").await.unwrap().is_none());
    assert!(first.exclusive("reconcile").await.unwrap().is_none());
    assert!(second.exclusive("other").await.unwrap().is_some());
    drop(guard);
    assert!(second.exclusive("reconcile").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_the_database_cannot_hold_is_stored_without_it() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let message = bamboohook::event::Message::new("a\0b");
    let event = NewEvent { message: message.clone(), ..event(Some("user\0-1")) };
    store(&inbox, event).await;
    let claimed = claim(&inbox, 0).await;
    assert_eq!(claimed[0].event.message, message);
    assert_eq!(claimed[0].event.subject.as_deref(), Some("user\u{fffd}-1"));
    let outcome = Outcome::Dead { error: "a\0b".to_owned() };
    assert!(finish(&inbox, &claimed[0], 0, outcome).await);
    let id = id_of(&inbox, create("zh\0ang")).await;
    assert_eq!(id_of(&inbox, create("ZH\0ang")).await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_does_not_make_the_same_request_a_duplicate() {
    let Some(database) = Database::create().await else { return };
    let (url, tear) = tearing(&database.url()).await;
    let options = PostgresOptions::new(&SecretString::from(url), None, 4, Duration::from_secs(5));
    let inbox: Arc<dyn Inbox> = Arc::new(PostgresInbox::open(options.unwrap()).await.unwrap());
    let (answered, torn) = (event(Some("user-1")), event(Some("user-1")));
    store(&inbox, answered.clone()).await;
    tear.send_replace(true);
    assert_eq!(inbox.accept(torn.clone()).await, Err(InboxError::Unreachable));
    tear.send_replace(false);
    let events = async || {
        let row = database.client().await.query_one("SELECT count(*) FROM events", &[]).await;
        row.unwrap().get::<_, i64>(0)
    };
    assert_eq!(events().await, 2, "it was stored all the same");
    eventually("the store is reached again", async || inbox.check().await.ok()).await;
    // What was not acknowledged may come again, and what was may not.
    let again = NewEvent { id: Uuid::now_v7(), ..torn.clone() };
    assert_eq!(store(&inbox, again.clone()).await.id, torn.id, "one event, stored once");
    assert!(matches!(inbox.accept(again).await.unwrap(), Acceptance::Duplicate(Some(_))));
    assert!(matches!(inbox.accept(answered).await.unwrap(), Acceptance::Duplicate(Some(_))));
    assert_eq!(events().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_without_an_answer_is_given_back() {
    let Some(database) = Database::create().await else { return };
    let (url, tear) = tearing(&database.url()).await;
    let options = PostgresOptions::new(&SecretString::from(url), None, 4, Duration::from_secs(5));
    let inbox: Arc<dyn Inbox> = Arc::new(PostgresInbox::open(options.unwrap()).await.unwrap());
    let (answered, torn) = (create("zhang"), create("li"));
    let yours = Reserved::Yours { subject: None };
    assert_eq!(reserve(&inbox, &answered, 0).await, Ok(yours.clone()));
    tear.send_replace(true);
    // The second copy of the one was told that it runs, of which nobody has heard.
    let (one, other) = tokio::join!(reserve(&inbox, &torn, 0), reserve(&inbox, &answered, 1));
    assert_eq!((one, other), (Err(InboxError::Unreachable), Err(InboxError::Unreachable)));
    tear.send_replace(false);
    eventually("the store is reached again", async || inbox.check().await.ok()).await;
    assert_eq!(reserve(&inbox, &torn, 1).await, Ok(yours));
    assert_eq!(reserve(&inbox, &answered, 1).await, Ok(Reserved::Running));
}

/// A way to the database that, when told to, breaks off in place of the answer to a commit.
async fn tearing(url: &str) -> (String, watch::Sender<bool>) {
    let parsed: tokio_postgres::Config = url.parse().unwrap();
    let [tokio_postgres::config::Host::Tcp(host)] = parsed.get_hosts() else { panic!("{url}") };
    let server = format!("{host}:{}", parsed.get_ports().first().copied().unwrap_or(5432));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tear, _) = watch::channel(false);
    let told = tear.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server.clone(), told.subscribe()));
        }
    });
    let user = parsed.get_user().unwrap_or("postgres").to_owned();
    let database = parsed.get_dbname().unwrap().to_owned();
    (format!("postgres://{user}@127.0.0.1:{port}/{database}?sslmode=disable"), tear)
}

async fn pass(client: TcpStream, server: String, tear: watch::Receiver<bool>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move {
        // Ends with either side.
        drop(tokio::io::copy(&mut from_client, &mut to_server).await);
    });
    let mut answer = vec![0; 65536];
    while let Ok(read @ 1..) = from_server.read(&mut answer).await {
        let committed = answer[..read].windows(7).any(|it| it == b"COMMIT\0");
        if committed && *tear.borrow() || to_client.write_all(&answer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stalls_in_its_turn_loses_it() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let url = SecretString::from(place.0.url());
    let options = PostgresOptions::new(&url, None, 4, Duration::from_secs(1)).unwrap();
    let inbox: Arc<dyn Inbox> = Arc::new(PostgresInbox::open(options).await.unwrap());
    let mut staller = place.0.client().await;
    staller.batch_execute("SET idle_in_transaction_session_timeout = 700").await.unwrap();
    let held = staller.transaction().await.unwrap();
    let turn = 0x62_6d_62_68_6f_6f_6b_i64;
    held.query("SELECT pg_advisory_xact_lock($1)", &[&turn]).await.unwrap();
    // It waits for its turn, and gets it when the server has given up on the other.
    store(&inbox, event(Some("user-1"))).await;
    assert!(held.commit().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_does_not_come_is_refused_in_time() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let url = SecretString::from(place.0.url());
    let options = PostgresOptions::new(&url, None, 4, Duration::from_millis(300)).unwrap();
    let inbox: Arc<dyn Inbox> = Arc::new(PostgresInbox::open(options).await.unwrap());
    let mut other = place.0.client().await;
    let turn = other.transaction().await.unwrap();
    turn.query("SELECT pg_advisory_xact_lock($1)", &[&0x62_6d_62_68_6f_6f_6b_i64]).await.unwrap();
    let late = event(Some("user-1"));
    assert_eq!(inbox.accept(late.clone()).await, Err(InboxError::Unreachable));
    // What decides about the order of deliveries, and what deletes, wait for it as well.
    assert_eq!(inbox.recover(at(0)).await, Err(InboxError::Unreachable));
    assert_eq!(inbox.prune(at(0), at(0)).await, Err(InboxError::Unreachable));
    turn.commit().await.unwrap();
    eventually("the store is reached again", async || inbox.check().await.ok()).await;
    store(&inbox, late).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_end_while_nobody_asks_cost_no_request() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    store(&inbox, event(Some("user-1"))).await;
    assert_eq!(claim(&inbox, 0).await.len(), 1);
    let client = place.0.client().await;
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let ended: i64 = client.query_one(end, &[]).await.unwrap().get(0);
    assert!(ended >= 2, "{ended} connections were there");
    // Until this side has heard of it, which nothing shows.
    tokio::time::sleep(Duration::from_secs(1)).await;
    store(&inbox, event(Some("user-2"))).await;
    assert_eq!(claim(&inbox, 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_takes_none_of_its_company_with_it() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let client = place.0.client().await;
    let check = "ALTER TABLE events ADD CHECK (nonce <> 'bad')";
    client.batch_execute(check).await.unwrap();
    let events: Vec<NewEvent> = (0..20)
        .map(|number| {
            let event = event(Some("user-1"));
            let nonce = if number % 7 == 5 { "bad".to_owned() } else { event.nonce };
            NewEvent { nonce, ..event }
        })
        .collect();
    let acceptances = accept_at_once(&inbox, events.clone()).await;
    inbox.check().await.unwrap();
    for (event, acceptance) in events.iter().zip(acceptances) {
        if event.nonce == "bad" {
            assert_eq!(acceptance, Err(InboxError::Failed));
        } else {
            assert!(matches!(acceptance, Ok(Acceptance::Stored(_))), "{acceptance:?}");
            let again = inbox.accept(event.clone()).await.unwrap();
            assert!(matches!(again, Acceptance::Duplicate(Some(_))), "stored once");
        }
    }
    assert_eq!(stored(&client).await, 17);
}

/// The runtime on which it writes has ended, as a task does that panics; who asks it lives on another.
#[test]
fn a_store_whose_writer_has_ended_by_itself_is_closed_to_all() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (writing, asking) = (runtime(), runtime());
    asking.block_on(async {
        let Some(database) = Database::create().await else { return };
        let place = PostgresDatabase(database);
        let inbox = writing.spawn(async move { (place.open(at(0)).await, place) });
        let (inbox, _place) = inbox.await.unwrap();
        inbox.check().await.unwrap();
        writing.shutdown_background();
        let closed = InboxError::Closed;
        // What needs no writer must not look as if all were well: by it the service notices.
        let pruned = async || inbox.prune(at(0), at(0)).await;
        eventually("it is noticed", async || (pruned().await == Err(closed)).then_some(())).await;
        assert_eq!(inbox.check().await, Err(closed));
        assert_eq!(inbox.recover(at(0)).await, Err(closed));
    });
}

/// The planner remembers tables as they were when they were last analysed, here all but empty.
#[tokio::test(flavor = "multi_thread")]
async fn no_commit_reads_a_whole_table() {
    const BEFORE: i64 = 20_000;
    const EVENTS: i64 = 30;
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let client = place.0.client().await;
    let pass = async |id: &str| {
        let mut event = create(id);
        event.subject.assign(Some(id.to_owned()));
        store(&inbox, event).await;
        let [delivery] = &*claim(&inbox, 0).await else { panic!("{id}") };
        inbox.extend(vec![delivery.key.clone()], at(100)).await.unwrap();
        assert!(finish(&inbox, delivery, 0, Outcome::Done).await);
    };
    pass("first").await;
    client.batch_execute("VACUUM ANALYZE").await.unwrap();
    pass("second").await;
    client
        .batch_execute(&format!(
            "INSERT INTO events SELECT -it, gen_random_uuid(), 'default', 'ciam', 'X', NULL, '', '', 0, 0, '', ''
             FROM generate_series(1, {BEFORE}) AS it;
             INSERT INTO duplicate_keys SELECT 'default', it, sha256('x'), it, -it, NULL FROM generate_series(1, {BEFORE}) AS it;
             INSERT INTO deliveries (sequence, handler, subject_key, state, attempts) SELECT -it, 'a', it, 2, 1 FROM generate_series(1, {BEFORE}) AS it;
             INSERT INTO details SELECT -it, NULL FROM generate_series(1, {BEFORE}) AS it;
             INSERT INTO directory SELECT 'default', 'user', 'x' || it, 'x' || it, 'x' || it, false, false, '{{}}', 0, NULL
             FROM generate_series(1, {BEFORE}) AS it"
        ))
        .await
        .unwrap();
    for number in 0..EVENTS {
        pass(&format!("user-{number}")).await;
    }
    // The server counts what a connection has read when that ends.
    inbox.close().await;
    let sum = async |column: &str| {
        let sql = format!("SELECT coalesce(sum({column}), 0)::bigint FROM pg_stat_user_tables");
        place.0.client().await.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0)
    };
    eventually("everything is counted", async || {
        // A claim, a longer lease and an end of each.
        (sum("n_tup_upd").await >= 3 * EVENTS).then_some(())
    })
    .await;
    let read = sum("seq_tup_read").await + sum("idx_tup_fetch").await;
    // The keys are read once, when it closes.
    assert!(read < 2 * BEFORE, "{read} rows were read");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_show_every_record_also_one_that_the_database_cannot_read() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let several = r#"{"name":"张三","organizationIds":["first","second"],"n":1e400}"#;
    let one = r#"{"name":"李四","organizationId":"own","organizationIds":["first"]}"#;
    // JSON to everyone else.
    let unreadable = [r#"{"name":"a\u0000b"}"#, r#"{"name":"\ud800"}"#];
    for (number, attributes) in [several, one].into_iter().chain(unreadable).enumerate() {
        let mut event = create(&format!("user-{number}"));
        let Subject::Record(change) = &mut event.subject else { panic!("{event:?}") };
        change.attributes = attributes.to_owned();
        store(&inbox, event).await;
    }
    let rows =
        "SELECT username, name, organization_id, attributes, extract(epoch FROM updated_at)::bigint
         FROM users WHERE NOT disabled AND NOT deleted ORDER BY username";
    let rows = place.0.client().await.query(rows, &[]).await.unwrap();
    let found: Vec<(Option<&str>, Option<&str>, &str)> =
        rows.iter().map(|row| (row.get(1), row.get(2), row.get(3))).collect();
    let expected = [
        (Some("张三"), Some("first"), several),
        (Some("李四"), Some("own"), one),
        (None, None, unreadable[0]),
        (None, None, unreadable[1]),
    ];
    assert_eq!(found, expected);
    assert_eq!(rows[0].get::<_, i64>(4), at(0).as_second());
}

#[tokio::test(flavor = "multi_thread")]
async fn subjects_of_any_length_have_their_order() {
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let subject = "a".repeat(100_000);
    for _ in 0..2 {
        let event = NewEvent { subject: Subject::Known(subject.clone()), ..event(None) };
        store(&inbox, event).await;
    }
    assert_eq!(claim(&inbox, 0).await.len(), 1);
}

/// Without statistics, as in its first minute, the database has no idea which index is the good one.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_reads_no_more_than_it_is_asked_for() {
    const EVENTS: i64 = 2000;
    let Some(database) = Database::create().await else { return };
    let place = PostgresDatabase(database);
    let inbox = place.open(at(0)).await;
    let client = place.0.client().await;
    for table in ["events", "deliveries", "duplicate_keys", "directory", "details"] {
        let keep = format!("ALTER TABLE {table} SET (autovacuum_enabled = false)");
        client.batch_execute(&keep).await.unwrap();
    }
    for round in 0..EVENTS / 200 {
        let accepts: JoinSet<_> = (0..200)
            .map(|number| {
                let inbox = Arc::clone(&inbox);
                let name = format!("user-{}", (round * 200 + number) % 500);
                async move { store(&inbox, create(&name)).await }
            })
            .collect();
        accepts.join_all().await;
    }
    let mut done = 0;
    while done < EVENTS {
        let claimed = claim_for(&inbox, "a", 32, 1).await;
        done += i64::try_from(claimed.len()).unwrap();
        for delivery in claimed {
            assert!(finish(&inbox, &delivery, 1, Outcome::Done).await);
        }
    }
    inbox.close().await;
    let rows = async |sql: &str| client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    let scanned = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables";
    let looked_up = "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes";
    // They are written down when connections end.
    eventually("the counts are there", async || (rows(looked_up).await > EVENTS).then_some(()))
        .await;
    let (scanned, looked_up) = (rows(scanned).await, rows(looked_up).await);
    assert_eq!(scanned, 0, "rows were read without an index");
    assert!(looked_up < 50 * EVENTS, "{looked_up} entries were read for {EVENTS} events");
}
