//! The two secrets: files beside the database in, keys out. Made at the first start, readable by the owner alone, never
//! printed. A server for more than a demonstration gets them from a secret manager.

use std::{
    io,
    path::{Path, PathBuf},
};

use kippu::{
    Algorithm, Jwk, JwkError, JwkSet, KeyError, KeyFile, KeySet, KeySource, KeySourceError,
};

use crate::private_file;

/// What signs and verifies each kind of token.
pub(crate) struct Keys {
    pub(crate) access: KeySet,
    pub(crate) refresh: KeySet,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("the key file {} cannot be made", .0.display())]
    Make(PathBuf, #[source] io::Error),
    #[error(transparent)]
    Load(#[from] KeySourceError),
    #[error(transparent)]
    Jwk(#[from] JwkError),
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
        let keys = |kid| Ok::<_, KeysError>(KeySet::from_jwk_set(&JwkSet::new([jwk(kid)?])?)?);
        Ok(Self { access: keys(ACCESS_KID)?, refresh: keys(REFRESH_KID)? })
    }
}

/// The keys in a file, which is made where there is none.
fn load(path: &Path, kid: &str) -> Result<KeySet, KeysError> {
    let make = |error| KeysError::Make(path.to_owned(), error);
    if !path.try_exists().map_err(make)? {
        private_file::create(path, jwk(kid)?.expose_json().as_bytes()).map_err(make)?;
    }
    Ok(KeyFile::new(path).load()?)
}

fn jwk(kid: &str) -> Result<Jwk, KeyError> {
    Ok(Jwk::generate(Algorithm::Hs256)?.with_kid(kid))
}
