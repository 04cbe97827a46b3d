//! Deliveries from the answer to the receiver: what it gets, when it gets it again, whom it does not hold up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bamboohook::app::App;
use bamboohook::clock::Clock;
use bamboohook::dispatcher::Handler;
use bamboohook::dispatcher::HandlerError;
use bamboohook::dispatcher::Reply;
use bamboohook::event::Dialect;
use bamboohook::event::Document;
use bamboohook::event::rfc3339;
use bamboohook::inbox::Claim;
use bamboohook::inbox::EventFilter;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::SqliteInbox;
use bamboohook::inbox::SqliteReader;
use bamboohook::inbox::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::json;
use sha2::Sha256;
use tokio::net::TcpSocket;
use tokio::sync::watch;

use crate::support::service::Service;
use crate::support::service::endpoint;
use crate::support::service::http_handler;
use crate::support::sink::Received;
use crate::support::sink::Sink;
use crate::support::sink::Told;
use crate::support::store::query;
use crate::support::wait::eventually;
use crate::support::wait::pass;
use crate::support::wait::within;

/// One handler named `sink`.
async fn service(sink: &Sink, lines: &str) -> Service {
    Service::start(&http_handler("sink", sink.url(), lines)).await
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How long after the clock's time an attempt is planned.
fn wait_of(service: &Service, next_attempt_at: Option<jiff::Timestamp>) -> Duration {
    let at = next_attempt_at.expect("another attempt is planned");
    at.duration_since(service.clock.now()).try_into().unwrap()
}

fn user(id: &str, number: usize) -> String {
    json!({ "id": id, "number": number }).to_string()
}

fn number(received: &Received) -> u64 {
    received.json()["data"]["message"]["number"].as_u64().unwrap()
}

#[tokio::test]
async fn a_receiver_gets_one_cloud_event_for_each_event() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    let callback = service.callback(Dialect::Ciam, "USER_CREATE ", "20200223170310946-34EE");
    assert_eq!(service.send(&callback).await.status, 200);
    let received = sink.wait_for(1).await.swap_remove(0);
    assert_eq!((received.method.as_str(), &*received.path), ("POST", "/hook"));
    assert_eq!(received.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(received.header("webhook-signature"), None);
    let stored = service.events().swap_remove(0).event;
    let now = rfc3339(service.clock.now());
    assert_eq!(
        received.json(),
        json!({
            "specversion": "1.0",
            "id": stored.id.to_string(),
            "source": "/endpoints/default",
            "type": "com.bamboocloud.idaas.USER_CREATE",
            "subject": "20200223170310946-34EE",
            "time": now,
            "datacontenttype": "application/json",
            "data": {
                "event": "USER_CREATE",
                "endpoint": "default",
                "dialect": "ciam",
                "received_at": now,
                "attempt": 1,
                "message": "20200223170310946-34EE",
            },
        })
    );
    service.drained().await;
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn messages_are_embedded_as_they_came() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    let user = r#"{"id":"7", "name":"R&D 研发", "big":123456789012345678901234567890, "n":1e400}"#;
    service.deliver(Dialect::Eiam, "UPDATE_USER", user).await;
    let text = String::from_utf8(sink.wait_for(1).await[0].body.to_vec()).unwrap();
    assert!(text.contains(&format!("\"message\":{user}")), "{text}");
    for (message, json) in [("[1, 2]", "[1, 2]"), ("12", "\"12\""), ("a\"b", "\"a\\\"b\"")] {
        let before = sink.count();
        service.deliver(Dialect::Eiam, "PING", message).await;
        let text =
            String::from_utf8(sink.wait_for(before + 1).await[before].body.to_vec()).unwrap();
        assert!(text.contains(&format!("\"message\":{json}}}}}")), "{text}");
        assert!(!text.contains("\"subject\""), "{text}");
    }
}

#[tokio::test]
async fn a_created_record_is_delivered_under_the_id_that_the_sender_was_told() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    let callback = service.callback(Dialect::Eiam, "CREATE_USER", r#"{"username":"zhangsan"}"#);
    let answer = service.send(&callback).await;
    let simulator = service.simulator("default", Dialect::Eiam);
    let data = simulator.read_answer(answer.status, &answer.body).unwrap().data.unwrap();
    let id: serde_json::Value = serde_json::from_str(&data).unwrap();
    assert_eq!(sink.wait_for(1).await[0].json()["subject"], id["id"]);
}

#[tokio::test]
async fn deliveries_are_signed_as_standard_webhooks_says() {
    let key = b"0123456789abcdef01234567";
    for (secret, key) in [
        (format!("whsec_{}", STANDARD.encode(key)), &key[..]),
        ("any text as it is".to_owned(), b"any text as it is"),
    ] {
        let sink = Sink::start().await;
        let lines = format!(
            "secret = \"{secret}\"\nretry_first = \"1s\"\nheaders = {{ Authorization = \"Bearer x\", X-Tenant = \"7\" }}"
        );
        let service = service(&sink, &lines).await;
        let answered = AtomicUsize::new(0);
        sink.answer_with(move |_| {
            Told::status(if answered.fetch_add(1, Ordering::SeqCst) == 0 { 500 } else { 200 })
        });
        service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
        service.attempted(0, 1).await;
        service.clock.advance(seconds(2));
        let received = sink.wait_for(2).await;
        for attempt in &received {
            let header = |name| attempt.header(name).unwrap();
            assert_eq!((header("authorization"), header("x-tenant")), ("Bearer x", "7"));
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.update(header("webhook-id").as_bytes());
            mac.update(b".");
            mac.update(header("webhook-timestamp").as_bytes());
            mac.update(b".");
            mac.update(&attempt.body);
            let signature = STANDARD.encode(mac.finalize().into_bytes());
            assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
            assert_eq!(header("webhook-id"), attempt.json()["id"]);
        }
        // The time is that of the attempt, or receivers would take a late one for a replay.
        let times: Vec<i64> = received
            .iter()
            .map(|it| it.header("webhook-timestamp").unwrap().parse().unwrap())
            .collect();
        assert_eq!(times[1] - times[0], 2);
        assert_eq!(times[1], service.clock.now().as_second());
    }
}

#[tokio::test]
async fn any_2xx_is_a_success() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    for (number, status) in [200, 201, 202, 204, 206, 299].into_iter().enumerate() {
        sink.answer(Told::status(status));
        service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
        let delivery = service.attempted(number, 1).await;
        assert_eq!((delivery.state, delivery.attempts), (State::Done, 1), "{status}");
        assert_eq!((delivery.last_error, delivery.next_attempt_at), (None, None));
    }
}

#[tokio::test]
async fn anything_but_2xx_is_tried_again() {
    let sink = Sink::start().await;
    let elsewhere = Sink::start().await;
    let service = service(&sink, "").await;
    let statuses = [300, 301, 302, 307, 308, 304, 400, 401, 404, 410, 429, 500, 502, 503, 504];
    let location = elsewhere.url().to_owned();
    sink.answer_with(move |received| {
        let status = statuses[usize::try_from(number(received)).unwrap()];
        Told::status(status).header("location", &location)
    });
    for number in 0..statuses.len() {
        service.deliver(Dialect::Eiam, "PING", &user("", number)).await;
    }
    for (number, status) in statuses.into_iter().enumerate() {
        let delivery = service.attempted(number, 1).await;
        assert_eq!(delivery.state, State::Waiting, "{status}");
        assert_eq!(delivery.last_error, Some(format!("HTTP {status}")));
        let wait = wait_of(&service, delivery.next_attempt_at);
        assert!((Duration::from_millis(500)..=seconds(1)).contains(&wait), "{status}: {wait:?}");
    }
    sink.answer(Told::status(200));
    service.clock.advance(seconds(1));
    service.drained().await;
    assert_eq!(sink.count(), 2 * statuses.len());
    for received in &sink.received()[statuses.len()..] {
        assert_eq!(received.json()["data"]["attempt"], 2);
    }
    assert_eq!(elsewhere.count(), 0, "no redirect is followed");
}

#[tokio::test]
async fn delays_double_up_to_the_most_and_the_last_failure_is_final() {
    let sink = Sink::start().await;
    let lines = "max_attempts = 6\nretry_first = \"10s\"\nretry_max = \"1m\"";
    let service = service(&sink, lines).await;
    sink.answer(Told::status(500));
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    for (attempt, most) in [(1, 10), (2, 20), (3, 40), (4, 60), (5, 60)] {
        let delivery = service.attempted(0, attempt).await;
        assert_eq!(delivery.state, State::Waiting);
        let wait = wait_of(&service, delivery.next_attempt_at);
        assert!((seconds(most) / 2..=seconds(most)).contains(&wait), "{attempt}: {wait:?}");
        service.clock.advance_to(delivery.next_attempt_at.unwrap());
    }
    let delivery = service.attempted(0, 6).await;
    assert_eq!((delivery.state, delivery.next_attempt_at), (State::Dead, None));
    assert_eq!(delivery.last_error.as_deref(), Some("HTTP 500"));
    assert_eq!(service.events()[0].state, State::Dead);
    service.clock.advance(seconds(100_000));
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    service.attempted(1, 1).await;
    assert_eq!(sink.count(), 7, "the dead stay dead and hold nothing back");
}

#[tokio::test]
async fn retry_after_is_honoured_in_seconds_and_as_a_date() {
    let sink = Sink::start().await;
    let service = service(&sink, "retry_first = \"8s\"").await;
    let date = service.clock.now().checked_add(seconds(300)).unwrap();
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let cases = [
        (503, "120".to_owned(), 120..=120),
        (429, date, 300..=300),
        // Sooner than our own delay: that one stands.
        (503, "1".to_owned(), 4..=8),
        (503, "Thu, 01 Jan 1970 00:00:00 GMT".to_owned(), 4..=8),
        (503, "soon".to_owned(), 4..=8),
        (503, "-5".to_owned(), 4..=8),
        (503, "99999999999999999999".to_owned(), 4..=8),
        // Nobody means more than a day.
        (503, "31536000".to_owned(), 86_400..=86_400),
    ];
    for (number, (status, value, range)) in cases.into_iter().enumerate() {
        sink.answer(Told::status(status).header("retry-after", &value));
        service.deliver(Dialect::Eiam, "PING", &user("", number)).await;
        let delivery = service.attempted(number, 1).await;
        let wait = wait_of(&service, delivery.next_attempt_at);
        let range = seconds(*range.start())..=seconds(*range.end());
        assert!(range.contains(&wait), "{value}: {wait:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_in_time_is_tried_again() {
    let sink = Sink::start().await;
    let service = service(&sink, "timeout = \"200ms\"").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    let delivery = service.attempted(0, 1).await;
    assert_eq!(delivery.state, State::Waiting);
    assert_eq!(delivery.last_error.as_deref(), Some("timed out after 200ms"));
    eventually("the connection is given up", async || (sink.running() == 0).then_some(())).await;
    sink.answer(Told::status(200));
    service.clock.advance(seconds(1));
    service.drained().await;
    assert_eq!(service.deliveries(0)[0].attempts, 2);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_found_when_it_is_back() {
    // Bound but not listening: the port refuses connections, and nobody else can take it.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let url = format!("http://{}/secret-path", socket.local_addr().unwrap());
    let service = Service::start(&http_handler("sink", &url, "")).await;
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    let delivery = service.attempted(0, 1).await;
    assert_eq!(delivery.state, State::Waiting);
    // Without the URL, which may hold a credential.
    assert_eq!(delivery.last_error.as_deref(), Some("no connection to the receiver"));
}

#[tokio::test]
async fn an_attempt_that_runs_is_nobody_elses_whatever_the_clock_does() {
    let sink = Sink::start().await;
    let service = service(&sink, "timeout = \"24h\"\nconcurrency = 1").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    // The second one is held by the worker all the time without having been begun.
    for number in 0..2 {
        service.deliver(Dialect::Eiam, "PING", &user("", number)).await;
    }
    sink.wait_for(1).await;
    let store = rusqlite::Connection::open(service.store()).unwrap();
    for passed in [5, 5, 5, 5, 5, 5, 100_000, 5, 5] {
        service.clock.advance(seconds(passed));
        let end = service.clock.now().checked_add(seconds(15)).unwrap().as_millisecond();
        within(seconds(3600), "the leases are extended", async || {
            pass(seconds(5)).await;
            let ends = query(&store, "SELECT lease_until FROM deliveries WHERE state = 1");
            (ends == vec![vec![end.to_string()]; 2]).then_some(())
        })
        .await;
    }
    gate.send_replace(true);
    service.drained().await;
    assert_eq!(sink.count(), 2);
    assert!((0..2).all(|number| service.deliveries(number)[0].attempts == 1));
}

#[tokio::test]
async fn what_a_dead_process_held_is_taken_over_when_its_lease_has_run_out() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    sink.answer(Told::status(500));
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    // Another process takes it as soon as it is due, and ends.
    let due = service.attempted(0, 1).await.next_attempt_at.unwrap();
    let other = SqliteInbox::open_beside(&service.store()).unwrap();
    let claim = Claim { handler: "sink".into(), most: 1, now: due, lease: seconds(20) };
    assert_eq!(other.claim(claim).await.unwrap().deliveries.len(), 1);
    other.close().await;
    sink.answer(Told::status(200));
    service.clock.advance_to(due.checked_add(seconds(20)).unwrap());
    within(seconds(3600), "somebody else delivers it", async || {
        pass(seconds(5)).await;
        (sink.count() == 2).then_some(())
    })
    .await;
    service.drained().await;
    assert_eq!(service.deliveries(0)[0].attempts, 3);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    for (number, (status, state)) in
        [(200, State::Done), (500, State::Waiting)].into_iter().enumerate()
    {
        sink.answer(Told::status(status).endless());
        service.deliver(Dialect::Eiam, "PING", "x").await;
        assert_eq!(service.attempted(number, 1).await.state, state, "{status}");
    }
    // What is beyond the cap is what the sockets between hold.
    assert!(sink.endless_bytes() < 64 * 1024 * 1024, "{}", sink.endless_bytes());
}

#[tokio::test]
async fn a_subject_that_always_fails_holds_up_nobody_else() {
    let sink = Sink::start().await;
    let service = service(&sink, "concurrency = 2\nmax_attempts = 2").await;
    sink.answer_with(|received| {
        Told::status(if received.subject() == "poison" { 500 } else { 200 })
    });
    for number in 0..40 {
        let id = if number % 4 == 0 { "poison".to_owned() } else { format!("user-{number}") };
        service.deliver(Dialect::Eiam, "UPDATE_USER", &user(&id, number)).await;
    }
    eventually("the other subjects are served", async || {
        let fine = service.events().iter().filter(|it| it.state == State::Done).count();
        (fine == 30).then_some(())
    })
    .await;
    let poison = |received: &Received| received.subject() == "poison";
    assert_eq!(sink.received().into_iter().filter(poison).count(), 1, "the others of it wait");
    eventually("the poison is dead", async || {
        service.clock.advance(seconds(2));
        let dead = service.events().iter().filter(|it| it.state == State::Dead).count();
        (dead == 10).then_some(())
    })
    .await;
    let numbers: Vec<u64> = sink.received().iter().filter(|it| poison(it)).map(number).collect();
    let expected: Vec<u64> = (0..40).step_by(4).flat_map(|it| [it, it]).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subjects_events_arrive_in_order_while_attempts_fail() {
    let sink = Sink::start().await;
    let service = service(&sink, "retry_first = \"100ms\"\nretry_max = \"1s\"").await;
    let seen: Mutex<HashMap<String, u32>> = Mutex::default();
    // The first two attempts at every third event fail.
    sink.answer_with(move |received| {
        let mut seen = seen.lock().unwrap();
        let count = seen.entry(received.json()["id"].to_string()).or_default();
        *count += 1;
        Told::status(if number(received).is_multiple_of(3) && *count <= 2 { 503 } else { 200 })
    });
    for number in 0..10 {
        for subject in 0..5 {
            let user = user(&format!("user-{subject}"), number);
            service.deliver(Dialect::Eiam, "UPDATE_USER", &user).await;
        }
    }
    eventually("everything is delivered", async || {
        service.clock.advance(Duration::from_millis(200));
        service.events().iter().all(|it| it.state == State::Done).then_some(())
    })
    .await;
    let mut attempts: HashMap<String, Vec<u64>> = HashMap::new();
    for received in sink.received() {
        attempts.entry(received.subject()).or_default().push(number(&received));
    }
    for (subject, numbers) in attempts {
        assert_eq!(numbers, [0, 0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6, 7, 8, 9, 9, 9], "{subject}");
    }
}

/// Panics at its first attempts.
struct Panicking(Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Handler for Panicking {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        assert!(document.attempt > 2, "canary-18998765432");
        Ok(Reply::default())
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_tried_again_and_takes_nothing_with_it() {
    let sink = Sink::start().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let tables =
        format!("[handlers.own]\ntype = \"rust\"\n{}", http_handler("sink", sink.url(), ""));
    let adapt = |app: App| app.with_handler("own", Panicking(Arc::clone(&calls)));
    let service = Service::start_with(&tables, adapt).await;
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    for attempt in 1..=3 {
        let own = eventually("the attempt is over", async || {
            let own = service.deliveries(0).swap_remove(0);
            (own.attempts == attempt && own.state != State::Running).then_some(own)
        })
        .await;
        assert_eq!(own.handler, "own");
        assert_eq!(own.last_error.as_deref(), Some("the handler panicked"));
        assert_eq!(own.state, if attempt == 3 { State::Done } else { State::Waiting });
        service.clock.advance(seconds(4));
    }
    assert_eq!((calls.load(Ordering::SeqCst), sink.count()), (3, 1));
    assert_eq!(service.readyz().await.0, 200);
    service.stop().await;
}

/// Says of every event that it will never succeed.
struct Rejecting;

#[async_trait::async_trait]
impl Handler for Rejecting {
    async fn handle(&self, _document: &Document) -> Result<Reply, HandlerError> {
        Err(HandlerError::reject("not for us"))
    }
}

#[tokio::test]
async fn what_a_handler_rejects_is_dead_at_once() {
    let tables = "[handlers.own]\ntype = \"rust\"\n";
    let service = Service::start_with(tables, |app| app.with_handler("own", Rejecting)).await;
    service.deliver(Dialect::Ciam, "USER_LOGIN", "user-1").await;
    let delivery = service.attempted(0, 1).await;
    assert_eq!((delivery.state, delivery.attempts), (State::Dead, 1));
    assert_eq!(delivery.last_error.as_deref(), Some("not for us"));
}

#[tokio::test]
async fn handlers_get_the_events_and_endpoints_of_their_patterns() {
    let (users, shop, all) = (Sink::start().await, Sink::start().await, Sink::start().await);
    let tables = [
        endpoint("shop"),
        http_handler("users", users.url(), "events = [\"*_USER\", \"USER_CREATE\"]"),
        http_handler("shop", shop.url(), "endpoints = [\"sh*\"]"),
        http_handler("all", all.url(), ""),
    ];
    let service = Service::start(&tables.concat()).await;
    let eiam = Dialect::Eiam;
    service.deliver(eiam, "UPDATE_USER", r#"{"id":"1"}"#).await;
    service.deliver(eiam, "UPDATE_ORGANIZATION", r#"{"id":"2"}"#).await;
    service.deliver(eiam, "SOMETHING_NEW ", r#"{"id":"3"}"#).await;
    service.deliver(Dialect::Ciam, "USER_CREATE", "4").await;
    service.deliver(Dialect::Ciam, "USER_CREATED_TWICE", "5").await;
    service.deliver_to("shop", Dialect::Ciam, "USER_LOGIN", "6").await;
    service.drained().await;
    let subjects = |sink: &Sink| {
        let mut subjects: Vec<_> = sink.received().iter().map(Received::subject).collect();
        subjects.sort();
        subjects.concat()
    };
    assert_eq!((&*subjects(&users), &*subjects(&shop), &*subjects(&all)), ("14", "6", "123456"));
    let received = all.received();
    let shop = received.iter().find(|it| it.subject() == "6").unwrap().json();
    assert_eq!(
        (&shop["source"], &shop["data"]["endpoint"]),
        (&json!("/endpoints/shop"), &json!("shop"))
    );
}

#[tokio::test]
async fn a_url_check_is_recorded_and_goes_to_nobody() {
    let sink = Sink::start().await;
    let service = service(&sink, "").await;
    service.deliver(Dialect::Eiam, "CHECK_URL", "2852325935078").await;
    service.deliver(Dialect::Eiam, "CHECK_URL ", " 2852325935079").await;
    service.deliver(Dialect::Eiam, "PING", "x").await;
    service.drained().await;
    let events = service.events();
    let handled: Vec<_> =
        events.iter().map(|it| (&*it.event.event, it.state, it.deliveries.len())).collect();
    let check = ("CHECK_URL", State::Done, 0);
    assert_eq!(handled, [check, check, ("PING", State::Done, 1)]);
    assert_eq!(sink.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_attempts_run_at_once_than_allowed() {
    let sink = Sink::start().await;
    let service = service(&sink, "concurrency = 3").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    for number in 0..12 {
        service.deliver(Dialect::Eiam, "PING", &user("", number)).await;
    }
    eventually("all places are taken", async || (sink.running() == 3).then_some(())).await;
    gate.send_replace(true);
    service.drained().await;
    assert_eq!((sink.count(), sink.most_at_once()), (12, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_up_neither_answers_nor_other_receivers() {
    let (slow, quick) = (Sink::start().await, Sink::start().await);
    let tables = [http_handler("quick", quick.url(), ""), http_handler("slow", slow.url(), "")];
    let service = Service::start(&tables.concat()).await;
    let (gate, _) = watch::channel(false);
    slow.answer(Told::status(200).once(&gate));
    for number in 0..50 {
        let user = user(&format!("user-{number}"), number);
        service.deliver(Dialect::Eiam, "UPDATE_USER", &user).await;
    }
    quick.wait_for(50).await;
    assert_eq!(slow.count(), 8);
    gate.send_replace(true);
    service.drained().await;
    assert_eq!((slow.count(), quick.count()), (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_hands_back_what_was_not_begun() {
    let sink = Sink::start().await;
    let mut service = service(&sink, "concurrency = 1").await;
    let (gate, _) = watch::channel(false);
    sink.answer(Told::status(200).once(&gate));
    for number in 0..6 {
        service.deliver(Dialect::Eiam, "PING", &user("", number)).await;
    }
    sink.wait_for(1).await;
    service.shut_down().await;
    // The attempt that runs is waited for.
    gate.send_replace(true);
    let directory = service.stop().await;
    let reader = SqliteReader::open(&directory.path().join("store.db")).unwrap();
    let events = reader.events(&EventFilter::default(), None, 10).unwrap();
    let states: Vec<_> =
        events.iter().rev().map(|it| (it.deliveries[0].state, it.deliveries[0].attempts)).collect();
    let waiting = (State::Waiting, 0);
    assert_eq!(states, [(State::Done, 1), waiting, waiting, waiting, waiting, waiting]);
    assert_eq!(sink.count(), 1);
}
