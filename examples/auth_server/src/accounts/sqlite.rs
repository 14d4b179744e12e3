//! Accounts in a table of SQLite. No step is answered from a file that was removed or replaced
//! while the server had it open: a change would be lost, and a read would be old.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sqlx::{
    Sqlite, SqlitePool,
    query::{Query, QueryAs},
    sqlite::SqliteArguments,
};

use super::{
    Account, AccountsError,
    sql::{self, ADD, HIGHEST_BCRYPT_COST, REMOVE, REPLACE_HASH},
};

#[derive(Clone)]
pub(crate) struct SqliteAccounts {
    pool: SqlitePool,
    /// `None` for a database in memory.
    file: Option<File>,
}

/// The file of a database, by its path and as it was when it was opened.
#[derive(Clone)]
struct File {
    path: PathBuf,
    identity: Option<Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

const HAS_EMAIL: &str =
    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('auth_server_accounts') WHERE name = 'email')";
const BY_NAME: &str =
    "SELECT id, name, email, hash, role FROM auth_server_accounts WHERE name = $1";
const BY_ID: &str = "SELECT id, name, email, hash, role FROM auth_server_accounts WHERE id = $1";

/// The columns in the order of the queries.
type Row = (String, String, Option<String>, String, String);

impl SqliteAccounts {
    /// Opens the table, and creates or migrates it first where needed.
    pub(super) async fn open(pool: SqlitePool, path: Option<&Path>) -> Result<Self, AccountsError> {
        // Servers that start at the same time take turns.
        let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(sql::CREATE).execute(&mut *transaction).await?;
        if !sqlx::query_scalar(HAS_EMAIL).fetch_one(&mut *transaction).await? {
            sqlx::query(sql::ADD_EMAIL).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        let file = path.map(|path| File { path: path.to_owned(), identity: identity(path) });
        Ok(Self { pool, file })
    }

    sql::steps!();

    async fn read(
        &self,
        query: QueryAs<'_, Sqlite, Row, SqliteArguments>,
    ) -> Result<Option<Account>, AccountsError> {
        let row = query.fetch_optional(&self.pool).await;
        // First, since a file that is gone is also the reason of other errors.
        self.look()?;
        Ok(row?.map(account))
    }

    /// Executes a statement that changes at most one row, and returns whether it did.
    async fn change(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<bool, AccountsError> {
        // Before, so that no other file is changed; after, so that no change is acknowledged that
        // went into a file that is gone.
        self.look()?;
        let done = query.execute(&self.pool).await;
        self.look()?;
        Ok(done?.rows_affected() == 1)
    }

    fn look(&self) -> Result<(), AccountsError> {
        match &self.file {
            Some(File { path, identity: opened }) if identity(path) != *opened => {
                Err(AccountsError::Moved(path.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;

    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Windows refuses to remove or replace an open file.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|_| (0, 0))
}

fn account((id, name, email, hash, role): Row) -> Account {
    Account { id, name, email, hash, role }
}
