//! The bodies of answers, in the form that IDaaS keeps in its synchronisation record. Chooses no status.

use std::fmt;

use serde::Serialize;

#[derive(Serialize)]
struct Success<'a> {
    code: &'static str,
    message: &'static str,
    data: &'a str,
}

#[derive(Serialize)]
struct Refusal<'a> {
    code: fmt::Arguments<'a>,
    message: &'a str,
}

/// The EIAM answer to an accepted request; CIAM wants no body (PROTOCOL.md, head).
pub fn success(data: &str) -> String {
    let body = Success { code: "200", message: "success", data };
    serde_json::to_string(&body).unwrap_or_default()
}

/// The body of every other answer. `code` is the HTTP status as text (PROTOCOL.md 6).
pub fn refusal(status: u16, message: &str) -> String {
    let body = Refusal { code: format_args!("{status}"), message };
    serde_json::to_string(&body).unwrap_or_default()
}
