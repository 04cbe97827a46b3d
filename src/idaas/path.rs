//! Writes text into a URL so that it stays where it is put. Knows no address.

use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::PercentEncode;
use percent_encoding::utf8_percent_encode;

/// The unreserved characters of RFC 3986, 2.3; everything else is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// No id and no name is longer. Bytes.
pub(super) const LONGEST_ID: usize = 512;

/// For a query, a form, or a part of a path that is not `.` or `..`.
pub(super) fn encoded(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

/// The one segment of a path that names `id`; `None` for what cannot be an id.
///
/// Nothing and dots would name another path, and escaping does not help them: URL libraries, and servers,
/// read `%2e%2e` as `..` (WHATWG URL, 4.4).
pub(super) fn segment(id: &str) -> Option<String> {
    let fits = !["", ".", ".."].contains(&id) && id.len() <= LONGEST_ID;
    fits.then(|| encoded(id).to_string())
}

#[cfg(test)]
mod tests {
    use reqwest::Url;

    use super::segment;

    #[test]
    fn an_id_is_one_segment_whatever_it_holds() {
        for (id, written) in [
            ("20200223170310946-34EE-3403BF88A", "20200223170310946-34EE-3403BF88A"),
            ("a/../../b", "a%2F..%2F..%2Fb"),
            ("../token", "..%2Ftoken"),
            ("..\\token", "..%5Ctoken"),
            ("%2e%2e", "%252e%252e"),
            ("%2f", "%252f"),
            (".%2e", ".%252e"),
            ("...", "..."),
            ("?a=b#c", "%3Fa%3Db%23c"),
            ("a\r\nX: y", "a%0D%0AX%3A%20y"),
            ("\0\t +;:@&", "%00%09%20%2B%3B%3A%40%26"),
            ("张三", "%E5%BC%A0%E4%B8%89"),
        ] {
            let segment = segment(id).unwrap();
            assert_eq!(segment, written);
            let url = Url::parse(&format!("https://a/users/{segment}")).unwrap();
            assert_eq!(url.path(), format!("/users/{written}"));
            assert_eq!((url.query(), url.fragment()), (None, None));
        }
    }

    #[test]
    fn what_would_name_another_path_is_no_id() {
        for id in ["", ".", "..", &"a".repeat(513)] {
            assert_eq!(segment(id), None, "{id}");
        }
    }
}
