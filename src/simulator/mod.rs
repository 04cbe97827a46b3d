//! Plays IDaaS: builds, seals and signs callbacks, reads the answers, and tells from a capture how a tenant signs. Does no I/O.

mod answer;
mod callback;
mod capture;
mod sample;
mod sender;
mod signed_text;

pub use answer::Answer;
pub use answer::AnswerError;
pub use callback::Callback;
pub use capture::Capture;
pub use capture::CaptureKeys;
pub use capture::DataFault;
pub use capture::Sealing;
pub use capture::SignatureFault;
pub use capture::Signing;
pub use capture::identify;
pub use sample::dialect_of;
pub use sample::sample_message;
pub use sender::CONTENT_TYPE;
pub use sender::Simulator;
pub use sender::SimulatorError;
pub use sender::nonce;
pub use signed_text::SignedText;
