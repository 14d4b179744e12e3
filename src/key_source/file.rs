//! Keys in a file, and how every file of keys is read. A file that others can read or change, one
//! that is not regular, and one that is too large are refused before a byte is read.

use alloc::{format, string::String, vec::Vec};
use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    KeySource, KeySourceError,
    content::{Content, Reading, set_options, source_options},
};
use crate::key_set::KeySet;

/// The keys in a file: a JWK or a JWK Set, or the form of [`KeyFile::format`].
///
/// On Unix the file is refused if users other than its owner and group may read it, or if users
/// other than its owner may write to it. On other systems the permissions are not checked. Links
/// are followed.
///
/// | place | permissions that are accepted |
/// |---|---|
/// | a file of the server's user | `chmod 600` |
/// | a secret of Docker Swarm, 0444 by default | `mode: 0400` and `uid:` of the server's user, in the secret's long syntax |
/// | a secret of Docker Compose | those of the file on the host: `chmod 600`, owned by the server's user |
/// | a secret of Kubernetes, 0644 by default | `defaultMode: 0400`; with `fsGroup`, Kubernetes makes it 0440 |
/// | where none of these can be set | [`KeyFile::dangerously_readable_by_others`] |
///
/// Replace the file by renaming a new one, so that no reload reads an incomplete file: `(umask 077;
/// write-keys > keys.new) && mv keys.new keys`.
///
/// ```no_run
/// use kippu::{Algorithm, KeyFile, KeyFormat, KeySource};
///
/// let keys = KeyFile::new("/etc/api/access-keys.json").load()?;
/// let secret = KeyFile::new("/run/secrets/access-key").format(KeyFormat::Base64(Algorithm::Hs256)).kid("1");
/// let keys = secret.load()?; // from `openssl rand -base64 32`
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
    readers: Readers,
    reading: Reading,
}

source_options!(KeyFile);
set_options!(KeyFile);

/// The users that may read a file of keys.
#[derive(Clone, Copy, Debug)]
pub(super) enum Readers {
    OwnerAndGroup,
    Everyone,
}

impl KeyFile {
    /// Returns a source of the keys in the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), readers: Readers::OwnerAndGroup, reading: Reading::default() }
    }

    /// Accepts a file that every user of the machine or container may read, for a mounted secret
    /// whose permissions cannot be changed. **A user who can read the file can sign tokens for any
    /// user.** So can every other process there, and every attacker who makes one of them read a
    /// file. A file that others may change is refused nevertheless.
    #[must_use]
    pub fn dangerously_readable_by_others(mut self) -> Self {
        self.readers = Readers::Everyone;
        self
    }
}

impl KeySource for KeyFile {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let bytes = again_if_replaced(|| (read(&self.path, self.readers, |_| Ok(())), false))?;
        let origin = quoted(&self.path);
        Content { origin, bytes: &bytes }.key_set(&self.reading)
    }
}

/// Reads again if a file is missing, or if `read` returns that the files were replaced meanwhile.
/// Kubernetes replaces a mounted secret by changing the target of the link `..data`, and then
/// removes the old files, so that a path that was followed halfway leads nowhere.
pub(super) fn again_if_replaced<T>(
    mut read: impl FnMut() -> (Result<T, KeySourceError>, bool),
) -> Result<T, KeySourceError> {
    let is_gone = |result: &Result<T, KeySourceError>| match result {
        Err(KeySourceError::Io { error, .. }) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
    };
    // Bounded, because a file may also be missing for good.
    let mut tries = 10;
    loop {
        let (result, is_replaced) = read();
        tries -= 1;
        if tries == 0 || !(is_replaced || is_gone(&result)) {
            return result;
        }
    }
}

/// A hundred JWKs for HS512 have some 20 KiB.
const LIMIT: u64 = 64 * 1024;

/// One byte more than the limit, and the room that `read_to_end` needs at the end. A buffer that
/// grows would leave copies of secrets behind.
const CAPACITY: usize = 64 * 1024 + 64;

/// Returns the bytes of a file whose permissions are safe, and whose metadata `allows` accepts.
pub(super) fn read(
    path: &Path,
    readers: Readers,
    allows: impl FnOnce(&Metadata) -> Result<(), KeySourceError>,
) -> Result<Zeroizing<Vec<u8>>, KeySourceError> {
    let io = |error| unreadable(path, error);
    let not_a_file = || Err(KeySourceError::NotAFile { path: path.into() });
    // Opening a pipe would wait for its writer. The opened file is checked again below.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return not_a_file();
    }
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return not_a_file();
    }
    check_permissions(path, &metadata, readers)?;
    allows(&metadata)?;
    let too_large = || Err(KeySourceError::TooLarge { path: path.into(), limit: LIMIT });
    if metadata.len() > LIMIT {
        return too_large();
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(CAPACITY));
    // One byte more than allowed shows a file that has grown since its length was read.
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(io)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LIMIT) {
        return too_large();
    }
    Ok(bytes)
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> KeySourceError {
    KeySourceError::Io { path: path.into(), error }
}

/// Returns a path as the messages of errors show it.
#[expect(
    clippy::unnecessary_debug_formatting,
    reason = "it is quoted, and control characters are escaped"
)]
pub(super) fn quoted(path: &Path) -> String {
    format!("{path:?}")
}

#[cfg(unix)]
fn check_permissions(
    path: &Path,
    metadata: &Metadata,
    readers: Readers,
) -> Result<(), KeySourceError> {
    let mode = mode(metadata);
    let could = match (mode, readers) {
        (mode, _) if mode & 0o022 != 0 => "change",
        (mode, Readers::OwnerAndGroup) if mode & 0o004 != 0 => "read",
        _ => return Ok(()),
    };
    let advice = format!(
        "Run: chmod 600 {}. For a mounted secret, set mode: 0400 and the uid (Docker Swarm) or defaultMode: 0400 (Kubernetes)",
        in_shell(path)
    );
    Err(KeySourceError::Permissions { path: path.into(), mode, could, advice })
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &Metadata, _: Readers) -> Result<(), KeySourceError> {
    Ok(())
}

/// Returns the permission bits, without those of the file's type.
#[cfg(unix)]
pub(super) fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata) & 0o7777
}

/// Returns a path as one word of a shell command.
#[cfg(unix)]
pub(super) fn in_shell(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@,".contains(c);
    let path = if path.starts_with('-') { format!("./{path}") } else { path.into_owned() };
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: io::ErrorKind) -> Result<usize, KeySourceError> {
        Err(unreadable(Path::new("key"), kind.into()))
    }

    #[test]
    fn what_was_replaced_under_the_reader_is_read_again() {
        let reads_of = |outcome: &dyn Fn(usize) -> (Result<usize, KeySourceError>, bool)| {
            let mut reads = 0;
            let result = again_if_replaced(|| {
                reads += 1;
                outcome(reads)
            });
            (result.ok(), reads)
        };
        // The path leads nowhere once, and the directory lists another version once.
        let gone = reads_of(&|reads| match reads {
            1 => (failed(io::ErrorKind::NotFound), false),
            reads => (Ok(reads), false),
        });
        assert_eq!(gone, (Some(2), 2));
        let replaced = reads_of(&|reads| (Ok(reads), reads == 1));
        assert_eq!(replaced, (Some(2), 2));
        // A file that is not there is not looked for forever, and any other error is final.
        let missing = reads_of(&|_| (failed(io::ErrorKind::NotFound), false));
        assert_eq!(missing, (None, 10));
        let denied = reads_of(&|_| (failed(io::ErrorKind::PermissionDenied), false));
        assert_eq!(denied, (None, 1));
    }
}
