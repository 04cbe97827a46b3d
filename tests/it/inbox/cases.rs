//! The promises of [`Inbox`], each against a store that holds nothing yet.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bamboohook::event::Dialect;
use bamboohook::event::Message;
use bamboohook::inbox::Acceptance;
use bamboohook::inbox::Claim;
use bamboohook::inbox::Delivery;
use bamboohook::inbox::DeliveryKey;
use bamboohook::inbox::DuplicateKey;
use bamboohook::inbox::Finish;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::InboxError;
use bamboohook::inbox::NewEvent;
use bamboohook::inbox::Outcome;
use bamboohook::inbox::Receipt;
use bamboohook::inbox::Reply;
use bamboohook::inbox::Subject;
use jiff::Timestamp;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Stores;

pub(super) const LEASE: Duration = Duration::from_secs(30);

/// So many seconds after the beginning of the test's time.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_783_609_200 + seconds).unwrap()
}

/// An event with a key of its own, received at 0, for the handler `a`.
pub(super) fn event(subject: Option<&str>) -> NewEvent {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut mac = [0; 32];
    mac[..8].copy_from_slice(&number.to_be_bytes());
    NewEvent {
        id: Uuid::now_v7(),
        endpoint: "default".into(),
        dialect: Dialect::Ciam,
        event: "USER_UPDATE".to_owned(),
        nonce: format!("nonce{number}"),
        timestamp: "1783609195000".to_owned(),
        requested_at: at(-5),
        received_at: at(0),
        message: Message::new(format!("message {number}")),
        duplicate_key: DuplicateKey {
            signed_at: at(-5).as_millisecond(),
            mac,
            kept_until: at(600),
        },
        reserved: false,
        subject: subject.map_or(Subject::Nobody, |it| Subject::Known(it.to_owned())),
        reply: Reply::Text(String::new()),
        handlers: vec!["a".into()],
    }
}

pub(super) async fn store(inbox: &Arc<dyn Inbox>, event: NewEvent) -> Receipt {
    match inbox.accept(event).await.unwrap() {
        Acceptance::Stored(receipt) => receipt,
        other => panic!("{other:?}"),
    }
}

/// Hands in all of them before any is answered, in their order, so that a store may take them for one commit.
pub(super) async fn accept_at_once(
    inbox: &Arc<dyn Inbox>,
    events: Vec<NewEvent>,
) -> Vec<Result<Acceptance, InboxError>> {
    let accept = |event| {
        let accept = Box::pin(inbox.accept(event));
        (accept, None)
    };
    let mut accepts: Vec<_> = events.into_iter().map(accept).collect();
    poll_fn(|context| {
        for (accept, result) in &mut accepts {
            if result.is_none()
                && let Poll::Ready(ready) = accept.as_mut().poll(context)
            {
                *result = Some(ready);
            }
        }
        let all = accepts.iter().all(|(_, result)| result.is_some());
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    accepts.into_iter().filter_map(|(_, result)| result).collect()
}

pub(super) async fn claim(inbox: &Arc<dyn Inbox>, seconds: i64) -> Vec<Delivery> {
    claim_for(inbox, "a", 1000, seconds).await
}

pub(super) async fn claim_for(
    inbox: &Arc<dyn Inbox>,
    handler: &str,
    most: usize,
    seconds: i64,
) -> Vec<Delivery> {
    let claim = Claim { handler: handler.into(), most, now: at(seconds), lease: LEASE };
    inbox.claim(claim).await.unwrap().deliveries
}

pub(super) async fn finish(
    inbox: &Arc<dyn Inbox>,
    delivery: &Delivery,
    seconds: i64,
    outcome: Outcome,
) -> bool {
    let finish = Finish { key: delivery.key.clone(), now: at(seconds), outcome };
    inbox.finish(finish).await.unwrap()
}

fn texts(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|it| it.event.message.as_str()).collect()
}

fn named(subject: Option<&str>, message: &str) -> NewEvent {
    NewEvent { message: Message::new(message), ..event(subject) }
}

fn retry_at(seconds: i64) -> Outcome {
    Outcome::Retry { at: at(seconds), error: "HTTP 500".to_owned() }
}

fn dead() -> Outcome {
    Outcome::Dead { error: "HTTP 500".to_owned() }
}

pub(super) async fn an_event_is_stored_with_its_key_and_a_delivery_for_each_handler(
    place: &impl Stores,
) {
    let inbox = place.open(at(0)).await;
    let handlers = vec!["a".into(), "b".into()];
    let event =
        NewEvent { handlers, reply: Reply::Text("echo".to_owned()), ..event(Some("user-1")) };
    let receipt = store(&inbox, event.clone()).await;
    assert_eq!(receipt.reply, "echo");
    assert_eq!(receipt.subject.as_deref(), Some("user-1"));
    assert_eq!(receipt.id.get_version_num(), 7);
    for handler in ["a", "b"] {
        let [delivery] = &*claim_for(&inbox, handler, 10, 0).await else { panic!("{handler}") };
        let stored = &delivery.event;
        assert_eq!((&*delivery.key.handler, delivery.key.attempt), (handler, 1));
        assert_eq!(stored.id, receipt.id);
        assert_eq!((&*stored.endpoint, stored.dialect), ("default", Dialect::Ciam));
        assert_eq!((&*stored.event, stored.subject.as_deref()), ("USER_UPDATE", Some("user-1")));
        assert_eq!((stored.requested_at, stored.received_at), (at(-5), at(0)));
        assert_eq!(stored.message, event.message);
    }
    assert!(claim_for(&inbox, "c", 10, 0).await.is_empty());
    assert_eq!(inbox.accept(event).await.unwrap(), Acceptance::Duplicate(Some(receipt)));
    inbox.check().await.unwrap();
}

pub(super) async fn a_new_subject_gets_an_id_that_the_reply_names(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let new = || NewEvent { subject: Subject::New(None), reply: Reply::SubjectId, ..event(None) };
    let (one, other) = (store(&inbox, new()).await, store(&inbox, new()).await);
    let id = one.subject.unwrap();
    assert_eq!(one.reply, format!("{{\"id\":\"{id}\"}}"));
    assert_ne!(Some(id), other.subject);
}

pub(super) async fn a_key_is_of_its_endpoint_and_its_time(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let first = event(None);
    let key = first.duplicate_key;
    store(&inbox, first.clone()).await;
    let another = || NewEvent { id: Uuid::now_v7(), ..first.clone() };
    store(&inbox, NewEvent { endpoint: "other".into(), ..another() }).await;
    let later = DuplicateKey { signed_at: key.signed_at + 1, ..key };
    store(&inbox, NewEvent { duplicate_key: later, ..another() }).await;
    let mut mac = key.mac;
    mac[31] ^= 1;
    store(&inbox, NewEvent { duplicate_key: DuplicateKey { mac, ..key }, ..another() }).await;
    // The MAC covers everything else, so nothing else tells two requests apart.
    let same = NewEvent { nonce: "another".to_owned(), ..another() };
    assert!(matches!(inbox.accept(same).await.unwrap(), Acceptance::Duplicate(Some(_))));
}

pub(super) async fn a_key_is_taken_until_its_time_is_over_and_not_before(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let first = event(None);
    let receipt = store(&inbox, first.clone()).await;
    let repeated = NewEvent { received_at: at(600), ..first.clone() };
    let duplicate = Acceptance::Duplicate(Some(receipt.clone()));
    assert_eq!(inbox.accept(repeated).await.unwrap(), duplicate);
    let key = DuplicateKey { kept_until: at(1200), ..first.duplicate_key };
    let after = at(600).saturating_add(Duration::from_millis(1)).unwrap();
    let again = NewEvent { id: Uuid::now_v7(), received_at: after, duplicate_key: key, ..first };
    let second = store(&inbox, again.clone()).await;
    assert_ne!(second.id, receipt.id);
    let third = NewEvent { received_at: at(1199), ..again };
    assert_eq!(inbox.accept(third).await.unwrap(), Acceptance::Duplicate(Some(second)));
}

pub(super) async fn of_many_concurrent_accepts_of_one_key_exactly_one_stores(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let event = event(Some("user-1"));
    let mut accepts: JoinSet<_> = (0..200)
        .map(|_| {
            let (inbox, event) = (Arc::clone(&inbox), event.clone());
            async move { inbox.accept(event).await.unwrap() }
        })
        .collect();
    let (mut stored, mut duplicates) = (Vec::new(), HashSet::new());
    while let Some(acceptance) = accepts.join_next().await {
        match acceptance.unwrap() {
            Acceptance::Stored(receipt) => stored.push(receipt.id),
            Acceptance::Duplicate(receipt) => {
                duplicates.insert(receipt.unwrap().id);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored.len(), 1);
    assert_eq!(duplicates, HashSet::from_iter(stored));
    assert_eq!(claim(&inbox, 0).await.len(), 1);
}

pub(super) async fn events_of_one_subject_come_one_after_another(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2", "3"] {
        store(&inbox, named(Some("user-1"), message)).await;
    }
    for message in ["1", "2", "3"] {
        let claimed = claim(&inbox, 0).await;
        assert_eq!(texts(&claimed), [message]);
        assert!(claim(&inbox, 0).await.is_empty(), "{message} still runs");
        assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
    }
    assert!(claim(&inbox, 100_000).await.is_empty());
    // After everything is done the subject starts anew.
    store(&inbox, named(Some("user-1"), "4")).await;
    assert_eq!(texts(&claim(&inbox, 0).await), ["4"]);
}

pub(super) async fn events_of_one_moment_and_subject_come_one_after_another(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let handlers: Vec<Arc<str>> = vec!["a".into(), "b".into()];
    let of = |number: usize| {
        let handlers = handlers.clone();
        NewEvent { handlers, ..named(Some("user-1"), &number.to_string()) }
    };
    for acceptance in accept_at_once(&inbox, (0..40).map(of).collect()).await {
        assert!(matches!(acceptance, Ok(Acceptance::Stored(_))));
    }
    for handler in ["a", "b"] {
        for number in 0..40 {
            let claimed = claim_for(&inbox, handler, 1000, 0).await;
            assert_eq!(texts(&claimed), [number.to_string()]);
            assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
        }
    }
}

pub(super) async fn subjects_handlers_and_endpoints_do_not_wait_for_each_other(
    place: &impl Stores,
) {
    let inbox = place.open(at(0)).await;
    let for_both = |event: NewEvent| NewEvent { handlers: vec!["a".into(), "b".into()], ..event };
    store(&inbox, for_both(named(Some("user-1"), "1"))).await;
    store(&inbox, for_both(named(Some("user-1"), "2"))).await;
    store(&inbox, for_both(named(Some("user-2"), "3"))).await;
    let elsewhere = NewEvent { endpoint: "other".into(), ..named(Some("user-1"), "4") };
    store(&inbox, for_both(elsewhere)).await;
    let of_a = claim(&inbox, 0).await;
    assert_eq!(texts(&of_a), ["1", "3", "4"]);
    assert!(finish(&inbox, &of_a[0], 0, Outcome::Done).await);
    assert_eq!(texts(&claim_for(&inbox, "b", 10, 0).await), ["1", "3", "4"]);
    assert_eq!(texts(&claim(&inbox, 0).await), ["2"]);
    assert!(claim_for(&inbox, "b", 10, 0).await.is_empty());
}

pub(super) async fn events_without_a_subject_have_no_order(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2", "3"] {
        store(&inbox, named(None, message)).await;
    }
    let claimed = claim(&inbox, 0).await;
    assert_eq!(texts(&claimed), ["1", "2", "3"]);
    assert!(finish(&inbox, &claimed[0], 0, retry_at(50)).await);
    store(&inbox, named(None, "4")).await;
    assert_eq!(texts(&claim(&inbox, 0).await), ["4"]);
}

pub(super) async fn a_retry_holds_its_subject_back(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for (subject, message) in [("user-1", "1"), ("user-1", "2"), ("user-2", "3")] {
        store(&inbox, named(Some(subject), message)).await;
    }
    let claimed = claim(&inbox, 0).await;
    assert_eq!(texts(&claimed), ["1", "3"]);
    assert!(finish(&inbox, &claimed[0], 1, retry_at(60)).await);
    assert!(finish(&inbox, &claimed[1], 1, Outcome::Done).await);
    store(&inbox, named(Some("user-1"), "4")).await;
    assert!(claim(&inbox, 59).await.is_empty());
    let again = claim(&inbox, 60).await;
    assert_eq!((texts(&again), again[0].key.attempt), (vec!["1"], 2));
    assert!(claim(&inbox, 60).await.is_empty());
    assert!(finish(&inbox, &again[0], 61, Outcome::Done).await);
    let next = claim(&inbox, 61).await;
    assert_eq!((texts(&next), next[0].key.attempt), (vec!["2"], 1));
}

pub(super) async fn a_dead_delivery_holds_nothing_back(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2"] {
        store(&inbox, named(Some("user-1"), message)).await;
    }
    let claimed = claim(&inbox, 0).await;
    assert!(finish(&inbox, &claimed[0], 0, dead()).await);
    assert_eq!(texts(&claim(&inbox, 0).await), ["2"]);
    assert!(claim(&inbox, 100_000).await.is_empty(), "the dead stay dead");
}

pub(super) async fn a_released_delivery_has_not_been_attempted(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2"] {
        store(&inbox, named(Some("user-1"), message)).await;
    }
    let first = claim(&inbox, 0).await;
    assert!(finish(&inbox, &first[0], 0, Outcome::Released).await);
    let again = claim(&inbox, 0).await;
    assert_eq!((texts(&again), again[0].key.attempt), (vec!["1"], 1));
}

/// Whatever happens to the attempts, a subject has one at a time and its events end in order of arrival.
pub(super) async fn what_is_released_twice_ends_nobody_elses_attempt(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    store(&inbox, named(Some("user-1"), "1")).await;
    let first = claim(&inbox, 0).await;
    assert!(finish(&inbox, &first[0], 0, Outcome::Released).await);
    let second = claim(&inbox, 0).await;
    assert_eq!(second[0].key.attempt, first[0].key.attempt);
    // Its first word had no answer.
    assert!(!finish(&inbox, &first[0], 0, Outcome::Released).await);
    inbox.extend(vec![first[0].key.clone()], at(100)).await.unwrap();
    assert_eq!(inbox.recover(at(30)).await.unwrap(), 1, "nobody else's lease was extended");
    assert!(claim(&inbox, 30).await.len() == 1);
}

pub(super) async fn order_holds_under_any_outcomes(place: &impl Stores) {
    const EVENTS: usize = 200;
    let inbox = place.open(at(0)).await;
    let mut arrived: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..EVENTS {
        let (subject, message) = (format!("user-{}", number % 7), number.to_string());
        store(&inbox, named(Some(&subject), &message)).await;
        arrived.entry(subject).or_default().push(message);
    }
    // Knuth's generator: any sequence will do, as long as a failure comes again.
    let mut random = 42_u64;
    let mut next = |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut ended: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut running: Vec<Delivery> = Vec::new();
    let mut now = 0;
    while ended.values().map(Vec::len).sum::<usize>() < EVENTS {
        let most = usize::try_from(next(6)).unwrap();
        running.extend(claim_for(&inbox, "a", most, now).await);
        let subjects: HashSet<_> = running.iter().map(|it| it.event.subject.clone()).collect();
        assert_eq!(subjects.len(), running.len(), "one attempt of a subject at a time");
        if running.is_empty() || next(4) == 0 {
            now += 1;
            assert!(now < 5_000, "a subject is stuck: {ended:?}");
            continue;
        }
        let picked = usize::try_from(next(running.len() as u64)).unwrap();
        let delivery = running.swap_remove(picked);
        let outcome = match next(10) {
            0..5 => Outcome::Done,
            5 => dead(),
            6 => Outcome::Released,
            _ => retry_at(now + i64::try_from(next(3)).unwrap()),
        };
        let ends = matches!(outcome, Outcome::Done | Outcome::Dead { .. });
        assert!(finish(&inbox, &delivery, now, outcome).await);
        if ends {
            let stored = delivery.event;
            let subject = ended.entry(stored.subject.unwrap()).or_default();
            subject.push(stored.message.as_str().to_owned());
        }
    }
    assert_eq!(ended, arrived);
}

pub(super) async fn a_lease_that_ran_out_goes_to_someone_else(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2"] {
        store(&inbox, named(Some("user-1"), message)).await;
    }
    let lost = claim(&inbox, 0).await;
    assert_eq!(inbox.recover(at(29)).await.unwrap(), 0);
    assert!(claim(&inbox, 29).await.is_empty());
    assert_eq!(inbox.recover(at(30)).await.unwrap(), 1);
    let taken = claim(&inbox, 30).await;
    assert_eq!((texts(&taken), taken[0].key.attempt), (vec!["1"], 2));
    assert!(!finish(&inbox, &lost[0], 31, Outcome::Done).await, "the lease was lost");
    assert!(claim(&inbox, 31).await.is_empty(), "the late end has changed nothing");
    assert!(finish(&inbox, &taken[0], 32, Outcome::Done).await);
    assert!(!finish(&inbox, &taken[0], 33, retry_at(40)).await, "an attempt ends once");
    assert_eq!(texts(&claim(&inbox, 33).await), ["2"]);
}

pub(super) async fn an_extended_lease_is_not_recovered_before_its_new_end(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2", "3"] {
        store(&inbox, named(None, message)).await;
    }
    let claimed = claim(&inbox, 0).await;
    let keys = claimed[..2].iter().map(|it| it.key.clone()).collect();
    inbox.extend(keys, at(50)).await.unwrap();
    assert_eq!(inbox.recover(at(49)).await.unwrap(), 1);
    assert_eq!(texts(&claim(&inbox, 49).await), ["3"], "its lease was not extended");
    assert!(finish(&inbox, &claimed[0], 49, Outcome::Done).await);
    assert_eq!(inbox.recover(at(50)).await.unwrap(), 1);
    assert_eq!(texts(&claim(&inbox, 50).await), ["2"]);
}

pub(super) async fn a_lost_lease_cannot_be_extended(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["taken", "waiting", "done"] {
        store(&inbox, named(None, message)).await;
    }
    let claimed = claim(&inbox, 0).await;
    assert!(finish(&inbox, &claimed[2], 0, Outcome::Done).await);
    assert_eq!(inbox.recover(at(30)).await.unwrap(), 2);
    let [taken] = &*claim_for(&inbox, "a", 1, 30).await else { panic!("one is due") };
    let unknown = DeliveryKey { sequence: 1_000_000, ..taken.key.clone() };
    let keys = claimed.iter().map(|it| it.key.clone()).chain([unknown]).collect();
    inbox.extend(keys, at(1000)).await.unwrap();
    assert_eq!(inbox.recover(at(60)).await.unwrap(), 1, "its new holder's time is as it was");
    assert_eq!(texts(&claim(&inbox, 60).await), ["waiting", "taken"]);
    inbox.extend(Vec::new(), at(1000)).await.unwrap();
}

pub(super) async fn a_claim_takes_no_more_than_asked_and_says_what_is_next(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let ask = |most, seconds| Claim { handler: "a".into(), most, now: at(seconds), lease: LEASE };
    assert_eq!(inbox.claim(ask(5, 0)).await.unwrap().next_due, None);
    for message in ["1", "2", "3"] {
        store(&inbox, named(None, message)).await;
    }
    assert!(inbox.claim(ask(0, 0)).await.unwrap().deliveries.is_empty());
    let claimed = inbox.claim(ask(2, 0)).await.unwrap();
    assert_eq!(texts(&claimed.deliveries), ["1", "2"]);
    assert!(finish(&inbox, &claimed.deliveries[0], 0, retry_at(90)).await);
    assert!(finish(&inbox, &claimed.deliveries[1], 0, retry_at(70)).await);
    let rest = inbox.claim(ask(2, 0)).await.unwrap();
    assert_eq!((texts(&rest.deliveries), rest.next_due), (vec!["3"], Some(at(70))));
    let none = inbox.claim(ask(2, 69)).await.unwrap();
    assert_eq!((none.deliveries.len(), none.next_due), (0, Some(at(70))));
}

pub(super) async fn the_longest_due_is_claimed_first(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for message in ["1", "2"] {
        store(&inbox, named(None, message)).await;
    }
    let claimed = claim(&inbox, 0).await;
    assert!(finish(&inbox, &claimed[0], 0, retry_at(20)).await);
    assert!(finish(&inbox, &claimed[1], 0, retry_at(10)).await);
    store(&inbox, NewEvent { received_at: at(15), ..named(None, "3") }).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(claim_for(&inbox, "a", 1, 30).await);
    }
    assert_eq!(texts(&order), ["2", "3", "1"]);
}

/// Deletes until nothing is left to delete.
async fn prune(inbox: &Arc<dyn Inbox>, now: i64, finished_before: i64) -> u64 {
    let mut total = 0;
    loop {
        match inbox.prune(at(now), at(finished_before)).await.unwrap() {
            0 => return total,
            rows => total += rows,
        }
    }
}

pub(super) async fn pruning_takes_expired_keys(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let short = event(None);
    let key = DuplicateKey { kept_until: at(602), ..event(None).duplicate_key };
    let long = NewEvent { duplicate_key: key, ..event(None) };
    store(&inbox, short.clone()).await;
    store(&inbox, long.clone()).await;
    assert_eq!(prune(&inbox, 600, -1).await, 0);
    assert_eq!(prune(&inbox, 601, -1).await, 1);
    // Received as early as the first time, so that only a key that is gone can be free.
    store(&inbox, NewEvent { id: Uuid::now_v7(), ..short }).await;
    assert!(matches!(inbox.accept(long).await.unwrap(), Acceptance::Duplicate(Some(_))));
}

pub(super) async fn pruning_takes_old_finished_events_only(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let lasting = |event: NewEvent| {
        let kept_until = at(1_000_000);
        NewEvent { duplicate_key: DuplicateKey { kept_until, ..event.duplicate_key }, ..event }
    };
    let events = ["done", "dead", "waiting", "running", "retried"]
        .map(|subject| lasting(named(Some(subject), subject)));
    for event in &events {
        store(&inbox, event.clone()).await;
    }
    let unhandled = NewEvent { handlers: Vec::new(), ..lasting(named(None, "unhandled")) };
    store(&inbox, unhandled.clone()).await;
    let half = lasting(named(None, "half done"));
    let half = NewEvent { handlers: vec!["a".into(), "b".into()], ..half };
    store(&inbox, half.clone()).await;
    let young = lasting(NewEvent { received_at: at(100), ..named(None, "young") });
    store(&inbox, young.clone()).await;
    store(&inbox, lasting(NewEvent { received_at: at(200), ..named(None, "newest") })).await;
    for delivery in claim(&inbox, 100).await {
        let outcome = match delivery.event.message.as_str() {
            "dead" => dead(),
            "waiting" => Outcome::Released,
            "retried" => retry_at(500),
            "running" => continue,
            _ => Outcome::Done,
        };
        assert!(finish(&inbox, &delivery, 100, outcome).await);
    }
    assert_eq!(prune(&inbox, 100, 0).await, 0, "nothing is older than the first");
    assert_eq!(prune(&inbox, 100, 100).await, 2);
    for (event, gone) in events.into_iter().chain([unhandled, half, young]).map(|event| {
        let gone = matches!(event.message.as_str(), "done" | "unhandled");
        (event, gone)
    }) {
        let name = event.message.as_str().to_owned();
        let Acceptance::Duplicate(receipt) = inbox.accept(event).await.unwrap() else {
            panic!("{name}: the key was given back");
        };
        assert_eq!(receipt.is_none(), gone, "{name}");
    }
    assert_eq!(claim_for(&inbox, "b", 10, 500).await.len(), 1);
}

pub(super) async fn pruning_goes_in_steps(place: &impl Stores) {
    const EVENTS: u64 = 1500;
    let inbox = place.open(at(0)).await;
    let mut accepts: JoinSet<_> = (0..EVENTS)
        .map(|_| {
            let inbox = Arc::clone(&inbox);
            let event = NewEvent { handlers: Vec::new(), ..event(None) };
            async move { store(&inbox, event).await }
        })
        .collect();
    while accepts.join_next().await.is_some() {}
    store(&inbox, NewEvent { received_at: at(5000), ..event(None) }).await;
    let first = inbox.prune(at(5000), at(5000)).await.unwrap();
    assert!((1..=EVENTS).contains(&first), "{first} rows at once");
    // The last event's key is as old as the others.
    assert_eq!(first + prune(&inbox, 5000, 5000).await, EVENTS + EVENTS + 1);
}

pub(super) async fn the_newest_event_stays(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    store(&inbox, event(Some("user-1"))).await;
    let first = claim(&inbox, 0).await;
    assert!(finish(&inbox, &first[0], 0, Outcome::Done).await);
    prune(&inbox, 100_000, 100_000).await;
    store(&inbox, event(Some("user-1"))).await;
    let second = claim(&inbox, 0).await;
    // Its place in the order of arrival is not that of an event that is gone.
    assert!(second[0].key.sequence > first[0].key.sequence);
    assert!(!finish(&inbox, &first[0], 0, Outcome::Done).await);
}

pub(super) async fn arrivals_are_signalled(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let mut arrivals = inbox.arrivals();
    arrivals.mark_unchanged();
    let mut signalled = async || {
        tokio::time::timeout(Duration::from_secs(10), arrivals.changed()).await.unwrap().unwrap();
    };
    let first = event(Some("user-1"));
    store(&inbox, first.clone()).await;
    signalled().await;
    store(&inbox, event(Some("user-1"))).await;
    signalled().await;
    let claimed = claim(&inbox, 0).await;
    assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
    signalled().await;
    assert_eq!(claim(&inbox, 0).await.len(), 1);
    assert_eq!(inbox.recover(at(1000)).await.unwrap(), 1);
    signalled().await;
}

pub(super) async fn a_closed_store_says_so(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let inbox = Arc::clone(&inbox);
            tokio::spawn(async move { inbox.accept(event(None)).await })
        })
        .collect();
    inbox.close().await;
    let mut stored = 0;
    for accept in waiting {
        match accept.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => assert_eq!(error, InboxError::Closed),
        }
    }
    let closed = InboxError::Closed;
    assert_eq!(inbox.accept(event(None)).await, Err(closed));
    assert_eq!(inbox.check().await, Err(closed));
    assert_eq!(inbox.extend(Vec::new(), at(0)).await, Err(closed));
    assert_eq!(inbox.recover(at(0)).await, Err(closed));
    assert_eq!(inbox.prune(at(0), at(0)).await, Err(closed));
    let ask = Claim { handler: "a".into(), most: 1, now: at(0), lease: LEASE };
    assert_eq!(inbox.claim(ask).await.unwrap_err(), closed);
    inbox.close().await;
    let inbox = place.open(at(0)).await;
    assert_eq!(claim(&inbox, 0).await.len(), stored, "what was stored before it closed is there");
}

pub(super) async fn what_was_accepted_is_there_after_reopening(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let events = ["1", "2", "3"].map(|message| named(Some("user-1"), message));
    for event in &events {
        store(&inbox, event.clone()).await;
    }
    let claimed = claim(&inbox, 0).await;
    assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
    let claimed = claim(&inbox, 0).await;
    assert!(finish(&inbox, &claimed[0], 0, retry_at(50)).await);
    inbox.close().await;
    let inbox = place.open(at(1)).await;
    for event in events {
        assert!(matches!(inbox.accept(event).await.unwrap(), Acceptance::Duplicate(Some(_))));
    }
    assert!(claim(&inbox, 49).await.is_empty());
    let again = claim(&inbox, 50).await;
    assert_eq!((texts(&again), again[0].key.attempt), (vec!["2"], 2));
}

pub(super) async fn text_of_any_kind_comes_back_as_it_went_in(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let long = "张".repeat(100_000);
    let hostile =
        ["", " ", "'); DROP TABLE events;--", "{\"n\":1e400}", "\u{feff}\n\t\u{202e}", &long];
    for text in hostile {
        let event = NewEvent {
            event: text.chars().take(64).collect(),
            nonce: text.chars().take(128).collect(),
            ..named(Some(text), text)
        };
        store(&inbox, event).await;
        let claimed = claim(&inbox, 0).await;
        assert_eq!(texts(&claimed), [text]);
        assert_eq!(claimed[0].event.subject.as_deref(), Some(text));
        assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
    }
}
