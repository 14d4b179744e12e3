//! A session as stores keep it: one record for each login, which is changed in place. No token can
//! be made from a record.

use alloc::string::String;
use core::{fmt, str::FromStr, time::Duration};

use sha2::{Digest, Sha256};

use super::{data::SessionData, id::SessionId, time::UnixMillis};
use crate::excerpt::UnknownName;

/// The limit for a subject or a client. It is enough for an e-mail address (254 bytes, RFC 5321
/// §4.5.3.1) or a URI that contains a name, and short for a database key.
const MAX_NAME_LEN: usize = 512;

/// The limit for a label: enough for the name of a device.
pub(super) const MAX_LABEL_LEN: usize = 128;

/// The limit for the id of a refresh key, which is part of every token: a date has 10 bytes, a UUID
/// 36.
pub(super) const MAX_KID_LEN: usize = 64;

/// The last generation of a session: 2^53 - 1. Stores whose numbers are doubles represent it
/// exactly. A session that rotates a thousand times a second gets there in 285,000 years.
pub const MAX_GENERATION: u64 = (1 << 53) - 1;

/// One login.
///
/// The record contains no token, and nothing from which a token can be made: an attacker who can
/// read or write the store cannot refresh a session. A refresh token is bound to the subject, the
/// client, the start and the absolute end of its session. If one of these was changed in the
/// record, the token is refused.
///
/// A store makes a record with [`SessionRecord::new`] and sets the fields that it has read. A later
/// version of this crate may add fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// The id of the session.
    pub id: SessionId,
    /// The user: 1 to 512 bytes without control characters.
    pub subject: String,
    /// The client to which the session belongs (RFC 6749 §2.2): 1 to 512 bytes without control
    /// characters.
    pub client: String,
    /// The label by which the user recognises the session, for example the name of a device: up to
    /// 128 bytes without control characters.
    pub label: Option<String>,
    /// When the user logged in.
    pub created_at: UnixMillis,
    /// When the session ends, however often it is refreshed. It never changes.
    pub absolute_expires_at: UnixMillis,
    /// Whether the cookies of the session outlive the browser session. It never changes.
    pub remembered: bool,
    /// How long the session lives unless it is refreshed, in whole milliseconds, at most 2^53 - 1
    /// of them. With `None`, the value of the
    /// [request](super::rotation::RotateRequest::idle_lifetime) applies. It never changes.
    pub idle_lifetime: Option<Duration>,
    /// When the user last authenticated: at the login, or at the last
    /// [reauthentication](super::Sessions::reauthenticate).
    pub auth_time: UnixMillis,
    /// The application's data.
    pub data: SessionData,
    /// The generation of the current refresh token: 0 at the login, and at most [`MAX_GENERATION`].
    pub generation: u64,
    /// The `kid` of the refresh key that made the current token: 1 to 64 bytes.
    pub kid: String,
    /// When the current refresh token was made: at the login, or at the last rotation.
    pub rotated_at: UnixMillis,
    /// When the session ends unless it is refreshed again. It is never after `absolute_expires_at`.
    pub expires_at: UnixMillis,
    /// When and why the session was revoked, if it was.
    pub revoked: Option<Revoked>,
}

/// The time and the reason of a revocation.
///
/// The struct is exhaustive on purpose: more about a session would be a field of [`SessionRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The time.
    pub at: UnixMillis,
    /// The reason.
    pub reason: RevokeReason,
}

/// Why a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevokeReason {
    /// The user logged out.
    Logout,
    /// The user logged out everywhere, or everywhere else.
    LogoutAll,
    /// A refresh token of the session was presented again, too late for a retry.
    Reuse,
    /// The application denied the user.
    Denied,
    /// A later login of the user needed its place ([`SessionLimit`](super::SessionLimit)).
    Limit,
}

impl RevokeReason {
    /// All reasons.
    pub const ALL: &[Self] =
        &[Self::Logout, Self::LogoutAll, Self::Reuse, Self::Denied, Self::Limit];

    /// Returns the word to store: `logout`, `logout_all`, `reuse`, `denied` or `limit`. The words
    /// never change.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::LogoutAll => "logout_all",
            Self::Reuse => "reuse",
            Self::Denied => "denied",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for RevokeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RevokeReason {
    type Err = UnknownName;

    /// Reads a stored word.
    fn from_str(word: &str) -> Result<Self, UnknownName> {
        let named = Self::ALL.iter().find(|reason| reason.as_str() == word);
        named
            .copied()
            .ok_or_else(|| UnknownName::new(word, "logout, logout_all, reuse, denied and limit"))
    }
}

/// A change to an existing record. A change never creates a record.
///
/// The enum is exhaustive on purpose. A store that ignored a change, or a field of one, would
/// acknowledge a step that it has not stored. A store that writes whole records calls
/// [`SessionRecord::apply`] and need not know the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session continues with a new generation.
    Advance {
        /// The new generation.
        generation: u64,
        /// The `kid` of the refresh key that makes its token.
        kid: String,
        /// The time of the rotation.
        rotated_at: UnixMillis,
        /// The new end of the session.
        expires_at: UnixMillis,
        /// The new [`SessionRecord::auth_time`]. `None` leaves it unchanged.
        auth_time: Option<UnixMillis>,
        /// The new [`SessionRecord::data`]. `None` leaves them unchanged.
        data: Option<SessionData>,
    },
    /// The user has authenticated again, and the current refresh token stays the current one. A
    /// store changes no other field, so that a concurrent change of the record is not undone.
    Reauthenticate {
        /// The new [`SessionRecord::auth_time`].
        auth_time: UnixMillis,
        /// The new [`SessionRecord::data`]. `None` leaves them unchanged.
        data: Option<SessionData>,
    },
    /// The session ends.
    Revoke {
        /// The time.
        at: UnixMillis,
        /// The reason.
        reason: RevokeReason,
    },
}

/// A digest of the fields of a session that never change.
pub(super) type Origin = [u8; 16];

impl SessionRecord {
    /// Returns a session with its first refresh token, which begins at `created_at` and ends at
    /// `absolute_expires_at`. It is remembered and has no label, no data and no separate idle
    /// lifetime.
    pub fn new(
        id: SessionId,
        subject: impl Into<String>,
        client: impl Into<String>,
        kid: impl Into<String>,
        created_at: UnixMillis,
        absolute_expires_at: UnixMillis,
    ) -> Self {
        Self {
            id,
            subject: subject.into(),
            client: client.into(),
            label: None,
            created_at,
            absolute_expires_at,
            remembered: true,
            idle_lifetime: None,
            auth_time: created_at,
            data: SessionData::default(),
            generation: 0,
            kid: kid.into(),
            rotated_at: created_at,
            expires_at: absolute_expires_at,
            revoked: None,
        }
    }

    /// Returns the digest to which a refresh token of this session is bound: of the subject, the
    /// client, the start and the absolute end.
    pub(super) fn origin(&self) -> Origin {
        // The prefix separates this digest from other uses of SHA-256.
        let mut digest = Sha256::new_with_prefix(b"kippu session\0");
        // The separator is unambiguous, because neither text contains a control character.
        for text in [&self.subject, &self.client] {
            digest.update(text);
            digest.update([0]);
        }
        for time in [self.created_at, self.absolute_expires_at] {
            digest.update(time.get().to_be_bytes());
        }
        let digest: [u8; 32] = digest.finalize().into();
        *digest.first_chunk().expect("32 bytes begin with 16")
    }

    /// Returns whether every field is within its documented limits. A store that reads any other
    /// record returns [`StoreErrorKind::Corrupt`](super::StoreErrorKind::Corrupt), because kippu
    /// cannot have written it.
    pub fn is_well_formed(&self) -> bool {
        let is_text = |text: &str, longest| (1..=longest).contains(&text.len());
        is_text(&self.subject, MAX_NAME_LEN)
            && is_text(&self.client, MAX_NAME_LEN)
            && is_text(&self.kid, MAX_KID_LEN)
            && self.label.as_ref().is_none_or(|label| label.len() <= MAX_LABEL_LEN)
            && self.generation <= MAX_GENERATION
            && self.idle_lifetime.is_none_or(|time| {
                // 2^53 - 1 milliseconds are the most that every store keeps exactly.
                time.subsec_nanos() % 1_000_000 == 0 && time.as_millis() <= MAX_GENERATION.into()
            })
    }

    /// Returns whether the session has expired at `now`, by its absolute end or because it was not
    /// refreshed.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        // The token proves the absolute end. Only the store says `expires_at`, so the earlier one
        // applies.
        now >= self.expires_at.min(self.absolute_expires_at)
    }

    /// Returns whether the session is neither expired nor revoked at `now`.
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && !self.is_expired(now)
    }

    /// Applies `change` to this record.
    pub fn apply(&mut self, change: Change) {
        let (auth_time, data) = match change {
            Change::Advance { generation, kid, rotated_at, expires_at, auth_time, data } => {
                self.generation = generation;
                self.kid = kid;
                self.rotated_at = rotated_at;
                self.expires_at = expires_at;
                (auth_time, data)
            }
            Change::Reauthenticate { auth_time, data } => (Some(auth_time), data),
            Change::Revoke { at, reason } => {
                self.revoked = Some(Revoked { at, reason });
                (None, None)
            }
        };
        self.auth_time = auth_time.unwrap_or(self.auth_time);
        if let Some(data) = data {
            self.data = data;
        }
    }
}

/// Returns whether a text can be a subject or a client.
pub(super) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&text.len()) && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;

    #[test]
    fn a_reason_is_read_from_its_word_alone() {
        let words: Vec<_> = RevokeReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["logout", "logout_all", "reuse", "denied", "limit"]);
        let read: Vec<RevokeReason> = words.iter().map(|word| word.parse().unwrap()).collect();
        assert_eq!(read, RevokeReason::ALL);
        for word in ["", "Logout", "logout ", "log"] {
            assert!(word.parse::<RevokeReason>().is_err(), "{word:?}");
        }
    }

    #[test]
    fn a_record_beyond_a_limit_is_not_well_formed() {
        type Edit = fn(&mut SessionRecord, usize);
        let edits: [(Edit, bool, usize); 4] = [
            (|record, length| record.subject = "s".repeat(length), false, 512),
            (|record, length| record.client = "c".repeat(length), false, 512),
            (|record, length| record.kid = "k".repeat(length), false, 64),
            (|record, length| record.label = Some("l".repeat(length)), true, 128),
        ];
        let (start, end) = (UnixMillis::new(0), UnixMillis::new(1));
        let record =
            SessionRecord::new(SessionId::from_bytes([0; 16]), "alice", "web", "1", start, end);
        assert!(record.is_well_formed());
        for (edit, may_be_empty, longest) in edits {
            for (length, wanted) in
                [(0, may_be_empty), (1, true), (longest, true), (longest + 1, false)]
            {
                let mut record = record.clone();
                edit(&mut record, length);
                assert_eq!(record.is_well_formed(), wanted, "{record:?}");
            }
        }
        for (generation, wanted) in [(MAX_GENERATION, true), (MAX_GENERATION + 1, false)] {
            assert_eq!(SessionRecord { generation, ..record.clone() }.is_well_formed(), wanted);
        }
    }
}
