//! The files of a database. They are created for their owner only. They are compared by device and
//! inode with the ones that were opened, so that no step is answered from a file that was removed,
//! replaced or truncated.
//!
//! No code here opens a file that SQLite has open: POSIX drops SQLite's locks on a file when the
//! process closes any other descriptor of it (<https://www.sqlite.org/howtocorrupt.html>, §2.2).

use std::{
    format,
    fs::{self, Metadata, OpenOptions},
    io::ErrorKind,
    path::{self, Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use kippu::session::{StoreError, StoreErrorKind};

use super::fault::{FileFault, unopened};

/// Device and inode.
type Identity = (u64, u64);

pub(super) struct Files {
    /// The path that the operator gave, so that the store also notices a symbolic link that now
    /// leads elsewhere.
    database: PathBuf,
    /// SQLite creates the log and the index beside the file that the link leads to.
    log: PathBuf,
    index: PathBuf,
    opened: Identity,
    /// The log and its index, while the writer has them open. SQLite removes both with its last
    /// connection.
    beside: Mutex<Option<[Option<Identity>; 2]>>,
}

/// The sizes of the database and of its log, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) database: u64,
    pub(super) log: u64,
}

impl Files {
    /// Returns the files of a database that has just been opened. `named` is the path that the
    /// operator gave, if it is one; `real` is the path that SQLite has resolved.
    pub(super) fn opened(named: Option<PathBuf>, real: &Path) -> Result<Self, FileFault> {
        let opened = identity_at(real).ok_or_else(|| FileFault::Moved(real.into()))?;
        // The name may be a URI, which only SQLite can parse.
        let named = named.filter(|named| identity_at(named) == Some(opened));
        Ok(Self {
            database: named.unwrap_or_else(|| real.into()),
            log: beside(real, "-wal"),
            index: beside(real, "-shm"),
            opened,
            beside: Mutex::default(),
        })
    }

    /// Records the log and its index, which the writer's connection has open from now on.
    pub(super) fn connected(&self) {
        let seen = || [&self.log, &self.index].map(|path| identity_at(path));
        self.beside().get_or_insert_with(seen);
    }

    /// Forgets the log and its index: SQLite may now remove them, and create others.
    pub(super) fn disconnected(&self) {
        *self.beside() = None;
    }

    /// Compares the files at their paths with the ones that were opened.
    pub(super) fn look(&self) -> Result<Sizes, FileFault> {
        let database = fs::metadata(&self.database)
            .ok()
            .filter(|found| identity(found) == self.opened)
            .ok_or_else(|| FileFault::Moved(self.database.clone()))?;
        // An opened database always has at least one page.
        if database.len() == 0 {
            return Err(FileFault::Cut(self.database.clone()));
        }
        let log = fs::metadata(&self.log).ok();
        if let Some([opened_log, opened_index]) = *self.beside() {
            if log.as_ref().map(identity) != opened_log {
                return Err(FileFault::Moved(self.log.clone()));
            }
            if identity_at(&self.index) != opened_index {
                return Err(FileFault::Moved(self.index.clone()));
            }
        }
        Ok(Sizes { database: database.len(), log: log.map_or(0, |log| log.len()) })
    }

    /// Returns whether no other process can have created another index, whose locks this process
    /// does not see.
    pub(super) fn has_locks(&self) -> bool {
        let index = identity_at(&self.index);
        index.is_none() || self.beside().is_some_and(|[_, opened]| index == opened)
    }

    pub(super) fn cut_database(&self) -> FileFault {
        FileFault::Cut(self.database.clone())
    }

    pub(super) fn cut_log(&self) -> FileFault {
        FileFault::Cut(self.log.clone())
    }

    fn beside(&self) -> MutexGuard<'_, Option<[Option<Identity>; 2]>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates an empty file that only its owner may open, unless it exists. Returns its absolute path,
/// so that a later change of the working directory has no effect.
pub(super) fn make(path: &Path) -> Result<PathBuf, StoreError> {
    /// One thread at a time: while a thread closes the file that it has created, no other thread
    /// has it open in SQLite.
    static MAKING: Mutex<()> = Mutex::new(());

    let path = path::absolute(path).map_err(unopened)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, PRIVATE);
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    match options.open(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(unopened(error)),
        _ => Ok(path),
    }
}

/// Rejects a file that others than its owner may open. Also rejects such a log or index, which
/// SQLite creates with the same mode.
#[cfg(unix)]
pub(super) fn refuse_shared(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;

    let Ok(real) = fs::canonicalize(path) else { return Ok(()) };
    for file in [real.clone(), beside(&real, "-wal"), beside(&real, "-shm")] {
        let Ok(metadata) = fs::metadata(&file) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_file() && mode & 0o077 != 0 {
            let file = file.display();
            let message = format!(
                "users other than its owner may open {file} (mode {mode:04o}), which shows who is logged in: \
                 run `chmod 600 {file}`"
            );
            return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
        }
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn refuse_shared(_path: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Restricts a file that SQLite has just created to its owner.
#[cfg(unix)]
pub(super) fn make_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;

    match fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE)) {
        // Options for a database in memory may name a file.
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unopened(error)),
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
pub(super) fn make_private(_path: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Only the owner may read and write.
#[cfg(unix)]
const PRIVATE: u32 = 0o600;

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn identity_at(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().as_ref().map(identity)
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;

    (metadata.dev(), metadata.ino())
}

/// The standard library provides no identity on this system: only a missing file is noticed.
#[cfg(not(unix))]
fn identity(_metadata: &Metadata) -> Identity {
    (0, 0)
}
