//! The access token of a session, and the verifier that a resource server needs. It has no store
//! and no I/O.

mod issue;
mod token;

use alloc::{boxed::Box, string::String};
use core::{
    fmt,
    future::{Future, pending},
    pin::pin,
    time::Duration,
};

use serde::de::DeserializeOwned;

use self::token::{AccessClaims, CLIENT_ID, SESSION_ID};
use super::{
    ended::{EndedSessions, waiting::first_of},
    id::SessionId,
};
use crate::{
    error::DecodeError,
    explain::{self, Explanation},
    header, jwt,
    key_set::Keys,
    numeric_date::{Clock, NumericDate},
    validation::{ClaimError, InvalidOption, Validation},
};

pub(super) use self::issue::{Grant, IssueError, issue};
pub use self::token::{AccessToken, NoClaims, NotRecent};

/// The type that distinguishes an access token from every other JWT (RFC 9068 §2.1).
const TYP: &str = header::ACCESS_TOKEN_TYP;

/// Verifies access tokens. It is the part of a login that a resource server needs, and it has no
/// store.
///
/// It accepts a token of type `at+jwt` that one of its keys has signed, with the expected issuer
/// and audience, that has not expired and has the claims of RFC 9068 §2.2 and `sid`. It refuses
/// every token that [`decode`](crate::decode) refuses.
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
    /// Returns a verifier for the tokens that `issuer` signs with `keys` for `audience`. It uses
    /// the system's clock and a leeway of 60 seconds. `keys` is a [`Key`](crate::Key), a
    /// [`KeySet`](crate::KeySet), a [`SharedKeySet`](crate::SharedKeySet) that a reload replaces,
    /// or the application's own [`Keys`].
    pub fn new(
        keys: impl Keys + Send + Sync + 'static,
        issuer: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        Self::with(Validation::new(), keys, issuer, audience)
    }

    /// Returns a verifier with the limits and the clock of `validation`.
    pub(super) fn with(
        validation: Validation,
        keys: impl Keys + Send + Sync + 'static,
        issuer: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        // The claims that RFC 9068 §2.2 requires, and `sid`. `iss`, `exp` and `aud` are required
        // anyway.
        let required = ["sub", CLIENT_ID, "iat", "jti", SESSION_ID];
        let validation = validation.issuer(issuer).audience(audience).typ(TYP);
        let validation = required.into_iter().fold(validation, Validation::require);
        Self { keys: Box::new(keys), validation, ended: None }
    }

    /// Also accepts tokens for `audience`.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        Self { validation: self.validation.audience(audience), ..self }
    }

    /// Sets the difference that is allowed between the clocks of issuer and verifier; see
    /// [`Validation::leeway`].
    ///
    /// # Errors
    /// [`InvalidOption::LeewayTooLong`] above [`Validation::MAX_LEEWAY`].
    pub fn leeway(self, leeway: Duration) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.leeway(leeway)?, ..self })
    }

    /// Refuses a token of more than `bytes` bytes before anything else is checked; see
    /// [`Validation::max_token_len`].
    ///
    /// # Errors
    /// [`InvalidOption::MaxTokenLen`] if the value is 0 or above
    /// [`Validation::HIGHEST_MAX_TOKEN_LEN`].
    pub fn max_token_len(self, bytes: usize) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.max_token_len(bytes)?, ..self })
    }

    /// Reads `clock` instead of the system's clock.
    #[must_use]
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { validation: self.validation.clock(clock), ..self }
    }

    /// Also refuses tokens whose session has ended; see [`EndedSessions`].
    #[must_use]
    pub fn ended_sessions(self, ended: EndedSessions) -> Self {
        Self { ended: Some(ended), ..self }
    }

    /// Verifies an access token and reads the application's claims as a `C`, which also sees the
    /// registered claims. With [`ended_sessions`](Self::ended_sessions), a token is refused after
    /// its session has ended. Without them the token is accepted until it expires; see
    /// [`Sessions::verify_live`](super::Sessions::verify_live).
    ///
    /// # Errors
    /// [`DecodeError`], with the first check that fails. The last check is whether the session has
    /// ended.
    pub fn verify<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, DecodeError> {
        let token = self.verify_by(access_token, &self.validation)?;
        self.check_ended(&token.session_id, token.issued_at, token.expires_at)?;
        Ok(token)
    }

    /// Returns a future that completes when [`verify`](Self::verify) would refuse the token, with
    /// the reason. Use it for connections that last longer than a request, for example a socket or
    /// a stream of events. `sleep` is the timer of the runtime, for example `tokio::time::sleep`.
    ///
    /// | output | when |
    /// |---|---|
    /// | [`Expired`](TokenEnd::Expired) | at the expiry plus the verifier's leeway, by its clock; at most a second later |
    /// | [`SessionEnded`](TokenEnd::SessionEnded) | as soon as the verifier's [`EndedSessions`] have read that the session has ended, within their [`max_lag`](super::EndedOptions::max_lag) |
    /// | [`EndedUnknown`](TokenEnd::EndedUnknown) | as soon as they are not [fresh](EndedSessions::is_fresh), because the store cannot be read; never with [`accept_when_stale`](super::EndedOptions::accept_when_stale) |
    ///
    /// **Without [`ended_sessions`](Self::ended_sessions)** the future only completes when the
    /// token expires. A key that is removed from the verifier's keys does not complete it.
    ///
    /// The expiry is a time of day, which can be set. The future reads the clock at least once a
    /// minute, so it notices a clock that has jumped forward within a minute. After a step back the
    /// token is valid for longer, as it is for `verify`. A follower whose
    /// [`run`](EndedSessions::run) has been dropped is noticed within a minute, too.
    ///
    /// No end is missed: the future completes at once for a token that has already ended. Dropping
    /// it loses nothing, so that it can be one branch of a `select!`, and be made again. It owns
    /// what it needs: with claims and a timer that are `Send + 'static`, it is, too. While it waits
    /// it is woken once a minute.
    ///
    /// ```
    /// # use kippu::session::{AccessToken, AccessVerifier, NoClaims, TokenEnd};
    /// # async fn talk() {}
    /// # async fn close(reason: TokenEnd) {}
    /// # async fn example(verifier: &AccessVerifier, token: &AccessToken<NoClaims>) {
    /// tokio::select! {
    ///     () = talk() => {} // until the client leaves
    ///     end = verifier.ended(token, tokio::time::sleep) => close(end).await,
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
        let lifetime = expires_at.saturating_since(token.issued_at);
        async move {
            let mut refused = pin!(async {
                match &ended {
                    Some(ended) => ended.wait(&session, lifetime).await,
                    None => pending().await,
                }
            });
            loop {
                let left = validation.time_left(expires_at);
                if left.is_zero() {
                    return TokenEnd::Expired;
                }
                // At most a minute at a time, because the clock may be set or the machine may
                // sleep.
                let part = pin!(sleep(left.min(Duration::from_secs(60))));
                match first_of(refused.as_mut(), part).await {
                    Some(DecodeError::SessionEnded) => return TokenEnd::SessionEnded,
                    Some(_) => return TokenEnd::EndedUnknown,
                    None => {}
                }
            }
        }
    }

    /// Returns whether the session is known to have ended.
    pub(super) fn knows_ended(&self, session: &SessionId) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.contains(session))
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
        // This scan finds `sid`, `client_id` and `auth_time`, which RFC 7519 does not register.
        AccessClaims::scan(verified.payload())?
            .into_token(verified.checked_at(), verified.claims()?)
    }

    /// Runs every check of [`AccessVerifier::verify`] on a token and reports each result, without
    /// reading the application's claims; see [`explain()`](crate::explain()).
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

    /// Returns the session of an authentic token, even if the token has expired or its key has
    /// retired. The signature proves for which session the token was issued, which is enough to end
    /// that session.
    pub(super) fn session_of(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<NoClaims>, DecodeError> {
        // The times in a token are whole seconds. A token of the last second of its session expires
        // at the second at which it was issued, and is valid at no time without a leeway.
        let mut validation = self.validation.clone().leeway_of_at_least(Duration::from_secs(1));
        let mut answer = self.verify_by(access_token, &self.validation);
        // Each of the times that can be wrong is corrected at most once.
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

    /// Returns the maximum length of an access token that is accepted, in bytes.
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

/// Why an access token is no longer accepted; see [`AccessVerifier::ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEnd {
    /// The session has ended.
    SessionEnded,
    /// The token has expired, by the verifier's clock and with its leeway.
    Expired,
    /// It is not known whether the session has ended, because the store was not read lately. A
    /// request would get 503.
    EndedUnknown,
}

impl fmt::Display for TokenEnd {
    /// Prints a text for the client, for example as the reason in a WebSocket's close frame.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SessionEnded => "the session has ended",
            Self::Expired => "the access token has expired",
            Self::EndedUnknown => "it is not known whether the session has ended",
        })
    }
}
