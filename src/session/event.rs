//! The events of sessions, for logs and alarms: a kind, a session and a subject. An event never
//! contains a token or a key.

use alloc::boxed::Box;

use super::{id::SessionId, record::RevokeReason};

/// The application's function that receives events.
pub(super) type OnEvent = Box<dyn Fn(&Event<'_>) + Send + Sync>;

/// Something that happened to a session. It is reported after the change is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'e> {
    /// The kind of the event.
    pub kind: EventKind,
    /// The session, or `None` if several ended at once.
    pub session_id: Option<SessionId>,
    /// The user, or `None` at a logout by refresh token, which does not read the record.
    pub subject: Option<&'e str>,
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A session began.
    LoggedIn,
    /// The refresh token was used up and has a successor.
    Rotated,
    /// A refresh token was presented again within the grace, and got the same successor.
    Replayed,
    /// A refresh token was presented again, too late for a retry: two parties have tokens of this
    /// session. The session has been revoked. The request that revoked it reports the event. If the
    /// store's answer to that request was lost, the next request finds a revoked session, and the
    /// event is not reported.
    ReuseDetected,
    /// The user authenticated again
    /// ([`Sessions::reauthenticate`](super::Sessions::reauthenticate)).
    Reauthenticated,
    /// Sessions ended: by a logout, by a logout of all sessions of a subject, or because a later
    /// login needed room. If the store's answer to that login was lost, the sessions that made room
    /// are not reported.
    Revoked {
        /// The reason.
        reason: RevokeReason,
        /// The number of sessions.
        sessions: u64,
    },
    /// The store had lost commits, and caught up with a refresh token that proves it.
    Healed {
        /// The number of generations that it had lost.
        lost: u64,
    },
    /// The store has lost commits. The refresh token that proves it was refused.
    Ahead {
        /// The number of generations that it has lost.
        lost: u64,
    },
    /// The application denied the user. The session has been revoked.
    Denied,
}

impl Event<'_> {
    /// Logs the event through `tracing`: as a warning if an operator should look into it, otherwise
    /// as information.
    pub(super) fn trace(&self) {
        // The subject is quoted and escaped: a name that a user chose cannot add a line to the log.
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
