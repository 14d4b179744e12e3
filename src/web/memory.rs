//! Access tokens that were verified before, and what they say: a token in that is one of them, letter by letter, and would
//! be verified again, is not verified again. Every other one is.

use alloc::boxed::Box;
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

/// The memory of one verifier; with no places, it remembers nothing. Each token has one place, by its signature; who comes
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
    said: Box<dyn Any + Send + Sync>,
}

impl Memory {
    pub(super) fn new(tokens: usize) -> Self {
        let places = (0..tokens).map(|_| RwLock::default()).collect();
        Self { places, hasher: RandomState::new() }
    }

    /// What `verifier` says of a token. It has to be the same verifier with each call.
    pub(super) fn verify<C>(
        &self,
        token: &str,
        verifier: &AccessVerifier,
    ) -> Result<AccessToken<C>, DecodeError>
    where
        C: DeserializeOwned + Clone + Send + Sync + 'static,
    {
        let signature = signature(token);
        let Some(place) = self.place(signature) else {
            return verifier.verify(token);
        };
        // A place is written in one step, so there is nothing that a panic could have left behind.
        let remembered = place.read().unwrap_or_else(PoisonError::into_inner);
        let recall = |known: &Remembered| known.recall(token, signature, verifier);
        if let Some(said) = remembered.as_ref().and_then(recall) {
            return Ok(said);
        }
        drop(remembered);
        let (said, standing) = verifier.verify_standing::<C>(token)?;
        let new = Remembered { token: token.into(), standing, said: Box::new(said.clone()) };
        let old = place.write().unwrap_or_else(PoisonError::into_inner).replace(new);
        // The application's type may do what it likes when it goes, but not while others wait.
        drop(old);
        Ok(said)
    }

    fn place(&self, signature: &str) -> Option<&RwLock<Option<Remembered>>> {
        let count = NonZeroU64::new(u64::try_from(self.places.len()).ok()?)?;
        let number = self.hasher.hash_one(signature) % count;
        self.places.get(usize::try_from(number).ok()?)
    }
}

impl Remembered {
    /// What a token says, if it is this one. How long the comparison takes tells nobody who has not the signature how
    /// much of it is right.
    fn recall<C: Clone + 'static>(
        &self,
        token: &str,
        signature: &str,
        verifier: &AccessVerifier,
    ) -> Option<AccessToken<C>> {
        let known = self::signature(&self.token).as_bytes();
        let is_same = bool::from(known.ct_eq(signature.as_bytes())) && *self.token == *token;
        let said = self.said.downcast_ref::<AccessToken<C>>().filter(|_| is_same)?;
        verifier.confirms(&self.standing).then(|| said.clone())
    }
}

/// The last segment.
fn signature(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(_, signature)| signature)
}

impl fmt::Debug for Memory {
    /// No token, nor what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("tokens", &self.places.len()).finish_non_exhaustive()
    }
}
