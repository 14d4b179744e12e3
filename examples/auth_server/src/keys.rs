//! The secret keys: from files beside the database, which the first start makes, from directories,
//! or from AWS Secrets Manager. They are read again while the server runs, and never printed.

use std::{fs, io, path::PathBuf, str::FromStr, time::Duration};

use kippu::{
    Algorithm, Jwk, JwkError, JwkSet, KeyDirectory, KeyError, KeyFile, KeySet, KeySource,
    KeySourceError, ReloadedKeys,
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

/// The value of `--keys`. Each kind of key has its own place there: resource servers get the access
/// key, and must never get the refresh key. The audit key stays when the others are rotated, so
/// that its digests stay the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyLocation {
    /// `PATH.access.jwk`, `PATH.refresh.jwk`, `PATH.audit.jwk`.
    Files(PathBuf),
    /// `PATH/access`, `PATH/refresh`, `PATH/audit`.
    Directories(PathBuf),
    /// The secrets `NAME/access`, `NAME/refresh`, `NAME/audit`.
    Aws(String),
}

impl FromStr for KeyLocation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((_, "")) => Err("a path or a name is missing after the colon"),
            Some(("file", path)) => Ok(Self::Files(path.into())),
            Some(("dir", path)) => Ok(Self::Directories(path.into())),
            Some(("aws", name)) => Ok(Self::Aws(name.to_owned())),
            _ => Ok(Self::Files(text.into())),
        }
    }
}

/// When the keys are read again, and how long what they have signed is accepted.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) reload_every: Duration,
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only AWS retires keys"))]
    pub(crate) access_lifetime: Duration,
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "only AWS retires keys"))]
    pub(crate) refresh_lifetime: Duration,
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
    #[cfg(not(feature = "aws"))]
    #[error("this server was built without AWS: build it again with --features aws")]
    NoAws,
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
    pub(crate) async fn load(location: &KeyLocation, times: Times) -> Result<Self, KeysError> {
        match location {
            KeyLocation::Files(path) => {
                let file = |suffix: &str, kid| {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    file(name.into(), kid)
                };
                let (access, refresh) =
                    (file(".access.jwk", ACCESS_KID)?, file(".refresh.jwk", REFRESH_KID)?);
                Self::watched(access, refresh, &file(".audit.jwk", AUDIT_KID)?, times)
            }
            KeyLocation::Directories(path) => {
                let keys = |kind| KeyDirectory::new(path.join(kind));
                Self::watched(keys("access"), keys("refresh"), &keys("audit"), times)
            }
            KeyLocation::Aws(name) => Self::aws(name, times).await,
        }
    }

    #[cfg(feature = "aws")]
    async fn aws(name: &str, times: Times) -> Result<Self, KeysError> {
        use aws_config::BehaviorVersion;
        use aws_smithy_http_client::{
            Builder,
            tls::{Provider, rustls_provider::CryptoMode},
        };
        use kippu_aws::{SecretsManager, aws_sdk_secretsmanager::Client};

        let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::latest()).http_client(https);
        let client = Client::new(&config.load().await);
        let secret = |kind, lifetime| {
            SecretsManager::new(client.clone(), format!("{name}/{kind}"), lifetime)
        };
        let access = secret("access", times.access_lifetime);
        let refresh = secret("refresh", times.refresh_lifetime);
        Self::watched(access, refresh, &secret("audit", Duration::ZERO), times)
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "with the feature it waits")]
    async fn aws(_: &str, _: Times) -> Result<Self, KeysError> {
        Err(KeysError::NoAws)
    }

    fn watched<K: KeySource + Send + Sync + 'static>(
        access: K,
        refresh: K,
        audit: &K,
        times: Times,
    ) -> Result<Self, KeysError> {
        let tokens = TokenKeys {
            access: watched("access", access, times.reload_every)?,
            refresh: watched("refresh", refresh, times.reload_every)?,
        };
        Ok(Self { tokens, audit: audit.load()? })
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
    /// Describes the keys for an operator: their ids, that of the key that signs first, the seconds
    /// since they were read, and whether the last attempt to read them has failed. Why is only in
    /// the log.
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
    source: impl KeySource + Send + Sync + 'static,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_file_unless_it_says_otherwise() {
        for (text, location) in [
            ("keys", KeyLocation::Files("keys".into())),
            ("file:/etc/keys", KeyLocation::Files("/etc/keys".into())),
            ("dir:/etc/keys", KeyLocation::Directories("/etc/keys".into())),
            ("aws:auth", KeyLocation::Aws("auth".into())),
            ("C:\\keys", KeyLocation::Files("C:\\keys".into())),
        ] {
            assert_eq!(text.parse(), Ok(location));
        }
        assert!("aws:".parse::<KeyLocation>().is_err());
    }
}
