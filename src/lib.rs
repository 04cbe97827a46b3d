//! bamboohook: the callback address for identity events of Bamboo Cloud IDaaS and Huawei Cloud OneAccess.
//!
//! A callback runs through the rooms below once, from `http` to `inbox`, where it is committed and answered;
//! from there `dispatcher` takes it to `handlers`. In reading order:
//!
//! - [`clock`]: the only reader of the wall clock
//! - [`event`]: what happened: names, subjects, the document that handlers get
//! - [`config`]: settings: shape, loading, checking, redacted printing
//! - [`protocol`]: the wire: request bodies of both dialects, answers
//! - [`verifier`]: Bearer token, signature, freshness
//! - [`crypto`]: opens and seals `data`: ciphers, IV layouts, envelopes
//! - [`telemetry`]: log set-up
//! - [`outbound`]: the HTTP client of everything that calls out
//! - [`inbox`]: the durable store: events, duplicate keys, deliveries, directory; on SQLite or PostgreSQL
//! - [`idaas`]: the IDaaS API: token, users, organisations; the only room that calls IDaaS
//! - [`dispatcher`]: handler trait, routing, workers with retry and order
//! - [`reconcile`]: brings the directory level with the IDaaS API and emits what events missed
//! - [`simulator`]: plays IDaaS, for `send` and for tests
//! - [`handlers`]: log, http, command: one file each
//! - [`http`]: listeners, routes, limits, the one table from errors to answers
//! - [`app`]: wires the rooms into a service and runs it
//! - [`cli`]: the commands
//!
//! What is not here: a room uses only rooms above it in this list; `inbox` alone speaks SQL, `http` alone knows
//! statuses, `config` alone reads the environment; nothing is global and mutable; nothing acknowledges before
//! it has committed.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod dispatcher;
pub mod event;
pub mod handlers;
pub mod http;
pub mod idaas;
pub mod inbox;
pub mod outbound;
pub mod protocol;
pub mod reconcile;
pub mod simulator;
pub mod telemetry;
pub mod verifier;
