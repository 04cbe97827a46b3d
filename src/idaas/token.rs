//! The access token: fetched once for all who wait, kept, renewed before it ends. Never shows it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config;
use crate::config::IdaasAuth;
use crate::idaas::IdaasError;
use crate::idaas::answer;
use crate::idaas::answer::Answer;
use crate::idaas::field;
use crate::idaas::path::encoded;

/// What IDaaS means where it says nothing (PROTOCOL.md 7).
const DEFAULT_LIFE: Duration = Duration::from_mins(30);
/// A life of 0 would fetch a token for every call.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// What says more is not believed: after a day a token is renewed anyway.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// How long before its end a token is no longer used: a call and the clocks on its way take time.
const MARGIN: Duration = Duration::from_mins(1);

const REFUSED: IdaasError = IdaasError::Refused {
    reason: "IDaaS gives no token; check idaas.client_id, idaas.client_secret and idaas.auth",
};
const MALFORMED: IdaasError =
    IdaasError::Malformed { reason: "the answer of IDaaS to the request for a token is none" };

/// One access token. Tokens are told apart by when they were fetched, since IDaaS may send the same text again.
#[derive(Clone)]
pub(super) struct Token {
    text: SecretString,
    number: u64,
    good_until: Instant,
}

impl Token {
    pub(super) fn text(&self) -> &str {
        self.text.expose_secret()
    }
}

pub(super) struct Tokens {
    client: Client,
    url: String,
    client_id: String,
    client_secret: SecretString,
    auth: IdaasAuth,
    clock: Arc<dyn Clock>,
    /// Fetches that have failed so far.
    failures: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    token: Option<Token>,
    /// Why the latest failed fetch failed.
    failure: Option<IdaasError>,
    fetched: u64,
}

impl Tokens {
    pub(super) fn new(client: Client, settings: &config::Idaas, clock: Arc<dyn Clock>) -> Self {
        Self {
            client,
            url: format!("{}/api/v2/tenant/token", settings.base_url),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            auth: settings.auth,
            clock,
            failures: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// A token that is good for a while, and is not `stale`, which IDaaS has just refused.
    ///
    /// However many ask at once, one request is in flight, and its failure is the failure of all who waited for it.
    pub(super) async fn token(&self, stale: Option<&Token>) -> Result<Token, IdaasError> {
        let failures = self.failures.load(Ordering::Acquire);
        // Held across the fetch on purpose: callers that find no token wait for the one request in flight
        // instead of each sending their own.
        let mut kept = self.kept.lock().await;
        if let Some(token) = &kept.token
            && Instant::now() < token.good_until
            && stale.is_none_or(|it| it.number < token.number)
        {
            return Ok(token.clone());
        }
        if let Some(failure) = kept.failure
            && failures != self.failures.load(Ordering::Acquire)
        {
            return Err(failure);
        }
        match self.fetch(kept.fetched + 1).await {
            Ok(token) => {
                kept.fetched = token.number;
                kept.token = Some(token.clone());
                Ok(token)
            }
            Err(failure) => {
                kept.token = None;
                kept.failure = Some(failure);
                self.failures.fetch_add(1, Ordering::Release);
                Err(failure)
            }
        }
    }

    /// Client credentials (RFC 6749, 4.4). Basic carries them as they are, as the vendor documents it, and not
    /// percent-encoded as RFC 6749, 2.3.1 has it.
    async fn fetch(&self, number: u64) -> Result<Token, IdaasError> {
        let secret = self.client_secret.expose_secret();
        let mut form = "grant_type=client_credentials".to_owned();
        let mut request = self.client.post(&self.url);
        match self.auth {
            IdaasAuth::Basic => request = request.basic_auth(&self.client_id, Some(secret)),
            IdaasAuth::Form => {
                form.push_str("&client_id=");
                form.extend(encoded(&self.client_id));
                form.push_str("&client_secret=");
                form.extend(encoded(secret));
            }
        }
        let began = Instant::now();
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        let response = request.send().await.map_err(|error| answer::explain(&error))?;
        let status = response.status().as_u16();
        tracing::debug!(operation = "token", status, elapsed = ?began.elapsed(), "asked IDaaS");
        match answer::read(response, self.clock.now()).await? {
            Answer::Done(body) => read(&body, number, began),
            Answer::NotFound | Answer::StaleToken => Err(REFUSED),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("number", &self.number).finish_non_exhaustive()
    }
}

fn read(body: &[u8], number: u64, began: Instant) -> Result<Token, IdaasError> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        access_token: String,
        #[serde(borrow)]
        expires_in: Option<&'a RawValue>,
    }

    let fields: Fields<'_> = serde_json::from_slice(body).map_err(|_error| MALFORMED)?;
    let text = SecretString::from(fields.access_token);
    if text.expose_secret().is_empty() || HeaderValue::from_str(text.expose_secret()).is_err() {
        return Err(MALFORMED);
    }
    let life = match fields.expires_in {
        Some(life) => field::seconds(Some(life)).unwrap_or(SHORTEST_LIFE),
        None => DEFAULT_LIFE,
    };
    Ok(Token { text, number, good_until: began + useful(life) })
}

/// How much of its life a token is used. The margin shrinks with the life: towards the end of an old token
/// IDaaS may send it again, with the little that remains of it, and it has to do until there is a new one.
fn useful(life: Duration) -> Duration {
    let life = life.clamp(SHORTEST_LIFE, LONGEST_LIFE);
    life.saturating_sub(MARGIN.min(life / 10))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::read;
    use super::useful;

    #[test]
    fn a_token_is_given_up_before_it_ends_and_a_dying_one_is_still_used() {
        let useful = |milliseconds| useful(Duration::from_millis(milliseconds)).as_millis();
        assert_eq!(useful(1_800_000), 1_740_000);
        assert_eq!(useful(60_000), 54_000);
        assert_eq!(useful(0), 900);
        assert_eq!(useful(u64::MAX), 86_340_000);
    }

    #[test]
    fn the_life_may_be_a_number_text_or_left_out() {
        let now = Instant::now();
        for (life, seconds) in [
            (r#","expires_in":600"#, 540),
            (r#","expires_in":"600""#, 540),
            (r#","expires_in":600.5"#, 540),
            ("", 1740),
            (r#","expires_in":null"#, 1740),
        ] {
            let body = format!(r#"{{"access_token":"a","token_type":"bearer"{life}}}"#);
            let useful = read(body.as_bytes(), 1, now).unwrap().good_until - now;
            assert_eq!(useful.as_secs(), seconds, "{life}");
        }
        for life in ["-5", r#""soon""#, "[]"] {
            let body = format!(r#"{{"access_token":"a","expires_in":{life}}}"#);
            let useful = read(body.as_bytes(), 1, now).unwrap().good_until - now;
            assert_eq!(useful.as_millis(), 900, "{life}");
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_none() {
        for body in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\r\nX: y"}"#] {
            assert!(read(body.as_bytes(), 1, Instant::now()).is_err(), "{body}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let token = read(br#"{"access_token":"geheim"}"#, 1, Instant::now()).unwrap();
        assert!(!format!("{token:?}").contains("geheim"));
    }
}
