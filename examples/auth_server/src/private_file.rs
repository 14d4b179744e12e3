//! Makes files that only their owner can read.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
    time::Duration,
};

/// Makes a file that has all its content from the moment on that it exists. Returns false if there
/// is one already, for example because another server that starts at the same time has made it.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<bool> {
    let (folder, prefix) = (folder(path), draft_prefix(path)?);
    // The random name cannot collide with a draft that a crash left. An error removes the draft.
    let mut draft = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder)?;
    draft.write_all(content)?;
    draft.as_file().sync_all()?;
    match draft.persist_noclobber(path) {
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        made => {
            made.map_err(|error| error.error)?;
            // A power failure could otherwise lose the name, with sessions that need the key kept.
            #[cfg(unix)]
            File::open(folder)?.sync_all()?;
            Ok(true)
        }
    }
}

/// Removes the drafts that a crash left while `path` was made: each contains a key. Returns how
/// many there were.
pub(crate) fn remove_drafts(path: &Path) -> io::Result<u32> {
    // A younger draft may belong to a server that starts at the same time.
    const OLD: Duration = Duration::from_secs(60);

    let prefix = draft_prefix(path)?;
    let mut removed = 0;
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let is_draft = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        let is_old = || {
            Ok::<_, io::Error>(entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > OLD))
        };
        if is_draft && is_old()? {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn draft_prefix(path: &Path) -> io::Result<OsString> {
    let mut prefix = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_owned();
    prefix.push(".draft-");
    Ok(prefix)
}
