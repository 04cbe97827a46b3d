//! Many events at once, and how the receiver took them. Measures the receiver, so it spends as little as it can itself.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's result goes to stdout, its diagnosis to stderr"
)]

use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::Method;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cli::send::Target;
use crate::cli::send::explained;
use crate::cli::send::headers;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::simulator;
use crate::simulator::Simulator;

const SUBJECTS: u32 = 1000;

pub(super) struct Load {
    pub(super) event: String,
    /// `None` is samples of many subjects.
    pub(super) message: Option<String>,
    pub(super) count: u64,
    pub(super) rate: Option<u32>,
    pub(super) concurrency: u32,
}

/// What all lanes share.
struct Plan {
    load: Load,
    simulator: Simulator,
    target: Arc<Target>,
    headers: HeaderMap,
    /// Sealed once, since sealing would take the time that the receiver is to have.
    data: Vec<String>,
    nonce: String,
    started: Instant,
    next: AtomicU64,
    done: AtomicU64,
}

#[derive(Default)]
struct Tally {
    /// Microseconds.
    latencies: Vec<u32>,
    statuses: BTreeMap<u16, u64>,
    /// Answers of any status that IDaaS would not call a success.
    failures: u64,
    transport_errors: u64,
    first_error: Option<anyhow::Error>,
}

/// Each request has its own nonce. With a rate, the latency of a request that had to wait for a free
/// connection counts from when it was due, so that a receiver that stalls cannot hide it.
pub(super) async fn run(
    load: Load,
    simulator: Simulator,
    target: Target,
) -> anyhow::Result<ExitCode> {
    let bar = progress_bar(load.count)?;
    let lanes = u64::from(load.concurrency).min(load.count);
    let plan = Arc::new(Plan::new(load, simulator, target)?);
    let mut lanes: JoinSet<Tally> = (0..lanes).map(|_| drive(Arc::clone(&plan))).collect();
    let mut total = Tally::default();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut listening = true;
    loop {
        tokio::select! {
            lane = lanes.join_next() => match lane {
                None => break,
                Some(tally) => total.add(tally?),
            },
            _ = tick.tick() => bar.set_position(plan.done.load(Ordering::Relaxed)),
            interrupted = &mut interrupt, if listening => {
                listening = false;
                if interrupted.is_ok() {
                    // What has been measured until then is still of use.
                    plan.next.store(plan.load.count, Ordering::Relaxed);
                }
            }
        }
    }
    let elapsed = plan.started.elapsed();
    bar.finish_and_clear();
    total.print(elapsed);
    let all_fine = total.failures == 0 && total.transport_errors == 0;
    if let Some(error) = total.first_error {
        eprintln!("the first error: {:#}", explained(error, plan.target.url()));
    }
    let sent = u64::try_from(total.latencies.len()).unwrap_or(u64::MAX);
    Ok(if all_fine && sent == plan.load.count { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Plan {
    fn new(load: Load, simulator: Simulator, target: Target) -> anyhow::Result<Self> {
        let dialect = simulator.dialect();
        let data = match &load.message {
            Some(message) => vec![simulator.seal(message)?],
            None => (0..SUBJECTS)
                .map(|number| {
                    simulator.seal(&simulator::sample_message(dialect, &load.event, number))
                })
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            headers: headers(&simulator)?,
            target: Arc::new(target),
            nonce: simulator::nonce()?,
            started: Instant::now(),
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            load,
            simulator,
            data,
        })
    }

    /// The number of the next request and the moment from which its latency counts.
    async fn turn(&self) -> Option<(u64, Option<Instant>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.load.count {
            return None;
        }
        let Some(rate) = self.load.rate else { return Some((number, None)) };
        let nanoseconds = u128::from(number) * 1_000_000_000 / u128::from(rate);
        let due =
            self.started + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        if due <= Instant::now() {
            return Some((number, Some(due)));
        }
        tokio::time::sleep_until(due).await;
        Some((number, None))
    }

    fn body(&self, number: u64) -> anyhow::Result<String> {
        let position = usize::try_from(number).unwrap_or_default() % self.data.len();
        let data = self.data.get(position).map(String::as_str).unwrap_or_default();
        let nonce = numbered(&self.nonce, number);
        let callback =
            self.simulator.sealed_callback(&self.load.event, data, SystemClock.now(), nonce)?;
        Ok(callback.body())
    }
}

async fn drive(plan: Arc<Plan>) -> Tally {
    let mut lane = plan.target.lane();
    let mut tally = Tally::default();
    while let Some((number, due)) = plan.turn().await {
        let body = match plan.body(number) {
            Ok(body) => body.into(),
            Err(error) => {
                tally.transport_error(error);
                continue;
            }
        };
        let from = due.unwrap_or_else(Instant::now);
        match lane.exchange(Method::POST, &plan.headers, body).await {
            Ok((status, answer)) => {
                let latency = u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX);
                tally.latencies.push(latency);
                *tally.statuses.entry(status).or_default() += 1;
                tally.failures += u64::from(plan.simulator.judge_answer(status, &answer).is_err());
            }
            Err(error) => tally.transport_error(error),
        }
        plan.done.fetch_add(1, Ordering::Relaxed);
    }
    tally
}

impl Tally {
    fn transport_error(&mut self, error: anyhow::Error) {
        self.transport_errors += 1;
        self.first_error.get_or_insert(error);
    }

    fn add(&mut self, lane: Self) {
        self.latencies.extend(lane.latencies);
        self.failures += lane.failures;
        self.transport_errors += lane.transport_errors;
        self.first_error = self.first_error.take().or(lane.first_error);
        for (status, count) in lane.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }

    fn print(&mut self, elapsed: Duration) {
        self.latencies.sort_unstable();
        let answered = self.latencies.len();
        let total = self.transport_errors + u64::try_from(answered).unwrap_or(u64::MAX);
        let seconds = elapsed.as_secs_f64();
        println!("total: {total}");
        println!("seconds: {seconds:.3}");
        println!("requests/s: {:.1}", per_second(answered, seconds));
        for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)] {
            match percentile(&self.latencies, percent) {
                Some(latency) => println!("{name}: {:.3} ms", f64::from(latency) / 1000.0),
                None => println!("{name}: -"),
            }
        }
        for (status, count) in &self.statuses {
            println!("status {status}: {count}");
        }
        println!("not a success: {}", self.failures);
        println!("transport errors: {}", self.transport_errors);
    }
}

/// The smallest of the sorted values that `percent` of them do not exceed.
fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^52 requests nobody reads the last digit")]
fn per_second(count: usize, seconds: f64) -> f64 {
    count as f64 / seconds.max(f64::MIN_POSITIVE)
}

/// 16 letters: half of a random nonce, which tells runs apart, and the number.
fn numbered(random: &str, mut number: u64) -> String {
    let mut nonce: String = random.chars().take(8).collect();
    for _ in 0..8 {
        let letter = u8::try_from(number % 26).unwrap_or_default();
        nonce.push(char::from(b'a' + letter));
        number /= 26;
    }
    nonce
}

fn progress_bar(count: u64) -> anyhow::Result<ProgressBar> {
    // It draws nothing where stderr is not a terminal.
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}")?;
    Ok(ProgressBar::new(count).with_style(style))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::numbered;
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let measured: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&measured, 50), Some(100));
        assert_eq!(percentile(&measured, 99), Some(198));
        assert_eq!(percentile(&measured, 100), Some(200));
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn every_number_has_its_own_nonce() {
        let nonces: HashSet<String> =
            (0..2000).map(|it| numbered("ABCDEFGHIJKLMNOP", it * 97)).collect();
        assert_eq!(nonces.len(), 2000);
        assert!(nonces.iter().all(|it| it.len() == 16 && it.starts_with("ABCDEFGH")));
    }
}
