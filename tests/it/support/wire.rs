//! The sender's end of a connection, byte by byte: no HTTP client stands between a test and what it wants to send.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

/// After this an answer counts as missing. No test waits so long for anything that it expects.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Wire {
    stream: TcpStream,
    /// Read, but not yet part of an answer.
    pending: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorBody {
    code: String,
    message: String,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, pending: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// False where the service has closed or reset the connection.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Says that nothing more will come, and still listens.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(crate) async fn answer(&mut self) -> HttpAnswer {
        self.next(true).await.expect("the connection was closed in place of an answer")
    }

    /// The answer to a HEAD request has the headers of a body and none.
    pub(crate) async fn answer_without_body(&mut self) -> HttpAnswer {
        self.next(false).await.expect("the connection was closed in place of an answer")
    }

    /// `None` where the connection is closed or reset.
    pub(crate) async fn answer_or_end(&mut self) -> Option<HttpAnswer> {
        self.next(true).await
    }

    /// An answer, if one begins to come within this time.
    pub(crate) async fn answer_within(&mut self, time: Duration) -> Option<HttpAnswer> {
        let readable = tokio::time::timeout(time, self.stream.readable()).await;
        if self.pending.is_empty() && readable.is_err() { None } else { self.next(true).await }
    }

    async fn next(&mut self, with_body: bool) -> Option<HttpAnswer> {
        let end = loop {
            match self.pending.windows(4).position(|it| it == b"\r\n\r\n") {
                Some(end) => break end,
                None => self.read_more().await?,
            }
        };
        let head = String::from_utf8(self.pending.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = HttpAnswer { status, headers, body: Vec::new() };
        assert_eq!(answer.header("transfer-encoding"), None, "answers are sent in one piece");
        let length = answer.header("content-length").map_or(0, |it| it.parse().unwrap());
        if with_body {
            while self.pending.len() < length {
                self.read_more().await?;
            }
            answer.body = self.pending.drain(..length).collect();
        }
        Some(answer)
    }

    async fn read_more(&mut self) -> Option<()> {
        let reading = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.pending));
        match reading.await.expect("neither an answer nor an end came") {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

impl HttpAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// An error as CONTRACT.md 3 promises it; returns its message.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        self.request_id();
        let body: ErrorBody = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body.code, status.to_string());
        assert!(!body.message.is_empty() && self.text().starts_with("{\"code\":"));
        body.message
    }

    /// An accepted request; returns the body.
    #[track_caller]
    pub(crate) fn accepted(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.text());
        self.request_id();
        self.text()
    }

    #[track_caller]
    pub(crate) fn request_id(&self) -> Uuid {
        let value = self.header("x-request-id").expect("every answer has an X-Request-Id");
        value.parse().unwrap()
    }
}

/// A request as a plain client writes it. `head` is what stands between the request line and the length.
pub(crate) fn post(path: &str, head: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: hook.example\r\n{head}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}
