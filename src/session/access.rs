//! The access token of a session: what a resource server needs to verify one. No store, no I/O.

use alloc::{
    boxed::Box,
    string::{String, ToString},
};
use core::{
    fmt::{self, Display},
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    ended::{EndedSessions, waiting::first_of},
    id::{self, SessionId},
};
use crate::{
    claims::{self, Audience},
    debug::debug_by_message,
    error::{DecodeError, EncodeError},
    explain::{self, Explanation},
    header,
    json::{self, Text, Value},
    jwt,
    key::{Key, KeyError},
    key_set::Keys,
    numeric_date::{Clock, NumericDate},
    validation::{ClaimError, InvalidOption, Validation},
};

/// By which an access token is told from every other JWT.
const TYP: &str = header::ACCESS_TOKEN_TYP;

// The claims that RFC 7519 does not register.
const SESSION_ID: &str = "sid";
const CLIENT_ID: &str = "client_id";
const AUTH_TIME: &str = "auth_time";

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
pub struct AccessVerifier {
    keys: Box<dyn Keys + Send + Sync>,
    validation: Validation,
    ended: Option<EndedSessions>,
}

impl AccessVerifier {
    /// Verifies the tokens that `issuer` signs with `keys` for `audience`: an allowance of 60 seconds for
    /// clocks that differ, the system's clock. The keys are a [`Key`], a [`KeySet`](crate::KeySet), a
    /// [`SharedKeySet`](crate::SharedKeySet) that a reload replaces, or an application's own [`Keys`].
    pub fn new(
        keys: impl Keys + Send + Sync + 'static,
        issuer: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        Self::with(Validation::new(), keys, issuer, audience)
    }

    /// As [`AccessVerifier::new`], with the limits and the clock of `validation`.
    pub(super) fn with(
        validation: Validation,
        keys: impl Keys + Send + Sync + 'static,
        issuer: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        let required = ["sub", CLIENT_ID, "iat", "jti", SESSION_ID];
        let validation = validation.issuer(issuer).audience(audience).typ(TYP);
        let validation = required.into_iter().fold(validation, Validation::require);
        Self { keys: Box::new(keys), validation, ended: None }
    }

    /// Accepts tokens for `audience` too.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        Self { validation: self.validation.audience(audience), ..self }
    }

    /// Allows the issuer's clock to differ by up to `leeway`; see [`Validation::leeway`].
    ///
    /// # Errors
    /// [`InvalidOption::LeewayTooLong`] above [`Validation::MAX_LEEWAY`].
    pub fn leeway(self, leeway: Duration) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.leeway(leeway)?, ..self })
    }

    /// Refuses a token of more than `bytes` bytes before it is looked at; see [`Validation::max_token_len`].
    ///
    /// # Errors
    /// [`InvalidOption::MaxTokenLen`] for 0, and above [`Validation::HIGHEST_MAX_TOKEN_LEN`].
    pub fn max_token_len(self, bytes: usize) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.max_token_len(bytes)?, ..self })
    }

    /// Reads `clock` in the place of the system's.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { validation: self.validation.clock(clock), ..self }
    }

    /// Refuses tokens whose session has ended, too; see [`EndedSessions`].
    #[must_use]
    pub fn ended_sessions(self, ended: EndedSessions) -> Self {
        Self { ended: Some(ended), ..self }
    }

    /// Verifies an access token, and reads the application's own claims as a `C`, which sees the registered ones
    /// too. A session that has been logged out since is noticed where the verifier has
    /// [`ended_sessions`](Self::ended_sessions); without them the token is accepted until it expires, see
    /// [`Sessions::verify_live`](super::Sessions::verify_live).
    ///
    /// # Errors
    /// [`DecodeError`], with the first check that the token does not pass. Whether the session has ended is checked last.
    pub fn verify<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, DecodeError> {
        let token = self.verify_by(access_token, &self.validation)?;
        self.check_ended(&token.session_id, token.issued_at, token.expires_at)?;
        Ok(token)
    }

    /// A future that ends with the token: when its session is known to have ended, where the verifier has
    /// [`ended_sessions`](Self::ended_sessions), or when it expires. For what goes on longer than a request: a socket, a
    /// stream of events. `sleep` is the timer of the runtime.
    ///
    /// While it is not known whether the session has ended, because the store is away, it does not end.
    ///
    /// ```
    /// # use kippu::session::{AccessToken, AccessVerifier, NoClaims, TokenEnd};
    /// # async fn next_message() {}
    /// # async fn example(verifier: &AccessVerifier, token: &AccessToken<NoClaims>) {
    /// let ended = verifier.ended(token, tokio::time::sleep);
    /// tokio::select! {
    ///     message = next_message() => { /* … */ }
    ///     TokenEnd::SessionEnded | TokenEnd::Expired = ended => { /* close the socket */ }
    /// }
    /// # }
    /// ```
    pub fn ended<C, T, F>(
        &self,
        token: &AccessToken<C>,
        mut sleep: T,
    ) -> impl Future<Output = TokenEnd> + use<C, T, F>
    where
        T: FnMut(Duration) -> F,
        F: Future<Output = ()>,
    {
        let (ended, validation) = (self.ended.clone(), self.validation.clone());
        let (session, expires_at) = (token.session_id, token.expires_at);
        async move {
            let mut has_ended = pin!(async {
                match &ended {
                    Some(ended) => ended.wait(&session).await,
                    None => pending().await,
                }
            });
            loop {
                let left = validation.time_left(expires_at);
                if left.is_zero() {
                    return TokenEnd::Expired;
                }
                // In parts: the clock may be set, or the machine asleep.
                let part = pin!(sleep(left.min(Duration::from_secs(60))));
                if first_of(has_ended.as_mut(), part).await {
                    return TokenEnd::SessionEnded;
                }
            }
        }
    }

    fn check_ended(
        &self,
        session: &SessionId,
        issued_at: NumericDate,
        expires_at: NumericDate,
    ) -> Result<(), DecodeError> {
        match &self.ended {
            Some(ended) => ended.check(session, expires_at.saturating_since(issued_at)),
            None => Ok(()),
        }
    }

    fn verify_by<C: DeserializeOwned>(
        &self,
        access_token: &str,
        validation: &Validation,
    ) -> Result<AccessToken<C>, DecodeError> {
        let verified = jwt::verify(access_token, &*self.keys, validation)?;
        AccessClaims::scan(verified.payload())?
            .into_token(verified.checked_at(), verified.claims()?)
    }

    /// Runs every check of [`AccessVerifier::verify`] on a token, but for the reading of the application's claims, and
    /// tells them all; see [`explain()`](crate::explain()).
    pub fn explain(&self, access_token: &str) -> Explanation {
        explain::explain_with(
            access_token,
            &*self.keys,
            &self.validation,
            |explanation, payload| {
                let Ok(claims) = AccessClaims::scan(payload) else { return };
                for (claim, error) in claims.faults() {
                    explanation.fail(claim, error);
                }
                if let Ok(token) = claims.into_token(NumericDate::EPOCH, NoClaims {}) {
                    let AccessToken { session_id, issued_at, expires_at, .. } = token;
                    if let Err(error) = self.check_ended(&session_id, issued_at, expires_at) {
                        explanation.fail(SESSION_ID, error);
                    }
                }
            },
        )
    }

    /// The session of a token that is authentic, whether or not it has expired or its key has retired since: its
    /// signature proves which session it was given for, which is enough to end that one.
    pub(super) fn session_of(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<NoClaims>, DecodeError> {
        let mut validation = self.validation.clone();
        let mut answer = self.verify_by(access_token, &self.validation);
        // Each of the times that can be wrong is put right once.
        for _ in 0..3 {
            let before = |end: NumericDate| end.saturating_sub(Duration::from_secs(1));
            let now = match answer {
                Err(DecodeError::Claim(ClaimError::Expired { exp, .. })) => before(exp),
                Err(DecodeError::KeyRetired { until, .. }) => before(until),
                Err(DecodeError::Claim(ClaimError::IssuedInFuture { iat, .. })) => iat,
                Err(DecodeError::Claim(ClaimError::NotYetValid { nbf, .. })) => nbf,
                answer => return answer,
            };
            validation = validation.at(now);
            answer = self.verify_by(access_token, &validation);
        }
        answer
    }

    /// The length of the longest access token that is accepted, in bytes.
    pub fn token_len_limit(&self) -> usize {
        self.validation.token_len_limit()
    }
}

impl fmt::Debug for AccessVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessVerifier")
            .field("validation", &self.validation)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Why an access token is no longer accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEnd {
    /// Its session has ended.
    SessionEnded,
    /// It has expired, by the verifier's clock and with its leeway.
    Expired,
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
    /// `auth_time`, when the user last authenticated, where the token says so.
    pub auth_time: Option<NumericDate>,
    /// The application's own.
    pub claims: C,
    /// When it was verified, by the verifier's clock.
    verified_at: NumericDate,
}

impl<C> AccessToken<C> {
    /// Checks that the user authenticated at most `max_age` before this token was verified, by the verifier's clock. Use it
    /// for actions for which a stolen token must not be enough. A user whose authentication is older authenticates again
    /// ([`Sessions::reauthenticate`](super::Sessions::reauthenticate)), and the client repeats its request with the token
    /// that this returns.
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
    /// [`NotRecent`], also for a token without `auth_time`. The answer to the client is that of RFC 9470 §3.
    pub fn require_recent(&self, max_age: Duration) -> Result<(), NotRecent> {
        let is_recent = |time| self.verified_at.saturating_since(time) <= max_age;
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
    /// How long ago it may be: `max_age` of the challenge, in seconds there.
    pub max_age: Duration,
}

debug_by_message!(NotRecent);

/// No claims of the application's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoClaims {}

/// How the claims of an access token are spelled.
#[derive(Default)]
struct AccessClaims<'c> {
    subject: Option<Value<'c>>,
    session_id: Option<Value<'c>>,
    client_id: Option<Value<'c>>,
    jwt_id: Option<Value<'c>>,
    issued_at: Option<Value<'c>>,
    expires_at: Option<Value<'c>>,
    auth_time: Option<Value<'c>>,
}

impl<'c> AccessClaims<'c> {
    fn scan(payload: &'c str) -> Result<Self, DecodeError> {
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
            auth_time => Ok(Some(required(AUTH_TIME, auth_time, claims::date)?.latest)),
        }
    }

    /// Returns what is wrong with the claims that only an access token has.
    fn faults(&self) -> impl Iterator<Item = (&'static str, DecodeError)> {
        let results = [
            (SESSION_ID, self.session_id().err()),
            (CLIENT_ID, text(CLIENT_ID, self.client_id).err()),
            (AUTH_TIME, self.auth_time().err()),
        ];
        results.into_iter().filter_map(|(claim, error)| Some((claim, error?)))
    }

    /// The token whose claims these are, after they have passed every check at a time.
    fn into_token<C>(
        self,
        verified_at: NumericDate,
        claims: C,
    ) -> Result<AccessToken<C>, DecodeError> {
        Ok(AccessToken {
            subject: text("sub", self.subject)?.read().into_owned(),
            session_id: self.session_id()?,
            client_id: text(CLIENT_ID, self.client_id)?.read().into_owned(),
            jwt_id: text("jti", self.jwt_id)?.read().into_owned(),
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

/// A claim that an access token has.
fn required<'c, T>(
    name: &'static str,
    value: Option<Value<'c>>,
    read: impl FnOnce(Value<'c>) -> Option<T>,
) -> Result<T, DecodeError> {
    let value = value.ok_or(ClaimError::Missing { claim: name.into() })?;
    read(value).ok_or_else(|| malformed(name, &"a value of another type"))
}

#[cold]
fn malformed(claim: &'static str, reason: &dyn Display) -> DecodeError {
    ClaimError::Malformed { claim, reason: reason.to_string().into() }.into()
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

/// A signed access token, with the claims of the session and those of the application as one object. The
/// application's may not have a member that the session's have.
///
/// All that can fail is done here, before anything is stored or used up.
pub(super) fn issue<C: Serialize>(
    grant: &Grant<'_>,
    claims: &C,
    key: &Key,
    token_len_limit: usize,
) -> Result<String, IssueError> {
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
    // Checked alone: an array or a number must not become a part of the object.
    let own = jwt::to_json(claims)?;
    let mut payload = jwt::to_json(&written)?;
    if own != b"{}" {
        payload.pop();
        payload.push(b',');
        payload.extend(own.into_iter().skip(1));
        jwt::check_payload(&payload)?;
    }
    let token = jwt::sign_payload(&payload, key, TYP)?;
    match (token.len(), token_len_limit) {
        (length, limit) if length > limit => Err(IssueError::TooLong { length, limit }),
        _ => Ok(token),
    }
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub(super) enum IssueError {
    #[error(transparent)]
    Claims(#[from] EncodeError),
    #[error(transparent)]
    Randomness(#[from] KeyError),
    #[error("a token of {length} bytes is longer than the {limit} that are accepted")]
    TooLong { length: usize, limit: usize },
}
