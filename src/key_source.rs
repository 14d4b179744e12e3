//! Sources of keys: an environment variable, a file, a directory, or a secret manager through an
//! application's [`KeySource`]. A source returns a [`KeySet`], again at each call.
//!
//! A source refuses a file that others can read or change, a set that does not say which key signs,
//! a key whose id is not the expected one, and a text in another form than expected. No error shows
//! a secret or any part of a file.

use alloc::{boxed::Box, string::String};
use core::error::Error;
use std::{io, path::PathBuf};

use crate::{
    debug::debug_by_message,
    excerpt::Excerpt,
    jwk::JwkError,
    key::KeyError,
    key_set::{KeySet, KeySetError},
};

mod content;
mod directory;
mod environment;
mod file;
mod reload;

pub use self::{
    content::KeyFormat, directory::KeyDirectory, environment::EnvKeys, file::KeyFile,
    reload::ReloadedKeys,
};

/// A source of the keys of a server.
///
/// This crate has [`EnvKeys`], [`KeyFile`] and [`KeyDirectory`]. For a secret manager, an
/// application implements the one method; [`secret_managers`](crate::secret_managers) shows that
/// for three of them. A closure is a source, too.
///
/// [`load`](Self::load) may block. [`ReloadedKeys`] calls it when it is made, at each
/// [`ReloadedKeys::reload`], and on a separate thread after [`ReloadedKeys::watch`].
///
/// ```
/// use kippu::{JwkSet, KeySet, KeySource, KeySourceError};
/// # struct Client;
/// # impl Client {
/// #     fn secret(&self, _: &str) -> Result<zeroize::Zeroizing<String>, std::io::Error> {
/// #         let jwk = kippu::Jwk::generate(kippu::Algorithm::Hs256).unwrap().with_kid("2026-11");
/// #         Ok(JwkSet::new([jwk]).unwrap().expose_json())
/// #     }
/// # }
///
/// struct SecretManager(Client);
///
/// impl KeySource for SecretManager {
///     fn load(&self) -> Result<KeySet, KeySourceError> {
///         let text = self.0.secret("access-keys").map_err(KeySourceError::other)?;
///         Ok(KeySet::from_jwk_set(&JwkSet::from_json(&text)?)?)
///     }
/// }
/// # assert_eq!(SecretManager(Client).load()?.signing_key()?.kid(), Some("2026-11"));
/// # Ok::<(), KeySourceError>(())
/// ```
pub trait KeySource {
    /// Reads the current keys.
    ///
    /// If the set has an end date ([`KeySet::retire`]), return the same date at each call. A date
    /// that is computed from the time of the call never comes.
    ///
    /// # Errors
    /// [`KeySourceError`] if there are no keys, or none that can be used. [`ReloadedKeys`] then
    /// keeps the keys of the last load.
    fn load(&self) -> Result<KeySet, KeySourceError>;
}

impl<F> KeySource for F
where
    F: Fn() -> Result<KeySet, KeySourceError>,
{
    fn load(&self) -> Result<KeySet, KeySourceError> {
        self()
    }
}

/// Why a [`KeySource`] returns no keys.
///
/// The message is for the operator: it names the file or the variable, and says what to do. No
/// message shows a secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// The environment variable is not set.
    #[error("the environment variable {variable} is not set")]
    NotSet {
        /// The name of the variable.
        variable: String,
    },
    /// A file or directory could not be read.
    #[error("{path:?} could not be read: {error}")]
    Io {
        /// The path as it was given.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The path leads to a device, a pipe or a directory.
    #[error("{path:?} is not a regular file")]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file's permissions let others than its owner and group read it, or others than its owner
    /// change it.
    #[error("{path:?} has mode {mode:04o}: others could {could} it. {advice}")]
    Permissions {
        /// The path as it was given.
        path: PathBuf,
        /// The permission bits that were found.
        mode: u32,
        /// `read`, `change`, or, for a directory, `add a key to`.
        could: &'static str,
        /// The command that takes the permission away, and the setting of a mounted secret.
        advice: String,
    },
    /// In a directory that everyone may write to, the file is neither root's nor the directory's
    /// owner's.
    #[error(
        "{path:?} belongs to the user {owner}, who may write to its directory, as everyone may"
    )]
    Owner {
        /// The path of the file.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
    },
    /// The file is too large to be a file of keys.
    #[error("{path:?} is larger than {limit} bytes, which no file of keys is")]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
        /// The maximum number of bytes.
        limit: u64,
    },
    /// The variable, file or directory is empty. A file that is being written is empty for a
    /// moment: write it under a hidden name, and rename it.
    #[error("{origin} is empty")]
    Empty {
        /// The variable, file or directory.
        origin: String,
    },
    /// The expected form is text, and the content is not UTF-8.
    #[error("{origin} is not UTF-8 text; {advice}")]
    NotText {
        /// The variable or file.
        origin: String,
        /// The form of the text, and the remedy.
        advice: &'static str,
    },
    /// The text at this place contains no usable keys.
    #[error("{origin}: {error}")]
    Keys {
        /// The variable, file or directory.
        origin: String,
        /// The fault.
        error: JwkError,
    },
    /// The id in the JWK differs from the one that its file's name or the program gives.
    #[error("{origin} holds the key {found}, where {expected} is expected")]
    Kid {
        /// The variable or file.
        origin: String,
        /// The id in the JWK.
        found: Excerpt,
        /// The expected id.
        expected: Excerpt,
    },
    /// The key has no id, by which a key of a set is found.
    #[error("{origin} holds a key without a kid: name it there, or by the source's kid(…)")]
    MissingKid {
        /// The variable or file.
        origin: String,
    },
    /// The name of the file cannot be the id of its key.
    #[error("{path:?} cannot be a kid: it has to be UTF-8 without control characters")]
    FileName {
        /// The path of the file.
        path: PathBuf,
    },
    /// The directory does not say which of its keys signs. The source does not guess it, for
    /// example from the newest file.
    #[error("which key of the directory signs, {first} or {second}? Write its kid into {file:?}")]
    WhichSigns {
        /// The id of one.
        first: Excerpt,
        /// The id of another.
        second: Excerpt,
        /// The file that names the key that signs.
        file: PathBuf,
    },
    /// The file that names the key that signs contains no id of such a key. The error does not show
    /// its content, which may be a secret that was written into the wrong file.
    #[error("{file:?} does not hold the kid of a key of its directory that may sign")]
    SigningFile {
        /// The path of the file.
        file: PathBuf,
    },
    /// The thread that re-reads the keys could not be started.
    #[error("no thread to re-read the keys: {0}")]
    Thread(io::Error),
    /// The source panicked while it was being re-read.
    #[error("the source of the keys panicked")]
    Panicked,
    /// The text that the application's source returned contains no usable keys.
    #[error(transparent)]
    Unusable(#[from] JwkError),
    /// The application's source has failed.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

debug_by_message!(KeySourceError);

impl KeySourceError {
    /// Wraps the error of the application's source. The error must not quote the source's response,
    /// which contains secrets.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

impl From<KeyError> for KeySourceError {
    fn from(error: KeyError) -> Self {
        Self::Unusable(error.into())
    }
}

impl From<KeySetError> for KeySourceError {
    fn from(error: KeySetError) -> Self {
        Self::Unusable(error.into())
    }
}
