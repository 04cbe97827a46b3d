//! What tests stand on: fakes at the network and a clock that moves by hand.

pub(crate) mod fake_idaas;
