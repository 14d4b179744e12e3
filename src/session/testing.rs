//! Tests of what needs a login, without one: access tokens of any age, a clock that a test moves,
//! and sessions in memory. A call panics where the library would return an error, so that a test
//! which is set up wrongly ends there.
//!
//! ```
//! use std::time::Duration;
//! use kippu::session::testing::{TestSessions, TestToken};
//!
//! let test = TestSessions::new();
//! let token = test.token(&TestToken::new("alice").age(Duration::from_secs(10 * 60)));
//! assert!(test.sessions().verify::<kippu::session::NoClaims>(&token).is_ok());
//! test.clock().advance(Duration::from_secs(10 * 60));
//! assert!(test.sessions().verify::<kippu::session::NoClaims>(&token).is_err());
//! ```
//!
//! The feature is for dev-dependencies. A build without debug assertions, as every release is,
//! fails with it unless the feature `dangerously-testing-in-release` is on, too: for
//! `cargo test --release`.

use alloc::{string::String, sync::Arc};
use core::{
    fmt,
    future::Future,
    pin::pin,
    sync::atomic::{AtomicI64, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde::Serialize;

use super::{
    Login, MemoryStore, NoClaims, RefreshStore, SessionId, Sessions, TokenResponse, UnixMillis,
    access::{Grant, issue},
};
use crate::{
    algorithm::Algorithm,
    claims::Audience,
    key::Key,
    numeric_date::{Clock, NumericDate, SystemClock},
    validation::Validation,
};

#[cfg(not(any(debug_assertions, feature = "dangerously-testing-in-release")))]
compile_error!(
    "the feature `testing` of kippu makes access tokens for anybody, and this is a release build: \
     move it to the dev-dependencies, or, for `cargo test --release`, add the feature \
     `dangerously-testing-in-release`"
);

/// A clock that shows the same time until the test moves it. Its clones are the same clock, so that
/// the test keeps one and gives the others away: to
/// [`SessionsBuilder::clock`](super::SessionsBuilder::clock),
/// [`AccessVerifier::clock`](super::AccessVerifier::clock) and [`Validation::clock`].
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    /// Returns a clock that shows `now`.
    pub fn at(now: NumericDate) -> Self {
        Self(Arc::new(AtomicI64::new(UnixMillis::from(now).get())))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.update(|now| now.saturating_add(millis));
    }

    /// Moves the clock back, as an operator does.
    pub fn set_back(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.update(|now| now.saturating_sub(millis));
    }

    fn update(&self, change: impl Fn(i64) -> i64) {
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(change(now)));
    }
}

/// Shows the time at which it is made.
impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(SystemClock.unix_millis())))
    }
}

impl Clock for TestClock {
    fn unix_millis(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The contents of an access token: any subject, any claims, any age.
///
/// [`TestSessions::token`] and [`Sessions::test_token`] sign it as a login would;
/// [`TestToken::sign`] signs it for a server that only verifies.
#[derive(Clone, Debug)]
#[must_use]
pub struct TestToken<C = NoClaims> {
    subject: String,
    claims: C,
    age: Duration,
    lifetime: Duration,
    auth_age: Option<Duration>,
    session: Option<SessionId>,
}

impl TestToken {
    /// Returns a token of `subject` that was issued now, is accepted for 15 minutes, and has no
    /// claims of the application's.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            claims: NoClaims {},
            age: Duration::ZERO,
            lifetime: Duration::from_secs(15 * 60),
            auth_age: None,
            session: None,
        }
    }
}

impl<C> TestToken<C> {
    /// Adds the claims of the application.
    pub fn claims<D: Serialize>(self, claims: D) -> TestToken<D> {
        let Self { subject, age, lifetime, auth_age, session, .. } = self;
        TestToken { subject, claims, age, lifetime, auth_age, session }
    }

    /// Issues the token that long ago.
    pub fn age(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// Lets the token expire that long after it was issued: with a shorter lifetime than its age it
    /// has expired, where the difference is more than the leeway of 60 seconds.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Lets the user have authenticated that long ago (`auth_time`), instead of when the token was
    /// issued.
    pub fn auth_age(self, age: Duration) -> Self {
        Self { auth_age: Some(age), ..self }
    }

    /// Makes it a token of this session, instead of one that no store has.
    pub fn session(self, session: SessionId) -> Self {
        Self { session: Some(session), ..self }
    }
}

impl<C: Serialize> TestToken<C> {
    /// Signs the token with `key`, by the system's clock: for an
    /// [`AccessVerifier`](super::AccessVerifier) that has this key, this issuer and this audience.
    ///
    /// # Panics
    /// For claims that cannot be signed: see [`EncodeError`](crate::EncodeError).
    pub fn sign(&self, key: &Key, issuer: &str, audience: &str) -> String {
        let audience = Audience::One(audience.into());
        self.sign_at(NumericDate::now(), key, issuer, &audience, "test")
    }

    fn sign_at(
        &self,
        now: NumericDate,
        key: &Key,
        issuer: &str,
        audience: &Audience,
        client: &str,
    ) -> String {
        let new = || SessionId::generate(&self.subject).expect("the system has random bytes");
        let session = self.session.unwrap_or_else(new);
        let issued_at = now.saturating_sub(self.age);
        let grant = Grant {
            issuer,
            audience,
            subject: &self.subject,
            client,
            session: &session,
            issued_at,
            expires_at: issued_at.saturating_add(self.lifetime),
            auth_time: self.auth_age.map_or(issued_at, |age| now.saturating_sub(age)),
        };
        issue(&grant, &self.claims, key, Validation::HIGHEST_MAX_TOKEN_LEN)
            .expect("the claims of a TestToken can be signed")
    }
}

impl<S: RefreshStore> Sessions<S> {
    /// Signs an access token as a login of these sessions would, by their clock, and stores
    /// nothing. For a test (feature `testing`).
    ///
    /// # Panics
    /// For claims that cannot be signed: see [`EncodeError`](crate::EncodeError).
    pub fn test_token<C: Serialize>(&self, token: &TestToken<C>) -> String {
        let keys = self.access_keys.load();
        let key = keys.signing_key().expect("sessions sign");
        let client = self.clients.first().map_or("", String::as_str);
        token.sign_at(self.now().into(), key, &self.issuer, &self.audience, client)
    }
}

/// Sessions in memory, with random keys and a clock that only the test moves: issuer
/// `https://auth.test`, audience `api`, client `web`, tokens short enough for cookies. An
/// application with other names builds its own over a [`MemoryStore`], and calls
/// [`Sessions::test_token`].
pub struct TestSessions {
    sessions: Arc<Sessions<MemoryStore>>,
    clock: TestClock,
}

impl TestSessions {
    /// Returns sessions with an empty store, and a clock that shows the time at which it is made.
    ///
    /// # Panics
    /// Where the system has no random bytes.
    pub fn new() -> Self {
        let clock = TestClock::default();
        let key = || Key::generate(Algorithm::Hs256).expect("the system has random bytes");
        let sessions = Sessions::builder(MemoryStore::new(100_000))
            .issuer("https://auth.test")
            .audience("api")
            .client("web")
            .access_key(key())
            .refresh_key(key().with_kid("test"))
            .clock(clock.clone())
            .max_access_token_len(COOKIE_LEN)
            .expect("it is below the highest limit")
            .build()
            .expect("the defaults are safe");
        Self { sessions: Arc::new(sessions), clock }
    }

    /// The sessions, as the application under test takes them.
    pub fn sessions(&self) -> &Arc<Sessions<MemoryStore>> {
        &self.sessions
    }

    /// Their clock.
    pub fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// Signs an access token, of no session in the store: see [`Sessions::test_token`].
    ///
    /// # Panics
    /// For claims that cannot be signed: see [`EncodeError`](crate::EncodeError).
    pub fn token<C: Serialize>(&self, token: &TestToken<C>) -> String {
        self.sessions.test_token(token)
    }

    /// Puts a session into the store, as [`Sessions::login`] does, and returns its tokens. It needs
    /// no runtime.
    ///
    /// # Panics
    /// For a login that [`Sessions::login`] rejects.
    pub fn login<C: Serialize>(&self, login: impl Into<Login>, claims: &C) -> TokenResponse {
        ready(self.sessions.login(login, claims)).expect("the login of a test succeeds")
    }
}

/// The longest token that a cookie holds: `kippu_web::Cookies::MAX_ACCESS_TOKEN_LEN`.
const COOKIE_LEN: usize = 3900;

impl Default for TestSessions {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestSessions")
            .field("sessions", &self.sessions)
            .field("clock", &self.clock)
            .finish()
    }
}

/// The result of a future over a store in memory, which never waits.
fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("a store in memory does not wait"),
    }
}
