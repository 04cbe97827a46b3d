//! Probes for whoever runs the service: `/healthz`, `/readyz`. Changes nothing and shows nobody's data.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use axum::routing::get;
use tokio::sync::watch;

use crate::inbox::Inbox;

/// A store that takes longer to answer is not ready, whatever it will say.
const PATIENCE: Duration = Duration::from_secs(2);

pub struct AdminState {
    pub inbox: Arc<dyn Inbox>,
    pub stopping: watch::Receiver<bool>,
}

pub fn admin_router(state: AdminState) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(state))
}

/// 200 while the process runs.
async fn healthz() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
}

/// 200 while events can be stored.
async fn readyz(State(state): State<Arc<AdminState>>) -> Response {
    let reason = if *state.stopping.borrow() {
        "shutting down".to_owned()
    } else {
        match tokio::time::timeout(PATIENCE, state.inbox.check()).await {
            Ok(Ok(())) => return json(StatusCode::OK, r#"{"status":"ready"}"#.to_owned()),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "the store does not answer".to_owned(),
        }
    };
    let body = serde_json::json!({ "status": "not ready", "reason": reason });
    json(StatusCode::SERVICE_UNAVAILABLE, body.to_string())
}

fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
