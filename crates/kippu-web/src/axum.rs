//! The answers of this crate as responses of axum.

use std::convert::Infallible;

use axum_core::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, SET_COOKIE},
};

use super::{
    answer::{GrantError, Tokens},
    cookie::SetCookies,
    rejection::Rejection,
};

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        self.into_http()
    }
}

impl IntoResponse for GrantError {
    fn into_response(self) -> Response {
        self.into_http()
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        self.into_http()
    }
}

impl IntoResponseParts for SetCookies {
    type Error = Infallible;

    /// No cache may keep tokens.
    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for value in self.into_values() {
            headers.append(SET_COOKIE, value);
        }
        Ok(response)
    }
}
