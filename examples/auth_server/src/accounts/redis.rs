//! Accounts in Redis: a hash from names to accounts, and a hash from ids to names. Each step is one
//! script, so that the two always agree. The reads are scripts too: a replica, which may be far
//! behind its primary, runs none of them.

use std::sync::LazyLock;

use kippu_redis::PrimaryConnection;
use redis::{AsyncCommands, AsyncIter, ErrorKind, FromRedisValue, Script, ServerErrorKind};

use super::{Account, AccountsError};

#[derive(Clone)]
pub(crate) struct RedisAccounts(PrimaryConnection);

const ACCOUNTS: &str = "auth_server:accounts";
const NAMES: &str = "auth_server:names";

/// KEYS: the accounts, the names; the same for all scripts. ARGV: name, id, account.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    script(
        "if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[3]) == 0 then
            return false
        end
        redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
        return true",
    )
});
/// ARGV: name, id, hash.
static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    script_on_account(
        "redis.call('HDEL', KEYS[1], ARGV[1])
        redis.call('HDEL', KEYS[2], ARGV[2])
        return true",
    )
});
/// ARGV: name, id, hash, new hash.
static REPLACE_HASH: LazyLock<Script> = LazyLock::new(|| {
    script_on_account(
        "account.hash = ARGV[4]
        redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(account))
        return true",
    )
});
/// ARGV: name.
static BY_NAME: LazyLock<Script> =
    LazyLock::new(|| script("return redis.call('HGET', KEYS[1], ARGV[1])"));
/// ARGV: id.
static BY_ID: LazyLock<Script> = LazyLock::new(|| {
    script(
        "local name = redis.call('HGET', KEYS[2], ARGV[1])
        return name and redis.call('HGET', KEYS[1], name)",
    )
});

/// Returns a script that a replica refuses: most do by themselves, and one that takes writes by its
/// role.
fn script(code: &str) -> Script {
    Script::new(&format!(
        "#!lua
        if not string.find(redis.call('INFO', 'replication'), '\\nrole:master\\r', 1, true) then
            return redis.error_reply('READONLY this Redis is a replica')
        end
        {code}"
    ))
}

/// Returns a script that changes nothing unless the account is still as the caller has read it.
fn script_on_account(code: &str) -> Script {
    script(&format!(
        "local text = redis.call('HGET', KEYS[1], ARGV[1])
        local account = text and cjson.decode(text)
        if not account or account.id ~= ARGV[2] or account.hash ~= ARGV[3] then
            return false
        end
        {code}"
    ))
}

impl RedisAccounts {
    pub(super) fn new(connection: PrimaryConnection) -> Self {
        Self(connection)
    }

    pub(super) async fn add(&self, account: &Account) -> Result<bool, AccountsError> {
        let text = serde_json::to_string(account)?;
        self.run(&ADD, &[&account.name, &account.id, &text]).await
    }

    pub(super) async fn remove(&self, account: &Account) -> Result<bool, AccountsError> {
        self.run(&REMOVE, &[&account.name, &account.id, &account.hash]).await
    }

    pub(super) async fn replace_hash(
        &self,
        account: &Account,
        new: &str,
    ) -> Result<bool, AccountsError> {
        self.run(&REPLACE_HASH, &[&account.name, &account.id, &account.hash, new]).await
    }

    pub(super) async fn by_name(&self, name: &str) -> Result<Option<Account>, AccountsError> {
        let text: Option<String> = self.run(&BY_NAME, &[name]).await?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    pub(super) async fn by_id(&self, id: &str) -> Result<Option<Account>, AccountsError> {
        let text: Option<String> = self.run(&BY_ID, &[id]).await?;
        let account: Option<Account> = text.map(|text| serde_json::from_str(&text)).transpose()?;
        // Earlier versions could leave the id of a failed registration behind, which leads to the
        // account of another user.
        Ok(account.filter(|account| account.id == id))
    }

    pub(super) async fn highest_bcrypt_cost(&self) -> Result<Option<String>, AccountsError> {
        let mut connection = self.0.clone();
        let mut accounts: AsyncIter<'_, (String, String)> = connection.hscan(ACCOUNTS).await?;
        let mut highest = None;
        while let Some(entry) = accounts.next_item().await {
            let account: Account = serde_json::from_str(&entry?.1)?;
            if account.hash.starts_with("$2") {
                highest = highest.max(account.hash.get(4..6).map(str::to_owned));
            }
        }
        Ok(highest)
    }

    async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: &[&str],
    ) -> Result<T, AccountsError> {
        let mut call = script.key(&[ACCOUNTS, NAMES][..]);
        for argument in arguments {
            call.arg(*argument);
        }
        // A connection to a replica is closed, and the next step connects again.
        call.invoke_async(&mut self.0.clone()).await.map_err(|error| match error.kind() {
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                AccountsError::Replica
            }
            _ => error.into(),
        })
    }
}
