//! The answers of gRPC: a call that is rejected gets HTTP 200, with the status in the headers of a
//! response without a body (gRPC over HTTP/2, Trailers-Only).

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE},
};

use super::rejection::Rejection;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Returns whether the request is a call of gRPC, or of gRPC-Web.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.and_then(|value| value.get(..PREFIX.len())).is_some_and(|start| {
        // The case of a media type does not matter (RFC 9110 §8.3.1).
        start.eq_ignore_ascii_case(PREFIX)
    })
}

const PREFIX: &[u8] = b"application/grpc";

impl Rejection {
    /// The status code and the message that gRPC has for this: what a method of tonic returns as
    /// `tonic::Status::new(code.into(), message)`.
    ///
    /// | code | rejections |
    /// |---|---|
    /// | 16 `UNAUTHENTICATED` | those with the HTTP status 401; a malformed credential, or two |
    /// | 7 `PERMISSION_DENIED` | those with 403, for example a missing scope |
    /// | 3 `INVALID_ARGUMENT` | a login of a name that no user can have |
    /// | 14 `UNAVAILABLE` | the store is away |
    /// | 13 `INTERNAL` | the server is set up wrongly |
    pub fn grpc_status(&self) -> (i32, &'static str) {
        let code = match (self, self.status().as_u16()) {
            (
                Self::TwoTokens
                | Self::MalformedHeader { .. }
                | Self::Subprotocols { .. }
                | Self::InvalidGrant(_),
                _,
            )
            | (_, 401) => 16,
            (_, 403) => 7,
            (_, 400) => 3,
            (_, 503) => 14,
            _ => 13,
        };
        (code, self.words().unwrap_or("the call has no access token"))
    }

    /// The response to a call of gRPC: HTTP 200, the status and the message in the headers, and the
    /// challenge, if there is one, as metadata.
    pub fn into_grpc<B: Default>(self) -> Response<B> {
        self.log();
        let (code, message) = self.grpc_status();
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(STATUS, HeaderValue::from(code));
        // The words have no character that gRPC percent-encodes.
        headers.insert(MESSAGE, HeaderValue::from_static(message));
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
