//! Accounts in a table of MariaDB or MySQL. A replica may be far behind its primary, so no answer
//! comes from one: each read asks for that in the same statement. A connection to such a server is
//! closed, so that the next connection can reach the primary.

use sqlx::{
    MySql, MySqlPool,
    mysql::{MySqlArguments, MySqlDatabaseError},
    query::{Query, QueryAs},
};

use super::{
    Account, AccountsError,
    lease::{Lease, Row},
    sql::{self, HIGHEST_BCRYPT_COST},
};

#[derive(Clone)]
pub(crate) struct MySqlAccounts {
    pool: MySqlPool,
}

/// Texts are compared byte by byte, as in the other databases. A key can have up to 768 characters.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS auth_server_accounts \
    (id VARCHAR(64) NOT NULL PRIMARY KEY, name VARCHAR(512) NOT NULL UNIQUE, hash TEXT NOT NULL, \
    role TEXT NOT NULL, email TEXT) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM information_schema.tables \
    WHERE table_schema = DATABASE() AND table_name = 'auth_server_accounts')";
const ADD: &str = "INSERT INTO auth_server_accounts (id, name, email, hash, role) \
    VALUES (?, ?, ?, ?, ?)";
const REMOVE: &str = "DELETE FROM auth_server_accounts WHERE id = ? AND hash = ?";
const REPLACE_HASH: &str = "UPDATE auth_server_accounts SET hash = ? WHERE id = ? AND hash = ?";
// `@@read_only` is a number, or from MariaDB 12 on a word.
const BY_NAME: &str = "SELECT CAST(@@read_only AS CHAR) NOT IN ('0', 'OFF'), id, name, email, hash, role \
    FROM (SELECT 1) AS one LEFT JOIN auth_server_accounts ON name = ?";
const BY_ID: &str = "SELECT CAST(@@read_only AS CHAR) NOT IN ('0', 'OFF'), id, name, email, hash, role \
    FROM (SELECT 1) AS one LEFT JOIN auth_server_accounts ON id = ?";

/// `ER_DUP_ENTRY`.
const DUPLICATE: u16 = 1062;

/// `ER_OPTION_PREVENTS_STATEMENT`: the server runs with `read_only`. It takes the changes of a user
/// who has the right `READ_ONLY ADMIN` all the same, so the application's user must not have it.
const READ_ONLY: u16 = 1290;

impl MySqlAccounts {
    /// Opens the table, and creates it first where needed.
    pub(super) async fn open(pool: MySqlPool) -> Result<Self, AccountsError> {
        // A user without the right to create tables can open one that is there.
        if sqlx::query_scalar::<_, i64>(IS_THERE).fetch_one(&pool).await? == 0 {
            sqlx::query(CREATE).execute(&pool).await?;
        }
        Ok(Self { pool })
    }

    sql::steps!();

    async fn read(
        &self,
        query: QueryAs<'_, MySql, Row, MySqlArguments>,
    ) -> Result<Option<Account>, AccountsError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = query.fetch_one(lease.connection()?).await?;
        lease.read(row)
    }

    /// Executes a statement that changes at most one row, and returns whether it did.
    async fn change(&self, query: Query<'_, MySql, MySqlArguments>) -> Result<bool, AccountsError> {
        let mut lease = Lease::of(&self.pool).await?;
        let done = match query.execute(lease.connection()?).await {
            Ok(done) => done.rows_affected() == 1,
            Err(error) if number(&error) == Some(DUPLICATE) => false,
            Err(error) if number(&error) == Some(READ_ONLY) => return Err(AccountsError::Replica),
            Err(error) => return Err(error.into()),
        };
        lease.end();
        Ok(done)
    }
}

fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}
