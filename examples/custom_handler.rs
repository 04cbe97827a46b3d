//! A handler of your own inside the service: run it, then `bamboohook send USER_LOGIN --config examples/custom_handler.toml`.

use async_trait::async_trait;
use bamboohook::app::App;
use bamboohook::app::Listeners;
use bamboohook::config::Config;
use bamboohook::dispatcher::Handler;
use bamboohook::dispatcher::HandlerError;
use bamboohook::dispatcher::Reply;
use bamboohook::event::Document;

/// Counts nothing, stores nothing, greets whoever signs in.
struct Greeter;

#[async_trait]
impl Handler for Greeter {
    async fn handle(&self, document: &Document) -> Result<Reply, HandlerError> {
        let Some(user) = &document.subject else {
            return Err(HandlerError::reject("the event names no user"));
        };
        tracing::info!(user, event = document.event, attempt = document.attempt, "welcome");
        Ok(Reply::default())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::path::Path::new("examples/custom_handler.toml");
    let settings = Config::load(Some(file), &bamboohook::config::environment())?;
    bamboohook::telemetry::init(&settings.config.log)?;
    let listeners = Listeners::bind(&settings.config).await?;
    let shutdown = async { drop(tokio::signal::ctrl_c().await) };
    App::new(settings.config).with_handler("greeter", Greeter).run(listeners, shutdown).await
}
