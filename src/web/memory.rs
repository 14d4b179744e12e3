//! Access tokens that were verified before, and what they say: a token in that is one of them, letter by letter, and would
//! be verified again, is not verified again. Every other one is.

use alloc::boxed::Box;
use core::{any::Any, fmt};
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

/// The memory of one verifier. Each token has one place, by its signature; who comes last has it.
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
        let Some(place) = self.place(token) else {
            return verifier.verify(token);
        };
        // A place is written in one step, so there is nothing that a panic could have left behind.
        let remembered = place.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = remembered.as_ref().and_then(|known| known.recall(token, verifier)) {
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

    fn place(&self, token: &str) -> Option<&RwLock<Option<Remembered>>> {
        let hash = self.hasher.hash_one(signature(token));
        let number = usize::try_from(hash % u64::try_from(self.places.len()).ok()?.max(1)).ok()?;
        self.places.get(number)
    }
}

impl Remembered {
    /// What a token says, if it is this one. How long the comparison takes tells nobody who has not the signature how
    /// much of it is right.
    fn recall<C: Clone + 'static>(
        &self,
        token: &str,
        verifier: &AccessVerifier,
    ) -> Option<AccessToken<C>> {
        let signatures = (signature(&self.token).as_bytes(), signature(token).as_bytes());
        let is_same = bool::from(signatures.0.ct_eq(signatures.1)) && *self.token == *token;
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
