//! Turns the driver's errors into the store's, by their variant, SQLSTATE, severity and routine, never by their text.

use std::{borrow::Cow, time::Duration};

use kippu::session::{StoreError, StoreErrorKind};
use sqlx::{
    Error,
    postgres::{PgDatabaseError, PgSeverity},
};

/// The driver's error stays the source, unless it could show what nobody should see.
pub(super) fn fault(error: Error) -> StoreError {
    let class = classify(&error);
    with_source(class, error)
}

/// As [`fault`], for an error instead of a connection.
pub(super) fn of_connecting(error: Error) -> StoreError {
    // PgBouncer uses this code for all of its errors. The transient ones follow a wait, which the deadline ends first.
    let is_refused = is_fatal(&error) && sqlstate(&error).as_deref() == Some("08P01");
    let class = if is_refused { (StoreErrorKind::Misconfigured, POOLER) } else { classify(&error) };
    with_source(class, error)
}

fn with_source((kind, message): Class, error: Error) -> StoreError {
    let is_telling = match &error {
        // A part of a connection string, which holds a password.
        Error::Configuration(_) => true,
        // The row that was refused.
        _ => sqlstate(&error).is_some_and(|code| code.starts_with("23")),
    };
    if is_telling {
        StoreError::new(kind, message)
    } else {
        StoreError::from_driver(kind, error).with_message(message)
    }
}

/// What is in a row, but cannot have been put there by the store.
pub(super) fn corrupt() -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, STRANGE)
}

/// A connection string that is none.
pub(super) fn no_url() -> StoreError {
    StoreError::new(StoreErrorKind::Misconfigured, OPTIONS)
}

/// A server that answers reads, but does not know what was written last.
pub(super) fn standby() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "the PostgreSQL server is a standby, which may not know the last logouts: connect to the primary",
    )
}

/// A server that takes no writes, as a standby does not.
pub(super) fn read_only() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, READ_ONLY)
}

/// A table with the schema of a later version.
pub(super) fn newer(version: u32) -> StoreError {
    StoreError::new(
        StoreErrorKind::Misconfigured,
        format!("kippu_sessions has version {version} of the schema: {NEWER}"),
    )
}

/// A step that the server did not answer in time.
pub(super) fn late(deadline: Duration) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        format!(
            "PostgreSQL did not answer within the store's deadline of {deadline:?}: the step may have happened, \
             or happen later"
        ),
    )
}

/// Whether a statement met another one and was undone: a serialization failure or a deadlock.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

/// Whether a statement found a row as it wanted it, and another one changed the row before it was locked. The code is the
/// same where SERIALIZABLE fears for other rows; the name of the function that raised it is not.
pub(super) fn is_lost_row(error: &Error) -> bool {
    from_server(error).is_some_and(|error| error.routine() == Some("ExecLockRows"))
}

/// Whether nothing more may be asked over the connection that failed like this, although it may still be open: its server
/// is a standby or about to stop, its statements or its transaction are not those that the driver believes in.
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
    "the connection's options are wrong: postgres://user:password@host:5432/database is wanted";
const OTHER_TABLE: &str = "kippu_sessions is not this version's table: call PostgresStore::create_schema, or run \
     PostgresStore::SCHEMA, as the owner of the table";
const NEWER: &str = "a newer version of kippu has changed the table, and this program knows version 3: update the program";
const READ_ONLY: &str = "the PostgreSQL server takes no writes: it is a standby, as an old primary is after a failover, or \
     default_transaction_read_only is on: connect to the primary, or switch the setting off";
const POOLER: &str = "a pooler refuses the connection: set ignore_startup_parameters = extra_float_digits in \
     PgBouncer, or extra_float_digits(None) in the pool's options; its log has the reason";
const STATEMENTS: &str = "a pooler in between mixes prepared statements up: let it keep them (PgBouncer 1.21 or newer, \
     max_prepared_statements above 0), or pool by session";
const STRANGE: &str = "a row of kippu_sessions holds something that the store did not write";

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
        // Of the server, which does not know the statement that is executed. A pooler's own errors are fatal.
        Error::Database(_) if !is_fatal(error) && sqlstate(error).as_deref() == Some("08P01") => {
            (Misconfigured, STATEMENTS)
        }
        Error::Database(error) => classify_code(error.code().as_deref().unwrap_or_default()),
        Error::Configuration(_) | Error::InvalidArgument(_) => (Misconfigured, OPTIONS),
        Error::Tls(_) => (
            Misconfigured,
            "no TLS with this server: see sslmode, sslrootcert and the tls features of sqlx",
        ),
        Error::ColumnDecode { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::Decode(_)
        | Error::Encode(_)
        | Error::TypeNotFound { .. } => (Corrupt, STRANGE),
        Error::PoolTimedOut => (
            Unavailable,
            "no connection within the store's deadline or the pool's acquire_timeout: the server is down, or the pool too \
             small",
        ),
        Error::PoolClosed => (Unavailable, "the pool is closed"),
        // Io, WorkerCrashed, and what else a connection that breaks off can look like.
        _ => (Unavailable, "the connection to PostgreSQL failed"),
    }
}

/// See <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn classify_code(code: &str) -> Class {
    use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

    match code {
        "40001" | "40P01" | "55P03" => {
            (Contention, "PostgreSQL had to end too many statements that met")
        }
        "25006" => (Unavailable, READ_ONLY),
        "KIPPU" => (Misconfigured, NEWER),
        "0A000" => (
            Unavailable,
            "PostgreSQL cannot run a prepared statement any more: the table was changed, or it is UNLOGGED and the server a \
             standby",
        ),
        "42P01" => (
            Misconfigured,
            "there is no table kippu_sessions: call PostgresStore::create_schema, or run PostgresStore::SCHEMA",
        ),
        "42501" => (
            Misconfigured,
            "the user may not do this: GRANT SELECT, INSERT, UPDATE, DELETE ON kippu_sessions, kippu_ended, and for \
             create_schema CREATE ON SCHEMA; only their owner migrates tables of an earlier version",
        ),
        "26000" | "42P05" => (Misconfigured, STATEMENTS),
        "22023" | "42704" => {
            (Misconfigured, "PostgreSQL does not know a setting of the connection's options")
        }
        "3D000" | "57P04" => (Misconfigured, "PostgreSQL has no such database"),
        "3F000" => (Misconfigured, "there is no schema to put the table into: see search_path"),
        "22021" | "22P05" => (
            Misconfigured,
            "PostgreSQL cannot store a text: the database's encoding has to be UTF8, and no text may hold NUL",
        ),
        "XX001" | "XX002" => (Corrupt, "PostgreSQL found a page of its files damaged"),
        _ => match code.get(..2) {
            Some("28") => (Misconfigured, "PostgreSQL refuses this user or password"),
            Some("23" | "42") => (Misconfigured, OTHER_TABLE),
            Some("22") => (Corrupt, STRANGE),
            Some("53") => (Unavailable, "PostgreSQL has no connections, memory or disk left"),
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
    fn the_code_tells_the_kind() {
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
    fn the_variant_tells_the_kind() {
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

    /// Of one kind, but what is to be done about them differs.
    #[test]
    fn the_message_says_what_is_missing() {
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
    fn no_password_is_shown() {
        let fault = fault(Error::Configuration("postgres://user:hunter2@host".into()));
        assert_eq!(fault.kind(), StoreErrorKind::Misconfigured);
        assert!(!format!("{fault} {fault:?}").contains("hunter2"));
    }
}
