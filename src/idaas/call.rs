//! One call of the API: its turn, its token, one more try with a new token. Repeats nothing else: that is the delivery's to do.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use reqwest::Client;
use reqwest::Method;
use reqwest::header::ACCEPT;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config;
use crate::idaas::IdaasError;
use crate::idaas::answer;
use crate::idaas::answer::Answer;
use crate::idaas::token::Token;
use crate::idaas::token::Tokens;
use crate::outbound;
use crate::outbound::OutboundError;

/// The vendor names no limit; this many are no burden to a server that serves a company.
const CALLS_AT_ONCE: usize = 16;
/// However long IDaaS wishes to be left alone, it is asked again after this.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What is asked of the API.
pub(super) struct Call {
    /// For the log; the path holds ids of people.
    pub(super) operation: &'static str,
    pub(super) method: Method,
    /// From the root of the API, with the query.
    pub(super) path: String,
    /// JSON.
    pub(super) body: Option<String>,
}

pub(super) struct Api {
    client: Client,
    root: String,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    turns: Semaphore,
    turn_timeout: Duration,
    paused_until: Mutex<Option<Instant>>,
}

impl Api {
    pub(super) fn new(
        settings: &config::Idaas,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        let client = outbound::client_within(&settings.base_url, settings.timeout)?;
        Ok(Self {
            tokens: Tokens::new(client.clone(), settings, Arc::clone(&clock)),
            client,
            root: format!("{}/api/v2/tenant", settings.base_url),
            clock,
            turns: Semaphore::new(CALLS_AT_ONCE),
            turn_timeout: settings.timeout,
            paused_until: Mutex::default(),
        })
    }

    /// The body of the answer; `None` where IDaaS says that there is no such record.
    pub(super) async fn call(&self, call: &Call) -> Result<Option<Vec<u8>>, IdaasError> {
        let _turn = self.turn().await?;
        self.pause_is_over()?;
        let result = self.call_with_token(call).await;
        if let Err(IdaasError::Unavailable { after: Some(after), .. }) = result {
            self.pause(after);
        }
        result
    }

    async fn call_with_token(&self, call: &Call) -> Result<Option<Vec<u8>>, IdaasError> {
        let token = self.tokens.token(None).await?;
        let mut answer = self.send(call, &token).await?;
        if matches!(answer, Answer::StaleToken) {
            let token = self.tokens.token(Some(&token)).await?;
            answer = self.send(call, &token).await?;
        }
        match answer {
            Answer::Done(body) => Ok(Some(body)),
            Answer::NotFound => Ok(None),
            Answer::StaleToken => Err(IdaasError::Refused {
                reason: "IDaaS refuses its own new token; check the rights of idaas.client_id and the list of allowed addresses there",
            }),
        }
    }

    async fn send(&self, call: &Call, token: &Token) -> Result<Answer, IdaasError> {
        let url = format!("{}/{}", self.root, call.path);
        let mut request = self.client.request(call.method.clone(), url).bearer_auth(token.text());
        request = request.header(ACCEPT, "application/json");
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let began = Instant::now();
        let sent = request.send().await;
        let status = sent.as_ref().ok().map(|it| it.status().as_u16());
        let elapsed = began.elapsed();
        tracing::debug!(operation = call.operation, status, ?elapsed, "asked IDaaS");
        answer::read(sent.map_err(|error| answer::explain(&error))?, self.clock.now()).await
    }

    /// Waits no longer for a turn than for an answer, so that callers do not pile up behind an IDaaS that hangs.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, IdaasError> {
        match tokio::time::timeout(self.turn_timeout, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => {
                Err(IdaasError::unavailable("too many calls to IDaaS wait for their turn"))
            }
        }
    }

    /// What IDaaS asked of one call holds for all: the limit is the tenant's.
    fn pause_is_over(&self) -> Result<(), IdaasError> {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map_or(Duration::ZERO, |it| it.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(());
        }
        let reason = "IDaaS asked to be left alone for a while";
        Err(IdaasError::Unavailable { reason, after: Some(left) })
    }

    fn pause(&self, wish: Duration) {
        let until = Instant::now() + wish.min(LONGEST_PAUSE);
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(Some(until));
    }
}
