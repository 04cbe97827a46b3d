//! What IDaaS makes of an answer. Decrypts nothing itself.

use serde::Deserialize;

use crate::event::Dialect;

/// An answer that IDaaS would call a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Decrypted; absent for CIAM, which reads no body.
    pub data: Option<String>,
}

/// Why IDaaS would call an answer a failure (PROTOCOL.md, head and 6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// `message` is what the receiver says of it, where it says something.
    #[error("the receiver answered with HTTP status {status}{}", Saying(message.as_deref()))]
    Refused { status: u16, message: Option<String> },
    #[error("the body is not the JSON object {{\"code\",\"message\",\"data\"}} that IDaaS reads")]
    NotAnAnswer,
    #[error("HTTP status 200 and code {code:?} disagree{}", Saying(message.as_deref()))]
    CodeDisagrees { code: String, message: Option<String> },
    #[error("data of the answer is not sealed in the layout of the request")]
    Unreadable,
}

/// The parts of an EIAM answer, `data` still as sent.
#[derive(Deserialize)]
struct Body {
    code: String,
    message: Option<String>,
    data: Option<String>,
}

/// `data` as sent, where IDaaS would call the answer a success; empty for CIAM.
pub(super) fn accepted(dialect: Dialect, status: u16, body: &[u8]) -> Result<String, AnswerError> {
    let parsed = serde_json::from_slice::<Body>(body).ok();
    if status != 200 {
        return Err(AnswerError::Refused { status, message: parsed.and_then(|body| body.message) });
    }
    match (dialect, parsed) {
        (Dialect::Ciam, _) => Ok(String::new()),
        (Dialect::Eiam, None) => Err(AnswerError::NotAnAnswer),
        (Dialect::Eiam, Some(Body { code, data, .. })) if code == "200" => {
            Ok(data.unwrap_or_default())
        }
        (Dialect::Eiam, Some(Body { code, message, .. })) => {
            Err(AnswerError::CodeDisagrees { code, message })
        }
    }
}

struct Saying<'a>(Option<&'a str>);

impl std::fmt::Display for Saying<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AnswerError;
    use super::accepted;
    use crate::event::Dialect;

    #[test]
    fn eiam_wants_status_and_code_to_say_200() {
        let judge = |status, body: &str| accepted(Dialect::Eiam, status, body.as_bytes());
        assert_eq!(
            judge(200, r#"{"code":"200","message":"success","data":"x"}"#),
            Ok("x".to_owned())
        );
        assert_eq!(judge(200, r#"{"code":"200","message":"success"}"#), Ok(String::new()));
        for body in ["", "[]", "success", r#"{"code":200}"#, r#"{"code":"200","data":{}}"#] {
            assert_eq!(judge(200, body), Err(AnswerError::NotAnAnswer), "{body}");
        }
        let disagrees = judge(200, r#"{"code":"500","message":"busy"}"#).unwrap_err();
        assert_eq!(disagrees.to_string(), r#"HTTP status 200 and code "500" disagree: busy"#);
        let refused =
            judge(401, r#"{"code":"401","message":"authentication failed"}"#).unwrap_err();
        let said = "the receiver answered with HTTP status 401: authentication failed";
        assert_eq!(refused.to_string(), said);
        assert!(judge(201, r#"{"code":"200","message":"success"}"#).is_err());
    }

    #[test]
    fn ciam_counts_status_200_alone() {
        assert!(accepted(Dialect::Ciam, 200, b"anything").is_ok());
        for status in [201, 204, 500] {
            let refused = AnswerError::Refused { status, message: None };
            assert_eq!(accepted(Dialect::Ciam, status, b""), Err(refused));
        }
    }
}
