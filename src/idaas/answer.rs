//! Tells what an answer of IDaaS means: done, no such record, a stale token, or an error. Sends nothing.

use jiff::Timestamp;
use reqwest::Response;
use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::idaas::IdaasError;
use crate::idaas::field;
use crate::outbound;

/// Far more than a page of users; what is longer is not the API's.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// The codes of "no such record", which comes as HTTP 400 (PROTOCOL.md 7).
const NOT_FOUND: [&str; 3] = ["USER.0001", "IDAAS.TENANT.USER.0001", "ORG.0001"];
/// How OAuth says that a token is at its end (RFC 6750, 3.1).
const STALE_TOKEN: &str = "invalid_token";

const BROKEN: IdaasError = IdaasError::unavailable("the connection to IDaaS broke");

/// What became of one request.
#[derive(Debug)]
pub(super) enum Answer {
    /// The body of a success.
    Done(Vec<u8>),
    NotFound,
    /// The token that was sent is not, or no longer, valid.
    StaleToken,
}

/// Reads an answer to its end, or as far as it matters.
pub(super) async fn read(response: Response, now: Timestamp) -> Result<Answer, IdaasError> {
    let status = response.status();
    if status.is_success() {
        let body = body(response).await?;
        // Gateways put errors under HTTP 200.
        return match Failure::of(&body) {
            Some(failure) => judge(StatusCode::BAD_REQUEST, &failure),
            None => Ok(Answer::Done(body)),
        };
    }
    if status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
    {
        let after = outbound::retry_after(response.headers(), now);
        let reason = if status == StatusCode::TOO_MANY_REQUESTS {
            "IDaaS asks for fewer requests (HTTP 429)"
        } else {
            "IDaaS is out of order"
        };
        return Err(IdaasError::Unavailable { reason, after });
    }
    if status.is_redirection() {
        return Err(IdaasError::Refused {
            reason: "IDaaS redirects, which is not followed; check idaas.base_url",
        });
    }
    let failure = match body(response).await {
        Ok(body) => Failure::of(&body).unwrap_or_default(),
        // The status says enough.
        Err(_unread) => Failure::default(),
    };
    judge(status, &failure)
}

fn judge(status: StatusCode, failure: &Failure) -> Result<Answer, IdaasError> {
    tracing::debug!(
        status = status.as_u16(),
        code = failure.shown(),
        "IDaaS answers with an error"
    );
    if status == StatusCode::UNAUTHORIZED || failure.0 == STALE_TOKEN {
        return Ok(Answer::StaleToken);
    }
    if NOT_FOUND.contains(&failure.0.as_str()) {
        return Ok(Answer::NotFound);
    }
    let reason = match status {
        StatusCode::FORBIDDEN => {
            "IDaaS forbids this (HTTP 403); check the rights of idaas.client_id and the list of allowed addresses there"
        }
        StatusCode::NOT_FOUND => "IDaaS has no such API (HTTP 404); check idaas.base_url",
        _ => "IDaaS refuses the request; its code stands in the log at level debug",
    };
    Err(IdaasError::Refused { reason })
}

async fn body(mut response: Response) -> Result<Vec<u8>, IdaasError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| explain(&error))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(IdaasError::Malformed {
                reason: "the answer of IDaaS is longer than 1 MiB",
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why there is no answer. The error itself is not kept: it holds the URL, and with it the user's id.
pub(super) fn explain(error: &reqwest::Error) -> IdaasError {
    if error.is_builder() {
        return IdaasError::Refused { reason: "the address is not a URL; check idaas.base_url" };
    }
    if error.is_timeout() {
        IdaasError::unavailable("IDaaS did not answer in time")
    } else if error.is_connect() {
        IdaasError::unavailable("no connection to IDaaS")
    } else {
        BROKEN
    }
}

/// The code of an error, without blanks; empty where there is none.
#[derive(Debug, Default)]
struct Failure(String);

impl Failure {
    /// Of either shape: `error_code` of the API, `error` of OAuth. `None` where the body has neither, or has
    /// what only a success brings.
    fn of(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow)]
            error_code: Option<&'a RawValue>,
            #[serde(borrow)]
            error: Option<&'a RawValue>,
            access_token: Option<IgnoredAny>,
            user_id: Option<IgnoredAny>,
            total: Option<IgnoredAny>,
        }

        let fields: Fields<'_> = serde_json::from_slice(body).ok()?;
        let success = [fields.access_token, fields.user_id, fields.total];
        if success.iter().any(Option::is_some) {
            return None;
        }
        let code = field::text(fields.error_code).or_else(|| field::text(fields.error))?;
        Some(Self(code.split_whitespace().collect()))
    }

    /// As far as it looks like a code. Free text could hold anything.
    fn shown(&self) -> Option<&str> {
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
        let code = self.0.as_str();
        ((1..=64).contains(&code.len()) && code.bytes().all(plain)).then_some(code)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::Answer;
    use super::Failure;
    use super::judge;

    #[test]
    fn codes_come_in_both_shapes_and_with_blanks() {
        for (body, code) in [
            (r#"{"error_code":"USER.0001","error_msg":"user not exist"}"#, "USER.0001"),
            (r#"{"error_code":" IDAAS. TENANT.USER.0001 "}"#, "IDAAS.TENANT.USER.0001"),
            (r#"{"error":"invalid_token","error_description":"expired"}"#, "invalid_token"),
            (r#"{"error_code":null,"error":"invalid_client"}"#, "invalid_client"),
            (r#"{"error_code":400}"#, "400"),
        ] {
            assert_eq!(Failure::of(body.as_bytes()).unwrap().0, code, "{body}");
        }
        for body in
            ["", "[]", "{}", r#"{"error_code":"","error":null}"#, r#"{"user_id":"7","error":"no"}"#]
        {
            assert!(Failure::of(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn only_the_known_codes_mean_that_a_record_does_not_exist() {
        let judged = |status, code: &str| judge(status, &Failure(code.to_owned()));
        for code in super::NOT_FOUND {
            assert!(matches!(judged(StatusCode::BAD_REQUEST, code), Ok(Answer::NotFound)));
        }
        for code in ["", "USER.0002", "user.0001"] {
            assert!(judged(StatusCode::BAD_REQUEST, code).is_err(), "{code}");
            assert!(judged(StatusCode::NOT_FOUND, code).is_err(), "{code}");
        }
    }

    #[test]
    fn a_code_that_looks_like_none_is_not_shown() {
        let shown = |code: &str| Failure(code.to_owned()).shown().map(str::to_owned);
        assert_eq!(shown("ORG.0001").as_deref(), Some("ORG.0001"));
        assert_eq!(shown("token eyJhbGciOi"), None);
        assert_eq!(shown(&"a".repeat(65)), None);
    }
}
