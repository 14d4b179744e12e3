//! Keys in an environment variable.

use alloc::{format, string::String};
use std::env;

use zeroize::Zeroizing;

use super::{KeySource, KeySourceError, content::Content, content::KeyFormat};
use crate::key_set::KeySet;

/// The keys in an environment variable: a JWK or a JWK Set, or what [`EnvKeys::format`] says.
///
/// The environment is the least safe of places: every child process inherits it, and whoever may debug the process
/// reads it. It is also never wiped, and does not change: to rotate, restart. Prefer a file.
///
/// ```no_run
/// use kippu::{Algorithm, EnvKeys, KeyFormat, KeySource};
///
/// let keys = EnvKeys::new("ACCESS_KEYS").load()?; // {"keys":[…]}, or one JWK
/// let hex = EnvKeys::new("ACCESS_KEY").format(KeyFormat::Hex(Algorithm::Hs256)).kid("2026-11");
/// let keys = hex.load()?; // from `openssl rand -hex 32`
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct EnvKeys {
    variable: String,
    format: KeyFormat,
    kid: Option<String>,
}

impl EnvKeys {
    /// The keys in the environment variable of that name.
    pub fn new(variable: impl Into<String>) -> Self {
        Self { variable: variable.into(), format: KeyFormat::Jwk, kid: None }
    }

    /// How the variable spells its key.
    #[must_use]
    pub fn format(self, format: KeyFormat) -> Self {
        Self { format, ..self }
    }

    /// The id of the key that signs. A secret that is no JWK needs one; of a JWK Set that does not say which
    /// key signs, this chooses it.
    #[must_use]
    pub fn kid(self, kid: impl Into<String>) -> Self {
        Self { kid: Some(kid.into()), ..self }
    }
}

impl KeySource for EnvKeys {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let Some(value) = env::var_os(&self.variable) else {
            return Err(KeySourceError::NotSet { variable: self.variable.clone() });
        };
        let value = Zeroizing::new(value.into_encoded_bytes());
        let origin = format!("the environment variable {}", self.variable);
        Content { origin, bytes: &value }.key_set(self.format, self.kid.as_deref())
    }
}
