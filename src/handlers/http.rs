//! POSTs each event to a URL, signed as Standard Webhooks has it where a secret is set. Follows no redirect.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use sha2::Sha256;

use crate::clock::Clock;
use crate::dispatcher::Handler;
use crate::dispatcher::HandlerError;
use crate::dispatcher::Reply;
use crate::event::Document;
use crate::handlers::HandlersError;
use crate::handlers::reply::LARGEST_ANSWER;
use crate::handlers::reply::reply;
use crate::outbound;

pub(super) struct HttpHandler {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    signer: Option<Hmac<Sha256>>,
    clock: Arc<dyn Clock>,
}

impl HttpHandler {
    pub(super) fn new(
        url: &str,
        headers: &BTreeMap<String, SecretString>,
        secret: Option<&SecretString>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, HandlersError> {
        Ok(Self {
            client: outbound::client(url)?,
            url: url.to_owned(),
            headers: header_map(headers)?,
            signer: secret.map(signer).transpose()?,
            clock,
        })
    }

    /// The three headers of Standard Webhooks 1.0: the signature covers id, time and body.
    ///
    /// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
    fn sign(&self, document: &Document, body: &str, headers: &mut HeaderMap) {
        let Some(signer) = &self.signer else { return };
        let id = document.id.to_string();
        let timestamp = self.clock.now().as_second().to_string();
        let mac = signer.clone().chain_update(format!("{id}.{timestamp}.{body}")).finalize();
        let signature = format!("v1,{}", STANDARD.encode(mac.into_bytes()));
        for (name, value) in
            [("webhook-id", id), ("webhook-timestamp", timestamp), ("webhook-signature", signature)]
        {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

#[async_trait]
impl Handler for HttpHandler {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        let body = document.to_json();
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"));
        self.sign(document, &body, &mut headers);
        let request = self.client.post(&self.url).headers(headers).body(body);
        let response =
            request.send().await.map_err(|error| HandlerError::retry(explain(&error)))?;
        let status = response.status();
        if status.is_success() {
            let answer = read(response).await?;
            return Ok(reply(&answer));
        }
        let reason = format!("HTTP {}", status.as_u16());
        let after = outbound::retry_after(response.headers(), self.clock.now());
        if status == reqwest::StatusCode::NOT_FOUND {
            return Err(HandlerError::Missing { reason: reason.into(), after });
        }
        Err(HandlerError::Retry { reason: reason.into(), after })
    }
}

fn header_map(headers: &BTreeMap<String, SecretString>) -> Result<HeaderMap, HandlersError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_name| HandlersError::Header)?;
        let mut value =
            HeaderValue::from_str(value.expose_secret()).map_err(|_value| HandlersError::Header)?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    Ok(map)
}

/// `whsec_` and Base64, as Standard Webhooks writes secrets, or any other text as it is.
fn signer(secret: &SecretString) -> Result<Hmac<Sha256>, HandlersError> {
    let secret = secret.expose_secret();
    let key = match secret.strip_prefix("whsec_") {
        Some(encoded) => STANDARD.decode(encoded).map_err(|_not_base64| HandlersError::Secret)?,
        None => secret.as_bytes().to_vec(),
    };
    Hmac::new_from_slice(&key).map_err(|_length| HandlersError::Secret)
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, HandlerError> {
    let mut answer = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| HandlerError::retry(explain(&error)))?
    {
        answer.extend_from_slice(&chunk);
        if answer.len() > LARGEST_ANSWER {
            break;
        }
    }
    Ok(answer)
}

/// What failed, without the URL, which may hold a credential.
fn explain(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "the connection timed out"
    } else if error.is_connect() {
        "no connection to the receiver"
    } else {
        "the connection broke before the answer"
    }
}
