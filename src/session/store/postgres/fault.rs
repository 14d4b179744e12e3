//! The driver's errors as the store's, told apart by their variant and SQLSTATE, never by their text.

use alloc::borrow::Cow;

use sqlx::Error;

use crate::session::store::{StoreError, StoreErrorKind};

/// The driver's error stays the source, unless it could show what nobody should see.
pub(super) fn fault(error: Error) -> StoreError {
    let (kind, message) = classify(&error);
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

/// Whether a statement met another one and was undone: a serialization failure or a deadlock.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("40001" | "40P01"))
}

const OPTIONS: &str =
    "the connection's options are wrong: postgres://user:password@host:5432/database is wanted";
const OTHER_TABLE: &str =
    "kippu_sessions is not this version's table: compare it with PostgresStore::SCHEMA";
const STRANGE: &str = "a row of kippu_sessions holds something that the store did not write";

fn sqlstate(error: &Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

fn classify(error: &Error) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Corrupt, Misconfigured, Unavailable};

    match error {
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
            "no connection within the pool's acquire_timeout: the server is down, or the pool too small",
        ),
        Error::PoolClosed => (Unavailable, "the pool is closed"),
        // Io, WorkerCrashed, and what else a connection that breaks off can look like.
        _ => (Unavailable, "the connection to PostgreSQL failed"),
    }
}

/// See <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn classify_code(code: &str) -> (StoreErrorKind, &'static str) {
    use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

    match code {
        "40001" | "40P01" | "55P03" => {
            (Contention, "PostgreSQL had to end too many statements that met")
        }
        "25006" => (Misconfigured, "the PostgreSQL server only reads: connect to the primary"),
        "42P01" => (
            Misconfigured,
            "there is no table kippu_sessions: call PostgresStore::create_schema, or run PostgresStore::SCHEMA",
        ),
        "42501" => (
            Misconfigured,
            "the user may not do this: GRANT SELECT, INSERT, UPDATE, DELETE ON kippu_sessions, and for \
             create_schema CREATE ON SCHEMA",
        ),
        "26000" | "42P05" => (
            Misconfigured,
            "a pooler in between loses prepared statements: let it keep them (PgBouncer: \
             max_prepared_statements), or pool by session",
        ),
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
            Some("0A" | "23" | "42") => (Misconfigured, OTHER_TABLE),
            Some("22") => (Corrupt, STRANGE),
            Some("53") => (Unavailable, "PostgreSQL has no connections, memory or disk left"),
            Some("08" | "57") => (Unavailable, "PostgreSQL ended the connection or the statement"),
            _ => (Unavailable, "PostgreSQL failed"),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{format, io};

    use super::*;

    #[test]
    fn the_code_tells_the_kind() {
        use StoreErrorKind::{Contention, Corrupt, Misconfigured, Unavailable};

        for (kind, codes) in [
            (Contention, "40001 40P01 55P03"),
            (
                Misconfigured,
                "0A000 22021 22023 23502 23514 25006 26000 28000 28P01 3D000 3F000 42501 42703 42804 \
                 42883 42P01 42P05 42P10 57P04",
            ),
            (Corrupt, "22003 XX001 XX002"),
            (
                Unavailable,
                "08000 08006 08P01 25P03 25P04 53000 53100 53200 53300 53400 57014 57P01 57P02 \
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
