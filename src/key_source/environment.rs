//! Keys in an environment variable.

use alloc::{format, string::String};
use std::env;

use zeroize::Zeroizing;

use super::{
    KeySource, KeySourceError,
    content::{Content, Reading, set_options, source_options},
};
use crate::key_set::KeySet;

/// The keys in an environment variable: a JWK or a JWK Set, or the form of [`EnvKeys::format`].
///
/// The environment is the least safe place: every child process inherits it, and a user who may
/// debug the process can read it. It is never wiped, and it does not change, so that a rotation
/// needs a restart. Prefer a file.
///
/// ```no_run
/// use kippu::{Algorithm, EnvKeys, KeyFormat, KeySource};
///
/// let keys = EnvKeys::new("ACCESS_KEYS").load()?; // {"keys":[…]}, or one JWK
/// let base64 = EnvKeys::new("ACCESS_KEY").format(KeyFormat::Base64(Algorithm::Hs256)).kid("2026-11");
/// let keys = base64.load()?; // from `openssl rand -base64 32`
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EnvKeys {
    variable: String,
    reading: Reading,
}

source_options!(EnvKeys);
set_options!(EnvKeys);

impl EnvKeys {
    /// Returns a source of the keys in this environment variable.
    pub fn new(variable: impl Into<String>) -> Self {
        Self { variable: variable.into(), reading: Reading::default() }
    }
}

impl KeySource for EnvKeys {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let Some(value) = env::var_os(&self.variable) else {
            return Err(KeySourceError::NotSet { variable: self.variable.clone() });
        };
        // The bytes as they are: a raw secret need not be UTF-8.
        let value = Zeroizing::new(value.into_encoded_bytes());
        let origin = format!("the environment variable {}", self.variable);
        Content { origin, bytes: &value }.key_set(&self.reading)
    }
}
