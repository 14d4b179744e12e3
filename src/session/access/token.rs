//! The claims of an access token, read from its payload.

use alloc::string::{String, ToString};
use core::{fmt::Display, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    claims,
    debug::debug_by_message,
    error::DecodeError,
    json::{self, Text, Value},
    numeric_date::NumericDate,
    session::id::SessionId,
    validation::{ClaimError, Validation},
};

// The claims that RFC 7519 does not register.
pub(super) const SESSION_ID: &str = "sid";
pub(super) const CLIENT_ID: &str = "client_id";
const AUTH_TIME: &str = "auth_time";

/// The claims of a verified access token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessToken<C> {
    /// `sub`, the user.
    pub subject: String,
    /// `sid`, the session to which the token belongs.
    pub session_id: SessionId,
    /// `client_id`, the client to which the session belongs.
    pub client_id: String,
    /// `jti`, the id of the token. No other token has it.
    pub jwt_id: String,
    /// `iat`, the time at which the token was issued.
    pub issued_at: NumericDate,
    /// `exp`, the time from which the token is refused, apart from the leeway.
    pub expires_at: NumericDate,
    /// `auth_time`, the time at which the user last authenticated, if the token has it.
    pub auth_time: Option<NumericDate>,
    /// The application's claims.
    pub claims: C,
    /// The time of the verification, by the verifier's clock.
    verified_at: NumericDate,
}

impl<C> AccessToken<C> {
    /// Checks that the user authenticated at most `max_age` before this token was verified, by the
    /// verifier's clock. Use it for actions for which a stolen token must not be enough. If the
    /// authentication is older, the user authenticates again
    /// ([`Sessions::reauthenticate`](crate::session::Sessions::reauthenticate)), and the client
    /// repeats its request with the token that this call returns.
    ///
    /// ```
    /// # use kippu::session::{AccessToken, NoClaims, NotRecent};
    /// # use std::time::Duration;
    /// fn close_account(access: &AccessToken<NoClaims>) -> Result<(), NotRecent> {
    ///     access.require_recent(Duration::from_secs(5 * 60))?;
    ///     // …
    /// #   Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`NotRecent`], also for a token without `auth_time`, and for a token whose `auth_time` is
    /// further in the future than clocks may differ ([`Validation::MAX_LEEWAY`]): the clock of the
    /// server that handled the login was wrong. The response to the client is that of RFC 9470 §3.
    pub fn require_recent(&self, max_age: Duration) -> Result<(), NotRecent> {
        let is_recent = |time: NumericDate| {
            self.verified_at.saturating_since(time) <= max_age
                && time.saturating_since(self.verified_at) <= Validation::MAX_LEEWAY
        };
        match self.auth_time {
            Some(time) if is_recent(time) => Ok(()),
            _ => Err(NotRecent { max_age }),
        }
    }
}

/// The user did not authenticate recently (RFC 9470: `insufficient_user_authentication`).
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the user authenticated more than {max_age:?} ago: ask for the password or a second factor again"
)]
#[non_exhaustive]
pub struct NotRecent {
    /// The maximum age of the authentication: `max_age` of the challenge, which counts seconds.
    pub max_age: Duration,
}

debug_by_message!(NotRecent);

/// An empty set of claims, for an application that adds none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoClaims {}

/// The claims of an access token, as they are spelled.
#[derive(Default)]
pub(super) struct AccessClaims<'c> {
    subject: Option<Value<'c>>,
    session_id: Option<Value<'c>>,
    client_id: Option<Value<'c>>,
    jwt_id: Option<Value<'c>>,
    issued_at: Option<Value<'c>>,
    expires_at: Option<Value<'c>>,
    auth_time: Option<Value<'c>>,
}

impl<'c> AccessClaims<'c> {
    pub(super) fn scan(payload: &'c str) -> Result<Self, DecodeError> {
        let mut claims = Self::default();
        json::scan(payload.as_bytes(), usize::MAX, |name, value| {
            let claim = match name {
                b"sub" => &mut claims.subject,
                b"sid" => &mut claims.session_id,
                b"client_id" => &mut claims.client_id,
                b"jti" => &mut claims.jwt_id,
                b"iat" => &mut claims.issued_at,
                b"exp" => &mut claims.expires_at,
                b"auth_time" => &mut claims.auth_time,
                _ => return,
            };
            *claim = Some(value);
        })
        .map_err(DecodeError::Payload)?;
        Ok(claims)
    }

    fn session_id(&self) -> Result<SessionId, DecodeError> {
        let text = text(SESSION_ID, self.session_id)?;
        text.read().parse().map_err(|error| malformed(SESSION_ID, &error))
    }

    fn auth_time(&self) -> Result<Option<NumericDate>, DecodeError> {
        match self.auth_time {
            None => Ok(None),
            auth_time => Ok(Some(required(AUTH_TIME, auth_time, claims::date)?.earliest)),
        }
    }

    /// Returns the faults of the claims that only an access token has.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&'static str, DecodeError)> {
        let results = [
            (SESSION_ID, self.session_id().err()),
            (CLIENT_ID, text(CLIENT_ID, self.client_id).err()),
            (AUTH_TIME, self.auth_time().err()),
        ];
        results.into_iter().filter_map(|(claim, error)| Some((claim, error?)))
    }

    /// Returns the token with these claims, after they have passed every check at `verified_at`.
    pub(super) fn into_token<C>(
        self,
        verified_at: NumericDate,
        claims: C,
    ) -> Result<AccessToken<C>, DecodeError> {
        Ok(AccessToken {
            subject: text("sub", self.subject)?.read().into_owned(),
            session_id: self.session_id()?,
            client_id: text(CLIENT_ID, self.client_id)?.read().into_owned(),
            jwt_id: text("jti", self.jwt_id)?.read().into_owned(),
            // Rounded against the token, as in `validation`.
            issued_at: required("iat", self.issued_at, claims::date)?.latest,
            expires_at: required("exp", self.expires_at, claims::date)?.earliest,
            auth_time: self.auth_time()?,
            claims,
            verified_at,
        })
    }
}

fn text<'c>(name: &'static str, value: Option<Value<'c>>) -> Result<Text<'c>, DecodeError> {
    required(name, value, Value::text)
}

/// Reads a claim that every access token has.
fn required<'c, T>(
    name: &'static str,
    value: Option<Value<'c>>,
    read: impl FnOnce(&Value<'c>) -> Option<T>,
) -> Result<T, DecodeError> {
    // Only `explain` can come here without the claim: `verify` has required it.
    let value = value.ok_or(ClaimError::Missing { claim: name.into() })?;
    read(&value).ok_or_else(|| malformed(name, &"a value of another type"))
}

#[cold]
fn malformed(claim: &'static str, reason: &dyn Display) -> DecodeError {
    ClaimError::Malformed { claim, reason: reason.to_string().into() }.into()
}
