//! Logins: a short access token that servers verify without a database, and a long refresh token that gets the
//! next one, whose state sits in a store.
//!
//! What enters is a user whom the application has made sure of; what leaves is tokens, and later the answer
//! whether they still hold. A refresh token that was used up, or whose session has ended, is refused.
//!
//! ```
//! use kippu::{Algorithm, Key, session::{MemoryStore, Session, Sessions}};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Profile { role: String }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sessions = Sessions::builder(MemoryStore::new(100_000))
//!     .issuer("https://auth.example").audience("api").client("web")
//!     .access_key(Key::generate(Algorithm::Hs256)?) // from the secret manager
//!     .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
//!     .build()?;
//! let load_profile = async |session: Session| {
//!     // From the database; none, when the user is no longer welcome.
//!     Ok::<_, std::io::Error>((session.subject == "user-12345").then(|| Profile { role: "admin".into() }))
//! };
//!
//! let tokens = sessions.login("user-12345", &Profile { role: "admin".into() }).await?;
//! let who = sessions.verify::<Profile>(&tokens.access_token)?;        // no database
//! assert_eq!((&*who.subject, &*who.claims.role), ("user-12345", "admin"));
//! let tokens = sessions.refresh(&tokens.refresh_token, load_profile).await?;
//! sessions.logout(&tokens.refresh_token).await?;
//! assert!(sessions.refresh(&tokens.refresh_token, load_profile).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! The rules that a refresh follows are in [`RotateRequest::decide`](rotation::RotateRequest::decide), what a store
//! has to do in [`RefreshStore`], and the whole way of a login, step by step, in the [`guide`].

mod access;
mod builder;
#[cfg(feature = "conformance")]
pub mod conformance;
mod data;
mod ended;
mod error;
mod event;
#[doc = include_str!("session/guide.md")]
pub mod guide {}
mod id;
mod login;
mod logout;
mod purge;
mod reauthenticate;
mod record;
mod refresh_token;
mod response;
pub mod rotation;
pub mod store;
mod time;

use alloc::{borrow::ToOwned, boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{error::Error, fmt, future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use self::{
    access::Grant,
    event::OnEvent,
    rotation::{AheadPolicy, RotateOutcome, RotateRequest, Successor},
    store::{InsertOutcome, InsertRequest},
};
pub use self::{
    access::{AccessToken, AccessVerifier, NoClaims, NotRecent, TokenEnd},
    builder::{ConfigError, SessionsBuilder},
    data::{DataTooLong, SessionData},
    ended::{EndedError, EndedOptions, EndedSessions},
    error::SessionError,
    event::{Event, EventKind},
    id::{SessionId, SessionIdError},
    login::{IntoRenewal, Login, Renewal, Session, SessionPage},
    record::{RevokeReason, Revoked, SessionRecord},
    refresh_token::{REFRESH_TOKEN_PREFIX, RefreshKeyError},
    response::TokenResponse,
    store::{
        BoxStore, ListCursor, MemoryStore, RefreshStore, SessionLimit, StoreError, StoreErrorKind,
    },
    time::UnixMillis,
};
use crate::{
    claims::Audience,
    error::DecodeError,
    key_set::{KeySet, SharedKeySet},
    numeric_date::{Clock, NumericDate},
};

/// The sessions of an application: made once, and shared by all its requests.
///
/// Each step of a store ends within the deadline of that store, 3 seconds as delivered. A call waits for its steps one after
/// the other. A step that fails ends the call, except in `login_checked`:
///
/// | call | steps |
/// |---|---|
/// | `verify` | none |
/// | `login`, `logout`, `logout_all`, `logout_others`, `list`, `verify_live` | 1 |
/// | `purge_expired` | 2: it trims the log of ended sessions after the last session |
/// | `logout_session`, `logout_by_access_token` | 2: it reads the session first |
/// | `reauthenticate` | 2, and 2 more each time that another request has moved the session on meanwhile, up to 16 |
/// | `refresh` | 2, and a third one when the store puts the time of a rotation right between them |
/// | `login_checked` | 2, and a third one when the second one or the application's check fails: it ends the session, so that no session without a client is in a list |
///
/// A login reads the session once more when a driver has repeated the step that stores it. The time that `authorize` takes is
/// added.
pub struct Sessions<S> {
    store: S,
    verifier: Arc<AccessVerifier>,
    issuer: String,
    audience: Audience,
    /// The first is that of a login that names none.
    clients: Vec<String>,
    access_keys: SharedKeySet,
    refresh_keys: SharedKeySet,
    lifetimes: Lifetimes,
    limit: Option<SessionLimit>,
    ahead: AheadPolicy,
    clock: Arc<dyn Clock>,
    on_event: Option<OnEvent>,
}

/// How long what lasts.
#[derive(Clone, Copy, Debug)]
struct Lifetimes {
    access: Duration,
    idle: Duration,
    absolute: Duration,
    grace: Duration,
}

impl<S: RefreshStore> Sessions<S> {
    /// How long an access token is accepted when nothing else is said: 15 minutes.
    pub const DEFAULT_ACCESS_LIFETIME: Duration = Duration::from_secs(15 * 60);

    /// How long a session lives without a refresh when nothing else is said: 14 days.
    pub const DEFAULT_IDLE_LIFETIME: Duration = Duration::from_secs(14 * 24 * 3600);

    /// How long a session lives at most when nothing else is said: 90 days.
    pub const DEFAULT_ABSOLUTE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

    /// How long a session that is [not remembered](Login::remember) lives without a refresh at most, when the login says
    /// nothing else: 12 hours.
    pub const UNREMEMBERED_IDLE_LIFETIME: Duration = Duration::from_secs(12 * 3600);

    /// How long a session that is [not remembered](Login::remember) lives at most, when the login says nothing else: 24
    /// hours.
    pub const UNREMEMBERED_ABSOLUTE_LIFETIME: Duration = Duration::from_secs(24 * 3600);

    /// How long a refresh can be repeated when nothing else is said: 10 seconds.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

    /// Begins a session, after the application has made sure who it is. `claims` go into the access token
    /// beside those of RFC 9068 §2.2; they are given anew at each refresh, and are not stored.
    ///
    /// ```
    /// # use kippu::{Algorithm, Key, session::{Login, MemoryStore, NoClaims, Sessions}};
    /// # async fn example(sessions: Sessions<MemoryStore>) -> Result<(), kippu::session::SessionError> {
    /// let tokens = sessions.login(Login::new("user-12345").label("Firefox"), &NoClaims {}).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`]: a subject, label or claims that cannot be, a store that is full or at fault.
    pub async fn login<C: Serialize>(
        &self,
        login: impl Into<Login>,
        claims: &C,
    ) -> Result<TokenResponse, SessionError> {
        let keys = self.refresh_keys.load();
        let (request, now) = self.begin(login.into(), &keys)?;
        let access_token = self.access_token(&request.session, now, claims)?;
        self.insert(&request).await?;
        self.logged_in(&request.session, access_token, &keys, now)
    }

    /// As [`Sessions::login`], for an application that looks at the user's account once more when the session is
    /// in the store already: so a password that is changed, or an account that is closed, while this login is
    /// under way, with a [`Sessions::logout_all`] after it, leaves no session behind.
    ///
    /// `authorize` answers as that of [`Sessions::refresh`], but always with claims, and has to compare what the login was granted for: not
    /// whether the user is welcome, but whether the password is still the one that was checked.
    ///
    /// ```
    /// # use kippu::session::{MemoryStore, NoClaims, Session, SessionError, Sessions};
    /// # struct Account { password_version: u32 }
    /// # async fn load(_: &str) -> Result<Account, std::io::Error> { Ok(Account { password_version: 7 }) }
    /// # async fn example(sessions: Sessions<MemoryStore>) -> Result<(), Box<dyn std::error::Error>> {
    /// let checked = load("user-12345").await?; // … its password is right
    /// let tokens = sessions
    ///     .login_checked("user-12345", async |session: Session| {
    ///         let account = load(&session.subject).await?;
    ///         let is_same = account.password_version == checked.password_version;
    ///         Ok::<_, std::io::Error>(is_same.then_some(NoClaims {}))
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Sessions::login`] and [`Sessions::refresh`]; in all cases no session is left that can be used. A session that
    /// the store lost meanwhile, as in a failover, is [`SessionError::Store`]: try again.
    pub async fn login_checked<C, E, F>(
        &self,
        login: impl Into<Login>,
        authorize: impl FnOnce(Session) -> F,
    ) -> Result<TokenResponse, SessionError>
    where
        C: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Option<C>, E>>,
    {
        let keys = self.refresh_keys.load();
        let (request, now) = self.begin(login.into(), &keys)?;
        self.insert(&request).await?;
        let record = request.session;
        let checked = async {
            let claims = self.authorized(&record, now, authorize).await?;
            // Somebody may have ended all sessions of the user meanwhile.
            self.live(&record.id, &record.subject, now).await.map_err(|error| match error {
                // No logout removes a record. A failover to a replica that lagged does, and a purge that began before
                // the clock was set back.
                SessionError::InvalidToken => StoreError::new(
                    StoreErrorKind::Unavailable,
                    "the store has lost the session of a login: try again",
                )
                .into(),
                error => error,
            })?;
            self.access_token(&record, now, &claims)
        };
        match checked.await {
            Ok(access_token) => self.logged_in(&record, access_token, &keys, now),
            Err(error @ (SessionError::Denied | SessionError::Revoked(_))) => Err(error),
            Err(error) => {
                // No client has a token of it: it would only be one more session in a list.
                let _ = self.store.revoke(&record.id, RevokeReason::Denied, now).await;
                Err(error)
            }
        }
    }

    /// Verifies an access token, without a look at the store: see [`AccessVerifier::verify`].
    ///
    /// # Errors
    /// [`DecodeError`], with the first check that the token does not pass.
    pub fn verify<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, DecodeError> {
        self.verifier.verify(access_token)
    }

    /// As [`Sessions::verify`], and refuses a token whose session has ended: one read of the store.
    ///
    /// # Errors
    /// [`SessionError::AccessToken`] for a token that is not valid; [`SessionError::Revoked`],
    /// [`SessionError::Expired`] or [`SessionError::InvalidToken`] for a session that was ended, is over or is gone;
    /// [`SessionError::Store`].
    pub async fn verify_live<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, SessionError> {
        let token = self.verify(access_token)?;
        self.live(&token.session_id, &token.subject, self.now()).await?;
        Ok(token)
    }

    /// The length of the longest access token that is issued and accepted, in bytes; see
    /// [`SessionsBuilder::max_access_token_len`].
    pub fn max_access_token_len(&self) -> usize {
        self.verifier.token_len_limit()
    }

    /// The half that verifies access tokens, to be used alone.
    pub fn verifier(&self) -> &Arc<AccessVerifier> {
        &self.verifier
    }

    /// Checks that the session of a token that was verified has not ended: the one read of the store that
    /// [`Sessions::verify_live`] makes, for a server whose tokens a layer in front has verified already.
    ///
    /// # Errors
    /// As [`Sessions::verify_live`], without those of the token.
    pub async fn check_live(&self, id: &SessionId, subject: &str) -> Result<(), SessionError> {
        self.live(id, subject, self.now()).await.map(|_| ())
    }

    /// Uses a refresh token up and gives the next one, with a new access token.
    ///
    /// `authorize` is asked whether the session's user is still welcome, and with which claims: `Ok(Some(claims))`;
    /// `Ok(None)` ends the session; an error leaves everything as it was, so that the client can try again. With a [`Renewal`]
    /// in the place of the claims it also replaces the session's data.
    ///
    /// A token that was used up within the grace gets the same successor again, with a new access token. After the
    /// grace it ends the session: somebody else has a token of it (RFC 9700 §4.14.2).
    ///
    /// The order is fixed: the token's form, its tag, the store, `authorize`, the new access token, the store again. Whatever
    /// can fail comes before the step that uses the token up.
    ///
    /// # Errors
    /// [`SessionError`]. What a client is told is [`SessionError::oauth_error`].
    pub async fn refresh<R, E, F>(
        &self,
        refresh_token: &str,
        authorize: impl FnOnce(Session) -> F,
    ) -> Result<TokenResponse, SessionError>
    where
        R: IntoRenewal,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Option<R>, E>>,
    {
        let now = self.now();
        let keys = self.refresh_keys.load();
        let kid = refresh_token::check_key(keys.signing_key())?.to_owned();
        let presented = refresh_token::verify(refresh_token, &keys, Some(now.into()))
            .ok_or(SessionError::InvalidToken)?;
        let record = self.store.load(&presented.id).await?.ok_or(SessionError::InvalidToken)?;
        if !self.clients.contains(&record.client) || record.origin() != presented.origin {
            return Err(SessionError::InvalidToken);
        }
        let mut request = self.request(presented.id, presented.generation, kid, now);
        request.was_current = record.generation == presented.generation;
        let foreseen = request.decide(&record);
        let successor = match (granted(foreseen.outcome.clone()), foreseen.change) {
            // The application is not asked about a user who is refused anyway. The session ends before the client is told.
            (Err(_), Some(_)) => {
                let outcome = self.store.rotate(&request).await?;
                // The store may have put the time of a rotation right since the record was read: then it is not a reuse,
                // and the replay is reported once it is answered.
                if !matches!(outcome, RotateOutcome::Replayed(_)) {
                    self.tell_outcome(&record, &outcome);
                }
                granted(outcome)?
            }
            (Err(error), None) => {
                self.tell_outcome(&record, &foreseen.outcome);
                return Err(error);
            }
            (Ok(successor), _) => successor,
        };
        // For a token that this server cannot make nothing is asked, and nothing used up.
        if keys.get(&successor.kid).is_none() {
            return Err(SessionError::MissingRefreshKey { kid: successor.kid });
        }
        let Renewal { claims, data } =
            self.authorized(&record, now, authorize).await?.into_renewal();
        request.data = data;
        let access_token = self.access_token(&record, now, &claims)?;
        request.waited = self.now().saturating_since(now);
        let outcome = self.store.rotate(&request).await?;
        self.tell_outcome(&record, &outcome);
        self.respond(&record, &granted(outcome)?, access_token, &keys, now)
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.clock.unix_millis())
    }

    /// A new session, not stored yet.
    fn begin(
        &self,
        login: Login,
        keys: &KeySet,
    ) -> Result<(InsertRequest, UnixMillis), SessionError> {
        login.check()?;
        let limit = login.limit.or(self.limit);
        builder::check_limit(limit)?;
        let Lifetimes { idle, absolute, .. } = self.lifetimes_of(&login)?;
        let has_own_idle_lifetime = login.idle_lifetime.is_some() || !login.remembered;
        let client = match (login.client, &*self.clients) {
            (None, [client, ..]) => client.clone(),
            (Some(client), clients) if clients.contains(&client) => client,
            _ => return Err(SessionError::Client),
        };
        let now = self.now();
        let id = SessionId::generate(&login.subject).map_err(|_| SessionError::NoRandomness)?;
        let kid = refresh_token::check_key(keys.signing_key())?;
        let end = now.saturating_add(absolute);
        let record = SessionRecord {
            label: login.label,
            remembered: login.remembered,
            idle_lifetime: has_own_idle_lifetime.then_some(idle),
            data: login.data,
            expires_at: now.saturating_add(idle).min(end),
            ..SessionRecord::new(id, login.subject, client, kid, now, end)
        };
        Ok((InsertRequest { limit, ..InsertRequest::new(record) }, now))
    }

    /// The lifetimes of a login: what it says itself, and else what the builder has said.
    fn lifetimes_of(&self, login: &Login) -> Result<Lifetimes, ConfigError> {
        let mut lifetimes = self.lifetimes;
        if !login.remembered {
            lifetimes.absolute = lifetimes.absolute.min(Self::UNREMEMBERED_ABSOLUTE_LIFETIME);
            lifetimes.idle = lifetimes.idle.min(Self::UNREMEMBERED_IDLE_LIFETIME);
        }
        lifetimes.absolute = login.absolute_lifetime.unwrap_or(lifetimes.absolute);
        lifetimes.idle = login.idle_lifetime.unwrap_or(lifetimes.idle.min(lifetimes.absolute));
        lifetimes.idle = in_whole_millis(lifetimes.idle);
        lifetimes.check()?;
        Ok(lifetimes)
    }

    async fn insert(&self, request: &InsertRequest) -> Result<(), SessionError> {
        let record = &request.session;
        match self.store.insert(request).await? {
            InsertOutcome::Inserted { evicted } => {
                let kind = EventKind::Revoked { reason: RevokeReason::Limit, sessions: 1 };
                for id in evicted {
                    self.tell(kind, Some(id), Some(&record.subject));
                }
                Ok(())
            }
            InsertOutcome::LimitReached => Err(SessionError::TooManySessions),
            InsertOutcome::Full => Err(SessionError::Full),
            // A driver may send a step again when its answer is lost; then what is there is what was sent.
            InsertOutcome::Duplicate => match self.store.load(&record.id).await? {
                Some(stored) if stored == *record => Ok(()),
                _ => Err(SessionError::NoRandomness),
            },
        }
    }

    fn logged_in(
        &self,
        record: &SessionRecord,
        access_token: String,
        keys: &KeySet,
        now: UnixMillis,
    ) -> Result<TokenResponse, SessionError> {
        self.tell(EventKind::LoggedIn, Some(record.id), Some(&record.subject));
        let first = Successor {
            generation: record.generation,
            kid: record.kid.clone(),
            expires_at: record.expires_at,
        };
        self.respond(record, &first, access_token, keys, now)
    }

    /// Asks the application for the claims of a session, and ends the session of a user who is not welcome.
    async fn authorized<C, E, F>(
        &self,
        record: &SessionRecord,
        now: UnixMillis,
        authorize: impl FnOnce(Session) -> F,
    ) -> Result<C, SessionError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Option<C>, E>>,
    {
        let authorized = authorize(record.clone().into()).await;
        let claims = authorized.map_err(|error| SessionError::Authorize(error.into()))?;
        if claims.is_none() {
            self.store.revoke(&record.id, RevokeReason::Denied, now).await?;
            self.tell(EventKind::Denied, Some(record.id), Some(&record.subject));
        }
        claims.ok_or(SessionError::Denied)
    }

    /// The record of a session of `subject`, if it still is one.
    async fn live(
        &self,
        id: &SessionId,
        subject: &str,
        now: UnixMillis,
    ) -> Result<SessionRecord, SessionError> {
        let record = self.store.load(id).await?.ok_or(SessionError::InvalidToken)?;
        if record.subject != subject {
            return Err(SessionError::InvalidToken);
        }
        match record.revoked {
            Some(revoked) => Err(SessionError::Revoked(revoked.reason)),
            None if record.is_expired(now) => Err(SessionError::Expired),
            None => Ok(record),
        }
    }

    fn request(
        &self,
        id: SessionId,
        generation: u64,
        kid: String,
        now: UnixMillis,
    ) -> RotateRequest {
        let Lifetimes { grace, idle, .. } = self.lifetimes;
        let request = RotateRequest::new(id, generation, kid, now, grace, idle);
        RotateRequest { ahead: self.ahead, ..request }
    }

    /// The access token of a session, complete: nothing of it can fail once the session is stored or rotated (R17).
    fn access_token<C: Serialize>(
        &self,
        record: &SessionRecord,
        now: UnixMillis,
        claims: &C,
    ) -> Result<String, SessionError> {
        let grant = Grant {
            issuer: &self.issuer,
            audience: &self.audience,
            subject: &record.subject,
            client: &record.client,
            session: &record.id,
            issued_at: now.into(),
            expires_at: self.access_expires_at(record, now),
            auth_time: record.auth_time.into(),
        };
        let keys = self.access_keys.load();
        let limit = self.verifier.token_len_limit();
        Ok(access::issue(&grant, claims, keys.signing_key(), limit)?)
    }

    /// No access token outlives the end of its session that is known from the start.
    fn access_expires_at(&self, record: &SessionRecord, now: UnixMillis) -> NumericDate {
        now.saturating_add(self.lifetimes.access).min(record.absolute_expires_at).into()
    }

    fn respond(
        &self,
        record: &SessionRecord,
        successor: &Successor,
        access_token: String,
        keys: &KeySet,
        now: UnixMillis,
    ) -> Result<TokenResponse, SessionError> {
        Ok(TokenResponse {
            access_token,
            // From `iat` on, which has no fraction either.
            expires_in: self.access_expires_at(record, now).saturating_since(now.into()),
            refresh_token: refresh_token_of(record, successor, keys)?,
            refresh_expires_in: successor.expires_at.saturating_since(now),
            session_id: record.id,
            remembered: record.remembered,
        })
    }

    fn tell_outcome(&self, record: &SessionRecord, outcome: &RotateOutcome) {
        let kind = match *outcome {
            RotateOutcome::Rotated(_) => EventKind::Rotated,
            RotateOutcome::Replayed(_) => EventKind::Replayed,
            RotateOutcome::Healed { lost, .. } => EventKind::Healed { lost },
            RotateOutcome::Ahead { lost } => EventKind::Ahead { lost },
            RotateOutcome::Reused => EventKind::ReuseDetected,
            // Nothing happened.
            RotateOutcome::Overtaken
            | RotateOutcome::Revoked(_)
            | RotateOutcome::Expired
            | RotateOutcome::Unknown => return,
        };
        self.tell(kind, Some(record.id), Some(&record.subject));
    }

    fn tell(&self, kind: EventKind, session_id: Option<SessionId>, subject: Option<&str>) {
        let event = Event { kind, session_id, subject };
        event.trace();
        if let Some(on_event) = &self.on_event {
            on_event(&event);
        }
    }
}

/// As stores keep it.
fn in_whole_millis(time: Duration) -> Duration {
    UnixMillis::new(0).saturating_add(time).saturating_since(UnixMillis::new(0))
}

/// The token of a successor, by the key that the record names: it may sign no more, but a retry has to get the same token.
fn refresh_token_of(
    record: &SessionRecord,
    successor: &Successor,
    keys: &KeySet,
) -> Result<String, SessionError> {
    let kid = &successor.kid;
    let (key, _) =
        keys.get(kid).ok_or_else(|| SessionError::MissingRefreshKey { kid: kid.clone() })?;
    refresh_token::mint(key, &record.id, &record.origin(), successor.generation)
        .map_err(SessionError::RefreshKey)
}

/// What an outcome grants.
fn granted(outcome: RotateOutcome) -> Result<Successor, SessionError> {
    match outcome {
        RotateOutcome::Rotated(successor)
        | RotateOutcome::Replayed(successor)
        | RotateOutcome::Healed { successor, .. } => Ok(successor),
        RotateOutcome::Ahead { lost } => Err(SessionError::Ahead { lost }),
        RotateOutcome::Reused => Err(SessionError::Reused),
        RotateOutcome::Revoked(reason) => Err(SessionError::Revoked(reason)),
        RotateOutcome::Expired => Err(SessionError::Expired),
        RotateOutcome::Unknown => Err(SessionError::InvalidToken),
        // Only a reauthentication is, which reads the session again.
        RotateOutcome::Overtaken => {
            Err(StoreError::new(StoreErrorKind::Contention, "the session changed with every try")
                .into())
        }
    }
}

impl<S> fmt::Debug for Sessions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("clients", &self.clients)
            .field("lifetimes", &self.lifetimes)
            .finish_non_exhaustive()
    }
}
