//! The responses of a token endpoint (RFC 6749 §5), which a server sends and a client reads. Their
//! `Debug` shows no token.

use alloc::{borrow::Cow, string::String};
use core::{
    error::Error,
    fmt::{self, Write},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use super::id::SessionId;
use crate::{debug::debug_by_message, excerpt::Excerpt};

/// The response to a login and to a refresh (RFC 6749 §5.1). It serialises to an object with
/// `access_token`, `token_type`, `expires_in` in seconds, and `refresh_token`. As extensions, the
/// object has `refresh_expires_in` in seconds, `session_id` and `remembered`.
///
/// A client deserialises the same object. It ignores unknown members, and rejects a `token_type`
/// other than `Bearer`.
///
/// Send it with `Cache-Control: no-store`. Its `Debug` shows no token.
///
/// ```
/// use kippu::session::{OAuthError, TokenResponse};
///
/// fn read(status: u16, body: &str) -> Result<TokenResponse, Box<dyn std::error::Error>> {
///     match status {
///         200 => Ok(serde_json::from_str(body)?),
///         _ => Err(serde_json::from_str::<OAuthError>(body)?.into()),
///     }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenResponse {
    /// The token for the API, as a bearer token (RFC 6750 §2.1).
    pub access_token: String,
    /// How long the access token is accepted.
    pub expires_in: Duration,
    /// The token for the next refresh, and for nothing else.
    pub refresh_token: String,
    /// How long the refresh token is accepted unless it is used.
    pub refresh_expires_in: Duration,
    /// The session to which both tokens belong: `sid` of the access token.
    pub session_id: SessionId,
    /// Whether the session is [remembered](super::Login::remember), so that its cookies outlive the
    /// browser session.
    pub remembered: bool,
}

impl TokenResponse {
    /// The only type of access token that kippu issues (RFC 6750 §6.1.1).
    pub const TOKEN_TYPE: &str = "Bearer";
}

impl Serialize for TokenResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut response = serializer.serialize_struct("TokenResponse", 7)?;
        response.serialize_field("access_token", &self.access_token)?;
        response.serialize_field("token_type", Self::TOKEN_TYPE)?;
        response.serialize_field("expires_in", &self.expires_in.as_secs())?;
        response.serialize_field("refresh_token", &self.refresh_token)?;
        response.serialize_field("refresh_expires_in", &self.refresh_expires_in.as_secs())?;
        response.serialize_field("session_id", &self.session_id)?;
        response.serialize_field("remembered", &self.remembered)?;
        response.end()
    }
}

impl<'de> Deserialize<'de> for TokenResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Received {
            access_token: String,
            token_type: String,
            expires_in: u64,
            refresh_token: String,
            refresh_expires_in: u64,
            session_id: SessionId,
            remembered: bool,
        }
        let received = Received::deserialize(deserializer)?;
        // RFC 6749 §5.1: its case does not matter.
        if !received.token_type.eq_ignore_ascii_case(Self::TOKEN_TYPE) {
            let given = Excerpt::new(&received.token_type);
            return Err(de::Error::custom(format_args!(
                "the token_type is {given}, not \"Bearer\""
            )));
        }
        Ok(Self {
            access_token: received.access_token,
            expires_in: Duration::from_secs(received.expires_in),
            refresh_token: received.refresh_token,
            refresh_expires_in: Duration::from_secs(received.refresh_expires_in),
            session_id: received.session_id,
            remembered: received.remembered,
        })
    }
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("session_id", &self.session_id)
            .field("expires_in", &self.expires_in)
            .field("refresh_expires_in", &self.refresh_expires_in)
            .finish_non_exhaustive()
    }
}

/// The body of an error response (RFC 6749 §5.2, RFC 6750 §3.1): a code for programs, and words for
/// developers.
///
/// Its message and its `Debug` leave out every word of the description that is as long as a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OAuthError {
    /// The code, for example `invalid_grant`: the user has to log in again.
    pub error: Cow<'static, str>,
    /// The words, if the server sent any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<Cow<'static, str>>,
}

impl OAuthError {
    /// Returns an error with this code and these words.
    pub fn new(
        error: impl Into<Cow<'static, str>>,
        error_description: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { error: error.into(), error_description: Some(error_description.into()) }
    }
}

/// Longer than every word of English and every name of a field, and shorter than the shortest
/// token.
const MAX_WORD_LEN: usize = 40;

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(&self.error, f)?;
        if let Some(description) = &self.error_description {
            f.write_str(": ")?;
            write_words(description, f)?;
        }
        Ok(())
    }
}

/// Writes what came from a server, with control characters escaped and without what may be a token.
fn write_words(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (number, word) in text.split(' ').enumerate() {
        if number > 0 {
            f.write_char(' ')?;
        }
        if word.len() > MAX_WORD_LEN {
            f.write_char('…')?;
        } else {
            write!(f, "{}", word.escape_debug())?;
        }
    }
    Ok(())
}

impl Error for OAuthError {}

debug_by_message!(OAuthError);

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    fn response() -> TokenResponse {
        TokenResponse {
            access_token: "eyJ.e30.x".into(),
            expires_in: Duration::from_secs(900),
            refresh_token: "kippu_rt_AQ".into(),
            refresh_expires_in: Duration::from_secs(1_209_600),
            session_id: SessionId::from_bytes([0xff; 16]),
            remembered: true,
        }
    }

    const BODY: &str = r#"{"access_token":"eyJ.e30.x","token_type":"Bearer","expires_in":900,"refresh_token":"kippu_rt_AQ","refresh_expires_in":1209600,"session_id":"_____________________w","remembered":true}"#;

    #[test]
    fn a_client_reads_the_tokens_that_a_server_sends() {
        assert_eq!(serde_json::to_string(&response()).unwrap(), BODY);
        for body in [
            BODY.to_string(),
            BODY.replace("Bearer", "bearer"),
            BODY.replacen('{', r#"{"scope":"read","#, 1),
        ] {
            assert_eq!(serde_json::from_str::<TokenResponse>(&body).unwrap(), response(), "{body}");
        }
        for (what, with) in [
            ("Bearer", "mac"),
            ("\"expires_in\":900,", ""),
            ("900", "-1"),
            ("_____________________w", "_____________________x"),
            ("\"refresh_token\":\"kippu_rt_AQ\",", ""),
        ] {
            let body = BODY.replacen(what, with, 1);
            let error = serde_json::from_str::<TokenResponse>(&body).unwrap_err().to_string();
            assert!(!error.contains("eyJ") && !error.contains("kippu_rt_"), "{error}");
        }
        let debug = format!("{:?}", response());
        assert!(!debug.contains("eyJ") && !debug.contains("kippu_rt_"), "{debug}");
    }

    #[test]
    fn a_client_reads_the_error_that_a_server_sends() {
        let error = OAuthError::new("invalid_grant", "log in again");
        let body = r#"{"error":"invalid_grant","error_description":"log in again"}"#;
        assert_eq!(serde_json::to_string(&error).unwrap(), body);
        assert_eq!(serde_json::from_str::<OAuthError>(body).unwrap(), error);
        assert_eq!(error.to_string(), "invalid_grant: log in again");
        let bare = r#"{"error":"invalid_scope","error_uri":"https://auth.example/errors"}"#;
        let bare: OAuthError = serde_json::from_str(bare).unwrap();
        assert_eq!((bare.to_string(), bare.error_description), ("invalid_scope".into(), None));
        assert!(serde_json::from_str::<OAuthError>("{}").is_err());
    }

    /// A server may repeat what it was sent.
    #[test]
    fn an_error_shows_no_token() {
        let token = format!("kippu_rt_{}", "A".repeat(100));
        let error = OAuthError::new(token.clone(), format!("the token {token} is\nused up"));
        for shown in [error.to_string(), format!("{error:?}")] {
            assert_eq!(shown, "…: the token … is\\nused up");
        }
    }
}
