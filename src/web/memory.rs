//! Access tokens that were verified before, and what they say: a token in that is one of them, letter by letter, and would
//! be verified again, is not verified again. Every other one is.

use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, fmt, num::NonZeroU64};
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{PoisonError, RwLock},
};

use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use crate::{
    error::DecodeError,
    session::{AccessToken, AccessVerifier, Standing},
};

/// The memory of one verifier; with no places, it remembers nothing. Each token has one place, by its end; who comes
/// last has it.
pub(super) struct Memory {
    places: Box<[RwLock<Option<Remembered>>]>,
    /// With a key of its own: nobody outside can tell who shares a place.
    hasher: RandomState,
}

struct Remembered {
    token: Box<str>,
    standing: Standing,
    /// An `AccessToken<C>`, of whichever `C` it was read as.
    said: Arc<dyn Any + Send + Sync>,
}

impl Memory {
    pub(super) fn new(tokens: usize) -> Self {
        let places = (0..tokens).map(|_| RwLock::default()).collect();
        Self { places, hasher: RandomState::new() }
    }

    /// What `verifier` says of a token. It has to be the same verifier with each call.
    pub(super) fn verify<C: DeserializeOwned + Send + Sync + 'static>(
        &self,
        token: &str,
        verifier: &AccessVerifier,
    ) -> Result<Arc<AccessToken<C>>, DecodeError> {
        let Some(place) = self.place(token) else {
            return verifier.verify(token).map(Arc::new);
        };
        // A place is written in one step, so there is nothing that a panic could have left behind.
        let remembered = place.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = remembered.as_ref().and_then(|known| known.recall(token, verifier)) {
            return Ok(said);
        }
        drop(remembered);
        let (said, standing) = verifier.verify_standing::<C>(token)?;
        let said = Arc::new(said);
        let kept = Arc::clone(&said);
        let new = Remembered { token: token.into(), standing, said: kept };
        let old = place.write().unwrap_or_else(PoisonError::into_inner).replace(new);
        // The application's type may do what it likes when it goes, but not while others wait.
        drop(old);
        Ok(said)
    }

    /// By the end of its signature, which differs from that of every other token.
    fn place(&self, token: &str) -> Option<&RwLock<Option<Remembered>>> {
        let end = u64::from_ne_bytes(*token.as_bytes().last_chunk()?);
        let count = NonZeroU64::new(u64::try_from(self.places.len()).ok()?)?;
        let number = self.hasher.hash_one(end) % count;
        self.places.get(usize::try_from(number).ok()?)
    }
}

impl Remembered {
    /// What a token says, if it is this one.
    fn recall<C: Send + Sync + 'static>(
        &self,
        token: &str,
        verifier: &AccessVerifier,
    ) -> Option<Arc<AccessToken<C>>> {
        // The signature at its end is a secret of those who may present the token.
        let is_same = bool::from(self.token.as_bytes().ct_eq(token.as_bytes()));
        if !is_same || !verifier.confirms(&self.standing) {
            return None;
        }
        Arc::clone(&self.said).downcast().ok()
    }
}

impl fmt::Debug for Memory {
    /// No token, nor what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("tokens", &self.places.len()).finish_non_exhaustive()
    }
}
