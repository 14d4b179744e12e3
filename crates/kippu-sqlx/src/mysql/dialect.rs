//! The SQL of the store, in the dialect that MariaDB and MySQL share. Only this file knows where
//! the two differ:
//!
//! - Neither has `UPDATE … RETURNING`. An update returns a computed number as `LAST_INSERT_ID(…)`,
//!   which is part of the answer to a statement. It is unsigned, so [`UNSIGNED`] is added to a
//!   time.
//! - `@@read_only` is 0 or 1 in MySQL and in MariaDB up to 11, and a word in MariaDB from 12 on.
//!   The store compares it as a text with both. A server with `super_read_only` has `read_only`,
//!   too. The readers of Amazon Aurora have `innodb_read_only`.
//! - Since 8.0.22, MySQL derives the type of a parameter from its context. Each parameter here is
//!   compared with a column, assigned to one, or part of integer arithmetic.
//! - `GET_LOCK` accepts names of up to 64 characters, and only whole seconds in MySQL.
//! - With `autocommit = 0`, a single statement would succeed and never be committed.
//! - Both evaluate the assignments of an update from left to right. MariaDB does not if the
//!   `sql_mode` contains `SIMULTANEOUS_ASSIGNMENT`.
//! - Both replace `SYSDATE()` by `NOW()` when they are started with `--sysdate-is-now`. MySQL has
//!   no variable that shows it.

use kippu::session::{RevokeReason, SessionId, SessionRecord, UnixMillis};

pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// An update adds this to a time before it returns it. The statements below contain the number in
/// digits: 9007199254740992.
pub(super) const UNSIGNED: i64 = 1 << 53;

/// The version of the tables, which [`SCHEMA`] writes, too.
macro_rules! version {
    () => {
        "1"
    };
}

/// An expression: whether the server is a primary, whose answers the store may use.
macro_rules! is_primary {
    () => {
        "CAST(@@read_only AS CHAR) IN ('0', 'OFF') AND NOT @@innodb_read_only"
    };
}

/// An expression: whether a statement may write. It also protects a replica from a user with the
/// right to write there.
macro_rules! is_writable {
    () => {
        concat!(is_primary!(), " AND @@autocommit")
    };
}

/// A column that shows whether the store may use the server's answer; `row::check` reads it. It is
/// part of every read, so that the check takes no extra round trip.
macro_rules! server {
    ($version:literal) => {
        concat!(
            "CASE WHEN NOT (",
            is_primary!(),
            ") THEN 1 WHEN NOT @@autocommit THEN 2 \
             WHEN FIND_IN_SET('SIMULTANEOUS_ASSIGNMENT', @@sql_mode) THEN 3 WHEN ",
            $version,
            " > ",
            version!(),
            " THEN 4 ELSE 0 END AS server"
        )
    };
}

/// The server's clock in Unix milliseconds, independent of the time zone of the connection.
macro_rules! clock {
    () => {
        "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000"
    };
}

/// An expression: how many milliseconds the statement has waited so far. `NOW` is when the server
/// received the statement, `SYSDATE` is the current time. An update evaluates the expression after
/// it has locked the row.
macro_rules! stall {
    () => {
        "GREATEST(0, TIMESTAMPDIFF(MICROSECOND, NOW(6), SYSDATE(6)) DIV 1000)"
    };
}

macro_rules! columns {
    () => {
        "id, subject, client, label, created_at, absolute_expires_at, remembered, idle_lifetime, auth_time, data, \
         generation, kid, rotated_at, expires_at, revoked_at, revoked_reason"
    };
}

/// Begins a transaction. Neither server has a single statement that also sets the isolation level,
/// so the store sends both in one message. A transaction that adds to the log also sends its last
/// statements in one message, because it blocks all later ones until its commit.
pub(super) const BEGIN: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";

pub(super) const CHECK: &str = concat!("SELECT ", server!("0"));

pub(super) const VERSION_OF: &str =
    concat!("SELECT ", server!("version"), " FROM kippu_state WHERE one = 1");

/// Counts the tables that exist.
pub(super) const TABLES: &str = concat!(
    "SELECT ",
    server!("0"),
    ", COUNT(*) AS count FROM information_schema.tables \
     WHERE table_schema = DATABASE() AND table_name IN ('kippu_sessions', 'kippu_ended', 'kippu_state')"
);

/// Checks whether `SYSDATE` stays the same during a statement.
pub(super) const IS_FROZEN: &str = "SELECT SLEEP(0.02) AS slept, SYSDATE(6) = NOW(6) AS is_frozen";

/// Returns a row with the first columns even if the session does not exist.
pub(super) const LOAD: &str = concat!(
    "SELECT ",
    server!("version"),
    ", SYSDATE(6) = NOW(6) AS is_frozen, ",
    columns!(),
    " FROM kippu_state LEFT JOIN kippu_sessions ON id = ? WHERE one = 1"
);

pub(super) const LIST: &str = concat!(
    "SELECT ",
    server!("version"),
    ", ",
    columns!(),
    " FROM kippu_state LEFT JOIN kippu_sessions ON subject = ? AND revoked_at IS NULL \
     AND expires_at > ? AND absolute_expires_at > ? \
     AND created_at >= ? AND (created_at > ? OR id > ?) \
     WHERE one = 1 ORDER BY created_at, id LIMIT ?"
);

/// If the server may not write, the generation is NULL, which the column rejects.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO kippu_sessions (",
    columns!(),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? + IF(",
    is_writable!(),
    ", 0, NULL), ?, ?, ?, ?, ?)"
);

/// The name of the lock has 62 of the 64 characters that `GET_LOCK` accepts. It contains the
/// database, because a lock belongs to the whole server (<https://mariadb.com/kb/en/get_lock/>).
pub(super) const TAKE_LOCK: &str = "SELECT GET_LOCK(CONCAT('kippu_', LEFT(SHA2(CONCAT(DATABASE(), '/', ?), 256), 56)), ?) AS is_taken";

pub(super) const RELEASE_LOCK: &str = "SELECT RELEASE_LOCK(CONCAT('kippu_', LEFT(SHA2(CONCAT(DATABASE(), '/', ?), 256), 56))) AS is_released";

/// The sessions that count for a limit, and the one with this id.
pub(super) const OTHERS: &str = concat!(
    "SELECT ",
    server!("version"),
    ", id, created_at, 0 AS is_same FROM kippu_state LEFT JOIN kippu_sessions \
     ON subject = ? AND revoked_at IS NULL AND expires_at > ? AND absolute_expires_at > ? WHERE one = 1 \
     UNION ALL SELECT 0, id, created_at, 1 FROM kippu_sessions WHERE id = ?"
);

/// Advances a live session of the expected generation, and returns its new end. The server computes
/// the sum after it has locked the row.
pub(super) const ADVANCE: &str = concat!(
    "UPDATE kippu_sessions SET generation = ?, kid = ?, auth_time = COALESCE(?, auth_time), data = COALESCE(?, data), \
     rotated_at = LEAST(? + ",
    stall!(),
    ", 9007199254740991), \
     expires_at = CAST(LAST_INSERT_ID(LEAST(rotated_at + COALESCE(idle_lifetime, ?), absolute_expires_at) \
     + 9007199254740992) AS SIGNED) - 9007199254740992 \
     WHERE id = ? AND generation = ? AND revoked_at IS NULL AND expires_at > ? AND absolute_expires_at > ? \
     AND FIND_IN_SET('SIMULTANEOUS_ASSIGNMENT', @@sql_mode) = 0 AND ",
    is_writable!()
);

/// Stores a new authentication in a session of the expected generation. It changes neither
/// `rotated_at` nor `expires_at`, because another transaction may correct them concurrently.
pub(super) const REAUTHENTICATE: &str = concat!(
    "UPDATE kippu_sessions SET auth_time = ?, data = COALESCE(?, data) \
     WHERE id = ? AND generation = ? AND revoked_at IS NULL AND ",
    is_writable!()
);

/// Moves a rotation to a later time, and returns the new end of the session. It never changes a
/// later generation.
pub(super) const CORRECT: &str = "\
    UPDATE kippu_sessions SET rotated_at = ?, \
    expires_at = CAST(LAST_INSERT_ID(LEAST(? + COALESCE(idle_lifetime, ?), absolute_expires_at) \
    + 9007199254740992) AS SIGNED) - 9007199254740992 \
    WHERE id = ? AND generation = ? AND kid = ? AND revoked_at IS NULL AND rotated_at BETWEEN ? AND ?";

pub(super) const IS_THERE: &str = concat!(
    "SELECT ",
    server!("version"),
    ", id FROM kippu_state LEFT JOIN kippu_sessions ON id = ? WHERE one = 1"
);

/// Locks the sessions of a subject that are not revoked.
pub(super) const HOLD_SUBJECT: &str =
    "SELECT id FROM kippu_sessions WHERE subject = ? AND revoked_at IS NULL FOR UPDATE";

/// Returns the last entry of the log, then the entries from a number on.
pub(super) const ENDED_FROM: &str = concat!(
    "SELECT ",
    server!("version"),
    ", seq, tag, NULL AS id FROM kippu_state WHERE one = 1 \
     UNION ALL (SELECT 0, seq, tag, id FROM kippu_ended WHERE seq >= ? ORDER BY seq LIMIT ?)"
);

/// Removes the oldest entries of the log, at most 10,000 in one statement.
pub(super) const TRIM: &str = concat!(
    "DELETE FROM kippu_ended WHERE ended_at < ",
    clock!(),
    " - ? AND ",
    is_primary!(),
    " ORDER BY ended_at LIMIT 10000"
);

/// Returns the last id of a portion: the sessions that one statement of a purge reads.
pub(super) const PORTION: &str = concat!(
    "SELECT ",
    server!("version"),
    ", (SELECT MAX(id) FROM (SELECT id FROM kippu_sessions WHERE id > ? ORDER BY id LIMIT 10000) AS part) AS last \
     FROM kippu_state WHERE one = 1"
);

/// Returns the sessions of a portion that have ended both by the caller's clock and by the
/// server's. It waits for no lock.
pub(super) const ENDED: &str = concat!(
    "SELECT id FROM kippu_sessions WHERE id > ? AND id <= ? AND LEAST(expires_at, absolute_expires_at) <= LEAST(?, ",
    clock!(),
    ") ORDER BY id LIMIT ?"
);

/// Locks the same sessions, without those that another transaction has locked.
pub(super) fn lock_ended(ids: &[Vec<u8>], now: i64) -> String {
    format!(
        "SELECT id FROM kippu_sessions WHERE id IN ({}) AND LEAST(expires_at, absolute_expires_at) <= LEAST({now}, {}) \
         FOR UPDATE SKIP LOCKED",
        literals(ids),
        clock!()
    )
}

pub(super) fn remove(ids: &[Vec<u8>]) -> String {
    format!("DELETE FROM kippu_sessions WHERE id IN ({})", literals(ids))
}

/// Revokes a session. `reason` is one of kippu's own words, so it needs no quoting.
pub(super) fn revoke(id: &SessionId, at: UnixMillis, reason: RevokeReason) -> String {
    revoke_where(&format!("id = {} AND revoked_at IS NULL", literal(id.as_bytes())), at, reason)
}

/// Revokes a session whose record is unchanged since it was read. It does nothing if the time of
/// the rotation was corrected since then, because the decision may be different.
pub(super) fn revoke_reused(read: &SessionRecord, at: UnixMillis, reason: RevokeReason) -> String {
    let is_as_read = format!(
        "id = {} AND generation = {} AND rotated_at = {} AND revoked_at IS NULL",
        literal(read.id.as_bytes()),
        read.generation,
        read.rotated_at
    );
    revoke_where(&is_as_read, at, reason)
}

/// Revokes sessions that this transaction has locked.
pub(super) fn revoke_held(ids: &[Vec<u8>], at: UnixMillis, reason: RevokeReason) -> String {
    revoke_where(&format!("id IN ({})", literals(ids)), at, reason)
}

fn revoke_where(condition: &str, at: UnixMillis, reason: RevokeReason) -> String {
    format!(
        "UPDATE kippu_sessions SET revoked_at = {at}, revoked_reason = '{reason}' WHERE {condition} AND {}",
        is_primary!()
    )
}

/// Takes `count` numbers of the log. The last one is then the connection's `LAST_INSERT_ID()`.
pub(super) fn take_numbers(count: usize, tag: &[u8]) -> String {
    format!(
        "UPDATE kippu_state SET seq = LAST_INSERT_ID(seq + {count}), tag = {} WHERE one = 1 AND {}",
        literal(tag),
        is_primary!()
    )
}

/// Adds entries to the log. `more` of the numbers that were taken follow these entries. If the
/// previous statement changed nothing, the number is NULL, which the column rejects.
pub(super) fn add_ended(ids: &[Vec<u8>], tag: &[u8], more: usize) -> String {
    let (tag, clock) = (literal(tag), clock!());
    let behind = (0..ids.len()).rev().map(|behind| behind + more);
    let rows = ids.iter().zip(behind).map(|(id, behind)| {
        let seq = format!("LAST_INSERT_ID() - {behind} + IF(ROW_COUNT() > 0, 0, NULL)");
        format!("({seq}, {}, {tag}, {clock})", literal(id))
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    format!("INSERT INTO kippu_ended (seq, id, tag, ended_at) VALUES {rows}")
}

fn literals(ids: &[Vec<u8>]) -> String {
    ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(", ")
}

/// Returns the bytes as a hexadecimal SQL literal, which cannot contain a quote.
fn literal(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::from("x'");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_version_that_the_store_checks() {
        let written = concat!(
            "INSERT IGNORE INTO kippu_state (one, version, seq, tag) VALUES (1, ",
            version!(),
            ","
        );
        assert!(SCHEMA.contains(written));
    }

    #[test]
    fn bytes_become_a_hexadecimal_literal() {
        assert_eq!(literal(b"'; \0\xff"), "x'273b2000ff'");
        assert_eq!(
            remove(&[vec![1], vec![0xab]]),
            "DELETE FROM kippu_sessions WHERE id IN (x'01', x'ab')"
        );
    }
}
