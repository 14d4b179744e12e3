//! A directory of keys, one file for each: file names in, kids out. Refused are a directory to
//! which others can add a key, and several keys without a file that names the one that signs.

use alloc::{borrow::ToOwned, format, vec::Vec};
use std::{
    fs::{self, Metadata},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    KeySource, KeySourceError,
    content::{Content, KeyFormat, Reading, source_options},
    file::{self, Readers},
};
use crate::{
    jwk::{Jwk, JwkError, JwkSet},
    key_set::KeySet,
};

/// The keys in a directory, one file for each. The name of the file is the kid.
///
/// ```text
/// /etc/api/access-keys/
///     2026-10.json    a JWK, without a kid or with the kid 2026-10
///     2026-11.json
///     signing         one line: 2026-11
/// ```
///
/// - A name may end in `.json` for a JWK, and in `.key` for the other forms. This ending is not
///   part of the kid. Names that begin with a dot are ignored.
/// - The key that `signing` names signs. A single key needs no such file. Several keys need none if
///   all but one are [verify-only](Jwk::verify_only). The other keys verify as long as their file
///   exists: remove it when the last of its tokens has expired. With [`KeyDirectory::verify_only`]
///   the file `signing` is not read.
/// - To rotate, add the new key; when all servers have read it, name it in `signing`; later, remove
///   the old one. Write each file under a hidden name and rename it, so that no reload reads an
///   incomplete file.
/// - On Unix the permissions of a file are checked as those of a [`KeyFile`](super::KeyFile). Only
///   the owner of the directory may write to it, or it has the sticky bit, like the mounted secrets
///   of Kubernetes. In a sticky directory a file has to belong to the directory's owner or to root.
/// - Of a secret mounted by Kubernetes, the files below `..data` are read, which are all of one
///   version.
///
/// ```no_run
/// use kippu::{KeyDirectory, KeySource};
///
/// let keys = KeyDirectory::new("/etc/api/access-keys").load()?;
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    path: PathBuf,
    readers: Readers,
    reading: Reading,
}

source_options!(KeyDirectory);

/// The file that names the key that signs.
const SIGNING: &str = "signing";

impl KeyDirectory {
    /// Returns a source of the keys in the directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: Readers::OwnerAndGroup, reading: Reading::default() }
    }

    /// Accepts files that every user may read; see
    /// [`KeyFile::dangerously_readable_by_others`](super::KeyFile::dangerously_readable_by_others).
    #[must_use]
    pub fn dangerously_readable_by_others(mut self) -> Self {
        self.readers = Readers::Everyone;
        self
    }

    fn load_version(&self, version: Option<&Path>) -> Result<KeySet, KeySourceError> {
        let directory = fs::metadata(&self.path).map_err(|e| file::unreadable(&self.path, e))?;
        check_directory(&self.path, &directory)?;
        // Others may add a link to a sticky directory, so the link has to belong to the owner, too.
        if version.is_some() {
            let link = self.data();
            let metadata = fs::symlink_metadata(&link).map_err(|e| file::unreadable(&link, e))?;
            check_owner(&link, &metadata, &directory)?;
        }
        let (paths, signing) = match version {
            Some(version) => files(&self.path.join(version))?,
            None => files(&self.path)?,
        };
        let keys: Result<Vec<_>, _> = paths.iter().map(|path| self.key(path, &directory)).collect();
        let origin = || format!("the directory {}", file::quoted(&self.path));
        let keys = match JwkSet::new(keys?) {
            Ok(keys) if keys.keys().is_empty() => {
                return Err(KeySourceError::Empty { origin: origin() });
            }
            Ok(keys) => keys,
            Err(error) => return Err(KeySourceError::Keys { origin: origin(), error }),
        };
        let keys = match signing.filter(|_| !self.reading.verify_only) {
            None => keys,
            Some(file) => {
                let bytes = self.read(&file, &directory)?;
                let content = Content { origin: file::quoted(&file), bytes: &bytes };
                keys.with_signing_key(content.line()?)
                    .map_err(|_| KeySourceError::SigningFile { file: file.clone() })?
            }
        };
        self.reading.set_of(&keys, KeySet::from_jwk_set).map_err(|error| match error {
            JwkError::SeveralSigningKeys { first, second } => {
                KeySourceError::WhichSigns { first, second, file: self.path.join(SIGNING) }
            }
            error => KeySourceError::Keys { origin: origin(), error },
        })
    }

    /// Returns the path of the link with which Kubernetes replaces a whole mounted secret at once.
    /// It leads to the directory of one version. The names beside it lead through it one by one,
    /// and are of two versions while it is replaced.
    fn data(&self) -> PathBuf {
        self.path.join("..data")
    }

    fn key(&self, path: &Path, directory: &Metadata) -> Result<Jwk, KeySourceError> {
        let kid =
            self.kid(path).ok_or_else(|| KeySourceError::FileName { path: path.to_owned() })?;
        let bytes = self.read(path, directory)?;
        Content { origin: file::quoted(path), bytes: &bytes }.key(self.reading.format, Some(kid))
    }

    fn kid<'p>(&self, path: &'p Path) -> Option<&'p str> {
        let extension = match self.reading.format {
            KeyFormat::Jwk | KeyFormat::JwkFor(_) => ".json",
            _ => ".key",
        };
        let name = path.file_name()?.to_str()?;
        let kid = name.strip_suffix(extension).unwrap_or(name);
        (!kid.contains(char::is_control)).then_some(kid)
    }

    fn read(
        &self,
        path: &Path,
        directory: &Metadata,
    ) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
        file::read(path, self.readers, |file| check_owner(path, file, directory))
    }
}

impl KeySource for KeyDirectory {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        file::again_if_replaced(|| {
            let version = || fs::read_link(self.data()).ok();
            let before = version();
            let keys = self.load_version(before.as_deref());
            // The old version is removed file by file: the list of its files may have ended early.
            (keys, version() != before)
        })
    }
}

/// Returns the paths of the keys, and that of the file that names the key that signs, if there is
/// one.
fn files(directory: &Path) -> Result<(Vec<PathBuf>, Option<PathBuf>), KeySourceError> {
    let io = |error| file::unreadable(directory, error);
    let (mut keys, mut signing) = (Vec::new(), None);
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if name == SIGNING {
            signing = Some(entry.path());
        } else if !name.as_encoded_bytes().starts_with(b".") {
            keys.push(entry.path());
        }
    }
    // `read_dir` has no order. Two loads of the same files should report the same keys and errors.
    keys.sort();
    Ok((keys, signing))
}

/// Checks that no other user can add a file to the directory. Such a user could sign with a key
/// that is in the file.
#[cfg(unix)]
fn check_directory(path: &Path, metadata: &Metadata) -> Result<(), KeySourceError> {
    let mode = file::mode(metadata);
    if mode & 0o022 == 0 || mode & STICKY != 0 {
        return Ok(());
    }
    let advice = format!("Run: chmod go-w {}", file::in_shell(path));
    Err(KeySourceError::Permissions { path: path.into(), mode, could: "add a key to", advice })
}

/// Checks who owns a file. In a sticky directory, which Kubernetes makes of a mounted secret, every
/// user can add files, which belong to that user.
#[cfg(unix)]
fn check_owner(path: &Path, file: &Metadata, directory: &Metadata) -> Result<(), KeySourceError> {
    use std::os::unix::fs::MetadataExt;

    let owner = file.uid();
    if file::mode(directory) & 0o022 == 0 || owner == 0 || owner == directory.uid() {
        return Ok(());
    }
    Err(KeySourceError::Owner { path: path.into(), owner })
}

/// `S_ISVTX`: only the owner of a file can rename and remove it.
#[cfg(unix)]
const STICKY: u32 = 0o1000;

#[cfg(not(unix))]
fn check_directory(_: &Path, _: &Metadata) -> Result<(), KeySourceError> {
    Ok(())
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &Metadata, _: &Metadata) -> Result<(), KeySourceError> {
    Ok(())
}
