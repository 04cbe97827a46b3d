//! What a tenant knows, and how its API tells it. Knows no socket and no fault.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use serde_json::json;

use super::CLIENT_ID;
use super::CLIENT_SECRET;
use super::Operation;

const LIMIT_REFUSED: &str = "IDAAS.TENANT.COMMON.1001";

pub(super) struct Tenant {
    pub(super) users: BTreeMap<String, Value>,
    pub(super) organizations: BTreeMap<String, Value>,
    pub(super) tokens: HashSet<String>,
    pub(super) expires_in: Value,
    tokens_made: usize,
}

/// Or the status and body of a refusal.
pub(super) type Answer = Result<Value, (StatusCode, Value)>;

impl Tenant {
    pub(super) fn new() -> Self {
        Self {
            users: BTreeMap::new(),
            organizations: BTreeMap::new(),
            tokens: HashSet::new(),
            tokens_made: 0,
            expires_in: json!(1800),
        }
    }

    pub(super) fn token(&mut self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let form = pairs(str::from_utf8(body).unwrap_or_default());
        let field = |name: &str| form.get(name).map(String::as_str);
        let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
        let known = headers.get("authorization").is_some_and(|it| it == basic.as_str())
            || (field("client_id"), field("client_secret"))
                == (Some(CLIENT_ID), Some(CLIENT_SECRET));
        if !known || field("grant_type") != Some("client_credentials") {
            let refusal = json!({"error": "invalid_client", "error_description": "unknown"});
            return Err((StatusCode::UNAUTHORIZED, refusal));
        }
        self.tokens_made += 1;
        let token = format!("fake-token-{}", self.tokens_made);
        self.tokens.insert(token.clone());
        let expires_in = &self.expires_in;
        Ok(json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in}))
    }

    pub(super) fn record(&self, operation: Operation, head: &Parts, body: &[u8]) -> Answer {
        let header = head.headers.get("authorization").and_then(|it| it.to_str().ok());
        let token = header.and_then(|it| it.strip_prefix("Bearer "));
        if !token.is_some_and(|it| self.tokens.contains(it)) {
            let refusal = json!({"error": "invalid_token", "error_description": "expired"});
            return Err((StatusCode::UNAUTHORIZED, refusal));
        }
        let query = pairs(head.uri.query().unwrap_or_default());
        let asked = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        match operation {
            Operation::User => {
                let id = head.uri.path().rsplit('/').next().unwrap_or_default();
                let id = percent_decode_str(id).decode_utf8_lossy();
                self.users.get(&*id).cloned().ok_or_else(|| not_found("USER.0001"))
            }
            Operation::UserByName => {
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                let mut users = self.users.values();
                let user = users.find(|it| it.get("user_name") == body.get("user_name"));
                user.cloned().ok_or_else(|| not_found("IDAAS.TENANT.USER.0001 "))
            }
            Operation::Users => {
                let organization = asked("org_id");
                let listed = self.users.values().filter(|it| {
                    organization.is_empty() || it.get("org_id").is_some_and(|it| it == organization)
                });
                page("users", listed.collect(), asked("offset"), asked("limit"))
            }
            Operation::Organizations => {
                let roots = asked("all_child") != "true";
                let listed = self
                    .organizations
                    .values()
                    .filter(|it| it.get("parent_id").is_none_or(Value::is_null) == roots);
                page("organizations", listed.collect(), asked("offset"), asked("limit"))
            }
            Operation::Token | Operation::Other => unreachable!(),
        }
    }
}

fn not_found(code: &str) -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({"error_code": code, "error_msg": "no such record"}))
}

/// `offset` counts pages, as the real one does.
fn page(name: &str, records: Vec<&Value>, offset: &str, limit: &str) -> Answer {
    let (offset, limit) = (offset.parse().unwrap_or(0_usize), limit.parse().unwrap_or(100_usize));
    if !(10..=100).contains(&limit) {
        return Err((
            StatusCode::BAD_REQUEST,
            json!({"error_code": LIMIT_REFUSED, "error_msg": "limit"}),
        ));
    }
    let total = records.len();
    let records: Vec<_> = records.into_iter().skip(offset * limit).take(limit).collect();
    Ok(json!({"total": total, name: records}))
}

/// Of a query or a form.
fn pairs(text: &str) -> HashMap<String, String> {
    let decoded =
        |it: &str| percent_decode_str(&it.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|it| it.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}
