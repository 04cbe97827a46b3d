//! The wire: request bodies of both dialects, answers, return codes. Decides no trust.

mod answer;
mod request;

pub use answer::refusal;
pub use answer::success;
pub use request::Data;
pub use request::Request;
pub use request::RequestError;
pub use request::RequestTime;
pub use request::TimestampError;
