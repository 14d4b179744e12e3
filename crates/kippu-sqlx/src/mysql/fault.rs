//! Turns the driver's errors into those of the store, by their variant and the server's error
//! number, never by their text.

use std::time::Duration;

use kippu::session::{StoreError, StoreErrorKind};
use sqlx::{Error, mysql::MySqlDatabaseError};

/// Turns an error of the driver into one of the store. The driver's error stays the source, unless
/// it could show a password or a row.
pub(super) fn fault(error: Error) -> StoreError {
    let (kind, message) = classify(&error);
    let is_telling = match &error {
        // A part of a connection string, which contains a password.
        Error::Configuration(_) => true,
        // The server's message quotes the rejected row.
        Error::Database(error) => {
            let class = error.code().unwrap_or_default();
            class.starts_with("22") || class.starts_with("23")
        }
        _ => false,
    };
    if is_telling {
        StoreError::new(kind, message)
    } else {
        StoreError::from_driver(kind, error).with_message(message)
    }
}

/// Returns the error for a row that the store cannot have written.
pub(super) fn corrupt() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, STRANGE)
}

/// Returns the error for an invalid connection string.
pub(super) fn no_url() -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, OPTIONS)
}

/// Returns the error for a missing row of `kippu_state`.
pub(super) fn no_state() -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, NO_TABLES)
}

/// Returns the error for a server that answers reads, but may not have the last writes.
pub(super) fn replica() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, READ_ONLY)
}

pub(super) fn no_autocommit() -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        "autocommit is off, so the server would not commit the store's statements: set autocommit = 1 in the server's \
         options or in the pool's after_connect",
    )
}

pub(super) fn simultaneous() -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        "the sql_mode SIMULTANEOUS_ASSIGNMENT changes what an update means: remove it from the sql_mode of the server or \
         of the pool's connections",
    )
}

pub(super) fn frozen() -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        "the server runs with sysdate-is-now, so the store cannot measure how long a rotation waited: start the server \
         without it",
    )
}

pub(super) fn newer() -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        "a newer version of kippu-sqlx has changed the tables: update kippu-sqlx in this application",
    )
}

/// Returns the error for a login that has waited too long for other logins of its subject.
pub(super) fn queued() -> StoreError {
    StoreError::new(
        StoreErrorKind::Contention,
        "other logins of this subject hold the lock of its session limit: try again",
    )
}

/// Returns the error for a step that the server did not answer in time.
pub(super) fn late(deadline: Duration) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!(
            "the MariaDB or MySQL server did not answer within the store's deadline of {deadline:?}: the step may have happened, \
             or happen later"
        ),
    )
}

/// Returns whether a statement met a conflict and was undone: a deadlock, a lock wait that the
/// server ended, or a row that changed after the snapshot.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(number(error), Some(1020 | 1205 | 1213))
}

/// Returns whether a row with the same key exists.
pub(super) fn is_duplicate(error: &Error) -> bool {
    number(error) == Some(1062)
}

/// Returns whether a NOT NULL column was set to NULL. [`INSERT`](super::dialect::INSERT) does so if
/// the server may not write.
pub(super) fn is_null(error: &Error) -> bool {
    number(error) == Some(1048)
}

/// Returns whether the connection must be closed after this error, even if it is still open. Its
/// server rejects writes or is about to stop, or the server's prepared statements differ from those
/// that the driver knows.
pub(super) fn spoils(error: &Error) -> bool {
    let Error::Database(_) = error else { return true };
    matches!(
        number(error),
        Some(1053 | 1243 | 1290 | 1615 | 1792 | 1836 | 1927 | 1928 | 2006 | 2013 | 3032)
    )
}

type Class = (StoreErrorKind, &'static str);

const OPTIONS: &str = "the connection URL is invalid: use mysql://user:password@host:3306/database";
const OTHER_TABLE: &str = "kippu_sessions, kippu_ended or kippu_state does not have the columns of this version: compare it with MySqlStore::SCHEMA";
const NO_TABLES: &str = "the tables kippu_sessions, kippu_ended and kippu_state, or the row of kippu_state, are missing: call \
     MySqlStore::create_schema, or run MySqlStore::SCHEMA";
const READ_ONLY: &str = "the server is read-only: it is a replica, or an old primary after a failover, or read_only is on: \
     connect to the primary, or turn the setting off";
const STRANGE: &str = "a row in the store's tables has a value that the store did not write";

fn number(error: &Error) -> Option<u16> {
    let error: &MySqlDatabaseError = error.as_database_error()?.try_downcast_ref()?;
    Some(error.number())
}

fn classify(error: &Error) -> Class {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match error {
        Error::Database(_) => classify_number(number(error).unwrap_or_default()),
        Error::Configuration(_) | Error::InvalidArgument(_) => (
            Misconfigured,
            "the connection options are invalid, or MySQL requires TLS or an RSA key for the password: use TLS, or the feature \
             mysql-rsa of sqlx",
        ),
        Error::Tls(_) => (
            Misconfigured,
            "the TLS connection to the server failed: check ssl-mode, ssl-ca and the tls features of sqlx",
        ),
        Error::ColumnDecode { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::Decode(_)
        | Error::Encode(_)
        | Error::TypeNotFound { .. } => (Corrupt, STRANGE),
        Error::PoolTimedOut => (
            Unavailable,
            "no connection within the store's deadline or the pool's acquire_timeout: the server is down, or the pool is too \
             small",
        ),
        Error::PoolClosed => (Unavailable, "the pool is closed"),
        // Io, WorkerCrashed, and other errors of a connection that was lost.
        _ => (Unavailable, "the connection to MariaDB or MySQL failed"),
    }
}

/// See <https://mariadb.com/kb/en/mariadb-error-code-reference/> and
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.
fn classify_number(number: u16) -> Class {
    use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

    match number {
        1020 | 1205 | 1213 | 3058 | 3572 => {
            (Contention, "the server ended too many conflicting statements: try again")
        }
        1290 | 1792 | 1836 => (Unavailable, READ_ONLY),
        1146 => (Misconfigured, NO_TABLES),
        1044 | 1142 | 1143 | 1227 => (
            Misconfigured,
            "the user lacks a right: GRANT SELECT, INSERT, UPDATE, DELETE ON kippu_sessions and kippu_ended, SELECT, UPDATE \
             ON kippu_state, and for create_schema CREATE and INSERT",
        ),
        1045 | 1130 | 1251 | 1524 | 1698 | 1862 | 3118 => {
            (Misconfigured, "the server rejects this user or password: correct them in the URL")
        }
        1046 | 1049 => {
            (Misconfigured, "the database does not exist, or the URL names none: correct the URL")
        }
        1193 => (
            Misconfigured,
            "the server does not know a variable that the store reads: use MariaDB 10.11 or MySQL 8.0.16, or newer",
        ),
        1064 => (
            Misconfigured,
            "the server rejects the syntax of a statement: use MariaDB 10.11 or MySQL 8.0.16, or newer, and check that its sql_mode is \
             not the one of another database",
        ),
        1286 => (Misconfigured, "InnoDB is disabled on this server: enable it"),
        1665 => (Misconfigured, "binlog_format is STATEMENT: set it to ROW or MIXED"),
        1048 | 1054 | 1062 | 1136 | 1264 | 1265 | 1364 | 1366 | 1406 | 1452 | 3819 | 4025 => {
            (Misconfigured, OTHER_TABLE)
        }
        1034 | 1194 | 1195 | 1712 | 1877 | 1932 => {
            (Corrupt, "the server reports a damaged table: check it with CHECK TABLE")
        }
        1021 | 1037 | 1038 | 1040 | 1041 | 1114 | 1135 | 1203 | 1206 | 1226 => {
            (Unavailable, "the server has run out of connections, memory, locks or disk space")
        }
        1053 | 1243 | 1317 | 1615 | 1927 | 1928 | 1969 | 3024 | 3032 => {
            (Unavailable, "the server ended the connection or the statement")
        }
        _ => (Unavailable, "MariaDB or MySQL failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn classifies_each_error_number() {
        use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

        for (kind, numbers) in [
            (Contention, &[1020, 1205, 1213][..]),
            (
                Misconfigured,
                &[
                    1044, 1045, 1046, 1048, 1049, 1054, 1142, 1146, 1193, 1286, 1406, 1665, 1698,
                    4025,
                ],
            ),
            (Corrupt, &[1194, 1712, 1877]),
            (Unavailable, &[0, 1021, 1040, 1053, 1290, 1317, 1792, 1836, 1927, 1969, 3024]),
        ] {
            for number in numbers {
                assert_eq!(classify_number(*number).0, kind, "{number}");
            }
        }
        assert!(classify_number(1290).1.contains("primary"));
        assert!(classify_number(1146).1.contains("create_schema"));
    }

    #[test]
    fn classifies_each_variant_of_the_driver() {
        use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

        for (error, kind) in [
            (Error::Io(io::ErrorKind::ConnectionReset.into()), Unavailable),
            (Error::PoolTimedOut, Unavailable),
            (Error::PoolClosed, Unavailable),
            (Error::WorkerCrashed, Unavailable),
            (Error::Protocol("cut off".into()), Unavailable),
            (Error::Tls("no certificate".into()), Misconfigured),
            (Error::ColumnNotFound("kid".into()), Corrupt),
            (Error::Decode("no UTF-8".into()), Corrupt),
        ] {
            assert_eq!(fault(error).kind(), kind);
        }
    }

    #[test]
    fn an_error_shows_no_password() {
        let fault = fault(Error::Configuration("mysql://user:hunter2@host".into()));
        assert_eq!(fault.kind(), StoreErrorKind::Misconfigured);
        assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    }
}
