//! The texts that a tenant might sign, for finding the one it does sign. Checks no request that is to be believed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use sha1::Sha1;
use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::event::Dialect;
use crate::protocol::Request;
use crate::verifier::Algorithm;
use crate::verifier::MessageTemplate;
use crate::verifier::Signer;

/// The documented one first; where two forms of one request are the same text, the earlier is meant.
const SEPARATORS: [&str; 14] =
    ["&", "", ",", "|", ":", ".", "-", "_", "#", ";", "+", "/", " ", "\n"];
const SALTED_SEPARATORS: [&str; 5] = ["", "&", ",", "|", ":"];
const FIELDS: [Piece; 4] = [Piece::Nonce, Piece::Timestamp, Piece::Event, Piece::Data];

/// One way to make a signature: a text and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedText {
    pieces: Vec<Piece>,
    hash: Hash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Hmac,
    /// A bare hash of a text that holds the key.
    Salted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Literal(&'static str),
    Nonce,
    Timestamp,
    Event,
    Data,
    Key,
}

impl SignedText {
    /// Every form that is tried.
    pub(super) fn all(dialect: Dialect) -> Vec<Self> {
        let orders = orders(&FIELDS);
        let separated = SEPARATORS.iter().flat_map(|separator| {
            orders.iter().map(|order| Self::joined(order, |_| "", separator, Hash::Hmac))
        });
        let paired =
            orders.iter().map(|order| Self::joined(order, |it| it.pair(dialect), "&", Hash::Hmac));
        let run_on =
            orders.iter().map(|order| Self::joined(order, |it| it.name(dialect), "", Hash::Hmac));
        let json = orders.iter().map(|order| Self::json(order, dialect));
        let [nonce, timestamp, event, data] = FIELDS;
        let salted_orders: Vec<_> = orders_with_key(&[Piece::Key, nonce, timestamp, event, data]);
        let salted = SALTED_SEPARATORS.iter().flat_map(|separator| {
            salted_orders.iter().map(|order| Self::joined(order, |_| "", separator, Hash::Salted))
        });
        separated.chain(paired).chain(run_on).chain(json).chain(salted).collect()
    }

    /// The value of `signature_message`; `None` where no setting says this.
    pub fn setting(&self) -> Option<String> {
        let count = |piece| self.pieces.iter().filter(|it| **it == piece).count();
        let complete =
            [Piece::Nonce, Piece::Timestamp, Piece::Data].into_iter().all(|it| count(it) == 1);
        let plain = self.pieces.iter().all(|piece| match piece {
            Piece::Literal(text) => text.bytes().all(|it| matches!(it, b' '..=b'z' | b'|' | b'~')),
            _ => true,
        });
        let is_field = |piece: &Piece| !matches!(piece, Piece::Literal(_));
        let apart = self
            .pieces
            .iter()
            .zip(self.pieces.iter().skip(1))
            .all(|(a, b)| !(is_field(a) && is_field(b)));
        (self.hash == Hash::Hmac && complete && plain && apart).then(|| self.template())
    }

    /// Whether the fields stand in the alphabetical order of their values, though not in the documented one:
    /// then the tenant may sort them, and the next request may have another order.
    pub(super) fn may_be_sorted(&self, request: &Request<'_>, key: &SecretString) -> bool {
        let fields = || self.pieces.iter().filter(|it| !matches!(it, Piece::Literal(_)));
        if fields().eq(FIELDS.iter().filter(|it| self.pieces.contains(it))) {
            return false;
        }
        fields().map(|it| it.text(request, key)).is_sorted()
    }

    /// The signature in Base64, as this form would make it.
    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        signer: &Signer,
        key: &SecretString,
        request: &Request<'_>,
    ) -> String {
        if self.hash == Hash::Hmac {
            return signer.sign(algorithm, &MessageTemplate::new(&self.template()), request);
        }
        let text: Zeroizing<String> =
            Zeroizing::new(self.pieces.iter().map(|it| it.text(request, key)).collect());
        match algorithm {
            Algorithm::HmacSha256 => STANDARD.encode(Sha256::digest(text.as_bytes())),
            Algorithm::HmacSha1 => STANDARD.encode(Sha1::digest(text.as_bytes())),
        }
    }

    fn joined(
        order: &[Piece],
        before: impl Fn(Piece) -> &'static str,
        separator: &'static str,
        hash: Hash,
    ) -> Self {
        let mut pieces = Vec::with_capacity(order.len() * 3);
        for (position, field) in order.iter().enumerate() {
            let separator = if position == 0 { "" } else { separator };
            pieces.extend([separator, before(*field)].into_iter().map(Piece::Literal));
            pieces.push(*field);
        }
        pieces.retain(|piece| *piece != Piece::Literal(""));
        Self { pieces, hash }
    }

    /// The body without its signature, compact.
    fn json(order: &[Piece], dialect: Dialect) -> Self {
        let mut pieces = Vec::new();
        for (position, field) in order.iter().enumerate() {
            let quote = if *field == Piece::Timestamp { "" } else { "\"" };
            let opening = if position == 0 { "{\"" } else { ",\"" };
            pieces.extend([opening, field.name(dialect), "\":", quote].map(Piece::Literal));
            pieces.extend([*field, Piece::Literal(quote)]);
        }
        pieces.push(Piece::Literal("}"));
        pieces.retain(|piece| *piece != Piece::Literal(""));
        Self { pieces, hash: Hash::Hmac }
    }

    fn template(&self) -> String {
        let word = |piece: &Piece| match piece {
            Piece::Literal(text) => text,
            Piece::Nonce => "{nonce}",
            Piece::Timestamp => "{timestamp}",
            Piece::Event => "{event}",
            Piece::Data => "{data}",
            Piece::Key => "{key}",
        };
        self.pieces.iter().map(word).collect()
    }
}

/// The form in the words of `signature_message`, for people.
impl fmt::Display for SignedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = match self.hash {
            Hash::Hmac => "an HMAC over",
            Hash::Salted => "a plain hash, without HMAC, of",
        };
        write!(f, "{hash} {:?}", self.template())
    }
}

impl Piece {
    fn name(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Literal(text), _) => text,
            (Self::Nonce, _) => "nonce",
            (Self::Timestamp, _) => "timestamp",
            (Self::Event, Dialect::Eiam) => "eventType",
            (Self::Event, Dialect::Ciam) => "event",
            (Self::Data, _) => "data",
            (Self::Key, _) => "key",
        }
    }

    fn pair(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Literal(text), _) => text,
            (Self::Nonce, _) => "nonce=",
            (Self::Timestamp, _) => "timestamp=",
            (Self::Event, Dialect::Eiam) => "eventType=",
            (Self::Event, Dialect::Ciam) => "event=",
            (Self::Data, _) => "data=",
            (Self::Key, _) => "key=",
        }
    }

    fn text<'a>(self, request: &'a Request<'_>, key: &'a SecretString) -> &'a str {
        match self {
            Self::Literal(text) => text,
            Self::Nonce => &request.nonce,
            Self::Timestamp => request.timestamp.as_str(),
            Self::Event => &request.event,
            Self::Data => request.data.as_str(),
            Self::Key => key.expose_secret(),
        }
    }
}

/// Every order of every selection, the largest selections first.
fn orders(fields: &[Piece]) -> Vec<Vec<Piece>> {
    let mut all: Vec<Vec<Piece>> = Vec::new();
    let mut longest = vec![Vec::new()];
    for _ in fields {
        let longer = |order: &Vec<Piece>| -> Vec<Vec<Piece>> {
            let unused = fields.iter().filter(|it| !order.contains(it));
            unused.map(|it| [order.as_slice(), &[*it]].concat()).collect()
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    all.sort_by_key(|order| fields.len() - order.len());
    all
}

/// The orders in which a key stands beside something else.
fn orders_with_key(fields: &[Piece]) -> Vec<Vec<Piece>> {
    let mut all = orders(fields);
    all.retain(|order| order.len() > 1 && order.contains(&Piece::Key));
    all
}

#[cfg(test)]
mod tests {
    use super::SignedText;
    use crate::event::Dialect;

    #[test]
    fn the_documented_form_comes_first() {
        let forms = SignedText::all(Dialect::Eiam);
        assert_eq!(forms[0].setting().as_deref(), Some("{nonce}&{timestamp}&{event}&{data}"));
        assert!((1_000..5_000).contains(&forms.len()), "{}", forms.len());
    }

    #[test]
    fn a_form_is_a_setting_only_where_the_settings_can_say_it() {
        let forms = SignedText::all(Dialect::Ciam);
        let settings: Vec<String> = forms.iter().filter_map(SignedText::setting).collect();
        for fine in [
            "{nonce}&{timestamp}&{data}",
            "data={data}&event={event}&nonce={nonce}&timestamp={timestamp}",
        ] {
            assert!(settings.iter().any(|it| it == fine), "{fine}");
        }
        for setting in settings {
            assert!(
                !setting.contains("}{") && !setting.contains('\n') && !setting.contains("{key}"),
                "{setting}"
            );
            assert!(
                setting.contains("{nonce}")
                    && setting.contains("{timestamp}")
                    && setting.contains("{data}")
            );
            assert!(!setting.starts_with("{\""), "{setting}");
        }
    }
}
