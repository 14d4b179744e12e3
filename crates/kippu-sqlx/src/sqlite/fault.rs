//! Turns the driver's errors into those of the store, by their kind and code, never by their text.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use kippu::session::{StoreError, StoreErrorKind};

/// Why the writer cannot continue: one error for all callers of a batch.
pub(super) enum Fault {
    Driver(Arc<sqlx::Error>),
    File(FileFault),
}

/// Why the file at a path can no longer be used.
#[derive(Debug)]
pub(super) enum FileFault {
    /// It is not the one that was opened.
    Moved(PathBuf),
    /// It is shorter than before.
    Cut(PathBuf),
}

impl FileFault {
    pub(super) fn store_error(&self) -> StoreError {
        let message = match self {
            Self::Moved(path) => format!(
                "{} is not the file that was opened: it was removed, renamed or replaced, so no step can run. \
                 Stop all processes that use the database, put the right file in its place, and start them again",
                path.display()
            ),
            Self::Cut(path) => format!(
                "{} was truncated while it was open, so no step can run. Stop all processes that use the \
                 database, restore a backup, and start them again",
                path.display()
            ),
        };
        StoreError::new(StoreErrorKind::Misconfigured, message)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(Arc::new(error))
    }
}

impl From<FileFault> for Fault {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}

impl Fault {
    pub(super) fn store_error(&self) -> StoreError {
        match self {
            Self::Driver(error) => {
                let (kind, message) = classify(error);
                StoreError::from_driver(kind, Arc::clone(error)).with_message(message)
            }
            Self::File(fault) => fault.store_error(),
        }
    }
}

/// Turns an error of the driver into one of the store. The driver's error stays the source.
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    let (kind, message) = classify(&error);
    StoreError::from_driver(kind, error).with_message(message)
}

/// Returns the error for a file that cannot be created.
pub(super) fn unopened(error: io::Error) -> StoreError {
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FULL,
        _ => CANTOPEN,
    };
    let (kind, message) = classify_code(Some(code));
    StoreError::from_driver(kind, error).with_message(message)
}

pub(super) fn closed() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, CLOSED)
}

/// Returns the error for a step whose deadline has passed.
pub(super) fn late(deadline: Duration) -> StoreError {
    let message = format!(
        "the SQLite file did not answer within the deadline of {deadline:?}: another connection holds its lock, or \
         its disk stalls"
    );
    StoreError::new(StoreErrorKind::Unavailable, message)
}

/// Returns the error for a row that the store cannot have written.
pub(super) fn corrupt() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, STRANGE)
}

pub(super) fn foreign() -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        "the SQLite file belongs to another application, and was left unchanged: open a separate file for sessions",
    )
}

/// Returns whether another connection holds a lock, which it may release in a moment.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// Returns whether the error concerns only one statement. SQLite undoes that statement and
/// continues the transaction: ABORT is the default of <https://www.sqlite.org/lang_conflict.html>.
pub(super) fn is_of_statement(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(CONSTRAINT | MISMATCH))
}

const CLOSED: &str = "the store is closed";
const STRANGE: &str = "a row of the SQLite file has a value that the store did not write";

// <https://www.sqlite.org/rescode.html>
const ERROR: u32 = 1;
const PERM: u32 = 3;
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const NOMEM: u32 = 7;
const READONLY: u32 = 8;
const IOERR: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANTOPEN: u32 = 14;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const AUTH: u32 = 23;
const NOTADB: u32 = 26;

/// Returns the low byte of SQLite's code. The other bytes are details.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn classify(error: &sqlx::Error) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match error {
        sqlx::Error::Database(_) => classify_code(primary_code(error)),
        sqlx::Error::PoolClosed => (Unavailable, CLOSED),
        sqlx::Error::PoolTimedOut => {
            (Unavailable, "no connection to the SQLite file became free in time")
        }
        sqlx::Error::Configuration(_) | sqlx::Error::Io(_) => (
            Misconfigured,
            "the SQLite file cannot be opened: its path must be UTF-8, and the process must be able to start a thread",
        ),
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::RowNotFound => (Corrupt, STRANGE),
        _ => (Unavailable, "the connection to the SQLite file was lost"),
    }
}

fn classify_code(code: Option<u32>) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

    match code {
        Some(BUSY | LOCKED) => {
            (Contention, "another connection has locked the SQLite file for too long: try again")
        }
        Some(CORRUPT | NOTADB) => (
            Corrupt,
            "the SQLite file is damaged or is not a database: restore a backup, or move the file away to start with a new one",
        ),
        Some(CANTOPEN) => (
            Misconfigured,
            "the SQLite file cannot be opened: create its folder, and allow the process to access both",
        ),
        Some(READONLY | PERM | AUTH) => (
            Misconfigured,
            "the SQLite file cannot be written: allow the process to write to it and to its folder",
        ),
        Some(ERROR) => (
            Misconfigured,
            "the table in the SQLite file is not the one that the store created: another program must not change it",
        ),
        Some(CONSTRAINT | MISMATCH) => (Corrupt, STRANGE),
        Some(FULL) => (Unavailable, "the disk of the SQLite file is full"),
        Some(IOERR) => (Unavailable, "the disk of the SQLite file failed"),
        Some(NOMEM) => (Unavailable, "SQLite has run out of memory"),
        _ => (Unavailable, "SQLite failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, io};

    use super::*;

    /// Includes the codes that no file in the tests can cause.
    #[test]
    fn classifies_each_result_code() {
        use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

        for (kind, codes) in [
            (Contention, &[BUSY, LOCKED][..]),
            (Corrupt, &[CORRUPT, NOTADB, CONSTRAINT, MISMATCH]),
            (Misconfigured, &[CANTOPEN, READONLY, PERM, AUTH, ERROR]),
            (Unavailable, &[FULL, IOERR, NOMEM, 2, 4, 9, 12, 15, 17, 18, 21, 22, 25]),
        ] {
            for &code in codes {
                assert_eq!(classify_code(Some(code)).0, kind, "{code}");
            }
        }
        assert_eq!(classify_code(None).0, Unavailable);
        // These errors have the same kind, but need different actions.
        let messages = [FULL, IOERR, NOMEM, 2].map(|code| classify_code(Some(code)).1);
        assert_eq!(BTreeSet::from(messages).len(), messages.len());
    }

    #[test]
    fn classifies_each_variant_of_the_driver() {
        use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};
        use sqlx::Error;

        for (error, kind) in [
            (Error::PoolTimedOut, Unavailable),
            (Error::PoolClosed, Unavailable),
            (Error::WorkerCrashed, Unavailable),
            (Error::Io(io::ErrorKind::OutOfMemory.into()), Misconfigured),
            (Error::Configuration("not UTF-8".into()), Misconfigured),
            (Error::RowNotFound, Corrupt),
            (Error::ColumnIndexOutOfBounds { index: 7, len: 2 }, Corrupt),
            (Error::ColumnDecode { index: "0".into(), source: "no UTF-8".into() }, Corrupt),
            (Error::Decode("no UTF-8".into()), Corrupt),
        ] {
            assert_eq!(fault(error).kind(), kind);
        }
        let message = fault(Error::PoolTimedOut).to_string();
        assert!(
            message.ends_with("no connection to the SQLite file became free in time"),
            "{message}"
        );
    }
}
