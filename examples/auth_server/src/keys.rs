//! The secret keys. Loads them from files beside the database, and makes them at the first start.
//! The files can be read by their owner alone, and the keys are never printed. A server in
//! production gets its keys from a secret manager.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kippu::{
    Algorithm, Jwk, JwkError, JwkSet, KeyError, KeyFile, KeySet, KeySource, KeySourceError,
};

use tracing::{info, warn};

use crate::private_file;

/// The keys of each kind of token, and of the digests in the audit log.
pub(crate) struct Keys {
    pub(crate) access: KeySet,
    pub(crate) refresh: KeySet,
    pub(crate) audit: KeySet,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error(
        "the key file {} cannot be made; its folder has to exist, to be writable and to have room",
        .0.display()
    )]
    Make(PathBuf, #[source] io::Error),
    #[error(
        "the key file {} is empty. Restore it from a backup, or remove it: then the next start \
         makes a new key, and refuses all tokens of the old one",
        .0.display()
    )]
    Empty(PathBuf),
    #[error(transparent)]
    Load(#[from] KeySourceError),
    #[error(transparent)]
    Jwk(#[from] JwkError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The ids of the first keys. Keys that replace them need other ids.
const ACCESS_KID: &str = "access-1";
const REFRESH_KID: &str = "refresh-1";
const AUDIT_KID: &str = "audit-1";

impl Keys {
    /// Loads a file for each. Resource servers get the access key, and must never get the refresh
    /// key. The audit key stays when the others are rotated, so that its digests stay the same.
    pub(crate) fn load(path: &Path) -> Result<Self, KeysError> {
        let file = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        Ok(Self {
            access: load(&file(".access.jwk"), ACCESS_KID)?,
            refresh: load(&file(".refresh.jwk"), REFRESH_KID)?,
            audit: load(&file(".audit.jwk"), AUDIT_KID)?,
        })
    }

    /// Such as end with this process.
    pub(crate) fn generate() -> Result<Self, KeysError> {
        let keys = |kid| Ok::<_, KeysError>(KeySet::from_jwk_set(&JwkSet::new([jwk(kid)?])?)?);
        Ok(Self { access: keys(ACCESS_KID)?, refresh: keys(REFRESH_KID)?, audit: keys(AUDIT_KID)? })
    }
}

/// The keys in a file, which is made where there is none.
fn load(path: &Path, kid: &str) -> Result<KeySet, KeysError> {
    let make = |error| KeysError::Make(path.to_owned(), error);
    if !path.try_exists().map_err(make)?
        && private_file::create(path, jwk(kid)?.expose_json().as_bytes()).map_err(make)?
    {
        info!(file = %path.display(), "made a new key");
    }
    match private_file::remove_drafts(path) {
        Ok(0) => {}
        Ok(drafts) => info!(drafts, file = %path.display(), "removed drafts that a crash had left"),
        Err(error) => {
            warn!(%error, file = %path.display(), "cannot look for drafts that a crash left");
        }
    }
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0) {
        return Err(KeysError::Empty(path.to_owned()));
    }
    Ok(KeyFile::new(path).load()?)
}

fn jwk(kid: &str) -> Result<Jwk, KeyError> {
    Ok(Jwk::generate(Algorithm::Hs256)?.with_kid(kid))
}
