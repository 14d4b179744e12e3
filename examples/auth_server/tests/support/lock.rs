//! Databases that keep the server waiting: locked as by another process, or paused.

use std::path::Path;

use sqlx::{Connection, PgConnection, SqliteConnection};
use tokio::runtime::Runtime;

use super::postgres::Postgres;

/// The lock, until this is dropped.
pub(crate) struct Lock {
    runtime: Runtime,
    connection: Option<Connected>,
}

enum Connected {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Lock {
    /// Locks an SQLite file against writers.
    pub(crate) fn of_file(file: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let connection = runtime.block_on(async {
            let url = format!("sqlite:{}", file.display());
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
            connection
        });
        Self { runtime, connection: Some(Connected::Sqlite(connection)) }
    }

    /// Locks a table of PostgreSQL against readers and writers.
    pub(crate) fn of_table(url: &str, table: &'static str) -> Self {
        let runtime = Runtime::new().unwrap();
        let connection = runtime.block_on(async {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let lock = format!("BEGIN; LOCK TABLE {table}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut connection).await.unwrap();
            connection
        });
        Self { runtime, connection: Some(Connected::Postgres(connection)) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let closed = match self.connection.take() {
            Some(Connected::Sqlite(connection)) => self.runtime.block_on(connection.close()),
            Some(Connected::Postgres(connection)) => self.runtime.block_on(connection.close()),
            None => Ok(()),
        };
        closed.unwrap();
    }
}

/// A server that keeps its connections and answers nothing, until this is dropped.
pub(crate) struct Paused<'p>(&'p Postgres);

impl<'p> Paused<'p> {
    pub(crate) fn new(postgres: &'p Postgres) -> Self {
        postgres.pause();
        Self(postgres)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}
