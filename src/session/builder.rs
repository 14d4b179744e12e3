//! The options of the sessions: names, keys and lifetimes in, [`Sessions`] out. A missing option
//! and an unsafe combination are refused.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use super::{
    Lifetimes, Sessions,
    access::AccessVerifier,
    ended::EndedSessions,
    event::{Event, OnEvent},
    record::is_name,
    refresh_token::{self, RefreshKeyError},
    rotation::AheadPolicy,
    store::{RefreshStore, SessionLimit},
};
use crate::{
    claims::Audience,
    debug::debug_by_message,
    key_set::SharedKeySet,
    numeric_date::{Clock, SystemClock},
    validation::{InvalidOption, Validation},
};

/// Builds [`Sessions`]: see [`Sessions::builder`].
#[must_use]
pub struct SessionsBuilder<S> {
    store: S,
    issuer: String,
    audiences: Vec<String>,
    clients: Vec<String>,
    access_keys: Option<SharedKeySet>,
    refresh_keys: Option<SharedKeySet>,
    lifetimes: Lifetimes,
    grace: Duration,
    limit: Option<SessionLimit>,
    ahead: AheadPolicy,
    /// The limits on access tokens.
    validation: Validation,
    ended: Option<EndedSessions>,
    clock: Arc<dyn Clock>,
    on_event: Option<OnEvent>,
}

/// Why the options are refused.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A required option is missing.
    #[error("no {what} is set: call .{what}(…)")]
    Missing {
        /// The call that sets it.
        what: &'static str,
    },
    /// A name is empty, too long, or has control characters. Such a name would not fit every store.
    #[error("the {what} is not a name of 1 to 512 bytes without control characters")]
    Name {
        /// The call that sets it.
        what: &'static str,
    },
    /// The access lifetime is shorter than a second. The times of an access token are whole
    /// seconds.
    #[error("an access lifetime of {given:?} is too short: it needs at least a second")]
    AccessLifetimeTooShort {
        /// The requested lifetime.
        given: Duration,
    },
    /// The grace is not shorter than the access lifetime. A used-up refresh token would be accepted
    /// for longer than an access token.
    #[error("a grace of {grace:?} is not shorter than the access lifetime of {access_lifetime:?}")]
    GraceTooLong {
        /// The grace.
        grace: Duration,
        /// The access lifetime.
        access_lifetime: Duration,
    },
    /// The access lifetime is longer than the idle lifetime, so that the session would end between
    /// two refreshes.
    #[error(
        "the access lifetime of {access_lifetime:?} is longer than the idle lifetime of {idle_lifetime:?}"
    )]
    AccessOverIdle {
        /// The access lifetime.
        access_lifetime: Duration,
        /// The idle lifetime.
        idle_lifetime: Duration,
    },
    /// The idle lifetime is longer than the absolute lifetime, so that it would have no effect.
    #[error(
        "the idle lifetime of {idle_lifetime:?} is longer than the absolute lifetime of {absolute_lifetime:?}"
    )]
    IdleOverAbsolute {
        /// The idle lifetime.
        idle_lifetime: Duration,
        /// The absolute lifetime.
        absolute_lifetime: Duration,
    },
    /// The access lifetime is longer than that of
    /// [`EndedOptions::access_lifetime`](super::EndedOptions::access_lifetime). A token could
    /// outlive the record that its session has ended.
    #[error(
        "the access lifetime of {access_lifetime:?} is longer than the {ended:?} of EndedOptions::access_lifetime: set both \
         to the same value"
    )]
    EndedTooShort {
        /// The access lifetime.
        access_lifetime: Duration,
        /// The access lifetime in the options of the ended sessions.
        ended: Duration,
    },
    /// The limit is 0, so that no user could log in.
    #[error("a limit of 0 sessions refuses every login: set at least 1")]
    LimitOfZero,
    /// The refresh key cannot make refresh tokens.
    #[error(transparent)]
    RefreshKey(#[from] RefreshKeyError),
    /// A set of keys is verify-only ([`KeySet::verify_only`](crate::KeySet::verify_only)), and
    /// sessions sign with both sets.
    #[error("the set of keys of .{what}(…) is verify-only, but sessions have to sign")]
    VerifyOnly {
        /// `access_key` or `refresh_key`.
        what: &'static str,
    },
    /// An access key and a refresh key have the same secret. Every server that verifies access
    /// tokens has the access key, and could forge refresh tokens with it. The check compares keys
    /// of one algorithm, and only those that are present when the sessions are built.
    #[error("an access key and a refresh key have the same secret: generate two secrets")]
    SameKey,
}

debug_by_message!(ConfigError);

impl<S: RefreshStore> Sessions<S> {
    /// Returns a builder of sessions that are kept in `store`.
    pub fn builder(store: S) -> SessionsBuilder<S> {
        SessionsBuilder::new(store)
    }
}

impl<S: RefreshStore> SessionsBuilder<S> {
    fn new(store: S) -> Self {
        Self {
            store,
            issuer: String::new(),
            audiences: Vec::new(),
            clients: Vec::new(),
            access_keys: None,
            refresh_keys: None,
            lifetimes: Lifetimes::default(),
            grace: Sessions::<S>::DEFAULT_GRACE,
            limit: None,
            ahead: AheadPolicy::default(),
            validation: Validation::new(),
            ended: None,
            clock: Arc::new(SystemClock),
            on_event: None,
        }
    }

    /// Sets `iss` of the access tokens: the URL of this server. Required.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), ..self }
    }

    /// Sets `aud` of the access tokens: the API that accepts them. Call it again to add another
    /// audience. Required.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets `client_id` of the access tokens (RFC 6749 §2.2): the application that users log in to.
    /// Call it again to add another client, for logins that [name it](super::Login::client).
    /// Sessions of any other client in the same store are not refreshed. Required.
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.clients.push(client.into());
        self
    }

    /// Sets the key or keys that sign access tokens: a [`Key`](crate::Key), a
    /// [`KeySet`](crate::KeySet), or a [`SharedKeySet`] that a reload replaces. Every resource
    /// server has these keys. Required.
    pub fn access_key(self, keys: impl Into<SharedKeySet>) -> Self {
        Self { access_keys: Some(keys.into()), ..self }
    }

    /// Sets the key or keys that make refresh tokens: HS256, with a `kid`. Only the servers that
    /// log in and refresh may have them. A retired key still reads its tokens until its end date.
    /// Required.
    pub fn refresh_key(self, keys: impl Into<SharedKeySet>) -> Self {
        Self { refresh_keys: Some(keys.into()), ..self }
    }

    /// Sets the lifetimes of access tokens and sessions, [`Lifetimes::aal1`] by default.
    pub fn lifetimes(self, lifetimes: Lifetimes) -> Self {
        Self { lifetimes, ..self }
    }

    /// Sets the lifetime of an access token in whole seconds, 15 minutes by default. After a
    /// logout, a user keeps access for that long, unless the verifier has
    /// [`ended_sessions`](Self::ended_sessions) or calls [`Sessions::verify_live`].
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.access = lifetime;
        self
    }

    /// Sets how long a session lives without a refresh, 14 days by default.
    pub fn idle_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.idle = lifetime;
        self
    }

    /// Sets how long a session lives at most, however often it is refreshed, 30 days by default.
    pub fn absolute_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.absolute = lifetime;
        self
    }

    /// Limits the live sessions of a subject. [`Login::limit`](super::Login::limit) overrides the
    /// limit. By default there is none.
    pub fn session_limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Sets how long after a refresh the used-up token still gets the same successor, 10 seconds by
    /// default. It is for a client that lost the response, and for two tabs that refresh at once.
    /// With zero, a token that is presented twice ends its session. The grace begins when the store
    /// is asked; it does not include the time that `authorize` takes.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets what to do when the store turns out to have lost commits.
    pub fn ahead(self, policy: AheadPolicy) -> Self {
        Self { ahead: policy, ..self }
    }

    /// Sets the difference that is allowed between clocks when access tokens are verified here, 60
    /// seconds by default; see [`Validation::leeway`](crate::Validation::leeway). Refresh tokens
    /// have no leeway.
    ///
    /// # Errors
    /// [`InvalidOption::LeewayTooLong`] above
    /// [`Validation::MAX_LEEWAY`](crate::Validation::MAX_LEEWAY).
    pub fn leeway(self, leeway: Duration) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.leeway(leeway)?, ..self })
    }

    /// Limits access tokens to `bytes` bytes, 16 KiB by default. A longer token is not accepted. It
    /// is not issued either: the call fails with
    /// [`SessionError::TooLong`](super::SessionError::TooLong) before anything is stored or used
    /// up. If cookies or proxies limit the length, set that limit here.
    ///
    /// # Errors
    /// [`InvalidOption::MaxTokenLen`] if the value is 0 or above
    /// [`Validation::HIGHEST_MAX_TOKEN_LEN`](crate::Validation::HIGHEST_MAX_TOKEN_LEN).
    pub fn max_access_token_len(self, bytes: usize) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.max_token_len(bytes)?, ..self })
    }

    /// Makes [`Sessions::verify`] refuse the tokens of sessions that have ended; see
    /// [`EndedSessions`]. If a failover or a restored backup has lost a logout that this server
    /// knows of, the session ends again when its token is presented.
    pub fn ended_sessions(self, ended: EndedSessions) -> Self {
        Self { ended: Some(ended), ..self }
    }

    /// Reads `clock` instead of the system's clock, once for each call.
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Calls `on_event` for each event of a session, in addition to the log. The call is part of
    /// the request, so `on_event` has to be quick.
    pub fn on_event(self, on_event: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self { on_event: Some(Box::new(on_event)), ..self }
    }

    /// Builds the sessions.
    ///
    /// # Errors
    /// [`ConfigError`] if an option is missing, or if a combination is unsafe.
    pub fn build(self) -> Result<Sessions<S>, ConfigError> {
        name("issuer", &self.issuer)?;
        if self.clients.is_empty() {
            return Err(ConfigError::Missing { what: "client" });
        }
        self.clients.iter().try_for_each(|client| name("client", client))?;
        let Some((first, others)) = self.audiences.split_first() else {
            return Err(ConfigError::Missing { what: "audience" });
        };
        self.audiences.iter().try_for_each(|audience| name("audience", audience))?;
        let access_keys = self.access_keys.ok_or(ConfigError::Missing { what: "access_key" })?;
        let refresh_keys = self.refresh_keys.ok_or(ConfigError::Missing { what: "refresh_key" })?;
        check_keys(&access_keys, &refresh_keys)?;
        self.lifetimes.check()?;
        let (grace, access_lifetime) = (self.grace, self.lifetimes.access);
        if grace >= access_lifetime {
            return Err(ConfigError::GraceTooLong { grace, access_lifetime });
        }
        check_limit(self.limit)?;

        // The clock that dates the tokens also verifies them, so that none comes from the future.
        let validation = self.validation.clock(Arc::clone(&self.clock));
        // A handle to the same keys, so that a reload reaches the signer and the verifier.
        let (keys, issuer) = (access_keys.clone(), self.issuer.as_str());
        let mut verifier = AccessVerifier::with(validation, keys, issuer, first.as_str());
        for audience in others {
            verifier = verifier.audience(audience.as_str());
        }
        if let Some(ended) = self.ended {
            let known = ended.access_lifetime();
            if access_lifetime > known {
                return Err(ConfigError::EndedTooShort { access_lifetime, ended: known });
            }
            verifier = verifier.ended_sessions(ended);
        }
        // RFC 7519 §4.1.3: a single audience may be a string, which every library reads.
        let audience = match others {
            [] => Audience::One(first.clone()),
            _ => Audience::Many(self.audiences),
        };
        Ok(Sessions {
            store: self.store,
            access_keys,
            verifier: Arc::new(verifier),
            issuer: self.issuer,
            audience,
            clients: self.clients,
            refresh_keys,
            lifetimes: self.lifetimes,
            grace,
            limit: self.limit,
            ahead: self.ahead,
            clock: self.clock,
            on_event: self.on_event,
        })
    }
}

pub(super) fn check_limit(limit: Option<SessionLimit>) -> Result<(), ConfigError> {
    match limit {
        Some(limit) if limit.max() == 0 => Err(ConfigError::LimitOfZero),
        _ => Ok(()),
    }
}

fn name(what: &'static str, given: &str) -> Result<(), ConfigError> {
    match given {
        "" => Err(ConfigError::Missing { what }),
        given if !is_name(given) => Err(ConfigError::Name { what }),
        _ => Ok(()),
    }
}

/// Checks all refresh keys, including retired ones. Of a shared set it checks the current keys.
fn check_keys(access_keys: &SharedKeySet, refresh_keys: &SharedKeySet) -> Result<(), ConfigError> {
    let (access_keys, refresh_keys) = (access_keys.load(), refresh_keys.load());
    for (what, keys) in [("access_key", &access_keys), ("refresh_key", &refresh_keys)] {
        keys.signing_key().map_err(|_| ConfigError::VerifyOnly { what })?;
    }
    for key in refresh_keys.keys() {
        refresh_token::check_key(key)?;
    }
    if refresh_keys.shares_a_secret_with(&access_keys) {
        return Err(ConfigError::SameKey);
    }
    Ok(())
}

impl<S> fmt::Debug for SessionsBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("clients", &self.clients)
            .field("lifetimes", &self.lifetimes)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}
