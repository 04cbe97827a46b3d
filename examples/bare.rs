//! The yardstick for `bamboohook send --count`: a bare handler that believes everything and keeps nothing.
//!
//! `cargo run --release --example bare [ADDRESS]`, then
//! `bamboohook send CREATE_USER --url http://127.0.0.1:8080/callback --count 100000`.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Callback<'a> {
    #[serde(borrow)]
    data: &'a str,
}

async fn callback(body: Bytes) -> impl IntoResponse {
    match serde_json::from_slice::<Callback<'_>>(&body) {
        Ok(callback) if !callback.data.is_empty() => {
            let answer = r#"{"code":"200","message":"success","data":""}"#;
            Ok(([(CONTENT_TYPE, "application/json")], answer))
        }
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    let service = TowerToHyperService::new(Router::new().route("/callback", post(callback)));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let mut server = http1::Builder::new();
            let connection =
                server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // How a connection ends is the client's affair.
            connection.await.is_ok()
        });
    }
}
