//! The access token of a session: what a resource server needs to verify one. No store, no I/O.

use alloc::{string::String, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    id::{self, SessionId},
    keyring::Keyring,
};
use crate::{
    claims::Audience,
    error::{DecodeError, EncodeError},
    explain::{self, Explanation},
    header, jwt,
    key::KeyError,
    numeric_date::{Clock, NumericDate},
    validation::{Validation, ValidationError},
};

/// The media type of an access token (RFC 9068 §2.1), by which it is told from every other JWT.
const TYP: &str = "at+jwt";

/// The half of a login that a resource server needs: it verifies access tokens, and knows no store.
///
/// It accepts a token of `typ` `at+jwt` that is signed with one of its keys, by its issuer, for its audience, not
/// expired, and has the claims of RFC 9068 §2.2 and `sid`. What [`decode`](crate::decode) refuses, it refuses.
///
/// ```
/// use kippu::{Key, session::{AccessToken, AccessVerifier, NoClaims}};
///
/// let key = Key::hs256([0x5a; 32])?; // from the secret manager, the same as the issuer's
/// let verifier = AccessVerifier::new(key, "https://auth.example", "api");
/// # let store = kippu::session::MemoryStore::new(1);
/// # let sessions = kippu::session::Sessions::builder(store)
/// #     .issuer("https://auth.example").audience("api").client("web")
/// #     .access_key(Key::hs256([0x5a; 32])?).refresh_key(Key::hs256([0x5b; 32])?.with_kid("1"))
/// #     .build()?;
/// # let login = sessions.login("user-12345", &NoClaims {});
/// # let tokens = tokio::runtime::Builder::new_current_thread().build()?.block_on(login)?;
/// # let access_token = tokens.access_token;
/// let token: AccessToken<NoClaims> = verifier.verify(&access_token)?;
/// assert_eq!(token.subject, "user-12345");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AccessVerifier {
    keys: Keyring,
    validation: Validation,
}

impl AccessVerifier {
    /// Verifies the tokens that `issuer` signs with `keys` for `audience`: an allowance of 60 seconds for
    /// clocks that differ, the system's clock.
    pub fn new(
        keys: impl Into<Keyring>,
        issuer: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        let required = ["sub", "client_id", "iat", "jti", "sid"];
        let validation = Validation::new().issuer(issuer).audience(audience).typ(TYP);
        let validation = required.into_iter().fold(validation, Validation::require);
        Self { keys: keys.into(), validation }
    }

    /// Accepts tokens for `audience` too.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        Self { validation: self.validation.audience(audience), ..self }
    }

    /// Allows the issuer's clock to differ by up to `leeway`; see [`Validation::leeway`].
    ///
    /// # Errors
    /// [`ValidationError::LeewayTooLong`] above [`Validation::MAX_LEEWAY`].
    pub fn leeway(self, leeway: Duration) -> Result<Self, ValidationError> {
        Ok(Self { validation: self.validation.leeway(leeway)?, ..self })
    }

    /// Reads `clock` in the place of the system's.
    #[must_use]
    pub fn clock(self, clock: &'static dyn Clock) -> Self {
        Self { validation: self.validation.clock(clock), ..self }
    }

    /// Verifies an access token, and reads the application's own claims as a `C`, which sees the registered ones
    /// too. That its session has been logged out since cannot be seen here: the token is accepted until it
    /// expires, see [`Sessions::verify_live`](super::Sessions::verify_live).
    ///
    /// # Errors
    /// [`DecodeError`], with the first check that the token does not pass.
    pub fn verify<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, DecodeError> {
        let (read, claims): (Read, C) =
            jwt::decode_twice(access_token, &self.keys.load(), &self.validation)?;
        Ok(AccessToken {
            subject: read.sub,
            session_id: read.sid,
            client_id: read.client_id,
            jwt_id: read.jti,
            issued_at: read.iat,
            expires_at: read.exp,
            auth_time: read.auth_time,
            claims,
        })
    }

    /// Runs every check of [`AccessVerifier::verify`] on a token, but for the reading of the application's claims, and
    /// tells them all; see [`explain()`](crate::explain()).
    pub fn explain(&self, access_token: &str) -> Explanation {
        explain::explain(access_token, &self.keys.load(), &self.validation)
    }

    pub(super) fn keys(&self) -> &Keyring {
        &self.keys
    }
}

/// What an access token says that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessToken<C> {
    /// `sub`, who is logged in.
    pub subject: String,
    /// `sid`, the session that the token belongs to.
    pub session_id: SessionId,
    /// `client_id`, the client that the session belongs to.
    pub client_id: String,
    /// `jti`, a name that no other token has.
    pub jwt_id: String,
    /// `iat`, when it was issued.
    pub issued_at: NumericDate,
    /// `exp`, from when on it is refused, but for the leeway.
    pub expires_at: NumericDate,
    /// `auth_time`, when the user logged in, where the token says so.
    pub auth_time: Option<NumericDate>,
    /// The application's own.
    pub claims: C,
}

/// No claims of the application's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoClaims {}

/// The claims that are read of every access token.
#[derive(Deserialize)]
struct Read {
    sub: String,
    sid: SessionId,
    client_id: String,
    jti: String,
    iat: NumericDate,
    exp: NumericDate,
    auth_time: Option<NumericDate>,
}

/// The claims that are written into every access token: those of RFC 9068 §2.2, and `sid`.
#[derive(Serialize)]
struct Written<'w> {
    iss: &'w str,
    aud: &'w Audience,
    sub: &'w str,
    client_id: &'w str,
    iat: NumericDate,
    exp: NumericDate,
    auth_time: NumericDate,
    jti: &'w str,
    sid: &'w SessionId,
}

/// What an issuer says of a session, besides the application's claims.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant<'g> {
    pub(super) issuer: &'g str,
    pub(super) audience: &'g Audience,
    pub(super) subject: &'g str,
    pub(super) client: &'g str,
    pub(super) session: &'g SessionId,
    pub(super) issued_at: NumericDate,
    pub(super) expires_at: NumericDate,
    pub(super) auth_time: NumericDate,
}

/// The payload of an access token, checked, not yet signed.
pub(super) struct Payload(Vec<u8>);

impl Payload {
    /// The claims of the session and those of the application, as one object. The application's may not have a
    /// member that the session's have.
    pub(super) fn new<C: Serialize>(grant: &Grant<'_>, claims: &C) -> Result<Self, PayloadError> {
        let jti = id::random_name()?;
        let written = Written {
            iss: grant.issuer,
            aud: grant.audience,
            sub: grant.subject,
            client_id: grant.client,
            iat: grant.issued_at,
            exp: grant.expires_at,
            auth_time: grant.auth_time,
            jti: &jti,
            sid: grant.session,
        };
        let own = jwt::to_json(claims)?;
        // On its own first, since something that is no object must not become a part of one.
        jwt::check_payload(&own)?;
        let mut payload = jwt::to_json(&written)?;
        if own != b"{}" {
            payload.pop();
            payload.push(b',');
            payload.extend(own.into_iter().skip(1));
            jwt::check_payload(&payload)?;
        }
        Ok(Self(payload))
    }

    pub(super) fn sign(&self, keys: &Keyring) -> Result<String, EncodeError> {
        let keys = keys.load();
        let key = keys.signing_key();
        jwt::sign_payload(&self.0, key, &header::segment(key.algorithm(), TYP, key.kid()))
    }
}

/// Why there is no payload.
#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadError {
    #[error(transparent)]
    Claims(#[from] EncodeError),
    #[error(transparent)]
    Randomness(#[from] KeyError),
}
