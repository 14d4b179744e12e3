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
mod list;
mod login;
mod logout;
mod purge;
mod reauthenticate;
mod record;
mod refresh;
mod refresh_token;
mod response;
pub mod rotation;
pub mod store;
mod time;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{error::Error, fmt, future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use self::{
    access::Grant,
    event::OnEvent,
    rotation::{AheadPolicy, RotateRequest, Successor},
};
pub use self::{
    access::{AccessToken, AccessVerifier, NoClaims, NotRecent, TokenEnd},
    builder::{ConfigError, SessionsBuilder},
    data::{DataTooLong, SessionData},
    ended::{EndedError, EndedOptions, EndedSessions},
    error::SessionError,
    event::{Event, EventKind},
    id::{SessionId, SessionIdError},
    list::{Session, SessionPage},
    login::Login,
    record::{RevokeReason, Revoked, SessionRecord},
    refresh::{IntoRenewal, Renewal},
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
    key::Key,
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
/// | `reauthenticate` | 2, and 2 more each time that other requests have rotated the session twice meanwhile, up to 16 |
/// | `refresh` | 2, and a third one when another request has overtaken it, or the store puts the time of a rotation right between them |
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

    /// How long a refresh can be repeated by default: 10 seconds.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

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

    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.clock.unix_millis())
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

    /// The record of a session. Where the store has lost that the session ended, in a failover or with a restored backup, and
    /// this server knows it, the session ends again.
    async fn load(&self, id: &SessionId) -> Result<Option<SessionRecord>, SessionError> {
        let mut record = self.store.load(id).await?;
        if let Some(record) = &mut record {
            if record.revoked.is_none() && self.verifier.knows_ended(id) {
                let (at, reason) = (self.now(), RevokeReason::Logout);
                self.store.revoke(id, reason, at).await?;
                self.tell(
                    EventKind::Revoked { reason, sessions: 1 },
                    Some(*id),
                    Some(&record.subject),
                );
                record.revoked = Some(Revoked { at, reason });
            }
        }
        Ok(record)
    }

    /// The record of a session of `subject`, if it still is one.
    async fn live(
        &self,
        id: &SessionId,
        subject: &str,
        now: UnixMillis,
    ) -> Result<SessionRecord, SessionError> {
        let record = self.load(id).await?.ok_or(SessionError::InvalidToken)?;
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
        Ok(access::issue(&grant, claims, keys.signing_key()?, limit)?)
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

    fn tell(&self, kind: EventKind, session_id: Option<SessionId>, subject: Option<&str>) {
        let event = Event { kind, session_id, subject };
        event.trace();
        if let Some(on_event) = &self.on_event {
            on_event(&event);
        }
    }
}

/// The token of a successor, by the key that the record names: it may sign no more, but a retry has to get the same token.
fn refresh_token_of(
    record: &SessionRecord,
    successor: &Successor,
    keys: &KeySet,
) -> Result<String, SessionError> {
    let key = key_of(successor, keys)?;
    refresh_token::mint(key, &record.id, &record.origin(), successor.generation)
        .map_err(SessionError::RefreshKey)
}

fn key_of<'k>(successor: &Successor, keys: &'k KeySet) -> Result<&'k Key, SessionError> {
    let kid = &successor.kid;
    let (key, _) =
        keys.get(kid).ok_or_else(|| SessionError::MissingRefreshKey { kid: kid.clone() })?;
    Ok(key)
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
