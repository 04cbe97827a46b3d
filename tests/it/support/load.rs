//! Senders that go on as IDaaS would: from replica to replica, until each event is acknowledged. Judges what no answer may be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bamboohook::clock::Clock;
use bamboohook::clock::SystemClock;
use bamboohook::outbound;
use bamboohook::simulator::Simulator;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::process::post;
use crate::support::sink::Received;

/// After this a sender takes it that no answer will come.
const PATIENCE: Duration = Duration::from_secs(15);

/// Before the same event is sent again.
const PAUSE: Duration = Duration::from_millis(50);

/// What all senders of a test share.
pub(crate) struct Load {
    /// The addresses of the replicas, as they are at this moment.
    pub(crate) urls: watch::Sender<Vec<String>>,
    /// Ends those that have no end of their own.
    pub(crate) end: watch::Sender<bool>,
    pub(crate) acknowledged: Arc<AtomicU64>,
    lanes: JoinSet<Sent>,
}

/// One request and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Try {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) replica: usize,
    /// `None` where the connection broke or nothing came.
    pub(crate) status: Option<u16>,
}

/// What was sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How many events of each subject were acknowledged; they are numbered from 0.
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) tries: Vec<Try>,
}

struct Lane {
    subjects: Range<usize>,
    rounds: u64,
    simulator: Simulator,
    client: reqwest::Client,
    urls: watch::Receiver<Vec<String>>,
    ending: watch::Receiver<bool>,
    acknowledged: Arc<AtomicU64>,
    turn: usize,
}

impl Load {
    /// Each of `lanes` senders has subjects of its own and sends one event of each in turn, `rounds` times or until
    /// the end. The next event of a subject is sent when the last is acknowledged, and to another replica.
    pub(crate) fn start(
        urls: Vec<String>,
        simulator: impl Fn() -> Simulator,
        lanes: usize,
        subjects_each: usize,
        rounds: u64,
    ) -> Self {
        let (urls, end) = (watch::Sender::new(urls), watch::Sender::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let lane = |number: usize| Lane {
            subjects: number * subjects_each..(number + 1) * subjects_each,
            rounds,
            simulator: simulator(),
            client: outbound::client("http://").unwrap(),
            urls: urls.subscribe(),
            ending: end.subscribe(),
            acknowledged: Arc::clone(&acknowledged),
            turn: number,
        };
        let lanes = (0..lanes).map(|number| lane(number).run()).collect();
        Self { urls, end, acknowledged, lanes }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits for what is being sent, to its acknowledgement.
    pub(crate) async fn ended(mut self) -> Sent {
        let mut total = Sent::default();
        while let Some(sent) = self.lanes.join_next().await {
            let sent = sent.unwrap();
            total.events.extend(sent.events);
            total.tries.extend(sent.tries);
        }
        total
    }

    /// The same for senders without an end of their own.
    pub(crate) async fn end(self) -> Sent {
        self.end.send_replace(true);
        self.ended().await
    }
}

impl Sent {
    pub(crate) fn count(&self) -> u64 {
        self.events.values().sum()
    }

    /// Everything acknowledged has come, each subject's in order: nothing comes, not even again, once a later event
    /// of its subject has come.
    #[track_caller]
    pub(crate) fn came_in_order(&self, received: &[Received]) {
        let mut came: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for received in received {
            let body = received.json();
            let number = body["data"]["message"]["number"].as_u64().unwrap();
            let numbers = came.entry(body["subject"].as_str().unwrap().to_owned()).or_default();
            assert!(numbers.last().is_none_or(|last| *last <= number), "{body}: {numbers:?}");
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
        }
        for (subject, count) in &self.events {
            let numbers = came.remove(subject).unwrap_or_default();
            assert!(numbers.iter().copied().eq(0..*count), "{subject}, {count}: {numbers:?}");
        }
        assert!(came.is_empty(), "never sent: {came:?}");
    }
}

impl Lane {
    async fn run(mut self) -> Sent {
        let mut sent = Sent::default();
        for number in 0..self.rounds {
            for subject in self.subjects.clone() {
                if *self.ending.borrow() {
                    return sent;
                }
                let subject = format!("user-{subject}");
                let message = json!({ "id": subject, "number": number });
                self.send(&message, &mut sent.tries).await;
                self.acknowledged.fetch_add(1, Ordering::SeqCst);
                sent.events.insert(subject, number + 1);
            }
        }
        sent
    }

    /// The very same request from replica to replica, until one of them has acknowledged it.
    async fn send(&mut self, message: &Value, tries: &mut Vec<Try>) {
        let message = message.to_string();
        let callback = self.simulator.callback("UPDATE_USER", &message, SystemClock.now()).unwrap();
        let mut unanswered = false;
        loop {
            self.turn += 1;
            let (replica, url) = {
                let urls = self.urls.borrow();
                let replica = self.turn % urls.len();
                (replica, urls[replica].clone())
            };
            let begun = Instant::now();
            let sending = post(&self.client, &url, &self.simulator, &callback);
            let answer = tokio::time::timeout(PATIENCE, sending).await;
            let arrived = !matches!(&answer, Ok(Err(error)) if error.is_connect());
            let answer = answer.ok().and_then(Result::ok);
            let status = answer.as_ref().map(|it| it.status);
            tries.push(Try { begun, ended: Instant::now(), replica, status });
            match answer {
                Some(answer) if answer.status == 200 => return,
                Some(answer) if answer.status == 503 => {
                    answer.refused(503);
                    let wait = answer.headers["retry-after"].to_str().unwrap();
                    assert!(wait.parse::<u32>().unwrap() > 0, "Retry-After: {wait}");
                }
                // An earlier acknowledgement was lost on its way; a refusal would not have been kept.
                Some(answer) if answer.status == 409 && unanswered => return,
                Some(answer) => {
                    panic!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body))
                }
                None => unanswered |= arrived,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
