//! A directory of keys, one file each: file names in, kids out. Refused: a directory to which others can add a key,
//! and several keys of which none is said to be the one that signs.

use alloc::{borrow::ToOwned, format, vec::Vec};
use std::{
    fs::{self, Metadata},
    path::{Path, PathBuf},
};

use super::{
    KeySource, KeySourceError,
    content::{Content, KeyFormat},
    file,
};
use crate::{
    jwk::{Jwk, JwkError, JwkSet},
    key_set::KeySet,
};

/// The keys in a directory, one file for each. The file's name is the kid.
///
/// ```text
/// /etc/api/access-keys/
///     2026-10.json    a JWK. Its kid may be left out, and if not, is 2026-10
///     2026-11.json
///     signing         one line: 2026-11
/// ```
///
/// - A name may end in `.json` for a [`KeyFormat::Jwk`], in `.key` for the others; that is not part of the kid. Names
///   that begin with a dot are ignored, so that a secret mounted by Kubernetes, with its `..data`, can be read.
/// - The key that `signing` names signs. A single key needs no such file, nor do several of which all but one are
///   [verify-only](Jwk::verify_only). The others verify for as long as their file is there: take it away when the
///   last of its tokens has expired.
/// - To rotate, add the new key; when all servers have read it, name it in `signing`; later, remove the old one. Each
///   file is written under a hidden name and then renamed, so that no reload sees half of it.
/// - On Unix a file's permissions are those of [`KeyFile`](super::KeyFile): in Kubernetes, `defaultMode: 0400`. The
///   directory may be written to by its owner alone, or have the sticky bit; then a file has to be its owner's, or
///   root's.
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
    format: KeyFormat,
}

/// The file that names the key that signs.
const SIGNING: &str = "signing";

impl KeyDirectory {
    /// The keys in the directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: KeyFormat::Jwk }
    }

    /// How each file spells its key.
    #[must_use]
    pub fn format(self, format: KeyFormat) -> Self {
        Self { format, ..self }
    }

    /// The paths of the keys, and of the file that says which one signs, where there is one.
    fn files(&self) -> Result<(Vec<PathBuf>, Option<PathBuf>), KeySourceError> {
        let io = |error| file::unreadable(&self.path, error);
        let (mut keys, mut signing) = (Vec::new(), None);
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            if name == SIGNING {
                signing = Some(entry.path());
            } else if !name.as_encoded_bytes().starts_with(b".") {
                keys.push(entry.path());
            }
        }
        keys.sort();
        Ok((keys, signing))
    }

    fn key(&self, path: &Path, directory: &Metadata) -> Result<Jwk, KeySourceError> {
        let kid =
            self.kid(path).ok_or_else(|| KeySourceError::FileName { path: path.to_owned() })?;
        let bytes = file::read(path, |file| check_owner(path, file, directory))?;
        Content { origin: file::quoted(path), bytes: &bytes }.key(self.format, Some(kid))
    }

    fn kid<'p>(&self, path: &'p Path) -> Option<&'p str> {
        let extension = if self.format == KeyFormat::Jwk { ".json" } else { ".key" };
        let name = path.file_name()?.to_str()?;
        let kid = name.strip_suffix(extension).unwrap_or(name);
        (!kid.contains(char::is_control)).then_some(kid)
    }
}

impl KeySource for KeyDirectory {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let directory = fs::metadata(&self.path).map_err(|e| file::unreadable(&self.path, e))?;
        check_directory(&self.path, &directory)?;
        let (paths, signing) = self.files()?;
        let keys: Result<Vec<_>, _> = paths.iter().map(|path| self.key(path, &directory)).collect();
        let origin = || format!("the directory {}", file::quoted(&self.path));
        let keys = match JwkSet::new(keys?) {
            Ok(keys) if keys.keys().is_empty() => {
                return Err(KeySourceError::Empty { origin: origin() });
            }
            Ok(keys) => keys,
            Err(error) => return Err(KeySourceError::Keys { origin: origin(), error }),
        };
        let keys = match signing {
            None => keys,
            Some(file) => {
                let bytes = file::read(&file, |found| check_owner(&file, found, &directory))?;
                let content = Content { origin: file::quoted(&file), bytes: &bytes };
                keys.with_signing_key(content.line()?)
                    .map_err(|_| KeySourceError::SigningFile { file: file.clone() })?
            }
        };
        KeySet::from_jwk_set(&keys).map_err(|error| match error {
            JwkError::SeveralSigningKeys { first, second } => {
                KeySourceError::WhichSigns { first, second, file: self.path.join(SIGNING) }
            }
            error => KeySourceError::Keys { origin: origin(), error },
        })
    }
}

/// Whoever can put a file into the directory can sign with a key of their own.
#[cfg(unix)]
fn check_directory(path: &Path, metadata: &Metadata) -> Result<(), KeySourceError> {
    let mode = file::mode(metadata);
    if mode & 0o022 == 0 || mode & STICKY != 0 {
        return Ok(());
    }
    let command = format!("chmod go-w {}", file::in_shell(path));
    Err(KeySourceError::Permissions { path: path.into(), mode, could: "add a key to", command })
}

/// In a sticky directory, which Kubernetes makes of a mounted secret, everyone can add a file, but only under their
/// own name.
#[cfg(unix)]
fn check_owner(path: &Path, file: &Metadata, directory: &Metadata) -> Result<(), KeySourceError> {
    use std::os::unix::fs::MetadataExt;

    let owner = file.uid();
    if file::mode(directory) & 0o022 == 0 || owner == 0 || owner == directory.uid() {
        return Ok(());
    }
    Err(KeySourceError::Owner { path: path.into(), owner })
}

/// `S_ISVTX`: files can be renamed and removed by their owner alone.
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
