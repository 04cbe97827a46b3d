//! The Bearer token. Compares digests, so neither the length nor a common prefix shows in the time it takes.

use ctutils::CtEq;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use sha2::Digest;
use sha2::Sha256;

/// The tokens of one endpoint, kept as digests.
pub struct TokenCheck {
    digests: Vec<[u8; 32]>,
}

/// No token, several, another scheme or a wrong one: the caller is told which to no one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bearer token is missing or wrong")]
pub struct BadToken;

impl TokenCheck {
    pub fn new(tokens: &[SecretString]) -> Self {
        let digest = |token: &SecretString| Sha256::digest(token.expose_secret()).into();
        Self { digests: tokens.iter().map(digest).collect() }
    }

    /// Takes the values of every `Authorization` header of a request; more than one is refused, since
    /// a proxy and this service could read different ones. Returns the position of the token that fits.
    ///
    /// The scheme's case does not matter and blanks after it are skipped (RFC 9110, 11.1 and 11.4).
    pub fn check<'a>(
        &self,
        mut authorization: impl Iterator<Item = &'a [u8]>,
    ) -> Result<usize, BadToken> {
        let value = authorization.next().ok_or(BadToken)?;
        if authorization.next().is_some() {
            return Err(BadToken);
        }
        let (scheme, rest) = value.split_at_checked(b"Bearer".len()).ok_or(BadToken)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer") || rest.first() != Some(&b' ') {
            return Err(BadToken);
        }
        let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
        let digest: [u8; 32] = Sha256::digest(rest.split_at(blanks).1).into();
        let mut fitting = None;
        for (position, expected) in self.digests.iter().enumerate() {
            if digest.ct_eq(expected).to_bool() {
                fitting = fitting.or(Some(position));
            }
        }
        fitting.ok_or(BadToken)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::TokenCheck;

    #[test]
    fn only_a_whole_token_behind_the_bearer_scheme_is_right() {
        let tokens = [SecretString::from("first-token"), SecretString::from("second")];
        let check = TokenCheck::new(&tokens);
        for (header, position) in [
            ("Bearer first-token", Some(0)),
            ("bearer second", Some(1)),
            ("BEARER   second", Some(1)),
            ("Bearer first-toke", None),
            ("Bearer first-token1", None),
            ("Bearer first-token ", None),
            ("Bearer\tsecond", None),
            ("Bearersecond", None),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic second", None),
            (" Bearer second", None),
            ("second", None),
            ("", None),
        ] {
            assert_eq!(check.check([header.as_bytes()].into_iter()).ok(), position, "{header:?}");
        }
        assert!(check.check([&b"Bearer \xff\xfe"[..]].into_iter()).is_err());
        assert!(check.check([].into_iter()).is_err());
        assert!(check.check([&b"Bearer second"[..], b"Bearer second"].into_iter()).is_err());
    }
}
