//! Keys in a file, and how every file of keys is read: what others can read or change, what is no regular file, and
//! what is too large for keys is refused before a byte of it is read.

use alloc::{format, string::String, vec::Vec};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{KeySource, KeySourceError, content::Content, content::KeyFormat};
use crate::key_set::KeySet;

/// The keys in a file: a JWK or a JWK Set, or what [`KeyFile::format`] says.
///
/// On Unix it is refused when users other than its owner and group may read it, or others than its owner may write
/// to it; the error has the `chmod` to run. Elsewhere permissions are not looked at. Links are followed.
///
/// A new file takes the place of the old one by a rename, so that no reload sees half of it:
/// `(umask 077; write-keys > keys.new) && mv keys.new keys`.
///
/// ```no_run
/// use kippu::{KeyFile, KeySource};
///
/// let keys = KeyFile::new("/etc/api/access-keys.json").load()?;
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    format: KeyFormat,
    kid: Option<String>,
}

impl KeyFile {
    /// The keys in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), format: KeyFormat::Jwk, kid: None }
    }

    /// How the file spells its key.
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

impl KeySource for KeyFile {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let bytes = read(&self.path, |_| Ok(()))?;
        let origin = quoted(&self.path);
        Content { origin, bytes: &bytes }.key_set(self.format, self.kid.as_deref())
    }
}

/// A hundred JWKs for HS512 have some 20 KiB.
const LIMIT: u64 = 64 * 1024;

/// Room for one byte more than the limit, and for what `read_to_end` wants free at the end: a buffer that grows
/// would leave copies of secrets behind.
const CAPACITY: usize = 64 * 1024 + 64;

/// The bytes of a file whose permissions are safe, and whose metadata `allows` allows.
pub(super) fn read(
    path: &Path,
    allows: impl FnOnce(&Metadata) -> Result<(), KeySourceError>,
) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
    let io = |error| unreadable(path, error);
    let not_a_file = || Err(KeySourceError::NotAFile { path: path.into() });
    // To open a pipe would wait for its writer. What is opened is judged by itself, below.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return not_a_file();
    }
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return not_a_file();
    }
    check_permissions(path, &metadata)?;
    allows(&metadata)?;
    let too_large = || Err(KeySourceError::TooLarge { path: path.into(), limit: LIMIT });
    if metadata.len() > LIMIT {
        return too_large();
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(CAPACITY));
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(io)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LIMIT) {
        return too_large();
    }
    Ok(bytes)
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> KeySourceError {
    KeySourceError::Io { path: path.into(), error }
}

/// A path in an error's words, as the errors that hold a path write it.
#[expect(
    clippy::unnecessary_debug_formatting,
    reason = "it is quoted, and control characters are escaped"
)]
pub(super) fn quoted(path: &Path) -> String {
    format!("{path:?}")
}

#[cfg(unix)]
fn check_permissions(path: &Path, metadata: &Metadata) -> Result<(), KeySourceError> {
    let mode = mode(metadata);
    let could = match mode {
        mode if mode & 0o004 != 0 => "read",
        mode if mode & 0o022 != 0 => "change",
        _ => return Ok(()),
    };
    let command = format!("chmod 600 {}", in_shell(path));
    Err(KeySourceError::Permissions { path: path.into(), mode, could, command })
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata) -> Result<(), KeySourceError> {
    Ok(())
}

/// The permission bits, without those of the file's type.
#[cfg(unix)]
pub(super) fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o7777
}

/// A path as one word of a shell's command.
#[cfg(unix)]
pub(super) fn in_shell(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@,".contains(c);
    let path = if path.starts_with('-') { format!("./{path}") } else { path.into_owned() };
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
