//! Decides whether a request is to be believed: token, freshness, signature. Pure functions of bytes and `now`; no I/O.

mod freshness;
mod signature;
mod token;

pub use freshness::Freshness;
pub use freshness::StaleRequest;
pub use signature::Algorithm;
pub use signature::BadSignature;
pub use signature::MessageTemplate;
pub use signature::SignatureCheck;
pub use signature::Signer;
pub use signature::Verified;
pub use token::BadToken;
pub use token::TokenCheck;
