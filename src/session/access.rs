//! The access token of a session: what a resource server needs to verify one. No store, no I/O.

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

/// By which an access token is told from every other JWT.
const TYP: &str = header::ACCESS_TOKEN_TYP;

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
    /// clocks that differ, the system's clock. The keys are a [`Key`](crate::Key), a [`KeySet`](crate::KeySet), a
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

    /// Whether the session is known to have ended.
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
