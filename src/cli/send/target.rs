//! The client side of a command: one URL, reached over connections that are kept. Follows no redirect and uses no proxy.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper::header::HOST;
use hyper::header::HeaderValue;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::outbound;

const LONGEST_ANSWER: usize = 1024 * 1024;

/// Where requests go and how long one may take, from connecting to the last byte of the answer.
pub(crate) struct Target {
    url: String,
    host: String,
    port: u16,
    host_header: HeaderValue,
    path: Uri,
    timeout: Duration,
    /// For `https://`. Plain HTTP goes without it: hyper alone leaves more of the machine to the receiver
    /// that is being measured, and needs no certificates of the system.
    tls: Option<reqwest::Client>,
}

impl Target {
    pub(crate) fn new(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let authority = uri.authority().with_context(|| format!("{url:?} is not a whole URL"))?;
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(outbound::client(url)?), 443),
            _ => anyhow::bail!("{url:?} is neither http:// nor https://"),
        };
        anyhow::ensure!(!authority.as_str().contains('@'), "credentials in a URL are not sent");
        let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(port),
            host_header: HeaderValue::from_str(authority.as_str())?,
            path: path.parse()?,
            url: url.to_owned(),
            timeout,
            tls,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn lane(self: &Arc<Self>) -> Lane {
        Lane { target: Arc::clone(self), connection: None }
    }
}

/// One connection at a time, kept between requests and made anew when the receiver closes it.
pub(crate) struct Lane {
    target: Arc<Target>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Lane {
    /// The status and the whole body of the answer. An error is one of transport; every status is an answer.
    pub(crate) async fn exchange(
        &mut self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        let timeout = self.target.timeout;
        let exchange = self.exchange_unlimited(method, headers, body);
        tokio::time::timeout(timeout, exchange)
            .await
            .with_context(|| format!("no answer within {} s", timeout.as_secs()))?
    }

    async fn exchange_unlimited(
        &mut self,
        method: Method,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        if let Some(client) = &self.target.tls {
            let request =
                client.request(method, &self.target.url).headers(headers.clone()).body(body);
            let response = request.send().await?;
            let status = response.status().as_u16();
            return Ok((status, response.bytes().await?));
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target.path.clone();
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(HOST, self.target.host_header.clone());
        let mut connection = self.connection().await?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        self.connection = Some(connection);
        Ok((status, body))
    }

    async fn connection(&mut self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        if let Some(mut connection) = self.connection.take()
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port)).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What ends the connection also ends the request that runs over it, and is reported there.
        tokio::spawn(async move { connection.await.is_ok() });
        sender.ready().await?;
        Ok(sender)
    }
}

/// Where a listener of this machine is reached: the unspecified address listens but names no one.
pub(crate) fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Target;
    use super::reachable;

    #[test]
    fn the_unspecified_address_is_reached_at_the_loopback() {
        for (listener, address) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.7:1", "192.0.2.7:1"),
        ] {
            assert_eq!(reachable(listener.parse().unwrap()).to_string(), address);
        }
    }

    #[test]
    fn only_whole_http_urls_are_targets() {
        let target = |url| Target::new(url, Duration::from_secs(1));
        let fine = target("http://[::1]:8080/callback?x=1").unwrap();
        assert_eq!((&*fine.host, fine.port), ("::1", 8080));
        assert_eq!(target("http://localhost").unwrap().path, "/");
        for wrong in ["/callback", "localhost:8080", "ftp://x/", "http://", "http://me:pw@host/"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
