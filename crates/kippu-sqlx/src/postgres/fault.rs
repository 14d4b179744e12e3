//! Turns the driver's errors into those of the store, by their variant, SQLSTATE, severity and
//! routine, never by their text.

use std::{borrow::Cow, time::Duration};

use kippu::session::{StoreError, StoreErrorKind};
use sqlx::{
    Error,
    postgres::{PgDatabaseError, PgSeverity},
};

/// Turns an error of the driver into one of the store. The driver's error stays the source, unless
/// it could show a password or a row.
pub(super) fn fault(error: Error) -> StoreError {
    let class = classify(&error);
    with_source(class, error)
}

/// Turns an error of connecting into one of the store, like [`fault`].
pub(super) fn of_connecting(error: Error) -> StoreError {
    // PgBouncer uses this code for all of its errors. It sends the transient ones only after a wait
    // that is longer than the deadline.
    let is_refused = is_fatal(&error) && sqlstate(&error).as_deref() == Some("08P01");
    let class = if is_refused { (StoreErrorKind::Misconfigured, POOLER) } else { classify(&error) };
    with_source(class, error)
}

fn with_source((kind, message): Class, error: Error) -> StoreError {
    let is_telling = match &error {
        // A part of a connection string, which contains a password.
        Error::Configuration(_) => true,
        // The server's message quotes the rejected row.
        _ => sqlstate(&error).is_some_and(|code| code.starts_with("23")),
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

/// Returns the error for a server that answers reads, but may not have the last writes.
pub(super) fn standby() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "the PostgreSQL server is a standby, which may not have the last logouts: connect to the primary",
    )
}

/// Returns the error for a server that rejects writes, for example a standby.
pub(super) fn read_only() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, READ_ONLY)
}

/// Returns the error for a table with the schema of a later version.
pub(super) fn newer(version: u32) -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        format!("kippu_sessions has version {version} of the schema: {NEWER}"),
    )
}

/// Returns the error for a step that the server did not answer in time.
pub(super) fn late(deadline: Duration) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!(
            "PostgreSQL did not answer within the store's deadline of {deadline:?}: the step may have happened, \
             or happen later"
        ),
    )
}

/// Returns whether a statement met a conflict and was undone: a serialization failure or a
/// deadlock.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

/// Returns whether a statement found the expected row, and another statement changed the row before
/// it was locked. Under SERIALIZABLE, a conflict on other rows has the same SQLSTATE, but not the
/// same routine.
pub(super) fn is_lost_row(error: &Error) -> bool {
    from_server(error).is_some_and(|error| error.routine() == Some("ExecLockRows"))
}

/// Returns whether the connection must be closed after this error, even if it is still open. Its
/// server is a standby or about to stop, or its prepared statements or transaction differ from
/// those that the driver knows.
pub(super) fn spoils(error: &Error) -> bool {
    let Error::Database(_) = error else { return true };
    let code = sqlstate(error).unwrap_or_default();
    let is_spoilt = match code.get(..2) {
        Some("57") => code != "57014",
        Some("42") => code == "42P05",
        class => matches!(class, Some("08" | "0A" | "25" | "26")),
    };
    is_spoilt || is_fatal(error)
}

type Class = (StoreErrorKind, &'static str);

const OPTIONS: &str =
    "the connection URL is invalid: use postgres://user:password@host:5432/database";
const OTHER_TABLE: &str = "kippu_sessions does not have the columns of this version: call PostgresStore::create_schema, or run \
     PostgresStore::SCHEMA, as the owner of the table";
const NEWER: &str = "a newer version of kippu has changed the table, and this program supports version 3: update the program";
const READ_ONLY: &str = "the PostgreSQL server rejects writes: it is a standby, or an old primary after a failover, or \
     default_transaction_read_only is on: connect to the primary, or turn the setting off";
const POOLER: &str = "a pooler rejects the connection: set ignore_startup_parameters = extra_float_digits in \
     PgBouncer, or extra_float_digits(None) in the pool's options; its log shows the reason";
const STATEMENTS: &str = "a pooler does not keep prepared statements with their clients: let it track them (PgBouncer 1.21 or newer, \
     max_prepared_statements above 0), or use session pooling";
const STRANGE: &str = "a row of kippu_sessions has a value that the store did not write";

fn from_server(error: &Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

fn is_fatal(error: &Error) -> bool {
    let severity = from_server(error).map(PgDatabaseError::severity);
    matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
}

fn sqlstate(error: &Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

fn classify(error: &Error) -> Class {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match error {
        // The server itself does not know the statement to execute. The errors of a pooler are
        // fatal.
        Error::Database(_) if !is_fatal(error) && sqlstate(error).as_deref() == Some("08P01") => {
            (Misconfigured, STATEMENTS)
        }
        Error::Database(error) => classify_code(error.code().as_deref().unwrap_or_default()),
        Error::Configuration(_) | Error::InvalidArgument(_) => (Misconfigured, OPTIONS),
        Error::Tls(_) => (
            Misconfigured,
            "the TLS connection to the server failed: check sslmode, sslrootcert and the tls features of sqlx",
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
        _ => (Unavailable, "the connection to PostgreSQL failed"),
    }
}

/// See <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn classify_code(code: &str) -> Class {
    use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

    match code {
        "40001" | "40P01" | "55P03" => {
            (Contention, "PostgreSQL ended too many conflicting statements: try again")
        }
        "25006" => (Unavailable, READ_ONLY),
        "KIPPU" => (Misconfigured, NEWER),
        "0A000" => (
            Unavailable,
            "PostgreSQL can no longer run a prepared statement: the table was changed, or it is UNLOGGED and the server is a \
             standby",
        ),
        "42P01" => (
            Misconfigured,
            "the table kippu_sessions is missing: call PostgresStore::create_schema, or run PostgresStore::SCHEMA",
        ),
        "42501" => (
            Misconfigured,
            "the user lacks a right: GRANT SELECT, INSERT, UPDATE, DELETE ON kippu_sessions, kippu_ended, and for \
             create_schema CREATE ON SCHEMA; only the owner can migrate tables of an earlier version",
        ),
        "26000" | "42P05" => (Misconfigured, STATEMENTS),
        "22023" | "42704" => (
            Misconfigured,
            "PostgreSQL does not know a setting in the connection options: correct them",
        ),
        "3D000" | "57P04" => {
            (Misconfigured, "the PostgreSQL database does not exist: correct the connection URL")
        }
        "3F000" => (
            Misconfigured,
            "no schema of the search_path exists: create it, or correct the search_path",
        ),
        "22021" | "22P05" => (
            Misconfigured,
            "PostgreSQL cannot store a text: the encoding of the database must be UTF8, and a text must not contain NUL",
        ),
        "XX001" | "XX002" => {
            (Corrupt, "PostgreSQL reports a damaged page in its files: restore a backup")
        }
        _ => match code.get(..2) {
            Some("28") => (
                Misconfigured,
                "PostgreSQL rejects this user or password: correct them in the connection options",
            ),
            Some("23" | "42") => (Misconfigured, OTHER_TABLE),
            Some("22") => (Corrupt, STRANGE),
            Some("53") => {
                (Unavailable, "PostgreSQL has run out of connections, memory or disk space")
            }
            Some("08" | "57") => (Unavailable, "PostgreSQL ended the connection or the statement"),
            _ => (Unavailable, "PostgreSQL failed"),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn classifies_each_sqlstate() {
        use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

        for (kind, codes) in [
            (Contention, "40001 40P01 55P03"),
            (
                Misconfigured,
                "22021 22023 23502 23514 26000 28000 28P01 3D000 3F000 42501 42703 42804 \
                 42883 42P01 42P05 42P10 57P04 KIPPU",
            ),
            (Corrupt, "22003 XX001 XX002"),
            (
                Unavailable,
                "08000 08006 08P01 0A000 25006 25P03 25P04 53000 53100 53200 53300 53400 57014 57P01 57P02 \
                 57P03 57P05 58030 XX000",
            ),
        ] {
            for code in codes.split_whitespace() {
                assert_eq!(classify_code(code).0, kind, "{code}");
            }
        }
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

    /// These errors have the same kind, but need different actions.
    #[test]
    fn each_message_names_its_cause() {
        let of_code = |code| classify_code(code).1;
        for (message, words) in [
            (of_code("53100"), "memory or disk"),
            (of_code("57P01"), "ended the connection"),
            (of_code("58030"), "PostgreSQL failed"),
            (classify(&Error::PoolTimedOut).1, "acquire_timeout"),
            (classify(&Error::PoolClosed).1, "the pool is closed"),
            (classify(&Error::WorkerCrashed).1, "the connection to PostgreSQL failed"),
        ] {
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn an_error_shows_no_password() {
        let fault = fault(Error::Configuration("postgres://user:hunter2@host".into()));
        assert_eq!(fault.kind(), StoreErrorKind::Misconfigured);
        assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    }
}
