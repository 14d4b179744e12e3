//! A token that was verified before: whether it would be verified again, by the keys and the clock of this moment, without
//! a look at it. Never for longer than that; for less where a clock is set back.

use alloc::sync::{Arc, Weak};

use serde::de::DeserializeOwned;

use super::{AccessToken, AccessVerifier};
use crate::{
    error::DecodeError, jws, key_set::KeySet, numeric_date::NumericDate, session::keyring::Current,
};

/// What the verdict on a token stands on: these keys, and this time.
#[derive(Debug)]
pub(crate) struct Standing {
    keys: Generation,
    /// When it was verified: `nbf` and `iat` had begun.
    from: NumericDate,
    /// When it expires, or its key retires before that.
    until: NumericDate,
}

/// Which keys of a keyring, where they can be replaced. No secret is kept by it: what a [`Weak`] holds is the place
/// in memory, so that no other keys come to stand there.
#[derive(Debug)]
struct Generation(Option<Weak<KeySet>>);

impl AccessVerifier {
    /// As [`AccessVerifier::verify`], with what the verdict stands on.
    pub(crate) fn verify_standing<C: DeserializeOwned>(
        &self,
        access_token: &str,
    ) -> Result<(AccessToken<C>, Standing), DecodeError> {
        let keys = self.keys.load();
        let verified = jws::verify(access_token, &keys, &self.validation)?;
        let token = super::read(&verified, &self.validation)?;
        let expired = self.validation.end(token.expires_at);
        let standing = Standing {
            keys: Generation::of(&keys),
            from: self.validation.now().ok_or(DecodeError::NoClock)?,
            until: verified.until.map_or(expired, |retired| retired.min(expired)),
        };
        Ok((token, standing))
    }

    /// Whether what stands on this would be verified now.
    pub(crate) fn confirms(&self, standing: &Standing) -> bool {
        let is_in_time = |now| standing.from <= now && now < standing.until;
        standing.keys.is_of(&self.keys.load()) && self.validation.now().is_some_and(is_in_time)
    }
}

impl Generation {
    fn of(keys: &Current<'_>) -> Self {
        match keys {
            Current::One(_) | Current::Set(_) => Self(None),
            Current::Shared(keys) => Self(Some(Arc::downgrade(keys))),
        }
    }

    /// Of the same keyring: keys that cannot be replaced are the same always.
    fn is_of(&self, keys: &Current<'_>) -> bool {
        match (keys, &self.0) {
            (Current::Shared(keys), Some(known)) => Arc::as_ptr(keys) == known.as_ptr(),
            (Current::Shared(_), None) => false,
            (Current::One(_) | Current::Set(_), _) => true,
        }
    }
}
