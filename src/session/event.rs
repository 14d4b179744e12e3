//! What happens to sessions, for logs and alarms: a session, a subject, and what it was. Never a token or a key.

use alloc::boxed::Box;

use super::{id::SessionId, record::RevokeReason};

/// Who is told of events.
pub(super) type OnEvent = Box<dyn Fn(&Event<'_>) + Send + Sync>;

/// Something that happened to a session, told after it has become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'e> {
    /// What happened.
    pub kind: EventKind,
    /// The session; none when several ended at once.
    pub session_id: Option<SessionId>,
    /// Whose it is; none at a logout, for which nobody has to look.
    pub subject: Option<&'e str>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A session began.
    LoggedIn,
    /// Its refresh token was used up, and has a successor.
    Rotated,
    /// A refresh token was presented again within the grace, and got the same successor.
    Replayed,
    /// A refresh token was presented again, too late for a retry: two parties hold tokens of this session.
    /// It has been revoked. Told by the request that revoked it: when the store's answer to that one was lost,
    /// the next finds a session that is revoked, and nobody is told.
    ReuseDetected,
    /// The user authenticated again ([`Sessions::reauthenticate`](super::Sessions::reauthenticate)).
    Reauthenticated,
    /// Sessions ended: by a logout, all of a subject's, or one that had no room beside a later login. When the store's answer
    /// to that login was lost, the sessions that made room are not reported.
    Revoked {
        /// Why.
        reason: RevokeReason,
        /// How many.
        sessions: u64,
    },
    /// The store has lost commits, and caught up with a refresh token that proves it.
    Healed {
        /// How many generations it had lost.
        lost: u64,
    },
    /// The store has lost commits, and the refresh token that proves it was refused.
    Ahead {
        /// How many generations it has lost.
        lost: u64,
    },
    /// The application no longer wanted the user. The session has been revoked.
    Denied,
}

impl Event<'_> {
    /// Says it through `tracing`: what is to be looked into as a warning, the rest for information.
    pub(super) fn trace(&self) {
        // Quoted and escaped: what a user chose to be called writes no line of its own.
        macro_rules! say {
            ($level:ident, $message:literal $(, $field:ident = $value:expr)*) => {
                tracing::$level!(
                    target: "kippu::session",
                    session = self.session_id.map(tracing::field::display),
                    subject = self.subject.map(tracing::field::debug),
                    $($field = $value,)*
                    $message
                )
            };
        }
        match self.kind {
            EventKind::LoggedIn => say!(info, "logged in"),
            EventKind::Rotated => say!(info, "rotated"),
            EventKind::Replayed => say!(info, "replayed"),
            EventKind::ReuseDetected => say!(warn, "reuse detected"),
            EventKind::Reauthenticated => say!(info, "reauthenticated"),
            EventKind::Revoked { reason, sessions } => {
                say!(info, "revoked", reason = reason.as_str(), sessions = sessions);
            }
            EventKind::Healed { lost } => say!(warn, "the store was behind", lost = lost),
            EventKind::Ahead { lost } => say!(warn, "the store is behind", lost = lost),
            EventKind::Denied => say!(info, "denied"),
        }
    }
}
