//! A connection of a pool for one step on the accounts. It is closed unless the server has
//! answered: the driver would first wait for the rest of an answer that was given up, and the
//! server may never send it.

use sqlx::{Database, Pool, pool::PoolConnection};

use super::{Account, AccountsError};

/// The answer to a read: whether the server is a replica, then the columns, which are NULL without
/// an account.
pub(super) type Row =
    (bool, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);

pub(super) struct Lease<DB: Database>(Option<PoolConnection<DB>>);

impl<DB: Database> Lease<DB> {
    pub(super) async fn of(pool: &Pool<DB>) -> Result<Self, sqlx::Error> {
        Ok(Self(Some(pool.acquire().await?)))
    }

    pub(super) fn connection(&mut self) -> Result<&mut DB::Connection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Returns the account that was read, unless the server is a replica.
    pub(super) fn read(self, row: Row) -> Result<Option<Account>, AccountsError> {
        if row.0 {
            return Err(AccountsError::Replica);
        }
        self.end();
        Ok(match row {
            (_, Some(id), Some(name), email, Some(hash), Some(role)) => {
                Some(Account { id, name, email, hash, role })
            }
            _ => None,
        })
    }

    /// Returns the connection to the pool.
    pub(super) fn end(mut self) {
        drop(self.0.take());
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}
