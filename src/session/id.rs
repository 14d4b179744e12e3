//! The id of a session: 16 bytes, in `sid` and in the refresh token. It is not a secret, because no
//! token is made of the id alone.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use crate::{base64url, debug::debug_by_message, key::KeyError};

/// The id of a session: in the store, in the `sid` claim of its access tokens, and in its refresh
/// token.
///
/// An id has 16 bytes: 2 from the subject's SHA-256, and 14 from the operating system's generator.
/// The first 2 bytes, the [`shard`](SessionId::shard), are the same for all sessions of a subject.
/// A store that is spread over locks or machines can therefore keep these sessions together and end
/// them all in one step. A user who chooses the name of an account chooses its shard: the cost of a
/// step must not depend on the other subjects of a shard.
///
/// An id is not a secret: an attacker who knows an id cannot act for the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 16]);

/// The text is not a session id.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id has 22 symbols of base64url")]
pub struct SessionIdError;

debug_by_message!(SessionIdError);

impl SessionId {
    /// Returns a new id for a session of `subject`.
    ///
    /// # Errors
    /// [`KeyError::NoRandomness`] if the operating system returns no random bytes.
    pub fn generate(subject: &str) -> Result<Self, KeyError> {
        // 112 random bits: among 2^40 sessions of one shard, two ids are equal with a chance of
        // 2^-33.
        let mut id = [0; 16];
        let (shard, random) = id.split_at_mut(2);
        shard.copy_from_slice(&Self::shard_of(subject).to_be_bytes());
        getrandom::fill(random).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self(id))
    }

    /// Returns the id that was stored as these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Returns the shard: a number that all sessions of a subject share. One in 65,536 subjects has
    /// the same.
    pub const fn shard(&self) -> u16 {
        let [high, low, ..] = self.0;
        u16::from_be_bytes([high, low])
    }

    /// Returns the shard of the sessions of `subject`.
    pub fn shard_of(subject: &str) -> u16 {
        let hash: [u8; 32] = Sha256::digest(subject.as_bytes()).into();
        let [high, low, ..] = hash;
        u16::from_be_bytes([high, low])
    }
}

impl fmt::Display for SessionId {
    /// Prints 22 symbols of base64url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, SessionIdError> {
        let mut id = [0; 16];
        match base64url::decode_to_slice(text, &mut id) {
            Ok(bytes) if bytes.len() == 16 => Ok(Self(id)),
            _ => Err(SessionIdError),
        }
    }
}

impl Serialize for SessionId {
    /// Writes a text, whatever the format.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;

        impl de::Visitor<'_> for IdVisitor {
            type Value = SessionId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a session id")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SessionId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(IdVisitor)
    }
}

/// Returns a name for `jti` that no other token of the issuer has: 16 random bytes.
pub(super) fn random_name() -> Result<String, KeyError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(base64url::encode(&bytes))
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    #[test]
    fn sessions_of_a_subject_share_a_shard() {
        let ids = ["alice", "alice", "bob"].map(|subject| SessionId::generate(subject).unwrap());
        let [first, second, other] = ids;
        assert_ne!(first, second);
        assert_eq!(first.shard(), second.shard());
        assert_eq!(first.shard(), SessionId::shard_of("alice"));
        assert_ne!(first.shard(), other.shard());
        // SHA-256("alice") begins with 2bd8.
        assert_eq!(first.shard(), 0x2bd8);
    }

    #[test]
    fn rejects_a_second_spelling_of_an_id() {
        let id = SessionId::from_bytes([0xff; 16]);
        assert_eq!(id.to_string(), "_____________________w");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<SessionId>(&format!("\"{id}\"")).unwrap(), id);
        for text in
            ["", "_____________________x", "____________________", "_____________________w=="]
        {
            assert_eq!(text.parse::<SessionId>(), Err(SessionIdError), "{text}");
        }
    }
}
