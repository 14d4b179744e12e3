//! JSON bodies of requests. Takes members of an object out, or returns an error that names the
//! wrong member. The errors address the author of a client, and quote nothing of the body, which
//! may contain a password.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{StatusCode, header::CONTENT_TYPE},
};
use serde_json::{Map, Value};

/// The members of a JSON object.
pub(crate) struct Body(Map<String, Value>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("send JSON, with the header Content-Type: application/json")]
    ContentType,
    #[error("the body is too large: it may have up to {} KiB", crate::app::MAX_BODY / 1024)]
    TooLarge,
    #[error("the body did not arrive whole: send it again")]
    Unreadable,
    #[error("the body did not arrive in time: send it again")]
    Late,
    #[error("the body is not valid JSON in UTF-8")]
    Malformed,
    #[error("the body is not a JSON object")]
    NotAnObject,
    #[error("the member {0:?} is missing")]
    Missing(&'static str),
    #[error("the member {member:?} is not {expected}")]
    Type { member: &'static str, expected: &'static str },
}

impl BodyError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl From<BytesRejection> for BodyError {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Unreadable,
        }
    }
}

impl Body {
    fn read(bytes: &[u8]) -> Result<Self, BodyError> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(BodyError::NotAnObject),
            Err(_) => Err(BodyError::Malformed),
        }
    }

    /// Takes out a required string.
    pub(crate) fn text(&mut self, member: &'static str) -> Result<String, BodyError> {
        self.optional_text(member)?.ok_or(BodyError::Missing(member))
    }

    /// Takes out a string. `null` counts as absent.
    pub(crate) fn optional_text(
        &mut self,
        member: &'static str,
    ) -> Result<Option<String>, BodyError> {
        match self.0.remove(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(BodyError::Type { member, expected: "a string" }),
        }
    }

    /// Takes out a boolean, which is false when it is absent.
    pub(crate) fn flag(&mut self, member: &'static str) -> Result<bool, BodyError> {
        self.flag_or(member, false)
    }

    /// Takes out a boolean.
    pub(crate) fn flag_or(
        &mut self,
        member: &'static str,
        absent: bool,
    ) -> Result<bool, BodyError> {
        match self.0.remove(member) {
            None | Some(Value::Null) => Ok(absent),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(BodyError::Type { member, expected: "true or false" }),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = crate::refusal::Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let content_type =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
        let is_json = media_type.trim().eq_ignore_ascii_case("application/json");
        // A body that is left unread ends the connection, so it is read in any case.
        let bytes = Bytes::from_request(request, state).await.map_err(BodyError::from)?;
        // A browser sends no JSON from another site without asking this server first (CORS).
        if !is_json {
            return Err(BodyError::ContentType.into());
        }
        Ok(Self::read(&bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_member_and_quote_nothing() {
        for (text, expected) in [
            ("", BodyError::Malformed),
            ("{", BodyError::Malformed),
            ("{\"email\": \"\\ud800\"}", BodyError::Malformed),
            ("{} {}", BodyError::Malformed),
            ("[]", BodyError::NotAnObject),
            ("\"text\"", BodyError::NotAnObject),
            ("null", BodyError::NotAnObject),
            (&"[".repeat(10_000), BodyError::Malformed),
        ] {
            assert_eq!(Body::read(text.as_bytes()).err(), Some(expected), "{text}");
        }
        assert_eq!(Body::read(b"{\"email\": \"\xff\"}").err(), Some(BodyError::Malformed));

        let text = br#"{"email": "ada", "number": 1, "null": null, "yes": true}"#;
        let read = || Body::read(text).expect("an object");
        assert_eq!(read().text("email").as_deref(), Ok("ada"));
        assert_eq!(read().text("null"), Err(BodyError::Missing("null")));
        assert_eq!(read().text("name"), Err(BodyError::Missing("name")));
        assert_eq!(read().optional_text("name"), Ok(None));
        assert_eq!(
            (read().flag("yes"), read().flag("no"), read().flag("null")),
            (Ok(true), Ok(false), Ok(false))
        );
        let number = BodyError::Type { member: "number", expected: "a string" };
        assert_eq!(number.to_string(), "the member \"number\" is not a string");
        assert_eq!(read().text("number"), Err(number));
        assert!(read().flag("number").is_err());
    }
}
