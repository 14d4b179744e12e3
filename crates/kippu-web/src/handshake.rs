//! The handshake of a WebSocket (RFC 6455 §4.1, RFC 8441 §4): whether a request is one, and the
//! access token among the subprotocols that it offers. Several tokens are refused, and a token
//! without another subprotocol.

use http::{
    Method,
    header::{SEC_WEBSOCKET_PROTOCOL, UPGRADE},
    request::Parts,
};

use super::{bearer, rejection::Rejection};

/// The beginning of a subprotocol with a token. Every character of a JWT may be in a subprotocol
/// (RFC 6455 §4.1, RFC 9110 §5.6.2).
const PREFIX: &str = "kippu.bearer.";

/// Returns whether the client wants to leave HTTP: by an upgrade in HTTP/1.1, by an extended
/// CONNECT in HTTP/2 and HTTP/3 (RFC 8441, RFC 9220).
pub(super) fn is_handshake(request: &Parts) -> bool {
    request.method == Method::CONNECT || request.headers.contains_key(UPGRADE)
}

/// Returns the token among the subprotocols of a handshake; `None` for every other request.
pub(super) fn token(request: &Parts) -> Result<Option<&str>, Rejection> {
    if !is_handshake(request) {
        return Ok(None);
    }
    let (mut token, mut has_other) = (None, false);
    // RFC 6455 §11.3.4: the client may send several headers.
    for header in request.headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for offer in header.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            let Some(text) = offer.strip_prefix(PREFIX.as_bytes()) else {
                has_other |= !offer.is_empty();
                continue;
            };
            let text = std::str::from_utf8(text).ok().filter(|text| bearer::is_token(text));
            let text = text.ok_or(MALFORMED)?;
            if token.replace(text).is_some() {
                return Err(SEVERAL);
            }
        }
    }
    if token.is_some() && !has_other { Err(ALONE) } else { Ok(token) }
}

const MALFORMED: Rejection =
    Rejection::Subprotocols { reason: "no token follows kippu.bearer. in Sec-WebSocket-Protocol" };
const SEVERAL: Rejection =
    Rejection::Subprotocols { reason: "Sec-WebSocket-Protocol has more than one token" };
/// The server must not select the token, and a browser fails a connection for which it selects
/// nothing.
const ALONE: Rejection = Rejection::Subprotocols {
    reason: "Sec-WebSocket-Protocol has no subprotocol beside the token for the server to select",
};
/// Both are the client's own: none of them can be meant more than the other.
pub(super) const BESIDE_HEADER: Rejection = Rejection::Subprotocols {
    reason: "there is a token in Authorization and another one in Sec-WebSocket-Protocol",
};

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn read(request: http::request::Builder, offers: &[&[u8]]) -> Result<Option<String>, String> {
        let request = offers.iter().fold(request, |request, offer| {
            request.header(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_bytes(offer).unwrap())
        });
        let parts = request.body(()).unwrap().into_parts().0;
        match token(&parts) {
            Ok(token) => Ok(token.map(Into::into)),
            Err(Rejection::Subprotocols { reason }) => Err(reason.to_owned()),
            Err(other) => Err(other.to_string()),
        }
    }

    #[test]
    fn a_token_is_read_from_the_subprotocols_of_a_handshake() {
        let upgrade = || Request::get("/feed").header(UPGRADE, "websocket");
        let connect = || Request::connect("https://api.example/feed");
        let found = |text: &str| Ok(Some(text.to_owned()));
        for offers in [
            &[&b"feed.v1, kippu.bearer.a-Z_0.b.c"[..]][..],
            &[b"kippu.bearer.a-Z_0.b.c,feed.v1"],
            &[b"feed.v1", b" kippu.bearer.a-Z_0.b.c "],
            &[b"feed.v2,feed.v1", b"x\xff", b",,kippu.bearer.a-Z_0.b.c"],
        ] {
            assert_eq!(read(upgrade(), offers), found("a-Z_0.b.c"));
            assert_eq!(read(connect(), offers), found("a-Z_0.b.c"));
            assert_eq!(read(Request::get("/feed"), offers), Ok(None), "not a handshake");
        }
        for offers in ["", "feed.v1", "Kippu.Bearer.a.b.c", "kippu.bearer"] {
            assert_eq!(read(upgrade(), &[offers.as_bytes()]), Ok(None));
        }
        for (offers, reason) in [
            (&[&b"kippu.bearer.a.b.c"[..]][..], "beside the token"),
            (&[b"kippu.bearer.a.b.c, "], "beside the token"),
            (&[b"feed.v1, kippu.bearer.a.b.c, kippu.bearer.a.b.c"], "more than one"),
            (&[b"feed.v1, kippu.bearer.a.b.c", b"kippu.bearer.d"], "more than one"),
            (&[b"feed.v1, kippu.bearer."], "no token follows"),
            (&[b"feed.v1, kippu.bearer.a b"], "no token follows"),
            (&[b"feed.v1, kippu.bearer.\xff"], "no token follows"),
        ] {
            let refused = read(upgrade(), offers).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
