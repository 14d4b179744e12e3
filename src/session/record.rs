//! A session as stores keep it: one record for a login, changed in place; nothing in it makes a token.

use alloc::string::String;
use core::{fmt, str::FromStr, time::Duration};

use sha2::{Digest, Sha256};

use super::{data::SessionData, id::SessionId, time::UnixMillis};
use crate::excerpt::UnknownName;

/// A subject or a client: enough for an e-mail address (254 bytes, RFC 5321 §4.5.3.1) or a URI with a name in it, and
/// short as a key.
pub(super) const MAX_NAME_LEN: usize = 512;

/// Enough for the name of a device.
pub(super) const MAX_LABEL_LEN: usize = 128;

/// A longer key id would make tokens longer for nothing: a date has 10 bytes, a UUID 36.
pub(super) const MAX_KID_LEN: usize = 64;

/// The last generation of a session: 2^53 - 1, which stores whose numbers are doubles still hold exactly. A
/// session that rotates a thousand times a second gets there in 285,000 years.
pub const MAX_GENERATION: u64 = (1 << 53) - 1;

/// One login.
///
/// It holds no token and nothing that a token could be made from: whoever reads the store, or writes it,
/// cannot refresh. A refresh token is bound to its subject, client, first moment and absolute end: a record in which one of
/// these was changed is refused.
///
/// A store builds one with [`SessionRecord::new`] and sets the fields that it has read. A later
/// version of this crate may add fields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whom it is for: 1 to 512 bytes, no control characters among them.
    pub subject: String,
    /// The client that it belongs to (RFC 6749 §2.2): 1 to 512 bytes, no control characters among them.
    pub client: String,
    /// What the user may know it by, the name of a device for one: up to 128 bytes, no control characters.
    pub label: Option<String>,
    /// When the user logged in.
    pub created_at: UnixMillis,
    /// When it ends, however much it is used. It never moves.
    pub absolute_expires_at: UnixMillis,
    /// Whether it lasts beyond the end of the browser: its cookies do then. It never changes.
    pub remembered: bool,
    /// How long it lives unless it is used again, in whole milliseconds, 2^53 - 1 of them at most; none: as the
    /// [request](super::rotation::RotateRequest::idle_lifetime) says. It never changes.
    pub idle_lifetime: Option<Duration>,
    /// When the user last authenticated: at the login, or at the last
    /// [reauthentication](super::Sessions::reauthenticate).
    pub auth_time: UnixMillis,
    /// The application's own.
    pub data: SessionData,
    /// The generation of the current refresh token: 0 from the login on, at most
    /// [`MAX_GENERATION`].
    pub generation: u64,
    /// The `kid` of the refresh key that the current token was made with: 1 to 64 bytes.
    pub kid: String,
    /// When the current refresh token was made: at the login, or at the last rotation.
    pub rotated_at: UnixMillis,
    /// When it ends unless it is used again; never after `absolute_expires_at`.
    pub expires_at: UnixMillis,
    /// When and why it was ended ahead of time.
    pub revoked: Option<Revoked>,
}

/// That a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub reason: RevokeReason,
}

/// Why a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RevokeReason {
    /// Its user logged out.
    Logout,
    /// Its user logged out everywhere, or everywhere else.
    LogoutAll,
    /// One of its refresh tokens was presented again, too late for a retry.
    Reuse,
    /// The application no longer wants the user.
    Denied,
    /// A later login of its user had no room beside it ([`SessionLimit`](super::SessionLimit)).
    Limit,
}

impl RevokeReason {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Logout, Self::LogoutAll, Self::Reuse, Self::Denied, Self::Limit];

    /// The word to store, which does not change: `logout`, `logout_all`, `reuse`, `denied` or `limit`.
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

    /// Reads the word that was stored.
    fn from_str(word: &str) -> Result<Self, UnknownName> {
        let named = Self::ALL.iter().find(|reason| reason.as_str() == word);
        named
            .copied()
            .ok_or_else(|| UnknownName::new(word, "logout, logout_all, reuse, denied and limit"))
    }
}

/// A change to a record that exists. No change creates a record.
///
/// It is exhaustive on purpose: a store that overlooks a change, or a field of one, would
/// acknowledge a step that it has not stored. A store that writes whole records calls
/// [`SessionRecord::apply`], and need not know the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The session goes on with a new generation.
    Advance {
        /// The new generation.
        generation: u64,
        /// The `kid` of the refresh key that its token is made with.
        kid: String,
        /// When.
        rotated_at: UnixMillis,
        /// The new end of the session.
        expires_at: UnixMillis,
        /// The new [`SessionRecord::auth_time`]; none: as before.
        auth_time: Option<UnixMillis>,
        /// The new [`SessionRecord::data`]; none: as before.
        data: Option<SessionData>,
    },
    /// The user has authenticated again, and the current refresh token stays the current one. No other field moves: whatever
    /// else has changed in the record since it was read stays.
    Reauthenticate {
        /// The new [`SessionRecord::auth_time`].
        auth_time: UnixMillis,
        /// The new [`SessionRecord::data`]; none: as before.
        data: Option<SessionData>,
    },
    /// The session ends.
    Revoke {
        /// When.
        at: UnixMillis,
        /// Why.
        reason: RevokeReason,
    },
}

/// A digest of what does not change about a session.
pub(super) type Origin = [u8; 16];

impl SessionRecord {
    /// A session with its first refresh token, that begins at `created_at` and ends at `absolute_expires_at`: remembered,
    /// without a label, data, or a separate idle lifetime.
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

    /// What a refresh token of this session is bound to: its subject, its client, its first and its last moment.
    pub(super) fn origin(&self) -> Origin {
        let mut digest = Sha256::new_with_prefix(b"kippu session\0");
        // Neither has a control character in it.
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

    /// Whether every field is within the limits that its documentation states. A store that reads a record which is not
    /// answers [`StoreErrorKind::Corrupt`](super::StoreErrorKind::Corrupt): nothing of kippu wrote it.
    pub fn is_well_formed(&self) -> bool {
        let is_text = |text: &str, longest| (1..=longest).contains(&text.len());
        is_text(&self.subject, MAX_NAME_LEN)
            && is_text(&self.client, MAX_NAME_LEN)
            && is_text(&self.kid, MAX_KID_LEN)
            && self.label.as_ref().is_none_or(|label| label.len() <= MAX_LABEL_LEN)
            && self.generation <= MAX_GENERATION
            && self.idle_lifetime.is_none_or(|time| {
                time.subsec_nanos() % 1_000_000 == 0 && time.as_millis() <= MAX_GENERATION.into()
            })
    }

    /// Whether the session is over at `now`, because of its age or because nobody used it.
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        now >= self.expires_at.min(self.absolute_expires_at)
    }

    /// Whether it is neither over nor revoked at `now`.
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.revoked.is_none() && !self.is_expired(now)
    }

    /// This record after `change`.
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
