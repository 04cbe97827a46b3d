//! The HTTP client of everything that calls out, set up once: rustls, no redirects, no proxy, time-outs. Sends nothing itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::HeaderMap;
use reqwest::header::RETRY_AFTER;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// No client can be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error(
        "the CA certificates of this system cannot be read; install its ca-certificates package"
    )]
    Certificates(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// A client for one receiver, by its URL. A redirect is an answer like any other: who follows one sends
/// people's data where nobody has configured it, and so does who obeys a proxy variable.
///
/// Trusts the CAs of the operating system, which is where companies keep their own.
pub fn client(url: &str) -> Result<reqwest::Client, OutboundError> {
    builder(url)?.build().map_err(OutboundError::Client)
}

/// The same, where one call may take no longer than `timeout` from connecting to the last byte of its answer,
/// nor be silent for long.
pub fn client_within(url: &str, timeout: Duration) -> Result<reqwest::Client, OutboundError> {
    let builder = builder(url)?.timeout(timeout).read_timeout(READ_TIMEOUT.min(timeout));
    builder.build().map_err(OutboundError::Client)
}

/// How long the receiver wishes to be left alone: seconds or a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(now)).ok()
}

fn builder(url: &str) -> Result<reqwest::ClientBuilder, OutboundError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(OutboundError::Tls)?;
    let tls = if url.starts_with("https:") {
        builder.with_platform_verifier().map_err(OutboundError::Certificates)?.with_no_client_auth()
    } else {
        // Without TLS there is nothing to trust, and a small image may have no certificates.
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT))
}
