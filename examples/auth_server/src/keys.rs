//! The secret keys. Loads them from files beside the database, makes them at the first start, and reads them again while
//! the server runs. The files can be read by their owner alone, and the keys are never printed. A server in
//! production gets its keys from a secret manager.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use kippu::{
    Algorithm, Jwk, JwkError, JwkSet, KeyError, KeyFile, KeySet, KeySource, KeySourceError,
    ReloadedKeys,
};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::private_file;

/// The keys of each kind of token, and of the digests in the audit log.
pub(crate) struct Keys {
    pub(crate) tokens: TokenKeys,
    pub(crate) audit: KeySet,
}

/// The keys that are rotated.
pub(crate) struct TokenKeys {
    pub(crate) access: ReloadedKeys,
    pub(crate) refresh: ReloadedKeys,
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
    pub(crate) fn load(path: &Path, reload_every: Duration) -> Result<Self, KeysError> {
        let file = |suffix: &str, kid| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            file(name.into(), kid)
        };
        let tokens = TokenKeys {
            access: watched("access", file(".access.jwk", ACCESS_KID)?, reload_every)?,
            refresh: watched("refresh", file(".refresh.jwk", REFRESH_KID)?, reload_every)?,
        };
        Ok(Self { tokens, audit: file(".audit.jwk", AUDIT_KID)?.load()? })
    }

    /// Makes keys that end with this process.
    pub(crate) fn generate() -> Result<Self, KeysError> {
        let reloaded = |kid| {
            let text = jwk(kid)?.expose_json();
            let source = move || Ok(KeySet::from_jwk_set(&JwkSet::new([Jwk::from_json(&text)?])?)?);
            Ok::<_, KeysError>(ReloadedKeys::load(source)?)
        };
        let audit = KeySet::from_jwk_set(&JwkSet::new([jwk(AUDIT_KID)?])?)?;
        let tokens = TokenKeys { access: reloaded(ACCESS_KID)?, refresh: reloaded(REFRESH_KID)? };
        Ok(Self { tokens, audit })
    }
}

impl TokenKeys {
    /// Describes the keys for an operator: their ids, that of the key that signs first, the seconds since they were read,
    /// and whether the last attempt to read them has failed. Why is only in the log.
    pub(crate) fn status(&self) -> Value {
        let status = |keys: &ReloadedKeys| {
            json!({
                "kids": keys.keys().load().kids().collect::<Vec<_>>(),
                "age": keys.age().as_secs(),
                "failing": keys.last_error().is_some(),
            })
        };
        json!({ "access": status(&self.access), "refresh": status(&self.refresh) })
    }
}

/// Reads the keys again and again, and logs each change and each failure.
fn watched(
    kind: &'static str,
    source: KeyFile,
    reload_every: Duration,
) -> Result<ReloadedKeys, KeySourceError> {
    let kids = |keys: &KeySet| keys.kids().collect::<Vec<_>>().join(", ");
    let keys = ReloadedKeys::load(source)?;
    info!(kind, kids = kids(&keys.keys().load()), "keys");
    keys.watch_every(reload_every, move |reload| match reload {
        Ok(keys) => info!(kind, kids = kids(keys), "the keys have changed"),
        Err(error) => warn!(kind, %error, "the keys cannot be read, and stay the old ones"),
    })
}

/// The keys in a file, which is made where there is none.
fn file(path: PathBuf, kid: &str) -> Result<KeyFile, KeysError> {
    let make = |error| KeysError::Make(path.clone(), error);
    if !path.try_exists().map_err(make)?
        && private_file::create(&path, jwk(kid)?.expose_json().as_bytes()).map_err(make)?
    {
        info!(file = %path.display(), "made a new key");
    }
    match private_file::remove_drafts(&path) {
        Ok(0) => {}
        Ok(drafts) => info!(drafts, file = %path.display(), "removed drafts that a crash had left"),
        Err(error) => {
            warn!(%error, file = %path.display(), "cannot look for drafts that a crash left");
        }
    }
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0) {
        return Err(KeysError::Empty(path));
    }
    Ok(KeyFile::new(path))
}

fn jwk(kid: &str) -> Result<Jwk, KeyError> {
    Ok(Jwk::generate(Algorithm::Hs256)?.with_kid(kid))
}
