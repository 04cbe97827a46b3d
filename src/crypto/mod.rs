//! Opens and seals `data`: ciphers, IV layouts, envelopes. Pure; logs nothing and says of a failure only that it is one.

mod cipher;
mod codec;
mod envelope;

pub use cipher::Iv;
pub use cipher::Key;
pub use cipher::KeyLength;
pub use cipher::Layout;
pub use codec::Codec;
pub use codec::Opened;
pub use codec::Seal;
pub use codec::Unreadable;
pub use envelope::Envelope;
pub use envelope::NoRandomness;
pub(crate) use envelope::random_letters;
