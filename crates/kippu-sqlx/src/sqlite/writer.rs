//! The connection that writes. It runs all waiting steps in one transaction, and acknowledges a
//! step only if it is in the file at its path.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::time::sleep;

use super::{
    fault::{Fault, FileFault, is_busy},
    files::{Files, Sizes},
    job::{self, AGAIN, Job},
    queue::{Failure, Step, Writer},
};

/// The size of the log in bytes above which the writer waits for readers in order to empty it.
/// SQLite itself moves the log into the file at 4 MB, but starts the log again only when no reader
/// uses it.
pub(super) const LOG_LIMIT: u64 = 16 << 20;

/// How long the writer lets the log grow while a reader uses it, before it waits for readers again.
const LOG_PAUSE: Duration = Duration::from_secs(5);

/// The connection that writes.
pub(super) struct SqliteWriter {
    /// `None` after a failure, until the next batch.
    connection: Option<SqliteConnection>,
    /// `None` if the data would be lost with the connection.
    file: Option<Reopened>,
}

/// The options to connect again, and the state of the files.
struct Reopened {
    options: SqliteConnectOptions,
    files: Arc<Files>,
    /// The sizes at the last check.
    sizes: Sizes,
    /// The number of pages when the file last became longer or shorter.
    pages: i64,
    /// The time when the log may be emptied next.
    pause_until: Instant,
}

impl SqliteWriter {
    pub(super) fn new(
        connection: SqliteConnection,
        file: Option<(SqliteConnectOptions, Arc<Files>)>,
    ) -> Self {
        let file = file.map(|(options, files)| Reopened {
            options,
            files,
            sizes: Sizes::default(),
            pages: 0,
            pause_until: Instant::now(),
        });
        Self { connection: Some(connection), file }
    }

    async fn try_commit(&mut self, batch: &mut Vec<Job>) -> Result<(), Fault> {
        loop {
            batch.retain_mut(|job| !job.answer().is_abandoned());
            if batch.is_empty() {
                return Ok(());
            }
            match self.begin().await {
                // SQLite itself has waited for `BUSY_TIMEOUT`.
                Err(Fault::Driver(error)) if is_busy(&error) => sleep(AGAIN).await,
                begun => break begun?,
            }
        }
        batch.retain_mut(|job| !job.answer().is_abandoned());
        let begun = Instant::now();
        // The step may have waited for the lock. The file must still be the one at its path.
        if let Some(file) = &self.file {
            file.files.look()?;
        }
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        job::rotate_all(connection, batch, begun).await?;
        for job in &mut *batch {
            job::take(connection, job, begun).await?;
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        job::count_commit(connection, batch, begun).await;
        // A step is acknowledged only if it is in the file at its path.
        self.check().await
    }

    /// Begins a transaction, which excludes all other writers.
    async fn begin(&mut self) -> Result<(), Fault> {
        if self.connection.is_none() {
            let file = self.file.as_ref().ok_or(sqlx::Error::WorkerCrashed)?;
            // Checked first: a connection to another file would apply the log to that file.
            file.files.look()?;
            self.connection = Some(file.options.connect().await?);
        }
        self.check().await?;
        self.shorten_log().await?;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        // IMMEDIATE takes the write lock at once. With a deferred transaction, the first write
        // could fail with SQLITE_BUSY (<https://www.sqlite.org/lang_transaction.html>).
        sqlx::query("BEGIN IMMEDIATE").execute(connection).await?;
        if let Some(file) = &self.file {
            file.files.connected();
        }
        Ok(())
    }

    /// Checks that the files are those that were opened, and that none was truncated.
    async fn check(&mut self) -> Result<(), Fault> {
        let (Some(file), Some(connection)) = (&mut self.file, &mut self.connection) else {
            return Ok(());
        };
        let sizes = file.files.look()?;
        if sizes.database != file.sizes.database {
            let is_shorter = sizes.database < file.sizes.database;
            match pages(connection).await {
                // After a VACUUM, a shorter file also has fewer pages.
                Ok(pages) if !is_shorter || pages < file.pages => file.pages = pages,
                Err(error) if !is_shorter => return Err(error.into()),
                _ => return Err(file.files.cut_database().into()),
            }
        }
        // Another process may have emptied the log, which then has no frames.
        if sizes.log < file.sizes.log {
            let needed = log_len(connection).await;
            let sizes = file.files.look()?;
            if needed.is_none_or(|needed| needed > sizes.log) {
                return Err(file.files.cut_log().into());
            }
        }
        file.sizes = sizes;
        Ok(())
    }

    /// Empties a log that has grown long, unless a reader uses it.
    async fn shorten_log(&mut self) -> Result<(), sqlx::Error> {
        let (Some(file), Some(connection)) = (&mut self.file, &mut self.connection) else {
            return Ok(());
        };
        // Only a reader is a reason to pause. Without one, the log may be long again in less than a
        // second.
        if file.sizes.log > LOG_LIMIT
            && file.pause_until <= Instant::now()
            && !empty_log(connection).await?
        {
            file.pause_until = Instant::now() + LOG_PAUSE;
        }
        Ok(())
    }

    /// Empties the log if its file is no longer at its path. That file is then complete, wherever
    /// it is, and SQLite does not apply the log to the file in its place.
    async fn rescue_log(&mut self) {
        let (Some(file), Some(connection)) = (&self.file, &mut self.connection) else { return };
        if matches!(file.files.look(), Err(FileFault::Moved(_))) && file.files.has_locks() {
            let _ = empty_log(connection).await;
        }
    }
}

impl Writer for SqliteWriter {
    type Step = Job;

    async fn commit(&mut self, batch: &mut Vec<Job>) -> Result<(), Failure> {
        let Err(mut fault) = self.try_commit(batch).await else { return Ok(()) };
        if let Some(connection) = &mut self.connection {
            // After some errors SQLite has already rolled back.
            let _ = sqlx::query("ROLLBACK").execute(connection).await;
        }
        let lost = self.file.as_ref().map(|file| file.files.look());
        match lost {
            Some(Err(lost)) => fault = lost.into(),
            // The state of the connection is unknown, so a new one replaces it.
            Some(Ok(_)) if matches!(fault, Fault::Driver(_)) => self.disconnect().await,
            _ => {}
        }
        self.rescue_log().await;
        Err(Box::new(move || fault.store_error()))
    }

    async fn disconnect(&mut self) {
        self.rescue_log().await;
        if let Some(file) = &mut self.file {
            file.files.disconnected();
            file.sizes = Sizes::default();
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }
}

async fn pages(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA page_count").fetch_one(connection).await
}

/// Returns the bytes that the log's frames take (<https://www.sqlite.org/fileformat2.html>, §4.1),
/// or `None` if a value cannot be read.
async fn log_len(connection: &mut SqliteConnection) -> Option<u64> {
    let (_, frames, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut *connection).await.ok()?;
    let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(connection).await.ok()?;
    match u64::try_from(frames).ok()? {
        0 => Some(0),
        frames => Some(32 + frames.saturating_mul(24 + u64::try_from(page).ok()?)),
    }
}

/// Moves the log into the file and empties it, unless a reader uses it for longer than a moment.
/// Returns whether the log is empty.
async fn empty_log(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let checkpoint = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)");
    let (is_held, _, _): (bool, i64, i64) = checkpoint.fetch_one(connection).await?;
    Ok(!is_held)
}
