//! The IDaaS client against an IDaaS that answers as the vendor's does, and worse. Runs no service.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bamboohook::clock::Clock;
use bamboohook::config;
use bamboohook::config::IdaasAuth;
use bamboohook::idaas::IdaasClient;
use bamboohook::idaas::IdaasError;
use bamboohook::idaas::PageRequest;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use crate::support::fake_idaas::CLIENT_ID;
use crate::support::fake_idaas::CLIENT_SECRET;
use crate::support::fake_idaas::FakeIdaas;

mod faults;
mod lists;
mod look_ups;
mod tokens;

type Found = Result<Option<Box<RawValue>>, IdaasError>;

/// Stands still until it is told to go on.
struct HandClock(Mutex<Timestamp>);

impl HandClock {
    fn pass(&self, milliseconds: u64) {
        *self.0.lock().unwrap() += Duration::from_millis(milliseconds);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

struct Tenant {
    fake: FakeIdaas,
    clock: Arc<HandClock>,
    client: Arc<IdaasClient>,
}

impl Tenant {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut config::Idaas)) -> Self {
        let fake = FakeIdaas::start().await;
        let mut settings = settings(fake.url());
        change(&mut settings);
        let clock = Arc::new(HandClock(Mutex::new("2026-07-09T15:21:53Z".parse().unwrap())));
        let shared: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
        let client = Arc::new(IdaasClient::new(&settings, shared).unwrap());
        Self { fake, clock, client }
    }

    /// With a user of this id.
    async fn of(id: &str) -> Self {
        let tenant = Self::start().await;
        tenant.fake.put_user(json!({ "user_id": id, "user_name": "zhangsan" }));
        tenant
    }

    /// Looks up a user whose event arrives now.
    async fn user(&self, id: &str) -> Found {
        self.client.user(id, self.clock.now()).await
    }

    /// One look-up for each id, all at once.
    fn look_up(&self, ids: impl IntoIterator<Item = String>) -> JoinSet<Found> {
        let not_before = self.clock.now();
        ids.into_iter()
            .map(|id| {
                let client = Arc::clone(&self.client);
                async move { client.user(&id, not_before).await }
            })
            .collect()
    }
}

fn settings(base_url: String) -> config::Idaas {
    config::Idaas {
        base_url,
        client_id: CLIENT_ID.to_owned(),
        client_secret: SecretString::from(CLIENT_SECRET),
        auth: IdaasAuth::Basic,
        timeout: Duration::from_secs(5),
        time_zone: 8 * 3600,
    }
}

fn name_of(found: &Found) -> String {
    let user = found.as_ref().unwrap().as_ref().unwrap();
    let user: Value = serde_json::from_str(user.get()).unwrap();
    user.get("user_name").and_then(Value::as_str).unwrap().to_owned()
}

fn reason(found: Found) -> String {
    found.unwrap_err().to_string()
}

fn is_unavailable(found: &Found, expected: Option<Duration>) -> bool {
    matches!(found, Err(IdaasError::Unavailable { after, .. }) if *after == expected)
}

const FIRST: PageRequest = PageRequest { number: 0, size: 100 };
