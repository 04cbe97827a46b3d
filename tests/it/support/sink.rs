//! A receiver of deliveries on a real socket: keeps every request in order and answers as told. Judges nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use hyper::HeaderMap;
use hyper::Method;
use hyper::Request;
use hyper::Response;
use hyper::body::Body;
use hyper::body::Bytes;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;

use crate::support::wait::eventually;

/// Requests are kept from the moment that their body is complete, in that order.
pub(crate) struct Sink {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How a request is answered.
#[derive(Clone)]
pub(crate) struct Told {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    endless: bool,
    delay: Duration,
    /// Not before this is true.
    gate: Option<watch::Receiver<bool>>,
}

type Answer = dyn Fn(&Received) -> Told + Send + Sync;

struct Shared {
    received: Mutex<Vec<Received>>,
    answer: Mutex<Arc<Answer>>,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
    endless_bytes: Arc<AtomicUsize>,
}

impl Sink {
    /// Answers 204 until told otherwise.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            answer: Mutex::new(Arc::new(|_: &Received| Told::status(204))),
            running: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            endless_bytes: Arc::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { url, shared, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From the next request on.
    pub(crate) fn answer_with(&self, answer: impl Fn(&Received) -> Told + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(crate) fn answer(&self, told: Told) {
        self.answer_with(move |_| told.clone());
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.received.lock().unwrap().len()
    }

    /// Waits for at least so many requests and returns all there are.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests at the sink"), async || {
            (self.count() >= count).then(|| self.received())
        })
        .await
    }

    /// The largest number of requests that were open at one moment.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(Ordering::SeqCst)
    }

    /// How much of endless bodies was handed to the network.
    pub(crate) fn endless_bytes(&self) -> usize {
        self.shared.endless_bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Received {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|it| it.to_str().unwrap())
    }

    pub(crate) fn subject(&self) -> String {
        self.json()["subject"].as_str().expect("the event has a subject").to_owned()
    }
}

impl Told {
    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: String::new(),
            endless: false,
            delay: Duration::ZERO,
            gate: None,
        }
    }

    pub(crate) fn saying(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn once(mut self, gate: &watch::Sender<bool>) -> Self {
        self.gate = Some(gate.subscribe());
        self
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&shared)));
    // A peer that goes away in the middle is part of what is tested.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn respond(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let received =
        Received { method: head.method, path: head.uri.to_string(), headers: head.headers, body };
    let _running = Running::new(&shared);
    let told = {
        let answer = Arc::clone(&shared.answer.lock().unwrap());
        let told = answer(&received);
        shared.received.lock().unwrap().push(received);
        told
    };
    tokio::time::sleep(told.delay).await;
    if let Some(mut gate) = told.gate {
        drop(gate.wait_for(|open| *open).await);
    }
    let body = if told.endless {
        Endless(Arc::clone(&shared.endless_bytes)).boxed()
    } else {
        Full::from(told.body).boxed()
    };
    let mut response = Response::builder().status(told.status);
    for (name, value) in told.headers {
        response = response.header(name, value);
    }
    Ok(response.body(body).unwrap())
}

/// Counts down also where the peer went away and the answer is dropped.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn new(shared: &'a Shared) -> Self {
        let running = shared.running.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(running, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Spaces without end, counted.
struct Endless(Arc<AtomicUsize>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = Bytes::from_static(&[b' '; 4096]);
        self.0.fetch_add(chunk.len(), Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }
}
