//! The response to a login and to a refresh (RFC 6749 §5.1).

use alloc::string::String;
use core::{fmt, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::id::SessionId;

/// The response to a login and to a refresh (RFC 6749 §5.1). It serialises to an object with
/// `access_token`, `token_type`, `expires_in` in seconds, and `refresh_token`.
///
/// Send it with `Cache-Control: no-store`. Its `Debug` shows no token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenResponse {
    /// The token for the API, as a bearer token (RFC 6750 §2.1).
    pub access_token: String,
    /// How long the access token is accepted.
    pub expires_in: Duration,
    /// The token for the next refresh, and for nothing else.
    pub refresh_token: String,
    /// How long the refresh token is accepted unless it is used. Not serialised.
    pub refresh_expires_in: Duration,
    /// The session to which both tokens belong. Not serialised.
    pub session_id: SessionId,
    /// Whether the session is [remembered](super::Login::remember), so that its cookies outlive the
    /// browser session. Not serialised.
    pub remembered: bool,
}

impl TokenResponse {
    /// The only type of access token that kippu issues (RFC 6750 §6.1.1).
    pub const TOKEN_TYPE: &str = "Bearer";
}

impl Serialize for TokenResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut response = serializer.serialize_struct("TokenResponse", 4)?;
        response.serialize_field("access_token", &self.access_token)?;
        response.serialize_field("token_type", Self::TOKEN_TYPE)?;
        response.serialize_field("expires_in", &self.expires_in.as_secs())?;
        response.serialize_field("refresh_token", &self.refresh_token)?;
        response.end()
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
