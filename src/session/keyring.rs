//! The keys of a purpose: one, a set, or a set that a reload replaces while requests are served.

use alloc::sync::Arc;

use crate::{
    key::Key,
    key_set::{ByOwnHeader, KeySet, Lookup, LookupError, SharedKeySet},
    numeric_date::NumericDate,
};

/// The keys of one purpose, to sign access tokens or refresh tokens with.
///
/// Made from a [`Key`], a [`KeySet`], or an [`Arc`] of a [`SharedKeySet`], whose keys can be replaced while
/// requests are served: calls that have begun go on with the old ones.
#[derive(Debug)]
pub struct Keyring(Keys);

#[derive(Debug)]
enum Keys {
    One(Key),
    Set(KeySet),
    Shared(Arc<SharedKeySet>),
}

impl Keyring {
    /// The keys as they are now, for one call.
    pub(super) fn load(&self) -> Current<'_> {
        match &self.0 {
            Keys::One(key) => Current::One(key),
            Keys::Set(keys) => Current::Set(keys),
            Keys::Shared(shared) => Current::Shared(shared.load()),
        }
    }
}

impl From<Key> for Keyring {
    fn from(key: Key) -> Self {
        Self(Keys::One(key))
    }
}

impl From<KeySet> for Keyring {
    fn from(keys: KeySet) -> Self {
        Self(Keys::Set(keys))
    }
}

impl From<Arc<SharedKeySet>> for Keyring {
    fn from(keys: Arc<SharedKeySet>) -> Self {
        Self(Keys::Shared(keys))
    }
}

/// The keys of one moment.
pub(super) enum Current<'k> {
    One(&'k Key),
    Set(&'k KeySet),
    Shared(Arc<KeySet>),
}

impl Current<'_> {
    pub(super) fn signing_key(&self) -> &Key {
        match self {
            Self::One(key) => key,
            Self::Set(keys) => keys.signing_key(),
            Self::Shared(keys) => keys.signing_key(),
        }
    }

    /// Whether one of these keys has the same secret as one of those. It can be told of keys for one algorithm.
    pub(super) fn share_a_key(&self, others: &Self) -> bool {
        let others = others.keys();
        self.keys().into_iter().any(|key| others.iter().any(|other| other.has_secret_of(key)))
    }

    pub(super) fn keys(&self) -> alloc::vec::Vec<&Key> {
        match self {
            Self::One(key) => alloc::vec![*key],
            Self::Set(keys) => keys.keys().collect(),
            Self::Shared(keys) => keys.keys().collect(),
        }
    }
}

impl Lookup for Current<'_> {
    fn look_up(
        &self,
        kid: Option<&str>,
        visit: impl FnMut(&Key, Option<NumericDate>) -> bool,
    ) -> Result<bool, LookupError> {
        match self {
            Self::One(key) => key.look_up(kid, visit),
            Self::Set(keys) => keys.look_up(kid, visit),
            Self::Shared(keys) => keys.look_up(kid, visit),
        }
    }

    fn by_own_header(&self, token: &str) -> Option<ByOwnHeader<'_>> {
        match self {
            Self::One(key) => key.by_own_header(token),
            Self::Set(keys) => keys.by_own_header(token),
            Self::Shared(keys) => keys.by_own_header(token),
        }
    }
}
