//! Several keys of one issuer. One key signs, or none in a verify-only set; the others verify. A
//! key is found by its exact `kid`.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use crate::{debug::debug_by_message, key::Key, numeric_date::NumericDate};

/// The keys of an issuer whose secret changes from time to time.
///
/// One key signs ([`KeySet::signing_key`]). A retired key verifies until an end date. A key that an
/// issuer will use soon can be accepted in advance. A token's `kid` selects the key, by exact
/// comparison. A `kid` that is not in the set is refused; the set does not try other keys.
///
/// ```
/// use kippu::{Key, KeySet, NumericDate};
///
/// let october = Key::hs256([0x0a; 32])?.with_kid("2026-10");
/// let november = Key::hs256([0x0b; 32])?.with_kid("2026-11");
/// let keys = KeySet::new(november).retire(october, NumericDate::in_seconds(900))?;
/// assert_eq!(keys.signing_key()?.kid(), Some("2026-11"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KeySet {
    /// Absent in a verify-only set.
    signing: Option<Entry>,
    others: Vec<Entry>,
    tries_all: bool,
}

/// Why a [`KeySet`] cannot be made of keys.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// A key in a set of several is found by its id. Set the id with [`Key::with_kid`].
    #[error("a key in a set needs a kid: set it with Key::with_kid")]
    MissingKid,
    /// Two keys have the same id. RFC 7517 §4.5 asks for distinct ids.
    #[error("the kid {kid:?} is in the set already")]
    DuplicateKid {
        /// The id.
        kid: Box<str>,
    },
    /// A verify-only set needs at least one key.
    #[error("a set of keys needs at least one key")]
    NoKeys,
    /// The set only verifies ([`KeySet::verify_only`]).
    #[error("the keys are verify-only, so none of them signs")]
    VerifyOnly,
}

debug_by_message!(KeySetError);

impl KeySet {
    /// Returns a set of one key, which signs and verifies. The key needs an id before another key
    /// is added. Until then, a set whose key has no id verifies tokens with any `kid`, like the
    /// [`Key`] alone.
    pub const fn new(signing_key: Key) -> Self {
        let signing = Entry { key: signing_key, until: None };
        Self { signing: Some(signing), others: Vec::new(), tries_all: false }
    }

    /// Returns a set whose keys verify and do not sign, for a server that only receives tokens. The
    /// keys verify without an end date, like those of [`KeySet::accept`]. A single key needs no id,
    /// as in [`KeySet::new`].
    ///
    /// This protects against a mistake in the program, not against an attacker: a program that has
    /// the secret can sign.
    ///
    /// ```
    /// use kippu::{Key, KeySet, KeySetError};
    ///
    /// let key = |byte, kid| Key::hs256([byte; 32]).map(|key| key.with_kid(kid));
    /// let keys = KeySet::verify_only([key(1, "2026-10")?, key(2, "2026-11")?])?;
    /// assert_eq!(keys.kids().collect::<Vec<_>>(), ["2026-10", "2026-11"]);
    /// assert_eq!(keys.signing_key().unwrap_err(), KeySetError::VerifyOnly);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`KeySetError::NoKeys`] without a key, [`KeySetError::MissingKid`] if one of several keys
    /// has no id, [`KeySetError::DuplicateKid`] if two have the same id.
    pub fn verify_only(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeySetError> {
        let mut keys = keys.into_iter();
        let first = Entry { key: keys.next().ok_or(KeySetError::NoKeys)?, until: None };
        let set = Self { signing: None, others: Vec::from([first]), tries_all: false };
        keys.try_fold(set, Self::accept)
    }

    /// Adds a key that no longer signs. Its tokens are accepted before `until`, which is usually
    /// the time of the change plus the lifetime of a token. From then on they are refused
    /// ([`DecodeError::KeyRetired`](crate::DecodeError::KeyRetired)), whatever the leeway.
    ///
    /// Do not retire a key that has leaked: leave it out of the set.
    ///
    /// # Errors
    /// [`KeySetError`] if a key has no id, or if the set already has the id.
    pub fn retire(self, key: Key, until: NumericDate) -> Result<Self, KeySetError> {
        self.with(Entry { key, until: Some(until) })
    }

    /// Adds a key that verifies but does not sign, without an end date. It is for the next signing
    /// key, which every verifier must have before the first issuer signs with it.
    ///
    /// # Errors
    /// [`KeySetError`] if a key has no id, or if the set already has the id.
    pub fn accept(self, key: Key) -> Result<Self, KeySetError> {
        self.with(Entry { key, until: None })
    }

    /// Rotates the keys: `signing_key` signs from now on, and the previous signing key retires at
    /// `until`. In a verify-only set no key retires.
    ///
    /// # Errors
    /// [`KeySetError`] if a key has no id, or if the set already has the id.
    pub fn rotate(self, signing_key: Key, until: NumericDate) -> Result<Self, KeySetError> {
        // `accept` checks the id. After that the new key takes the place of the signing key.
        let mut set = self.accept(signing_key)?;
        let newest = set.others.pop();
        let retired = core::mem::replace(&mut set.signing, newest);
        set.others.extend(retired.map(|entry| Entry { until: Some(until), ..entry }));
        Ok(set)
    }

    /// Accepts tokens without a `kid`. Each such token is tried against every key of its algorithm,
    /// which costs up to one MAC for each key of the set. Use it while a service moves from one key
    /// without an id to a set.
    #[must_use]
    pub fn try_all_without_kid(self) -> Self {
        Self { tries_all: true, ..self }
    }

    /// Returns the key that [`encode`](crate::encode) needs.
    ///
    /// # Errors
    /// [`KeySetError::VerifyOnly`] if the set has no signing key.
    pub fn signing_key(&self) -> Result<&Key, KeySetError> {
        self.signing.as_ref().map(|entry| &entry.key).ok_or(KeySetError::VerifyOnly)
    }

    /// Returns the ids of the keys, the signing key's first, for example for a log. Keys without an
    /// id are left out.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.entries().filter_map(|entry| entry.key.kid())
    }

    /// Returns all keys, the signing key first.
    #[cfg(feature = "session")]
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries().map(|entry| &entry.key)
    }

    /// Returns the key with this id, and the end of its time.
    pub(crate) fn get(&self, kid: &str) -> Option<(&Key, Option<NumericDate>)> {
        // A set has a few keys, so it needs no index. The id is public, so it is not compared in
        // constant time.
        let entry = self.entries().find(|entry| entry.key.kid() == Some(kid))?;
        Some((&entry.key, entry.until))
    }

    /// Returns whether a key of one set has the same secret as a key of the other. Only keys for
    /// the same algorithm are compared.
    #[cfg(feature = "session")]
    pub(crate) fn shares_a_secret_with(&self, other: &Self) -> bool {
        self.keys().any(|key| other.keys().any(|other| other.has_secret_of(key)))
    }

    /// Returns whether `other` would sign and verify the same tokens, for as long.
    #[cfg(feature = "std")]
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let has = |entry: &Entry| {
            self.entries().any(|own| {
                own.key.kid() == entry.key.kid()
                    && own.until == entry.until
                    && own.key.has_secret_of(&entry.key)
            })
        };
        // Ids are distinct within a set. Two sets of the same size are therefore equal if each key
        // of one is in the other.
        self.signing_key().map(Key::kid) == other.signing_key().map(Key::kid)
            && self.tries_all == other.tries_all
            && self.others.len() == other.others.len()
            && other.entries().all(has)
    }

    fn with(mut self, entry: Entry) -> Result<Self, KeySetError> {
        let kid = entry.key.kid().ok_or(KeySetError::MissingKid)?;
        // A key without an id matches any `kid`, so it cannot be one of several.
        if self.nameless_key().is_some() {
            return Err(KeySetError::MissingKid);
        }
        if self.entries().any(|known| known.key.kid() == Some(kid)) {
            return Err(KeySetError::DuplicateKid { kid: kid.into() });
        }
        self.others.push(entry);
        Ok(self)
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.signing.iter().chain(&self.others)
    }

    /// Returns the key without an id. Such a key is the only one of its set.
    fn nameless_key(&self) -> Option<&Key> {
        self.entries().next().map(|entry| &entry.key).filter(|key| key.kid().is_none())
    }
}

impl From<Key> for KeySet {
    fn from(key: Key) -> Self {
        Self::new(key)
    }
}

/// A key, and the time until which it verifies.
#[derive(Debug)]
struct Entry {
    key: Key,
    until: Option<NumericDate>,
}

/// Finds the keys for a token. It is implemented for [`Key`], [`KeySet`] and [`SharedKeySet`], and
/// for a reference, `Box` or `Arc` of any implementation.
///
/// An application with other keys, for example one for each tenant, implements the trait itself.
/// The `kid` was chosen by the author of the token: it selects a key and proves nothing. The
/// algorithm is that of the key that is offered; a header that names another algorithm is refused.
///
/// ```
/// use std::collections::HashMap;
///
/// use kippu::{Candidates, Key, Keys, NumericDate, RegisteredClaims, Validation, decode, encode};
///
/// /// The key of each tenant, under the tenant's id.
/// struct Tenants(HashMap<String, Key>);
///
/// impl Keys for Tenants {
///     fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
///         if let Some(key) = kid.and_then(|kid| self.0.get(kid)) {
///             candidates.offer(key);
///         }
///     }
/// }
///
/// let key = |byte, tenant| Key::hs256([byte; 32]).map(|key| key.with_kid(tenant));
/// let tenants = [("acme".into(), key(1, "acme")?), ("globex".into(), key(2, "globex")?)];
/// let keys = Tenants(tenants.into());
/// let claims = serde_json::json!({ "exp": NumericDate::in_seconds(60) });
/// let token = encode(&claims, &key(2, "globex")?)?;
/// decode::<RegisteredClaims>(&token, &keys, &Validation::new())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Keys {
    /// Offers each key that may have signed a token with this `kid` in its header. If no key is
    /// offered, the token is refused with [`UnknownKid`](crate::DecodeError::UnknownKid) or
    /// [`MissingKid`](crate::DecodeError::MissingKid).
    fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>);

    /// Offers keys that may have written the header with which `token` begins. If one of them did,
    /// the header need not be decoded. The result of a verification is the same without this
    /// method.
    #[doc(hidden)]
    fn find_by_header(&self, token: &str, candidates: &mut Candidates<'_>) {
        let _ = (token, candidates);
    }
}

/// Receives the keys that [`Keys::find`] offers for a token, until one of them has signed it.
pub struct Candidates<'c> {
    verifies: &'c mut dyn FnMut(&Key, Option<NumericDate>) -> bool,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    NoneOffered,
    NoneFits,
    Found,
}

impl<'c> Candidates<'c> {
    pub(crate) fn new(verifies: &'c mut dyn FnMut(&Key, Option<NumericDate>) -> bool) -> Self {
        Self { verifies, progress: Progress::NoneOffered }
    }

    /// Returns whether no key has been offered.
    pub(crate) fn is_empty(&self) -> bool {
        self.progress == Progress::NoneOffered
    }

    /// Offers a key. Returns whether this key or an earlier one has signed the token; further keys
    /// are ignored.
    pub fn offer(&mut self, key: &Key) -> bool {
        self.take(key, None)
    }

    /// Offers a key whose tokens are accepted before `until`; see [`KeySet::retire`].
    pub fn offer_until(&mut self, key: &Key, until: NumericDate) -> bool {
        self.take(key, Some(until))
    }

    fn take(&mut self, key: &Key, until: Option<NumericDate>) -> bool {
        // After one key has verified the token, no other key can turn the result into a refusal.
        if self.progress != Progress::Found {
            let verifies = (self.verifies)(key, until);
            self.progress = if verifies { Progress::Found } else { Progress::NoneFits };
        }
        self.progress == Progress::Found
    }
}

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl Keys for Key {
    /// A single key does not need the `kid`, which is a hint. If both have an id, the ids must be
    /// equal.
    fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
        match (self.kid(), kid) {
            (Some(own), Some(named)) if own != named => {}
            _ => {
                candidates.offer(self);
            }
        }
    }

    // The `kid` is part of the header with which the key compares the token.
    fn find_by_header(&self, _: &str, candidates: &mut Candidates<'_>) {
        candidates.offer(self);
    }
}

impl Keys for KeySet {
    fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
        // The only key of its set. The `kid` is a hint (RFC 7515 §4.1.4), and such a key has none
        // to compare it with.
        if let Some(key) = self.nameless_key() {
            candidates.offer(key);
        } else if let Some(kid) = kid {
            if let Some((key, until)) = self.get(kid) {
                candidates.take(key, until);
            }
        } else if self.tries_all {
            // It offers every key, whatever the token.
            self.find_by_header("", candidates);
        }
    }

    fn find_by_header(&self, _: &str, candidates: &mut Candidates<'_>) {
        let _ = self.entries().any(|entry| candidates.take(&entry.key, entry.until));
    }
}

/// A pointer to keys also finds keys.
macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<K: Keys + ?Sized> Keys for $pointer {
            fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
                K::find(self, kid, candidates);
            }

            fn find_by_header(&self, token: &str, candidates: &mut Candidates<'_>) {
                K::find_by_header(self, token, candidates);
            }
        }
    )*};
}

pointers!(&K, Box<K>);
// `alloc` has no `Arc` for processors without compare-and-swap of a pointer, for example Cortex-M0.
#[cfg(target_has_atomic = "ptr")]
pointers!(alloc::sync::Arc<K>);

#[cfg(feature = "std")]
mod shared {
    use std::sync::Arc;

    use arc_swap::ArcSwap;

    use super::{Candidates, Key, KeySet, Keys};

    /// The key set of a running server. It can be replaced while tokens are verified. A clone is
    /// another handle to the same set.
    ///
    /// A verification takes no lock and counts no reference, so threads that verify do not wait for
    /// each other. The old set, with its secrets, is dropped when the last call that uses it ends.
    ///
    /// ```
    /// use kippu::{Key, KeySet, NumericDate, SharedKeySet, Validation, decode, encode};
    ///
    /// let key = |byte, kid| Key::hs256([byte; 32]).map(|key| key.with_kid(kid));
    /// let keys = SharedKeySet::from(key(1, "old")?);
    /// let claims = serde_json::json!({ "exp": NumericDate::in_seconds(60) });
    /// let token = encode(&claims, keys.load().signing_key()?)?;
    ///
    /// let retired = key(1, "old")?;
    /// keys.replace(KeySet::new(key(2, "new")?).retire(retired, NumericDate::in_seconds(60))?);
    /// decode::<serde_json::Value>(&token, &keys, &Validation::new())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Debug)]
    pub struct SharedKeySet {
        current: Arc<ArcSwap<KeySet>>,
    }

    impl SharedKeySet {
        /// Makes a shared set of `keys`.
        pub fn new(keys: impl Into<KeySet>) -> Self {
            Self { current: Arc::new(ArcSwap::from_pointee(keys.into())) }
        }

        /// Returns the current set, for example to sign with its
        /// [`signing_key`](KeySet::signing_key). The returned set does not change afterwards.
        pub fn load(&self) -> Arc<KeySet> {
            self.current.load_full()
        }

        /// Replaces the current set by `keys`.
        pub fn replace(&self, keys: impl Into<KeySet>) {
            self.current.store(Arc::new(keys.into()));
        }
    }

    impl Keys for SharedKeySet {
        fn find(&self, kid: Option<&str>, candidates: &mut Candidates<'_>) {
            // `load_full` would count a reference, which writes memory that all threads share: see
            // the bench `keys`.
            self.current.load().find(kid, candidates);
        }

        fn find_by_header(&self, token: &str, candidates: &mut Candidates<'_>) {
            self.current.load().find_by_header(token, candidates);
        }
    }

    impl From<KeySet> for SharedKeySet {
        fn from(keys: KeySet) -> Self {
            Self::new(keys)
        }
    }

    impl From<Key> for SharedKeySet {
        fn from(key: Key) -> Self {
            Self::new(key)
        }
    }
}

#[cfg(feature = "std")]
pub use shared::SharedKeySet;
