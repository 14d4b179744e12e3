//! What has to be said before there are sessions: names, keys and lifetimes in, [`Sessions`] out; a combination that
//! cannot be safe is refused.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use super::{
    Lifetimes, Sessions,
    access::AccessVerifier,
    ended::EndedSessions,
    event::{Event, OnEvent},
    login::is_name,
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
    limit: Option<SessionLimit>,
    ahead: AheadPolicy,
    /// The limits on access tokens.
    validation: Validation,
    ended: Option<EndedSessions>,
    clock: Arc<dyn Clock>,
    on_event: Option<OnEvent>,
}

/// Why there are no sessions with these options.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Something has to be said.
    #[error("no {what} is given: call .{what}(…)")]
    Missing {
        /// The call that says it.
        what: &'static str,
    },
    /// A name is empty, or goes beyond what fits everywhere.
    #[error("the {what} is not a name of 1 to 512 bytes without control characters")]
    Name {
        /// The call that says it.
        what: &'static str,
    },
    /// The access token's times are whole seconds.
    #[error("an access lifetime of {given:?} is too short: a second at least")]
    AccessLifetimeTooShort {
        /// The lifetime that was asked for.
        given: Duration,
    },
    /// A token that is used up would be good for longer than one that is not.
    #[error("a grace of {grace:?} is not shorter than the access lifetime of {access_lifetime:?}")]
    GraceTooLong {
        /// The grace.
        grace: Duration,
        /// The access lifetime.
        access_lifetime: Duration,
    },
    /// The session would end between two refreshes.
    #[error(
        "the access lifetime of {access_lifetime:?} is longer than the idle lifetime of {idle_lifetime:?}"
    )]
    AccessOverIdle {
        /// The access lifetime.
        access_lifetime: Duration,
        /// The idle lifetime.
        idle_lifetime: Duration,
    },
    /// The idle lifetime would say nothing.
    #[error(
        "the idle lifetime of {idle_lifetime:?} is longer than the absolute lifetime of {absolute_lifetime:?}"
    )]
    IdleOverAbsolute {
        /// The idle lifetime.
        idle_lifetime: Duration,
        /// The absolute lifetime.
        absolute_lifetime: Duration,
    },
    /// A token would outlive what is known of its session.
    #[error(
        "the access lifetime of {access_lifetime:?} is longer than the {ended:?} of EndedOptions::access_lifetime: give the \
         same to both"
    )]
    EndedTooShort {
        /// The access lifetime.
        access_lifetime: Duration,
        /// The access lifetime in the options of the ended sessions.
        ended: Duration,
    },
    /// Nobody could log in.
    #[error("a limit of 0 sessions: 1 at least")]
    LimitOfZero,
    /// The refresh key cannot make refresh tokens.
    #[error(transparent)]
    RefreshKey(#[from] RefreshKeyError),
    /// Sessions sign with both kinds of keys, and a verify-only set has none to sign with
    /// ([`KeySet::verify_only`](crate::KeySet::verify_only)).
    #[error("the set of keys that .{what}(…) was given is verify-only, and sessions have to sign")]
    VerifyOnly {
        /// `access_key` or `refresh_key`.
        what: &'static str,
    },
    /// Every server that verifies access tokens has the access key, and could make refresh tokens with it. Found
    /// among keys of one algorithm, and among those that are there when the sessions are built.
    #[error("an access key and a refresh key are the same secret: generate two")]
    SameKey,
}

debug_by_message!(ConfigError);

impl<S: RefreshStore> Sessions<S> {
    /// Sessions that are kept in `store`; what else has to be said is said to the builder.
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
            lifetimes: Lifetimes {
                access: Sessions::<S>::DEFAULT_ACCESS_LIFETIME,
                idle: Sessions::<S>::DEFAULT_IDLE_LIFETIME,
                absolute: Sessions::<S>::DEFAULT_ABSOLUTE_LIFETIME,
                grace: Sessions::<S>::DEFAULT_GRACE,
            },
            limit: None,
            ahead: AheadPolicy::default(),
            validation: Validation::new(),
            ended: None,
            clock: Arc::new(SystemClock),
            on_event: None,
        }
    }

    /// `iss` of the access tokens: the URL of this server. Required.
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), ..self }
    }

    /// `aud` of the access tokens: the API that they are for; called again, another one. Required.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// `client_id` of the access tokens (RFC 6749 §2.2): the application that users log in to; called again, another one, for
    /// logins that [name it](super::Login::client). Sessions of yet another client in the same store are not refreshed.
    /// Required.
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.clients.push(client.into());
        self
    }

    /// The key or keys that access tokens are signed with: a [`Key`](crate::Key), a [`KeySet`](crate::KeySet), or a
    /// [`SharedKeySet`] that a reload replaces. Every resource server has them. Required.
    pub fn access_key(self, keys: impl Into<SharedKeySet>) -> Self {
        Self { access_keys: Some(keys.into()), ..self }
    }

    /// The key or keys that refresh tokens are made with: HS256, with a `kid`, and nobody else's. A retired one
    /// still reads its tokens until its time is over. Required.
    pub fn refresh_key(self, keys: impl Into<SharedKeySet>) -> Self {
        Self { refresh_keys: Some(keys.into()), ..self }
    }

    /// How long an access token is accepted, whole seconds; 15 minutes when this is not said. A user who is logged
    /// out keeps access for as long, where nobody calls [`Sessions::verify_live`].
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.access = lifetime;
        self
    }

    /// How long a session lives without a refresh; 14 days when this is not said.
    pub fn idle_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.idle = lifetime;
        self
    }

    /// How long a session lives at most, however much it is used; 90 days when this is not said.
    pub fn absolute_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetimes.absolute = lifetime;
        self
    }

    /// How many live sessions a subject may have, where [`Login::limit`](super::Login::limit) is not called; any number unless
    /// one of the two is called.
    pub fn session_limit(self, limit: SessionLimit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// How long after a refresh the token that it used up still gets the same successor: for a client that
    /// lost the answer, and for two tabs that refresh at once. 10 seconds when this is not said; zero ends the
    /// session of whoever presents a token twice. It begins when the store is asked: however long the application takes
    /// to authorize, it is not a part of it.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.lifetimes.grace = grace;
        self
    }

    /// What to do when the store turns out to have lost commits.
    pub fn ahead(self, policy: AheadPolicy) -> Self {
        Self { ahead: policy, ..self }
    }

    /// Allows clocks to differ by up to `leeway` when access tokens are verified here, 60 seconds when this is not
    /// said; see [`Validation::leeway`](crate::Validation::leeway). Refresh tokens know no leeway.
    ///
    /// # Errors
    /// [`InvalidOption::LeewayTooLong`] above [`Validation::MAX_LEEWAY`](crate::Validation::MAX_LEEWAY).
    pub fn leeway(self, leeway: Duration) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.leeway(leeway)?, ..self })
    }

    /// Limits access tokens to `bytes` bytes, 16 KiB unless this is called: a longer one is neither issued, before anything
    /// is stored or used up ([`SessionError::TooLong`](super::SessionError::TooLong)), nor accepted here. Where tokens travel
    /// in cookies or through proxies, their limit belongs here.
    ///
    /// # Errors
    /// [`InvalidOption::MaxTokenLen`] for 0, and above
    /// [`Validation::HIGHEST_MAX_TOKEN_LEN`](crate::Validation::HIGHEST_MAX_TOKEN_LEN).
    pub fn max_access_token_len(self, bytes: usize) -> Result<Self, InvalidOption> {
        Ok(Self { validation: self.validation.max_token_len(bytes)?, ..self })
    }

    /// Has [`Sessions::verify`] refuse the tokens of sessions that have ended, too; see [`EndedSessions`]. Where a failover or a
    /// restored backup has lost a logout that this server knows of, the session ends again when its token is presented.
    pub fn ended_sessions(self, ended: EndedSessions) -> Self {
        Self { ended: Some(ended), ..self }
    }

    /// Reads `clock` in the place of the system's, once for each call.
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Tells `on_event` what happens to sessions, besides the log. It is called within the request: it has to
    /// be quick.
    pub fn on_event(self, on_event: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        Self { on_event: Some(Box::new(on_event)), ..self }
    }

    /// The sessions.
    ///
    /// # Errors
    /// [`ConfigError`] when something is missing, or cannot be safe.
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
        check_limit(self.limit)?;

        let validation = self.validation.clock(Arc::clone(&self.clock));
        let (keys, issuer) = (access_keys.clone(), self.issuer.as_str());
        let mut verifier = AccessVerifier::with(validation, keys, issuer, first.as_str());
        for audience in others {
            verifier = verifier.audience(audience.as_str());
        }
        if let Some(ended) = self.ended {
            let (access_lifetime, known) = (self.lifetimes.access, ended.access_lifetime());
            if access_lifetime > known {
                return Err(ConfigError::EndedTooShort { access_lifetime, ended: known });
            }
            verifier = verifier.ended_sessions(ended);
        }
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

/// All refresh keys, the retired ones too: a shared set is looked at as it is now.
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

impl Lifetimes {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { access, idle, absolute, grace } = *self;
        if access < Duration::from_secs(1) {
            return Err(ConfigError::AccessLifetimeTooShort { given: access });
        }
        if grace >= access {
            return Err(ConfigError::GraceTooLong { grace, access_lifetime: access });
        }
        if access > idle {
            let (access_lifetime, idle_lifetime) = (access, idle);
            return Err(ConfigError::AccessOverIdle { access_lifetime, idle_lifetime });
        }
        if idle > absolute {
            let (idle_lifetime, absolute_lifetime) = (idle, absolute);
            return Err(ConfigError::IdleOverAbsolute { idle_lifetime, absolute_lifetime });
        }
        Ok(())
    }
}

impl<S> fmt::Debug for SessionsBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder")
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("clients", &self.clients)
            .field("lifetimes", &self.lifetimes)
            .finish_non_exhaustive()
    }
}
