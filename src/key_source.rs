//! Where keys come from: an environment variable, a file, a directory, or a secret manager by an
//! application's [`KeySource`]. A [`KeySet`] leaves, and again whenever it is asked for.
//!
//! Refused: a file that others can read or change, a set that leaves open which key signs, a key
//! under another id than its place says, a text in another form than expected. No error shows a
//! secret, or any part of what a file holds.

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

/// A place where the keys of a server are kept.
///
/// Here are [`EnvKeys`], [`KeyFile`] and [`KeyDirectory`]; a secret manager is this one method, as
/// [`secret_managers`](crate::secret_managers) shows for three of them, and a closure is a source
/// too. It may block: [`ReloadedKeys`] calls it when it is made, at each [`ReloadedKeys::reload`],
/// and on a separate thread after [`ReloadedKeys::watch`].
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
    /// The keys as they are there now.
    ///
    /// A set with an end date ([`KeySet::retire`]) has to give the same date each time: one that is
    /// reckoned from the moment of the call never comes.
    ///
    /// # Errors
    /// Why there are none, or none that can be used. The keys of the last time are kept then.
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

/// Why a [`KeySource`] gives no keys.
///
/// For the operator: it says which file or variable, and what to do. None shows a secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// There is no environment variable of that name.
    #[error("the environment variable {variable} is not set")]
    NotSet {
        /// Its name.
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
    /// A device, a pipe, a directory.
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
    /// Keys are small: what is larger is something else.
    #[error("{path:?} is larger than {limit} bytes, which no file of keys is")]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// There is nothing in it. A file that is being written is empty for a moment: write it under a
    /// hidden name and rename it.
    #[error("{origin} is empty")]
    Empty {
        /// The variable, file or directory.
        origin: String,
    },
    /// It was to be text, and is not UTF-8.
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
        /// Why not.
        error: JwkError,
    },
    /// The JWK says another id than its file's name or the program.
    #[error("{origin} holds the key {found}, where {expected} is expected")]
    Kid {
        /// The variable or file.
        origin: String,
        /// The id in the JWK.
        found: Excerpt,
        /// The id that it should have.
        expected: Excerpt,
    },
    /// A key of a set is found by its id, and this one has none.
    #[error("{origin} holds a key without a kid: name it there, or by the source's kid(…)")]
    MissingKid {
        /// The variable or file.
        origin: String,
    },
    /// A key file's name is its id.
    #[error("{path:?} cannot be a kid: it has to be UTF-8 without control characters")]
    FileName {
        /// The path of the file.
        path: PathBuf,
    },
    /// Which of a directory's keys signs is not guessed, from the newest or anything else.
    #[error("which key of the directory signs, {first} or {second}? Write its kid into {file:?}")]
    WhichSigns {
        /// The id of one.
        first: Excerpt,
        /// The id of another.
        second: Excerpt,
        /// The file that has to say it.
        file: PathBuf,
    },
    /// The file that says which key of its directory signs says something else, which is not shown:
    /// it may be a secret that was written into the wrong file.
    #[error("{file:?} does not hold the kid of a key of its directory that may sign")]
    SigningFile {
        /// Its path.
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
