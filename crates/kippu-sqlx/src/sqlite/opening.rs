//! Opens a database. Returns a connection to a file that belongs to the store, that only its owner
//! may open, and that can be written. A file of another application is rejected and left unchanged.

use std::{
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kippu::session::{StoreError, StoreErrorKind};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use tokio::time::sleep;

use super::{
    SqliteStore,
    fault::{fault, foreign, is_busy, unopened},
    files::{self, Files},
    job::AGAIN,
    writer::LOG_LIMIT,
};

/// The path of a database without a file.
pub(super) const MEMORY: &str = ":memory:";

/// How long SQLite itself waits for a lock. The store tries again until the deadline. Between two
/// waits it drops the steps whose callers have gone.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// `kipp`, in the header of the file.
const APPLICATION_ID: i64 = 0x6b69_7070;

/// The version of the schema, in the header of the file.
const SCHEMA_VERSION: i64 = 3;

/// The version without a log of ended sessions.
const WITHOUT_LOG: i64 = 1;

/// The columns that the second version lacks. A process with that version still inserts rows
/// without them.
const COLUMNS: [(&str, &str); 4] = [
    ("remembered", "ALTER TABLE kippu_sessions ADD COLUMN remembered INTEGER NOT NULL DEFAULT 1"),
    ("idle_lifetime", "ALTER TABLE kippu_sessions ADD COLUMN idle_lifetime INTEGER"),
    ("auth_time", "ALTER TABLE kippu_sessions ADD COLUMN auth_time INTEGER"),
    ("data", "ALTER TABLE kippu_sessions ADD COLUMN data BLOB NOT NULL DEFAULT x''"),
];

/// A database that has been opened.
pub(super) struct Opened {
    pub(super) writer: SqliteConnection,
    /// The options to connect again, and the files; `None` if the data is lost with the connection.
    pub(super) file: Option<(SqliteConnectOptions, Arc<Files>)>,
}

/// Opens the database that the options name, and waits while other connections hold locks.
pub(super) async fn open(options: SqliteConnectOptions) -> Result<Opened, StoreError> {
    // SQLite takes a name with `file:` for a URI, which contains options.
    let named = match options.get_filename().to_str() {
        Some(name) if !name.is_empty() && name != MEMORY && !name.starts_with("file:") => {
            Some(path::absolute(name).map_err(unopened)?)
        }
        _ => None,
    };
    let mut options = durable(options);
    let mut made = None;
    if let Some(path) = &named {
        options = options.filename(path);
        if path.exists() {
            files::refuse_shared(path)?;
        } else {
            made = Some(&**path);
        }
    }
    let (writer, real) = loop {
        match connect(&options, made).await {
            // When several connections change the journal mode concurrently, SQLite fails for some
            // without waiting.
            Err(error) if error.kind() == StoreErrorKind::Contention => sleep(AGAIN).await,
            connected => break connected?,
        }
    };
    let Some(real) = real else { return Ok(Opened { writer, file: None }) };
    let files = Files::opened(named, &real).map_err(|lost| lost.store_error())?;
    files.connected();
    // From here on a missing file is a fault, and no new one is created in its place.
    Ok(Opened { writer, file: Some((options.create_if_missing(false), Arc::new(files))) })
}

/// Sets the options with which a commit waits for the disk and the log stays short.
fn durable(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        // <https://www.sqlite.org/pragma.html#pragma_fullfsync>: macOS flushes to the disk only
        // with F_FULLFSYNC; its fsync may end in the disk's cache. Other systems ignore this
        // setting.
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        .pragma("journal_size_limit", LOG_LIMIT.to_string())
}

/// Connects to a file and prepares it. `made` is its path if SQLite creates it.
async fn connect(
    options: &SqliteConnectOptions,
    made: Option<&Path>,
) -> Result<(SqliteConnection, Option<PathBuf>), StoreError> {
    let mut connection = options.connect().await.map_err(fault)?;
    let private = made.map_or(Ok(()), files::make_private);
    let prepared = match private {
        Ok(()) => prepare(&mut connection).await,
        Err(error) => Err(error),
    };
    match prepared {
        Ok(real) => Ok((connection, real)),
        Err(error) => {
            let _ = connection.close().await;
            Err(error)
        }
    }
}

/// Makes sure that the file belongs to the store and can be written. Creates its tables if it is
/// empty. Returns its path, or `None` if the data belongs only to the connection: in memory, or in
/// a temporary file.
async fn prepare(connection: &mut SqliteConnection) -> Result<Option<PathBuf>, StoreError> {
    // First, because setting the journal mode writes to the file.
    let found = look(connection).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
        .fetch_one(&mut *connection)
        .await
        .map_err(fault)?;
    let file: Option<String> =
        sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
            .fetch_one(&mut *connection)
            .await
            .map_err(fault)?;
    let file = file.filter(|file| !file.is_empty()).map(PathBuf::from);
    if mode != "wal" && file.is_some() {
        let message = "SQLite cannot use a write-ahead log for this file: move it to a local disk";
        return Err(StoreError::new(StoreErrorKind::Misconfigured, message));
    }
    if !matches!(found, Found::Current) {
        // Several connections may get here; the lock lets one continue at a time.
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(fault)?;
        let outcome = make(connection).await;
        let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = sqlx::query(end).execute(&mut *connection).await;
        if ended.is_err() {
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        }
        outcome?;
        ended.map_err(fault)?;
    }
    // SQLite opens a file that it cannot write as read-only. It reports that before it waits for a
    // lock.
    match sqlx::query("DELETE FROM kippu_sessions WHERE FALSE").execute(connection).await {
        Err(error) if !is_busy(&error) => Err(fault(error)),
        _ => Ok(file),
    }
}

async fn make(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    // Another process may have been first.
    let found = look(connection).await?;
    if let Found::Old { .. } = found {
        for (column, add) in COLUMNS {
            let there =
                "SELECT EXISTS (SELECT 1 FROM pragma_table_info('kippu_sessions') WHERE name = ?1)";
            let there = sqlx::query_scalar(there).bind(column).fetch_one(&mut *connection).await;
            if !there.map_err(fault)? {
                sqlx::query(add).execute(&mut *connection).await.map_err(fault)?;
            }
        }
    }
    if !matches!(found, Found::Current) {
        sqlx::raw_sql(SqliteStore::SCHEMA).execute(&mut *connection).await.map_err(fault)?;
    }
    if let Found::Old { version: WITHOUT_LOG } = found {
        sqlx::raw_sql(LOG_REVOKED).execute(connection).await.map_err(fault)?;
    }
    Ok(())
}

/// The access tokens of sessions that were revoked before the log existed may still be valid.
const LOG_REVOKED: &str =
    "INSERT INTO kippu_ended (id) SELECT id FROM kippu_sessions WHERE revoked_at IS NOT NULL;";

/// The content of a file.
enum Found {
    Nothing,
    /// The tables of an earlier version, or the current version without some of its columns.
    Old {
        version: i64,
    },
    Current,
}

/// Reads what the file contains. Rejects a file that does not belong to the store.
async fn look(connection: &mut SqliteConnection) -> Result<Found, StoreError> {
    // One statement, so that no other process changes the file in between. An operator may have run
    // SCHEMA on an old file, which sets the version but does not add the columns.
    let (application, version, things, columns): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT application_id FROM pragma_application_id), \
         (SELECT user_version FROM pragma_user_version), (SELECT count(*) FROM sqlite_schema), \
         (SELECT count(*) FROM pragma_table_info('kippu_sessions') \
         WHERE name IN ('remembered', 'idle_lifetime', 'auth_time', 'data'))",
    )
    .fetch_one(connection)
    .await
    .map_err(fault)?;
    match (application, version) {
        (APPLICATION_ID, SCHEMA_VERSION) if columns == 4 => Ok(Found::Current),
        (APPLICATION_ID, WITHOUT_LOG..=SCHEMA_VERSION) => Ok(Found::Old { version }),
        (0, 0) if things == 0 => Ok(Found::Nothing),
        (APPLICATION_ID, _) => Err(StoreError::new(
            StoreErrorKind::Misconfigured,
            format!(
                "the SQLite file was created by another version of kippu: its schema has version {version}, and this \
                 program supports {WITHOUT_LOG} to {SCHEMA_VERSION}: update the program, or open another file"
            ),
        )),
        _ => Err(foreign()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test cannot cut the power. It checks the settings of SQLite instead.
    #[tokio::test]
    async fn commits_wait_for_the_disk() {
        let lax = SqliteConnectOptions::new().synchronous(SqliteSynchronous::Off);
        let mut connection = durable(lax.in_memory(true)).connect().await.unwrap();
        let query = "SELECT (SELECT synchronous FROM pragma_synchronous), \
                     (SELECT fullfsync FROM pragma_fullfsync), \
                     (SELECT checkpoint_fullfsync FROM pragma_checkpoint_fullfsync)";
        let settings: (i64, i64, i64) =
            sqlx::query_as(query).fetch_one(&mut connection).await.unwrap();
        let full = 2;
        assert_eq!(settings, (full, 1, 1));
    }
}
