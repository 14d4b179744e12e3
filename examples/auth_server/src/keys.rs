//! The two secrets: files beside the database in, keys out. Made at the first start, readable by the owner alone, never
//! printed. A server for more than a demonstration gets them from a secret manager.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kippu::{Algorithm, Jwk, JwkError, Key, KeyError};

use crate::private_file;

/// Both, as they are stored.
pub(crate) struct Keys {
    access: Jwk,
    refresh: Jwk,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("the key file {}", .0.display())]
    Io(PathBuf, #[source] io::Error),
    #[error("the key file {} can be read by others: chmod 600", .0.display())]
    Open(PathBuf),
    #[error("the key file {} holds no key", .0.display())]
    Jwk(PathBuf, #[source] JwkError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The ids of the first keys; whoever rotates them gives the next ones others.
const ACCESS_KID: &str = "access-1";
const REFRESH_KID: &str = "refresh-1";

impl Keys {
    /// Two files, because resource servers get the one, and must never get the other.
    pub(crate) fn load(path: &Path) -> Result<Self, KeysError> {
        let file = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Ok(Self {
            access: load(&file(".access.jwk"), ACCESS_KID)?,
            refresh: load(&file(".refresh.jwk"), REFRESH_KID)?,
        })
    }

    /// Such as end with this process.
    pub(crate) fn generate() -> Result<Self, KeysError> {
        Ok(Self { access: generate(ACCESS_KID)?, refresh: generate(REFRESH_KID)? })
    }

    pub(crate) fn access(&self) -> Result<Key, KeyError> {
        Key::from_jwk(&self.access)
    }

    pub(crate) fn refresh(&self) -> Result<Key, KeyError> {
        Key::from_jwk(&self.refresh)
    }
}

fn load(path: &Path, kid: &str) -> Result<Jwk, KeysError> {
    let io = |error| KeysError::Io(path.to_owned(), error);
    if !path.try_exists().map_err(io)? {
        private_file::create(path, generate(kid)?.expose_json().as_bytes()).map_err(io)?;
    }
    if private_file::is_open_to_others(path).map_err(io)? {
        return Err(KeysError::Open(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    Jwk::from_json(&text).map_err(|error| KeysError::Jwk(path.to_owned(), error))
}

fn generate(kid: &str) -> Result<Jwk, KeyError> {
    Ok(Jwk::generate(Algorithm::Hs256)?.with_kid(kid))
}
