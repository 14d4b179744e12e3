//! Logins: a short access token that servers verify without a database, and a long refresh token
//! whose state is in a store. A client exchanges the refresh token for the next pair of tokens.
//!
//! The application authenticates the user; this module issues the tokens and later decides whether
//! they are still valid. A refresh token is refused if it has been used up, or if its session has
//! ended.
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
//!     // From the database. `None` if the user may no longer log in.
//!     let is_user = session.subject == "user-12345";
//!     Ok::<_, std::io::Error>(is_user.then(|| Profile { role: "admin".into() }))
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
//! [`RotateRequest::decide`](rotation::RotateRequest::decide) has the rules of a refresh,
//! [`RefreshStore`] the requirements on a store. The [`guide`] explains a login step by step;
//! [`logging_out`] and [`running_a_store`] continue it.

mod access;
mod builder;
#[cfg(feature = "conformance")]
pub mod conformance;
mod data;
mod ended;
mod error;
mod event;
// A page of parts, because rustdoc shows a drawing in the colours of its theme only if the drawing
// is in the page. In Markdown, a blank line ends it.
macro_rules! page {
    ($($part:literal)*) => {
        concat!($(include_str!(concat!("session/", $part)), "\n\n"),*)
    };
}
#[doc = page!(
    "guide.md"
    "guide/log_in.svg" "guide/log_in.md"
    "guide/call.svg" "guide/call.md"
    "guide/refresh.svg" "guide/refresh.md"
    "guide/log_out.svg" "guide/log_out.md"
    "guide/theft.svg" "guide/theft.md"
)]
pub mod guide {}
#[doc = include_str!("session/how_it_is_tested.md")]
pub mod how_it_is_tested {}
mod id;
mod lifetimes;
mod list;
#[doc = include_str!("session/logging_out.md")]
pub mod logging_out {}
mod login;
mod logout;
mod purge;
mod reauthenticate;
mod record;
mod refresh;
mod refresh_token;
mod response;
pub mod rotation;
#[doc = include_str!("session/running_a_store.md")]
pub mod running_a_store {}
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
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
    lifetimes::Lifetimes,
    list::{Session, SessionPage},
    login::Login,
    record::{RevokeReason, Revoked, SessionRecord},
    refresh::{IntoRenewal, Renewal},
    refresh_token::{REFRESH_TOKEN_PREFIX, RefreshKeyError},
    response::{OAuthError, TokenResponse},
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

/// The sessions of an application. Make one value and share it among all requests.
///
/// Each step of a store ends within the deadline of that store, 3 seconds by default. A call makes
/// its steps one after the other. A step that fails ends the call, except in `login_checked`:
///
/// | call | steps |
/// |---|---|
/// | `verify` | none |
/// | `login`, `logout`, `logout_all`, `logout_others`, `list`, `verify_live` | 1 |
/// | `purge_expired` | 2: after the last session it trims the log of ended sessions |
/// | `logout_session`, `logout_by_access_token` | 2: it reads the session first |
/// | `reauthenticate` | 2, and 2 more each time that other requests have rotated the session twice meanwhile, up to 16 |
/// | `refresh` | 2, and a third one if another request has overtaken it, or if the store corrects the time of a rotation between them |
/// | `login_checked` | 2, and a third one if the second one or the application's check fails: it ends the session, so that no list shows a session without a client |
///
/// A login reads the session once more if a driver has repeated the step that stores it. The time
/// that `authorize` takes is not included.
pub struct Sessions<S> {
    store: S,
    verifier: Arc<AccessVerifier>,
    issuer: String,
    audience: Audience,
    /// The first client is that of a login that names none.
    clients: Vec<String>,
    access_keys: SharedKeySet,
    refresh_keys: SharedKeySet,
    lifetimes: Lifetimes,
    grace: Duration,
    limit: Option<SessionLimit>,
    ahead: AheadPolicy,
    clock: Arc<dyn Clock>,
    on_event: Option<OnEvent>,
}

impl<S: RefreshStore> Sessions<S> {
    /// How long a session that is [not remembered](Login::remember) lives without a refresh at
    /// most, if the login sets nothing else: 12 hours.
    pub const UNREMEMBERED_IDLE_LIFETIME: Duration = Duration::from_secs(12 * 3600);

    /// How long a session that is [not remembered](Login::remember) lives at most, if the login
    /// sets nothing else: 24 hours.
    pub const UNREMEMBERED_ABSOLUTE_LIFETIME: Duration = Duration::from_secs(24 * 3600);

    /// How long after a refresh its token can be presented again, if the builder sets nothing else:
    /// 10 seconds.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);

    /// Verifies an access token without reading the store; see [`AccessVerifier::verify`].
    ///
    /// # Errors
    /// [`DecodeError`], with the first check that fails.
    pub fn verify<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, DecodeError> {
        self.verifier.verify(access_token)
    }

    /// Verifies an access token, like [`Sessions::verify`], and refuses it if its session has
    /// ended. It reads the store once.
    ///
    /// # Errors
    /// [`SessionError::AccessToken`] if the token is not valid. [`SessionError::Revoked`],
    /// [`SessionError::Expired`] or [`SessionError::InvalidToken`] if the session was revoked, has
    /// expired, or is not in the store. [`SessionError::Store`].
    pub async fn verify_live<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<AccessToken<C>, SessionError> {
        let token = self.verify(access_token)?;
        self.live(&token.session_id, &token.subject, self.now()).await?;
        Ok(token)
    }

    /// Returns the maximum length of an access token that is issued and accepted, in bytes; see
    /// [`SessionsBuilder::max_access_token_len`].
    pub fn max_access_token_len(&self) -> usize {
        self.verifier.token_len_limit()
    }

    /// Returns the part that verifies access tokens. It can be used without the rest.
    pub fn verifier(&self) -> &Arc<AccessVerifier> {
        &self.verifier
    }

    /// Checks that the session of a verified token has not ended. It is the read of the store that
    /// [`Sessions::verify_live`] makes, for a server whose tokens another layer has already
    /// verified.
    ///
    /// # Errors
    /// Those of [`Sessions::verify_live`] that are not about the token.
    pub async fn check_live(&self, id: &SessionId, subject: &str) -> Result<(), SessionError> {
        self.live(id, subject, self.now()).await.map(|_| ())
    }

    fn now(&self) -> UnixMillis {
        UnixMillis::new(self.clock.unix_millis())
    }

    /// Asks the application for the claims of a session, and ends the session if the application
    /// denies the user.
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

    /// Loads the record of a session. If this server knows that the session has ended, but the
    /// store has lost the revocation in a failover or through a restored backup, the session is
    /// revoked again.
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

    /// Returns the record of a session of `subject`, unless the session has ended.
    async fn live(
        &self,
        id: &SessionId,
        subject: &str,
        now: UnixMillis,
    ) -> Result<SessionRecord, SessionError> {
        let record = self.load(id).await?.ok_or(SessionError::InvalidToken)?;
        // The token proves the subject. A record with another one was rewritten in the store.
        if record.subject != subject {
            return Err(SessionError::InvalidToken);
        }
        // As in `RotateRequest::decide`: a session that was revoked stays revoked when it also
        // expires (R4).
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
        let idle = self.lifetimes.idle;
        let request = RotateRequest::new(id, generation, kid, now, self.grace, idle);
        RotateRequest { ahead: self.ahead, ..request }
    }

    /// Makes the access token of a session, with all checks that can fail. It runs before the
    /// session is stored or rotated, so that no later step can fail (R17).
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

    /// Returns the expiry of an access token. It is never after the absolute end of the session.
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
            // Counted from `iat`, which has no fraction either.
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

/// Makes the token of a successor, with the key that the record names. That key may no longer sign,
/// but a retry has to get the same token.
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
