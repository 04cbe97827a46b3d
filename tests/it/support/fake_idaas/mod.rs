//! An IDaaS on a real socket: token, users, organisations, paging, and every fault that a test orders. Knows nothing of bamboohook.

use std::collections::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Request;
use hyper::Response;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

mod fault;
mod tenant;

pub(crate) use fault::Fault;

use fault::Disconnected;
use fault::FakeBody;
use fault::response;
use fault::spoilt;
use tenant::Tenant;

/// Both hold what a form has to escape.
pub(crate) const CLIENT_ID: &str = "fake-client&id";
pub(crate) const CLIENT_SECRET: &str = "fake+secret=/%";

/// For requests that a test waits for.
const PATIENCE: Duration = Duration::from_secs(10);
const ROOT: &str = "/api/v2/tenant/";

/// What a request asks for, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Token,
    User,
    UserByName,
    Users,
    Organizations,
    /// A path that the API does not have.
    Other,
}

/// A running fake. Stops when it is dropped.
pub(crate) struct FakeIdaas {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    state: Mutex<State>,
    /// How many requests have arrived, for who waits for them.
    arrived: watch::Sender<usize>,
    /// Whose requests wait.
    held: watch::Sender<HashSet<Operation>>,
}

struct State {
    tenant: Tenant,
    faults: HashMap<Operation, VecDeque<Fault>>,
    requests: Vec<(Operation, String)>,
}

impl FakeIdaas {
    /// On a free port of this machine.
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                tenant: Tenant::new(),
                faults: HashMap::new(),
                requests: Vec::new(),
            }),
            arrived: watch::Sender::new(0),
            held: watch::Sender::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a user, or replaces the one with its `user_id`.
    pub(crate) fn put_user(&self, user: Value) {
        let id = user.get("user_id").and_then(Value::as_str).unwrap().to_owned();
        self.state().tenant.users.insert(id, user);
    }

    pub(crate) fn remove_user(&self, id: &str) {
        self.state().tenant.users.remove(id);
    }

    /// Adds an organisation, or replaces the one with its `org_id`. Without a `parent_id` it is a root.
    pub(crate) fn put_organization(&self, organization: Value) {
        let id = organization.get("org_id").and_then(Value::as_str).unwrap().to_owned();
        self.state().tenant.organizations.insert(id, organization);
    }

    pub(crate) fn remove_organization(&self, id: &str) {
        self.state().tenant.organizations.remove(id);
    }

    /// What tokens made from now on say of their life. They end only by [`FakeIdaas::expire_tokens`].
    pub(crate) fn set_expires_in(&self, expires_in: Value) {
        self.state().tenant.expires_in = expires_in;
    }

    /// Every token made so far is refused from now on.
    pub(crate) fn expire_tokens(&self) {
        self.state().tenant.tokens.clear();
    }

    /// Spoils the next `times` requests of an operation, after those already spoilt.
    pub(crate) fn spoil(&self, operation: Operation, times: usize, fault: &Fault) {
        let mut state = self.state();
        let faults = state.faults.entry(operation).or_default();
        faults.extend(std::iter::repeat_n(fault.clone(), times));
    }

    /// Forgets the faults that are still ordered.
    pub(crate) fn mend(&self) {
        self.state().faults.clear();
    }

    /// Lets the requests of an operation wait until [`FakeIdaas::release`].
    pub(crate) fn hold(&self, operation: Operation) {
        self.shared.held.send_modify(|it| it.extend([operation]));
    }

    pub(crate) fn release(&self) {
        self.shared.held.send_replace(HashSet::new());
    }

    /// Returns when so many requests of an operation have arrived since the start; panics where they do not come.
    pub(crate) async fn arrived(&self, operation: Operation, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        let enough = arrived.wait_for(|_| self.count(operation) >= count);
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        assert!(
            waited.is_ok(),
            "{} of {count} {operation:?} requests arrived",
            self.count(operation)
        );
    }

    pub(crate) fn count(&self, operation: Operation) -> usize {
        self.state().requests.iter().filter(|it| it.0 == operation).count()
    }

    /// Method and path of every request, as they were on the wire.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state().requests.iter().map(|it| it.1.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for FakeIdaas {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the server that accepted them.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, Arc::clone(&shared)));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // How a connection ends is the client's affair.
            connection.await.is_ok()
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<FakeBody>, Disconnected> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let operation = operation(head.uri.path());
    let fault = {
        let mut state = shared.state.lock().unwrap();
        state.requests.push((operation, format!("{} {}", head.method, head.uri)));
        state.faults.entry(operation).or_default().pop_front()
    };
    shared.arrived.send_modify(|it| *it += 1);
    shared.held.subscribe().wait_for(|held| !held.contains(&operation)).await.unwrap();
    if let Some(fault) = fault {
        return spoilt(fault).await;
    }
    let mut state = shared.state.lock().unwrap();
    let answer = match operation {
        Operation::Token => state.tenant.token(&head.headers, &body),
        Operation::Other => Err((StatusCode::NOT_FOUND, json!({"error": "not found"}))),
        _ => state.tenant.record(operation, &head, &body),
    };
    let (status, answer) = match answer {
        Ok(answer) => (StatusCode::OK, answer),
        Err(refusal) => refusal,
    };
    Ok(response(status, answer.to_string()))
}

fn operation(path: &str) -> Operation {
    match path.strip_prefix(ROOT) {
        Some("token") => Operation::Token,
        Some("users/user-by-username") => Operation::UserByName,
        Some("users") => Operation::Users,
        Some("organizations") => Operation::Organizations,
        Some(path) => match path.split('/').collect::<Vec<_>>().as_slice() {
            ["users", id] if !id.is_empty() => Operation::User,
            _ => Operation::Other,
        },
        None => Operation::Other,
    }
}
