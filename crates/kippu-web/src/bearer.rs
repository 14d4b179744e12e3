//! The header `Authorization` in, its token out (RFC 6750 §2.1). Other schemes are not credentials
//! here; two headers, or a malformed token, are refused.

use http::{HeaderMap, header::AUTHORIZATION};

use super::rejection::Rejection;

const SCHEME: &[u8] = b"Bearer";

/// Something that is not a token follows the scheme.
pub(super) const MALFORMED: Rejection = Rejection::MalformedHeader { header: "Authorization" };

/// Returns the token of a request, or `None` if `Authorization` is absent or has another scheme.
/// Does not check whether the token is [well-formed](is_token): that matters only for the answer to
/// a token that the verifier has refused.
pub(super) fn token(headers: &HeaderMap) -> Result<Option<&str>, Rejection> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Rejection::TwoTokens);
    }
    let value = value.as_bytes().trim_ascii();
    let (scheme, rest) = value.split_at_checked(SCHEME.len()).unwrap_or((value, b""));
    // RFC 9110 §11.1: the case of a scheme does not matter.
    if !scheme.eq_ignore_ascii_case(SCHEME) || !matches!(rest, [] | [b' ', ..]) {
        return Ok(None);
    }
    // A token is ASCII.
    let token = std::str::from_utf8(rest).map_err(|_| MALFORMED)?;
    Ok(Some(token.trim_start_matches(' ')))
}

/// Returns whether a text is a `b64token` of RFC 6750 §2.1, as every JWT is.
pub(super) fn is_token(text: &str) -> bool {
    let symbols = text.trim_end_matches('=');
    !symbols.is_empty()
        && symbols.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<std::string::String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        match token(&headers) {
            Ok(Some(token)) if !is_token(token) => Err("malformed"),
            Ok(token) => Ok(token.map(Into::into)),
            Err(Rejection::TwoTokens) => Err("two"),
            Err(Rejection::MalformedHeader { .. }) => Err("malformed"),
            Err(_) => Err("other"),
        }
    }

    #[test]
    fn a_header_is_read_as_rfc_6750_has_it() {
        let found = |text: &str| Ok(Some(text.into()));
        assert_eq!(read(&[]), Ok(None));
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c", " Bearer a.b.c "] {
            assert_eq!(read(&[value.as_bytes()]), found("a.b.c"), "{value}");
        }
        assert_eq!(read(&[b"Bearer AZaz09-._~+/=="]), found("AZaz09-._~+/=="));
        for value in ["Basic YTpi", "Bearerish a", "", "Negotiate", "DPoP a.b.c"] {
            assert_eq!(read(&[value.as_bytes()]), Ok(None), "{value}");
        }
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer =",
            "Bearer a=b",
            "Bearer \"a\"",
        ] {
            assert_eq!(read(&[value.as_bytes()]), Err("malformed"), "{value}");
        }
        for value in [&b"Bearer \xff"[..], "Bearer ä.b.c".as_bytes()] {
            assert_eq!(read(&[value]), Err("malformed"));
        }
        // Another scheme's, whatever it is.
        assert_eq!(read(&[b"Basic \xff"]), Ok(None));
        assert_eq!(read(&[b"Bearer a", b"Bearer a"]), Err("two"));
        assert_eq!(read(&[b"Basic YTpi", b"Bearer a"]), Err("two"));
    }
}
