//! Accepts connections up to a limit and ends them in good order at shutdown. Knows no routes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::http::connection::Progress;
use crate::http::connection::TimedStream;

/// Bytes of a request's head. More than IDaaS and any proxy send.
const LARGEST_HEAD: usize = 64 * 1024;

/// A listener that cannot accept, for want of file descriptors say, tries again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_connections: usize,
    /// For the head of a request; [`Arrival::head_began`] lets the body share it.
    pub read_timeout: Duration,
}

/// How a request came, for its handler.
#[derive(Clone)]
pub(super) struct Arrival {
    pub(super) peer: SocketAddr,
    pub(super) head_began: Instant,
    pub(super) progress: Progress,
}

/// Serves until `stopping` becomes true, then finishes the requests that run. To stop waiting for them,
/// drop the future.
///
/// HTTP/1.1 only: proxies speak it to what is behind them, and a protocol that is not there has no floods.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    while !*stopping.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.changed() => continue,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    let limit = limits.max_connections;
                    tracing::warn!(client = %peer.ip(), limit, "connection closed: server.max_connections are open already");
                    continue;
                };
                let (router, stopping) = (router.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, limits.read_timeout, stopping).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    read_timeout: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection broke at once");
    }
    let progress = Progress::new();
    let stream = TimedStream::new(stream, progress.clone(), read_timeout);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let head_began = progress.begin();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arrival { peer, head_began, progress: progress.clone() });
        let answer = tower_service::Service::call(&mut router.clone(), request);
        let progress = progress.clone();
        async move {
            let response = answer.await;
            progress.end();
            response
        }
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let stopped = async { while !*stopping.borrow() && stopping.changed().await.is_ok() {} };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(client = %peer.ip(), %error, "connection ended");
    }
}
