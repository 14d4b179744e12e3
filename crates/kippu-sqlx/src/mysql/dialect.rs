//! The SQL of the store, in the dialect that MariaDB and MySQL have in common. The differences between the two are written here and
//! nowhere else.
//!
//! - Neither has `UPDATE … RETURNING`. The number that an update calculates comes back as its `LAST_INSERT_ID(…)`, which is
//!   part of the answer to a statement. It is unsigned, so that [`UNSIGNED`] is added to a time.
//! - `@@read_only` is 0 or 1 in MySQL and in MariaDB up to 11, and a word in MariaDB from 12 on. As a text it is one of both.
//!   A server with `super_read_only` has `read_only` too. The readers of Amazon Aurora have `innodb_read_only`.
//! - MySQL derives the type of a parameter from its place since 8.0.22. Each one here has its place beside a column, or in
//!   arithmetic of integers.
//! - `GET_LOCK` takes names of up to 64 characters, and whole seconds in MySQL.
//! - Under `autocommit = 0` a statement alone would be answered and never committed.
//! - MariaDB evaluates the assignments of an update from left to right, as MySQL does, unless the `sql_mode` has
//!   `SIMULTANEOUS_ASSIGNMENT`.
//! - Both replace `SYSDATE()` by `NOW()` when they are started with `--sysdate-is-now`, and MySQL has no variable that tells.

use kippu::session::{RevokeReason, SessionId, SessionRecord, UnixMillis};

pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// An update adds this to a time before it returns it.
pub(super) const UNSIGNED: i64 = 1 << 53;

/// The version of the tables, which [`SCHEMA`] writes too.
macro_rules! version {
    () => {
        "1"
    };
}

/// Whether the server is a primary, whose answers may be used.
macro_rules! is_primary {
    () => {
        "CAST(@@read_only AS CHAR) IN ('0', 'OFF') AND NOT @@innodb_read_only"
    };
}

/// Whether a statement may change something: also for a role that may write to a replica.
macro_rules! is_writable {
    () => {
        concat!(is_primary!(), " AND @@autocommit")
    };
}

/// A column that says whether the server's answer may be used, which `row::check` reads. It is part of every read, so that it takes no
/// further round trip.
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

/// The server's clock in Unix milliseconds, whatever the time zone of the connection is.
macro_rules! clock {
    () => {
        "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000"
    };
}

/// How many milliseconds the statement has waited when this is evaluated: `NOW` is when the server received it, `SYSDATE` is
/// now. An update evaluates it when it holds the row.
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

/// Begins a transaction. Neither server has one statement for it: so several are sent in one message, as where a transaction adds to
/// the log, since it holds all later ones up until its commit.
pub(super) const BEGIN: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";

pub(super) const CHECK: &str = concat!("SELECT ", server!("0"));

pub(super) const VERSION_OF: &str =
    concat!("SELECT ", server!("version"), " FROM kippu_state WHERE one = 1");

/// How many of the tables there are.
pub(super) const TABLES: &str = concat!(
    "SELECT ",
    server!("0"),
    ", COUNT(*) AS count FROM information_schema.tables \
     WHERE table_schema = DATABASE() AND table_name IN ('kippu_sessions', 'kippu_ended', 'kippu_state')"
);

/// Whether the clock stands still during a statement.
pub(super) const IS_FROZEN: &str = "SELECT SLEEP(0.02) AS slept, SYSDATE(6) = NOW(6) AS is_frozen";

/// It has a row, for the first columns, if the session is not there.
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

/// The generation is NULL, which the column refuses, where nothing may be written.
pub(super) const INSERT: &str = concat!(
    "INSERT INTO kippu_sessions (",
    columns!(),
    ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? + IF(",
    is_writable!(),
    ", 0, NULL), ?, ?, ?, ?, ?)"
);

pub(super) const TAKE_LOCK: &str = "SELECT GET_LOCK(CONCAT('kippu_', LEFT(SHA2(CONCAT(DATABASE(), '/', ?), 256), 56)), ?) AS is_taken";

pub(super) const RELEASE_LOCK: &str = "SELECT RELEASE_LOCK(CONCAT('kippu_', LEFT(SHA2(CONCAT(DATABASE(), '/', ?), 256), 56))) AS is_released";

/// The sessions that count for a limit, and the one that has this id.
pub(super) const OTHERS: &str = concat!(
    "SELECT ",
    server!("version"),
    ", id, created_at, 0 AS is_same FROM kippu_state LEFT JOIN kippu_sessions \
     ON subject = ? AND revoked_at IS NULL AND expires_at > ? AND absolute_expires_at > ? WHERE one = 1 \
     UNION ALL SELECT 0, id, created_at, 1 FROM kippu_sessions WHERE id = ?"
);

/// Advances a live session of the expected generation, and returns its new end. The sum is evaluated when the row is held.
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

/// Stores a new authentication in a session of the expected generation. It writes neither `rotated_at` nor `expires_at`, which
/// may be corrected in between.
pub(super) const REAUTHENTICATE: &str = concat!(
    "UPDATE kippu_sessions SET auth_time = ?, data = COALESCE(?, data) \
     WHERE id = ? AND generation = ? AND revoked_at IS NULL AND ",
    is_writable!()
);

/// Moves a rotation to a later time, and returns the new end of the session. It never touches a later generation.
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

/// Holds the sessions of a subject that are not revoked.
pub(super) const HOLD_SUBJECT: &str =
    "SELECT id FROM kippu_sessions WHERE subject = ? AND revoked_at IS NULL FOR UPDATE";

/// The last entry of the log, then the entries from a number on.
pub(super) const ENDED_FROM: &str = concat!(
    "SELECT ",
    server!("version"),
    ", seq, tag, NULL AS id FROM kippu_state WHERE one = 1 \
     UNION ALL (SELECT 0, seq, tag, id FROM kippu_ended WHERE seq >= ? ORDER BY seq LIMIT ?)"
);

/// The oldest entries of the log, as many as one statement removes.
pub(super) const TRIM: &str = concat!(
    "DELETE FROM kippu_ended WHERE ended_at < ",
    clock!(),
    " - ? AND ",
    is_primary!(),
    " ORDER BY ended_at LIMIT 10000"
);

/// How many sessions one statement of a purge reads.
pub(super) const PORTION: &str = concat!(
    "SELECT ",
    server!("version"),
    ", (SELECT MAX(id) FROM (SELECT id FROM kippu_sessions WHERE id > ? ORDER BY id LIMIT 10000) AS part) AS last \
     FROM kippu_state WHERE one = 1"
);

/// The sessions of a portion that have ended, by the caller's clock and by the server's. It waits for no lock.
pub(super) const OVER: &str = concat!(
    "SELECT id FROM kippu_sessions WHERE id > ? AND id <= ? AND LEAST(expires_at, absolute_expires_at) <= LEAST(?, ",
    clock!(),
    ") ORDER BY id LIMIT ?"
);

/// The same sessions, now held, without those that another transaction holds.
pub(super) fn hold_over(ids: &[Vec<u8>], now: i64) -> String {
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

/// Revokes a session. The reason is one of kippu's own words.
pub(super) fn revoke(id: &SessionId, at: UnixMillis, reason: RevokeReason) -> String {
    revoke_where(&format!("id = {} AND revoked_at IS NULL", literal(id.as_bytes())), at, reason)
}

/// Revokes a session whose record still is as it was read. It does nothing where the time of the rotation was corrected since: the
/// decision may then be another.
pub(super) fn revoke_reused(read: &SessionRecord, at: UnixMillis, reason: RevokeReason) -> String {
    let is_as_read = format!(
        "id = {} AND generation = {} AND rotated_at = {} AND revoked_at IS NULL",
        literal(read.id.as_bytes()),
        read.generation,
        read.rotated_at
    );
    revoke_where(&is_as_read, at, reason)
}

/// Revokes sessions that are held.
pub(super) fn revoke_held(ids: &[Vec<u8>], at: UnixMillis, reason: RevokeReason) -> String {
    revoke_where(&format!("id IN ({})", literals(ids)), at, reason)
}

fn revoke_where(condition: &str, at: UnixMillis, reason: RevokeReason) -> String {
    format!(
        "UPDATE kippu_sessions SET revoked_at = {at}, revoked_reason = '{reason}' WHERE {condition} AND {}",
        is_primary!()
    )
}

/// Takes so many numbers of the log, the last of which is the connection's `LAST_INSERT_ID()` then.
pub(super) fn take_numbers(count: usize, tag: &[u8]) -> String {
    format!(
        "UPDATE kippu_state SET seq = LAST_INSERT_ID(seq + {count}), tag = {} WHERE one = 1 AND {}",
        literal(tag),
        is_primary!()
    )
}

/// Adds entries to the log behind which there are so many `more` of the numbers that were taken. Where the statement before changed
/// nothing, the number is NULL, which the column refuses.
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

/// Bytes as SQL has them: no byte of them is a quote.
fn literal(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::from("x'");
    for byte in bytes {
        // A String takes all that is written.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_writes_the_version_that_is_read() {
        let written = concat!(
            "INSERT IGNORE INTO kippu_state (one, version, seq, tag) VALUES (1, ",
            version!(),
            ","
        );
        assert!(SCHEMA.contains(written));
    }

    #[test]
    fn bytes_are_written_as_digits() {
        assert_eq!(literal(b"'; \0\xff"), "x'273b2000ff'");
        assert_eq!(
            remove(&[vec![1], vec![0xab]]),
            "DELETE FROM kippu_sessions WHERE id IN (x'01', x'ab')"
        );
    }
}
