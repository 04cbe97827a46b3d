//! Listeners, routes, limits and the one table from errors to answers. Contains neither SQL nor crypto.

mod admin;
mod body;
mod callback;
mod client_address;
mod connection;
mod endpoint;
mod inline;
mod intake;
mod listener;
mod refusal;

pub use admin::AdminState;
pub use admin::admin_router;
pub use callback::CallbackState;
pub use callback::callback_router;
pub use endpoint::Endpoint;
pub use endpoint::claim_kept;
pub use listener::Limits;
pub use listener::serve;
