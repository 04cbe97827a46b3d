//! The promises of [`Inbox`] about reserved keys, records and ids, each against a store that holds nothing yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use bamboohook::event::RecordKind;
use bamboohook::inbox::Acceptance;
use bamboohook::inbox::Change;
use bamboohook::inbox::Inbox;
use bamboohook::inbox::InboxError;
use bamboohook::inbox::NewEvent;
use bamboohook::inbox::Outcome;
use bamboohook::inbox::Receipt;
use bamboohook::inbox::Record;
use bamboohook::inbox::RecordChange;
use bamboohook::inbox::RecordQuery;
use bamboohook::inbox::RecordRefusal;
use bamboohook::inbox::Reply;
use bamboohook::inbox::Reservation;
use bamboohook::inbox::Reserved;
use bamboohook::inbox::Subject;
use tokio::task::JoinSet;

use super::Stores;
use super::cases::accept_at_once;
use super::cases::at;
use super::cases::claim;
use super::cases::event;
use super::cases::finish;
use super::cases::store;

fn change(change: Change, id: Option<&str>, name: Option<&str>) -> RecordChange {
    RecordChange {
        kind: RecordKind::User,
        change,
        id: id.map(str::to_owned),
        assigned_id: None,
        name: name.map(str::to_owned),
        attributes: "{}".to_owned(),
        disabled: None,
        changed_at: None,
    }
}

fn about(change: RecordChange) -> NewEvent {
    NewEvent { subject: Subject::Record(Box::new(change)), reply: Reply::SubjectId, ..event(None) }
}

pub(super) fn create(name: &str) -> NewEvent {
    about(change(Change::Create, None, Some(name)))
}

fn update(id: &str, name: &str) -> NewEvent {
    about(change(Change::Update, Some(id), Some(name)))
}

fn delete(id: &str) -> NewEvent {
    about(change(Change::Delete, Some(id), None))
}

/// As an inline handler has decided.
fn assigned(mut event: NewEvent, id: &str) -> NewEvent {
    event.subject.assign(Some(id.to_owned()));
    event
}

pub(super) async fn id_of(inbox: &Arc<dyn Inbox>, event: NewEvent) -> String {
    let Receipt { subject, reply, .. } = store(inbox, event).await;
    let id = subject.unwrap();
    assert_eq!(reply, format!("{{\"id\":\"{id}\"}}"));
    id
}

async fn refusal(inbox: &Arc<dyn Inbox>, event: NewEvent) -> RecordRefusal {
    match inbox.accept(event).await.unwrap() {
        Acceptance::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// For 20 seconds from `now`.
pub(super) async fn reserve(
    inbox: &Arc<dyn Inbox>,
    event: &NewEvent,
    now: i64,
) -> Result<Reserved, InboxError> {
    let reservation = Reservation {
        endpoint: Arc::clone(&event.endpoint),
        duplicate_key: event.duplicate_key,
        subject: event.subject.clone(),
        now: at(now),
        until: at(now + 20),
    };
    inbox.reserve(reservation).await
}

fn yours(subject: Option<&str>) -> Reserved {
    Reserved::Yours { subject: subject.map(str::to_owned) }
}

pub(super) async fn a_name_is_one_record_for_as_long_as_it_lives(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let first = id_of(&inbox, create("Zhang")).await;
    assert_eq!(id_of(&inbox, create("zHANG")).await, first);
    let elsewhere = NewEvent { endpoint: "other".into(), ..create("zhang") };
    assert_ne!(id_of(&inbox, elsewhere).await, first);
    let organization = RecordChange {
        kind: RecordKind::Organization,
        ..change(Change::Create, None, Some("zhang"))
    };
    assert_ne!(id_of(&inbox, about(organization)).await, first);
    assert_eq!(id_of(&inbox, update(&first, "li")).await, first);
    let second = id_of(&inbox, create("zhang")).await;
    assert_ne!(second, first);
    assert!(!store(&inbox, delete(&second)).await.deletes_unknown);
    let third = id_of(&inbox, create("zhang")).await;
    assert!(third != first && third != second);
    // An update of the deleted one takes no name from anyone.
    assert_eq!(id_of(&inbox, update(&second, "zhang")).await, second);
    assert_eq!(id_of(&inbox, create("zhang")).await, third);
    inbox.close().await;
    let inbox = place.open(at(1)).await;
    assert_eq!(id_of(&inbox, create("zhang")).await, third);
}

pub(super) async fn of_many_concurrent_creates_of_one_name_all_get_one_id(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let creates: JoinSet<String> = (0..200)
        .map(|_| {
            let inbox = Arc::clone(&inbox);
            async move { id_of(&inbox, create("zhang")).await }
        })
        .collect();
    let ids: BTreeSet<String> = creates.join_all().await.into_iter().collect();
    assert_eq!(ids.len(), 1);
}

pub(super) async fn a_create_without_a_name_is_someone_new(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let nameless = || about(change(Change::Create, None, None));
    assert_ne!(id_of(&inbox, nameless()).await, id_of(&inbox, nameless()).await);
}

pub(super) async fn a_deletion_of_something_unknown_is_stored_and_says_so(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let receipt = store(&inbox, delete("7")).await;
    assert!(receipt.deletes_unknown);
    assert_eq!(receipt.subject.as_deref(), Some("7"));
    // It has made no record: the id can still become one.
    assert_eq!(id_of(&inbox, assigned(create("zhang"), "7")).await, "7");
}

pub(super) async fn a_refused_change_leaves_no_trace(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let taken = id_of(&inbox, create("zhang")).await;
    let gone = id_of(&inbox, create("li")).await;
    store(&inbox, delete(&gone)).await;
    for delivery in claim(&inbox, 0).await {
        assert!(finish(&inbox, &delivery, 0, Outcome::Done).await);
    }
    while let [delivery] = &*claim(&inbox, 0).await {
        assert!(finish(&inbox, delivery, 0, Outcome::Done).await);
    }
    for (event, expected) in [
        (update("7", "ZHANG"), RecordRefusal::NameTaken),
        (assigned(create("new"), &taken), RecordRefusal::IdTaken),
        (assigned(create("new"), &gone), RecordRefusal::IdTaken),
        (assigned(create("li"), &gone), RecordRefusal::IdTaken),
        (assigned(create("zhang"), "other"), RecordRefusal::IdDiffers),
        (assigned(update(&taken, "new"), "other"), RecordRefusal::IdDiffers),
        (assigned(update("7", "new"), "other"), RecordRefusal::IdDiffers),
    ] {
        for _ in 0..2 {
            assert_eq!(refusal(&inbox, event.clone()).await, expected);
        }
        assert!(claim(&inbox, 0).await.is_empty(), "nothing is delivered of it");
    }
    assert_eq!(id_of(&inbox, create("zhang")).await, taken, "the name was not moved");
    assert_eq!(id_of(&inbox, assigned(create("new"), "free")).await, "free");
}

/// One event of a commit that is refused takes none of its company with it.
pub(super) async fn refusals_among_many_refuse_nobody_else(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    id_of(&inbox, create("zhang")).await;
    let mixed: JoinSet<bool> = (0..100)
        .map(|number| {
            let inbox = Arc::clone(&inbox);
            let name = if number % 2 == 0 { "zhang".to_owned() } else { format!("user-{number}") };
            let event = update(&format!("id-{number}"), &name);
            async move {
                let acceptance = inbox.accept(event).await.unwrap();
                matches!(acceptance, Acceptance::Stored(_)) == (number % 2 != 0)
            }
        })
        .collect();
    assert!(mixed.join_all().await.into_iter().all(|expected| expected));
}

pub(super) async fn a_reserved_key_runs_until_its_event_is_accepted(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let event = create("zhang");
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), yours(None));
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), Reserved::Running);
    assert_eq!(inbox.accept(event.clone()).await.unwrap(), Acceptance::Running);
    let elsewhere = NewEvent { endpoint: "other".into(), ..event.clone() };
    assert_eq!(reserve(&inbox, &elsewhere, 0).await.unwrap(), yours(None));
    assert!(claim(&inbox, 0).await.is_empty());
    let accepted = NewEvent { reserved: true, ..event.clone() };
    let receipt = store(&inbox, accepted).await;
    assert_eq!(
        reserve(&inbox, &event, 0).await.unwrap(),
        Reserved::Duplicate(Some(receipt.clone()))
    );
    assert_eq!(inbox.accept(event).await.unwrap(), Acceptance::Duplicate(Some(receipt)));
}

pub(super) async fn a_released_key_is_free_again(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let event = create("zhang");
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), yours(None));
    inbox.release(&event.endpoint, event.duplicate_key).await.unwrap();
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), yours(None));
    inbox.release(&event.endpoint, event.duplicate_key).await.unwrap();
    store(&inbox, event.clone()).await;
    // What is stored cannot be released, and what nobody holds can.
    inbox.release(&event.endpoint, event.duplicate_key).await.unwrap();
    assert!(matches!(inbox.accept(event).await.unwrap(), Acceptance::Duplicate(Some(_))));
    inbox.release("nowhere", create("li").duplicate_key).await.unwrap();
}

pub(super) async fn what_is_released_at_the_moment_of_its_acceptance_stays_accepted(
    place: &impl Stores,
) {
    let inbox = place.open(at(0)).await;
    let event = create("zhang");
    assert_eq!(reserve(&inbox, &event, 0).await, Ok(yours(None)));
    let reserved = NewEvent { reserved: true, ..event.clone() };
    // While the first is written, the others gather for the next commit.
    let (first, accepted, released) = tokio::join!(
        biased;
        inbox.accept(create("li")),
        inbox.accept(reserved),
        inbox.release(&event.endpoint, event.duplicate_key),
    );
    assert!(matches!((first, released), (Ok(_), Ok(()))));
    let Ok(Acceptance::Stored(receipt)) = accepted else { panic!("{accepted:?}") };
    assert_eq!(inbox.accept(event).await, Ok(Acceptance::Duplicate(Some(receipt))));
}

pub(super) async fn a_reservation_ends_with_its_time_and_with_its_process(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let event = create("zhang");
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), yours(None));
    assert_eq!(reserve(&inbox, &event, 20).await.unwrap(), Reserved::Running);
    assert_eq!(reserve(&inbox, &event, 21).await.unwrap(), yours(None));
    inbox.close().await;
    let inbox = place.open(at(22)).await;
    assert_eq!(reserve(&inbox, &event, 22).await.unwrap(), yours(None));
    // Its holder took longer than it had, and nobody else came: it is still its own.
    let late = NewEvent { reserved: true, received_at: at(60), ..event };
    store(&inbox, late).await;
}

pub(super) async fn of_many_concurrent_reservations_exactly_one_holds(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let event = create("zhang");
    let attempts: JoinSet<Reserved> = (0..200)
        .map(|_| {
            let (inbox, event) = (Arc::clone(&inbox), event.clone());
            async move { reserve(&inbox, &event, 0).await.unwrap() }
        })
        .collect();
    let results = attempts.join_all().await;
    assert_eq!(results.iter().filter(|it| **it == yours(None)).count(), 1);
    assert_eq!(results.iter().filter(|it| **it == Reserved::Running).count(), 199);
}

pub(super) async fn a_reservation_tells_whom_the_event_is_about(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let id = id_of(&inbox, create("zhang")).await;
    let by_name = about(change(Change::Update, None, Some("zhang")));
    let known = NewEvent { subject: Subject::Known("8".to_owned()), ..event(None) };
    for (event, subject) in [
        (create("ZHANG"), Some(&*id)),
        (by_name, Some(&*id)),
        (update(&id, "li"), Some(&*id)),
        (update("7", "li"), Some("7")),
        (delete(&id), Some(&*id)),
        (delete("7"), Some("7")),
        (create("li"), None),
        (known, Some("8")),
        (event(None), None),
    ] {
        assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), yours(subject));
    }
    // To be asked about changes nothing.
    assert_ne!(id_of(&inbox, create("li")).await, id);
}

pub(super) async fn a_reservation_is_refused_where_the_event_would_be(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    id_of(&inbox, create("zhang")).await;
    let event = update("7", "zhang");
    let refused = Reserved::Refused(RecordRefusal::NameTaken);
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), refused);
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), refused, "the key was not taken");
}

pub(super) async fn a_name_that_was_taken_meanwhile_is_refused_after_all(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let event = update("7", "zhang");
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), yours(Some("7")));
    let holder = id_of(&inbox, create("zhang")).await;
    let reserved = NewEvent { reserved: true, ..event.clone() };
    assert_eq!(refusal(&inbox, reserved.clone()).await, RecordRefusal::NameTaken);
    // The key stays its own until it gives it back.
    assert_eq!(reserve(&inbox, &event, 0).await.unwrap(), Reserved::Running);
    store(&inbox, delete(&holder)).await;
    assert_eq!(id_of(&inbox, reserved).await, "7");
}

pub(super) async fn pruning_takes_reservations_that_are_over(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    reserve(&inbox, &create("zhang"), 0).await.unwrap();
    assert_eq!(inbox.prune(at(20), at(-1)).await.unwrap(), 0);
    assert_eq!(inbox.prune(at(21), at(-1)).await.unwrap(), 1);
}

pub(super) async fn deliveries_of_a_new_record_keep_their_order(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    let id = id_of(&inbox, assigned(create("zhang"), "7")).await;
    store(&inbox, update("7", "li")).await;
    store(&inbox, delete("7")).await;
    for _ in 0..3 {
        let claimed = claim(&inbox, 0).await;
        assert_eq!(claimed.len(), 1, "one at a time");
        assert_eq!(claimed[0].event.subject.as_deref(), Some(&*id));
        assert!(finish(&inbox, &claimed[0], 0, Outcome::Done).await);
    }
}

pub(super) async fn what_idaas_says_of_a_deleted_record_takes_no_name_from_a_live_one(
    place: &impl Stores,
) {
    let inbox = place.open(at(0)).await;
    let gone = id_of(&inbox, create("zhang")).await;
    store(&inbox, delete(&gone)).await;
    let live = id_of(&inbox, create("zhang")).await;
    let observe = |revives| about(change(Change::Observe { revives }, Some(&gone), Some("zhang")));
    store(&inbox, observe(false)).await;
    assert_eq!(id_of(&inbox, create("zhang")).await, live);
    store(&inbox, observe(true)).await;
    assert_eq!(
        id_of(&inbox, create("zhang")).await,
        gone,
        "the live one has been renamed meanwhile"
    );
}

async fn users(inbox: &Arc<dyn Inbox>) -> Vec<Record> {
    let query = RecordQuery {
        kind: RecordKind::User,
        endpoint: None,
        deleted_too: true,
        after: None,
        most: 100,
    };
    inbox.records(query).await.unwrap()
}

/// What comes at one moment may be one commit: whatever the names did in it, the next commits see the end of it.
pub(super) async fn names_that_change_hands_at_one_moment_have_one_holder(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    for (id, name) in [("1", "a"), ("2", "b"), ("3", "c")] {
        id_of(&inbox, assigned(create(name), id)).await;
    }
    let observe =
        |id, name| about(change(Change::Observe { revives: false }, Some(id), Some(name)));
    for round in 0..20 {
        // Around once, by way of a name in between, then deleted and made anew.
        let mut events = vec![
            update("1", "between"),
            update("2", "a"),
            update("3", "b"),
            update("1", "c"),
            observe("2", "c"),
            observe("1", "a"),
            observe("3", "b"),
        ];
        let name = format!("passing-{round}");
        for life in 0..3 {
            let id = format!("{round}-{life}");
            events.push(assigned(create(&name), &id));
            events.push(delete(&id));
        }
        for acceptance in accept_at_once(&inbox, events).await {
            assert!(matches!(acceptance, Ok(Acceptance::Stored(_))), "{round}");
        }
        let users = users(&inbox).await;
        let name = |id: &str| users.iter().find(|it| it.id == id).unwrap().name.as_deref();
        assert_eq!((name("1"), name("2"), name("3")), (Some("a"), Some("c"), Some("b")));
        assert!(users.iter().all(|it| it.deleted == it.id.contains('-')));
        for (id, name) in [("3", "spare"), ("2", "b"), ("3", "c")] {
            id_of(&inbox, update(id, name)).await;
        }
    }
}

pub(super) async fn a_record_that_loses_its_name_was_changed_then(place: &impl Stores) {
    let inbox = place.open(at(0)).await;
    id_of(&inbox, assigned(create("zhang"), "1")).await;
    let observed = change(Change::Observe { revives: false }, Some("2"), Some("zhang"));
    store(&inbox, NewEvent { received_at: at(50), ..about(observed) }).await;
    let users = users(&inbox).await;
    let seen: Vec<_> =
        users.iter().map(|it| (&*it.id, it.name.as_deref(), it.updated_at)).collect();
    assert_eq!(seen, [("1", None, at(50)), ("2", Some("zhang"), at(50))]);
}
