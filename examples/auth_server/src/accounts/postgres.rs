//! Accounts in a table of PostgreSQL. A server in recovery may be far behind its primary, so no
//! answer comes from one: each read asks for that in the same statement. A connection to such a
//! server is closed, so that the next connection can reach the primary.

use sqlx::{
    PgPool, Postgres,
    error::DatabaseError,
    postgres::PgArguments,
    query::{Query, QueryAs},
};

use super::{
    Account, AccountsError,
    lease::{Lease, Row},
    sql::{self, ADD, HIGHEST_BCRYPT_COST, REMOVE, REPLACE_HASH},
};

#[derive(Clone)]
pub(crate) struct PostgresAccounts {
    pool: PgPool,
}

/// The key of the advisory lock: a random number, so that no other application uses it.
const LOCK: &str = "SELECT pg_advisory_xact_lock(x'5f1be7d3a90c246'::bigint)";
const HAS_EMAIL: &str = "SELECT EXISTS (SELECT 1 FROM pg_attribute WHERE NOT attisdropped AND attname = 'email' \
     AND attrelid = to_regclass('auth_server_accounts'))";
const BY_NAME: &str = "SELECT pg_is_in_recovery(), id, name, email, hash, role \
     FROM (SELECT) AS one LEFT JOIN auth_server_accounts ON name = $1";
const BY_ID: &str = "SELECT pg_is_in_recovery(), id, name, email, hash, role \
     FROM (SELECT) AS one LEFT JOIN auth_server_accounts ON id = $1";

/// SQLSTATE `read_only_sql_transaction`.
const READ_ONLY: &str = "25006";

impl PostgresAccounts {
    /// Opens the table, and creates or migrates it first where needed.
    pub(super) async fn open(pool: PgPool) -> Result<Self, AccountsError> {
        // A role without the right to change tables can open one that is up to date.
        if !sqlx::query_scalar(HAS_EMAIL).fetch_one(&pool).await? {
            // Servers that start at the same time take turns.
            let mut transaction = pool.begin().await?;
            sqlx::query(LOCK).execute(&mut *transaction).await?;
            sqlx::query(sql::CREATE).execute(&mut *transaction).await?;
            if !sqlx::query_scalar(HAS_EMAIL).fetch_one(&mut *transaction).await? {
                sqlx::query(sql::ADD_EMAIL).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        }
        Ok(Self { pool })
    }

    sql::steps!();

    async fn read(
        &self,
        query: QueryAs<'_, Postgres, Row, PgArguments>,
    ) -> Result<Option<Account>, AccountsError> {
        let mut lease = Lease::of(&self.pool).await?;
        let row = query.fetch_one(lease.connection()?).await?;
        lease.read(row)
    }

    /// Executes a statement that changes at most one row, and returns whether it did.
    async fn change(&self, query: Query<'_, Postgres, PgArguments>) -> Result<bool, AccountsError> {
        let mut lease = Lease::of(&self.pool).await?;
        let done = match query.execute(lease.connection()?).await {
            Ok(done) => done.rows_affected() == 1,
            Err(error) if is_read_only(&error) => return Err(AccountsError::Replica),
            Err(error) => return Err(error.into()),
        };
        lease.end();
        Ok(done)
    }
}

fn is_read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(DatabaseError::code).as_deref() == Some(READ_ONLY)
}
