//! Several keys for one issuer: one signs, others still or already verify. Looked up by `kid`, exactly.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    debug::debug_by_message,
    key::{Key, OwnHeader},
    numeric_date::NumericDate,
};

/// The keys of an issuer whose secret changes from time to time.
///
/// One key signs ([`KeySet::signing_key`]). Retiring keys verify until an end date; a key that others
/// will sign with soon can be accepted ahead of time. A token's `kid` picks the key, by exact
/// comparison; a `kid` that the set does not have is refused, never tried against other keys.
///
/// ```
/// use kippu::{Key, KeySet, NumericDate};
///
/// let october = Key::hs256([0x0a; 32])?.with_kid("2026-10");
/// let november = Key::hs256([0x0b; 32])?.with_kid("2026-11");
/// let keys = KeySet::new(november)?.retire(october, NumericDate::in_seconds(900))?;
/// assert_eq!(keys.signing_key().kid(), Some("2026-11"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KeySet {
    signing: Entry,
    others: Vec<Entry>,
    tries_all: bool,
}

/// Why keys make no [`KeySet`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// A key of a set is found by its id: give it one with [`Key::with_kid`].
    #[error("a key in a set needs a kid")]
    MissingKid,
    /// Two keys under one id. RFC 7517 §4.5 asks for distinct ones.
    #[error("the kid {kid:?} is in the set already")]
    DuplicateKid {
        /// The id, as the caller gave it.
        kid: Box<str>,
    },
}

debug_by_message!(KeySetError);

impl KeySet {
    /// A set of one key, which signs and verifies.
    ///
    /// # Errors
    /// [`KeySetError::MissingKid`] when the key has no id.
    pub fn new(signing_key: Key) -> Result<Self, KeySetError> {
        if signing_key.kid().is_none() {
            return Err(KeySetError::MissingKid);
        }
        let signing = Entry { key: signing_key, until: None };
        Ok(Self { signing, others: Vec::new(), tries_all: false })
    }

    /// This set, with a key that no longer signs. Its tokens are accepted before `until`, which is
    /// mostly the time of the change plus the lifetime of a token. After that they are refused
    /// ([`DecodeError::KeyRetired`](crate::DecodeError::KeyRetired)), whatever the leeway.
    ///
    /// A key that has leaked is not retired but left out.
    ///
    /// # Errors
    /// [`KeySetError`] when the key has no id or one that the set has already.
    pub fn retire(self, key: Key, until: NumericDate) -> Result<Self, KeySetError> {
        self.with(Entry { key, until: Some(until) })
    }

    /// This set, with a key that verifies but does not sign, without an end date: the next one,
    /// handed to every verifier before the first issuer signs with it.
    ///
    /// # Errors
    /// [`KeySetError`] when the key has no id or one that the set has already.
    pub fn accept(self, key: Key) -> Result<Self, KeySetError> {
        self.with(Entry { key, until: None })
    }

    /// This set after a rotation: `signing_key` signs, and the key that did so far retires at `until`.
    ///
    /// # Errors
    /// [`KeySetError`] when the key has no id or one that the set has already.
    pub fn rotate(self, signing_key: Key, until: NumericDate) -> Result<Self, KeySetError> {
        let mut set = self.accept(signing_key)?;
        if let Some(newest) = set.others.last_mut() {
            core::mem::swap(&mut set.signing, newest);
            newest.until = Some(until);
        }
        Ok(set)
    }

    /// This set, open to tokens without a `kid`: they are tried against each key of their algorithm,
    /// so each costs up to as many MACs as the set has keys. For the move from one nameless key to a set.
    #[must_use]
    pub fn try_all_without_kid(self) -> Self {
        Self { tries_all: true, ..self }
    }

    /// The key to [`encode`](crate::encode) with.
    pub fn signing_key(&self) -> &Key {
        &self.signing.key
    }

    /// All of them, the signing key first.
    #[cfg(feature = "session")]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries().map(|entry| &entry.key)
    }

    /// Whether `other` would sign and verify the same tokens, for as long.
    #[cfg(feature = "std")]
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let has = |entry: &Entry| {
            self.entries().any(|own| {
                own.key.kid() == entry.key.kid()
                    && own.until == entry.until
                    && own.key.has_secret_of(&entry.key)
            })
        };
        // Ids are distinct within a set: as many, each of them among the others, are the same.
        self.signing.key.kid() == other.signing.key.kid()
            && self.tries_all == other.tries_all
            && self.others.len() == other.others.len()
            && other.entries().all(has)
    }

    fn with(mut self, entry: Entry) -> Result<Self, KeySetError> {
        let kid = entry.key.kid().ok_or(KeySetError::MissingKid)?;
        if self.entries().any(|known| known.key.kid() == Some(kid)) {
            return Err(KeySetError::DuplicateKid { kid: kid.into() });
        }
        self.others.push(entry);
        Ok(self)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        core::iter::once(&self.signing).chain(&self.others)
    }
}

/// A key, and until when it verifies.
#[derive(Debug)]
struct Entry {
    key: Key,
    until: Option<NumericDate>,
}

/// What a token can be verified with: a [`Key`], a [`KeySet`], or a reference, `Box` or `Arc` of one.
///
/// The trait is sealed.
pub trait Keys: Lookup {}

impl<K: Lookup + ?Sized> Keys for K {}

/// How a token's `kid` finds keys.
pub trait Lookup {
    /// Gives each key that a token with this `kid` may have been signed with to `visit`, with the end
    /// of its time, until `visit` says that it was the one.
    #[doc(hidden)]
    fn look_up(
        &self,
        kid: Option<&str>,
        visit: impl FnMut(&Key, Option<NumericDate>) -> bool,
    ) -> Result<bool, LookupError>;

    /// The key that writes the header with which the token begins, and the end of its time.
    #[doc(hidden)]
    fn by_own_header(&self, token: &str) -> Option<ByOwnHeader<'_>>;
}

/// A key whose own header a token has.
#[derive(Debug)]
pub struct ByOwnHeader<'k> {
    pub(crate) key: &'k Key,
    pub(crate) header: &'k OwnHeader,
    pub(crate) until: Option<NumericDate>,
}

/// Why there is no key to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    UnknownKid,
    MissingKid,
}

impl Lookup for Key {
    /// A `kid` is a hint that a single key may do without. Where both have one they must agree.
    #[inline]
    fn look_up(
        &self,
        kid: Option<&str>,
        mut visit: impl FnMut(&Key, Option<NumericDate>) -> bool,
    ) -> Result<bool, LookupError> {
        match (self.kid(), kid) {
            (Some(own), Some(named)) if own != named => Err(LookupError::UnknownKid),
            _ => Ok(visit(self, None)),
        }
    }

    #[inline]
    fn by_own_header(&self, token: &str) -> Option<ByOwnHeader<'_>> {
        Some(ByOwnHeader { key: self, header: self.own_header(token)?, until: None })
    }
}

impl Lookup for KeySet {
    #[inline]
    fn look_up(
        &self,
        kid: Option<&str>,
        mut visit: impl FnMut(&Key, Option<NumericDate>) -> bool,
    ) -> Result<bool, LookupError> {
        if kid.is_none() {
            if !self.tries_all {
                return Err(LookupError::MissingKid);
            }
            return Ok(self.entries().any(|entry| visit(&entry.key, entry.until)));
        }
        match self.entries().find(|entry| entry.key.kid() == kid) {
            Some(entry) => Ok(visit(&entry.key, entry.until)),
            None => Err(LookupError::UnknownKid),
        }
    }

    #[inline]
    fn by_own_header(&self, token: &str) -> Option<ByOwnHeader<'_>> {
        self.entries().find_map(|entry| {
            Some(ByOwnHeader { until: entry.until, ..entry.key.by_own_header(token)? })
        })
    }
}

/// A pointer to keys is keys.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<K: Lookup + ?Sized> Lookup for $pointer {
            #[inline]
            fn look_up(
                &self,
                kid: Option<&str>,
                visit: impl FnMut(&Key, Option<NumericDate>) -> bool,
            ) -> Result<bool, LookupError> {
                K::look_up(self, kid, visit)
            }

            #[inline]
            fn by_own_header(&self, token: &str) -> Option<ByOwnHeader<'_>> {
                K::by_own_header(self, token)
            }
        }
    )*};
}

pointers!(&K, Box<K>);
#[cfg(target_has_atomic = "ptr")]
pointers!(alloc::sync::Arc<K>);

#[cfg(feature = "std")]
mod shared {
    use std::sync::{Arc, PoisonError, RwLock};

    use super::KeySet;

    /// The key set of a running server, which a reload replaces while requests are verified.
    ///
    /// A reader takes the current set with [`SharedKeySet::load`] and verifies with that. The lock is
    /// held for as long as it takes to copy a pointer, never during a verification; the old set, with
    /// its secrets, goes when the last request that uses it ends.
    ///
    /// ```
    /// use kippu::{Key, KeySet, NumericDate, SharedKeySet, Validation, decode, encode};
    ///
    /// let key = |byte, kid| Key::hs256([byte; 32]).map(|key| key.with_kid(kid));
    /// let shared = SharedKeySet::new(KeySet::new(key(1, "old")?)?);
    /// let claims = serde_json::json!({ "exp": NumericDate::in_seconds(60) });
    /// let token = encode(&claims, shared.load().signing_key())?;
    ///
    /// let retired = key(1, "old")?;
    /// shared.replace(KeySet::new(key(2, "new")?)?.retire(retired, NumericDate::in_seconds(60))?);
    /// decode::<serde_json::Value>(&token, &shared.load(), &Validation::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Debug)]
    pub struct SharedKeySet {
        current: RwLock<Arc<KeySet>>,
    }

    impl SharedKeySet {
        /// Shares `keys`.
        pub fn new(keys: KeySet) -> Self {
            Self { current: RwLock::new(Arc::new(keys)) }
        }

        /// The set as it is now. It does not change afterwards: load again for the next request.
        pub fn load(&self) -> Arc<KeySet> {
            // A pointer is never half written, so there is nothing that a panic could have left behind.
            Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
        }

        /// Puts `keys` in the place of the current set.
        pub fn replace(&self, keys: KeySet) {
            let keys = Arc::new(keys);
            let old = core::mem::replace(
                &mut *self.current.write().unwrap_or_else(PoisonError::into_inner),
                keys,
            );
            // Wiped, where this was its last owner, after the lock is free again.
            drop(old);
        }
    }
}

#[cfg(feature = "std")]
pub use shared::SharedKeySet;
