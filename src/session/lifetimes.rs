//! The lifetimes of tokens and sessions: the defaults, and those of NIST SP 800-63B-4. Lifetimes
//! that contradict one another are refused.

use core::time::Duration;

use super::builder::ConfigError;

/// The lifetimes of access tokens and of sessions, for
/// [`SessionsBuilder::lifetimes`](super::SessionsBuilder::lifetimes).
///
/// | | access token | session without a refresh | session at most |
/// |---|---|---|---|
/// | [`aal1`](Self::aal1), the default | 15 minutes | 14 days | 30 days |
/// | [`aal2`](Self::aal2) | 15 minutes | 1 hour | 24 hours |
///
/// When a session ends, its user has to log in again. NIST SP 800-63B-4 (§2.1.3, §2.2.3) asks for
/// that *reauthentication* after these times, at the authenticator assurance levels 1 and 2. It
/// also has requirements on the authenticators, which are part of the application.
/// [`Login::idle_lifetime`](super::Login::idle_lifetime) and
/// [`Login::absolute_lifetime`](super::Login::absolute_lifetime) override these for one session.
///
/// ```
/// use kippu::session::Lifetimes;
/// # use kippu::{Algorithm, Key, session::{MemoryStore, Sessions}};
///
/// let sessions = Sessions::builder(MemoryStore::new(100_000))
///     .lifetimes(Lifetimes::aal2())
/// #   .issuer("https://auth.example").audience("api").client("web")
/// #   .access_key(Key::generate(Algorithm::Hs256)?)
/// #   .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
///     // … the rest
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    pub(super) access: Duration,
    pub(super) idle: Duration,
    pub(super) absolute: Duration,
}

impl Lifetimes {
    /// Returns the default lifetimes. They follow the recommendation for AAL1: a user
    /// authenticates at least once in 30 days.
    pub const fn aal1() -> Self {
        Self {
            access: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(14 * 24 * 3600),
            absolute: Duration::from_secs(30 * 24 * 3600),
        }
    }

    /// Returns lifetimes that follow the recommendation for AAL2: a user authenticates at least
    /// once in 24 hours, and after an hour without activity.
    pub const fn aal2() -> Self {
        Self {
            access: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(3600),
            absolute: Duration::from_secs(24 * 3600),
        }
    }

    /// Returns the lifetime of an access token.
    pub const fn access(&self) -> Duration {
        self.access
    }

    /// Returns how long a session lives without a refresh.
    pub const fn idle(&self) -> Duration {
        self.idle
    }

    /// Returns how long a session lives at most.
    pub const fn absolute(&self) -> Duration {
        self.absolute
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Self { access, idle, absolute } = *self;
        if access < Duration::from_secs(1) {
            return Err(ConfigError::AccessLifetimeTooShort { given: access });
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

impl Default for Lifetimes {
    /// Returns [`Lifetimes::aal1`].
    fn default() -> Self {
        Self::aal1()
    }
}
