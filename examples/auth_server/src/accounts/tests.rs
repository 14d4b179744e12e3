//! The tests that the accounts pass on every database.

use kippu_test_support::{mysql, postgres, proxy, redis, servers};
use sqlx::{
    AssertSqlSafe, Connection, Executor, mysql::MySqlPoolOptions, postgres::PgPoolOptions,
    sqlite::SqlitePoolOptions,
};

use self::{
    mysql::MySql,
    postgres::Postgres,
    proxy::Proxy,
    redis::{Redis, RedisOptions, RedisSentinels},
    servers::{Scratch, wait_until},
};
use super::*;
use crate::storage::{Location, Storage};

const BCRYPT: &str = "$2b$06$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K";

async fn open(url: &str) -> Accounts {
    let location: Location = url.parse().unwrap();
    Storage::open_accounts(&location).await.unwrap()
}

fn account(address: &str, hash: &str) -> Account {
    Account::new(&Email::parse(address).unwrap(), hash.to_owned(), MEMBER).unwrap()
}

async fn is_there(accounts: &Accounts, account: &Account) -> bool {
    let by_id = accounts.by_id(&account.id).await.unwrap();
    let by_name = accounts.by_name(&account.name).await.unwrap();
    by_id.is_some_and(|found| found == *account) && by_name.is_some_and(|found| found == *account)
}

/// Runs all cases on two handles with separate connections.
async fn hold(one: Accounts, other: Accounts) {
    an_address_has_one_account(&one, &other).await;
    a_late_step_leaves_the_next_owner_alone(&one, &other).await;
    a_hash_is_replaced_once(&one, &other).await;
    of_many_registrations_one_is_done(&one, &other).await;
    strange_texts_are_stored_or_not_found(&one).await;
    the_highest_cost_of_bcrypt_is_found(&one).await;
    one.close().await;
    other.close().await;
}

async fn an_address_has_one_account(one: &Accounts, other: &Accounts) {
    let ada = account("Ada@Example.com", "hash");
    assert_eq!((ada.name.as_str(), ada.address()), ("ada@example.com", "Ada@example.com"));
    assert!(one.add(&ada).await.unwrap());
    for again in [account("ada@EXAMPLE.com", "other"), ada.clone()] {
        assert!(!other.add(&again).await.unwrap());
        assert!(again == ada || other.by_id(&again.id).await.unwrap().is_none());
    }
    assert!(is_there(other, &ada).await);
    assert!(other.remove(&ada).await.unwrap());
    assert!(!one.remove(&ada).await.unwrap());
    assert!(one.by_id(&ada.id).await.unwrap().is_none());
    assert!(one.by_name(&ada.name).await.unwrap().is_none());
}

/// The address changes hands between the check of a request and its step.
async fn a_late_step_leaves_the_next_owner_alone(one: &Accounts, other: &Accounts) {
    let before = account("bob@example.com", "hash");
    assert!(one.add(&before).await.unwrap());
    let late = one.by_name("bob@example.com").await.unwrap().unwrap();
    assert!(other.remove(&before).await.unwrap());
    // Even with the same hash.
    let next = account("bob@example.com", "hash");
    assert!(other.add(&next).await.unwrap());

    assert!(!one.remove(&late).await.unwrap());
    assert!(!one.replace_hash(&late, "late").await.unwrap());
    assert!(is_there(one, &next).await);
    assert!(one.by_id(&before.id).await.unwrap().is_none());
    assert!(one.remove(&next).await.unwrap());
}

async fn a_hash_is_replaced_once(one: &Accounts, other: &Accounts) {
    let eve = account("eve@example.com", "first");
    assert!(one.add(&eve).await.unwrap());
    let (ours, theirs) =
        tokio::join!(async { one.replace_hash(&eve, "ours").await.unwrap() }, async {
            other.replace_hash(&eve, "theirs").await.unwrap()
        },);
    assert!(ours != theirs, "one of them: {ours}");
    let hash = if ours { "ours" } else { "theirs" };
    let now = Account { hash: hash.to_owned(), ..eve.clone() };
    assert!(is_there(one, &now).await);
    // A step that the first hash allowed is not done under the second.
    assert!(!one.replace_hash(&eve, "third").await.unwrap());
    assert!(!one.remove(&eve).await.unwrap());
    assert!(is_there(other, &now).await);
    assert!(other.remove(&now).await.unwrap());
}

async fn of_many_registrations_one_is_done(one: &Accounts, other: &Accounts) {
    let mut tasks = tokio::task::JoinSet::new();
    for count in 0..16 {
        let accounts = if count % 2 == 0 { one.clone() } else { other.clone() };
        tasks.spawn(async move {
            let mine = account("grace@example.com", &count.to_string());
            (accounts.add(&mine).await.unwrap(), mine)
        });
    }
    let done = tasks.join_all().await;
    let winners: Vec<_> = done.iter().filter(|(added, _)| *added).collect();
    assert_eq!(winners.len(), 1);
    assert!(is_there(one, &winners[0].1).await);
    for (added, loser) in &done {
        assert!(*added || one.by_id(&loser.id).await.unwrap().is_none());
    }
    assert!(one.remove(&winners[0].1).await.unwrap());
}

async fn strange_texts_are_stored_or_not_found(accounts: &Accounts) {
    // A slash and quotes are escaped by some writers of JSON.
    for (address, hash) in [
        ("o'brien/\"x\"@example.com".replace('"', ""), "$argon2id$v=19$m=1,t=1,p=1$a/b$c\"d\\e"),
        ("josé@bücher.example".to_owned(), "é"),
        ("{}|~^`@example.com".to_owned(), "{}"),
    ] {
        let stored = account(&address, hash);
        assert!(accounts.add(&stored).await.unwrap());
        assert!(is_there(accounts, &stored).await);
        assert!(accounts.replace_hash(&stored, "a/\"b\\").await.unwrap());
        let stored = Account { hash: "a/\"b\\".to_owned(), ..stored };
        assert!(is_there(accounts, &stored).await);
        assert!(accounts.remove(&stored).await.unwrap());
    }
    // An accent makes another name.
    let (one, other) = (account("josé@example.com", "hash"), account("jose@example.com", "hash"));
    assert!(accounts.add(&one).await.unwrap() && accounts.add(&other).await.unwrap());
    assert!(is_there(accounts, &one).await && is_there(accounts, &other).await);
    for text in ["", "'; DROP TABLE auth_server_accounts; --", "%", "*", "\u{202e}"] {
        assert!(accounts.by_name(text).await.unwrap().is_none());
        assert!(accounts.by_id(text).await.unwrap().is_none());
    }
}

async fn the_highest_cost_of_bcrypt_is_found(accounts: &Accounts) {
    assert_eq!(accounts.highest_bcrypt_cost().await.unwrap(), None);
    for (address, hash) in [
        ("argon2@example.com", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA"),
        ("six@example.com", BCRYPT),
        ("twelve@example.com", &BCRYPT.replace("$06$", "$12$")),
    ] {
        assert!(accounts.add(&account(address, hash)).await.unwrap());
    }
    assert_eq!(accounts.highest_bcrypt_cost().await.unwrap(), Some(12));
}

#[tokio::test]
async fn accounts_hold_in_sqlite() {
    let folder = Scratch::new("accounts-sqlite");
    let url = format!("sqlite:{}", folder.path().join("accounts.db").display());
    hold(open(&url).await, open(&url).await).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn accounts_hold_in_postgresql() {
    let postgres = Postgres::start();
    hold(open(&postgres.url()).await, open(&postgres.url()).await).await;
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn accounts_hold_in_mariadb() {
    let server = MySql::start();
    let url = server.url_of(&server.database());
    // Several servers start at once.
    let (one, other) = tokio::join!(open(&url), open(&url));
    hold(one, other).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn accounts_hold_in_redis() {
    let redis = Redis::start();
    hold(open(&redis.url()).await, open(&redis.url()).await).await;
}

/// The table as earlier versions created it.
const OLD_SCHEMA: &str = "CREATE TABLE auth_server_accounts (id TEXT NOT NULL PRIMARY KEY, \
    name TEXT NOT NULL UNIQUE, hash TEXT NOT NULL, role TEXT NOT NULL)";
const OLD_ROWS: &str = "INSERT INTO auth_server_accounts (id, name, hash, role) \
    VALUES ('1', 'ada', 'hash', 'admin'), ('2', 'bob@example.com', 'hash', 'member')";

async fn are_the_old_ones(accounts: &Accounts) {
    let ada = accounts.by_name("ada").await.unwrap().unwrap();
    assert_eq!((&*ada.id, ada.address(), &*ada.role), ("1", "ada", "admin"));
    let bob = accounts.by_id("2").await.unwrap().unwrap();
    assert_eq!(bob.address(), "bob@example.com");
    // An old name that is an address keeps the address taken.
    assert!(!accounts.add(&account("Bob@example.com", "hash")).await.unwrap());
    assert!(accounts.replace_hash(&ada, "new").await.unwrap());
    assert!(accounts.remove(&bob).await.unwrap());
    let new = account("Carol@example.com", "hash");
    assert!(accounts.add(&new).await.unwrap());
    assert!(is_there(accounts, &new).await);
    accounts.close().await;
}

#[tokio::test]
async fn accounts_of_earlier_versions_are_opened_in_sqlite() {
    let folder = Scratch::new("accounts-old");
    let url = format!("sqlite:{}", folder.path().join("accounts.db").display());
    // A file of the session store, with the old table in the place of the new one.
    open(&url).await.close().await;
    let pool = SqlitePoolOptions::new().connect(&url).await.unwrap();
    pool.execute("DROP TABLE auth_server_accounts").await.unwrap();
    pool.execute(OLD_SCHEMA).await.unwrap();
    pool.execute(OLD_ROWS).await.unwrap();
    pool.close().await;
    // Several servers start at once.
    let (one, other) = tokio::join!(open(&url), open(&url));
    other.close().await;
    are_the_old_ones(&one).await;
    assert!(open(&url).await.by_name("carol@example.com").await.unwrap().is_some());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn accounts_of_earlier_versions_are_opened_in_postgresql() {
    let postgres = Postgres::start();
    let pool = PgPoolOptions::new().connect(&postgres.url()).await.unwrap();
    pool.execute(OLD_SCHEMA).await.unwrap();
    pool.execute(OLD_ROWS).await.unwrap();
    pool.execute("CREATE ROLE reader LOGIN").await.unwrap();
    pool.execute("GRANT ALL ON auth_server_accounts TO reader").await.unwrap();
    let url = postgres.url();
    let (one, other) = tokio::join!(open(&url), open(&url));
    other.close().await;
    are_the_old_ones(&one).await;
    // A role that may not change the table opens one that is up to date.
    let reader = open(&postgres.url_for("reader", None, "postgres")).await;
    assert!(reader.by_name("carol@example.com").await.unwrap().is_some());
    reader.close().await;
    pool.close().await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn accounts_of_earlier_versions_are_opened_in_redis() {
    let redis = Redis::start();
    for (id, name, role) in [("1", "ada", "admin"), ("2", "bob@example.com", "member")] {
        let text = format!(r#"{{"id":"{id}","name":"{name}","hash":"hash","role":"{role}"}}"#);
        redis.command(&["HSET", "auth_server:accounts", name, &text]);
        redis.command(&["HSET", "auth_server:names", id, name]);
    }
    // A failed registration left this id behind.
    redis.command(&["HSET", "auth_server:names", "3", "ada"]);
    let accounts = open(&redis.url()).await;
    assert!(accounts.by_id("3").await.unwrap().is_none());
    are_the_old_ones(&accounts).await;
}

#[tokio::test]
async fn a_file_that_was_removed_or_replaced_is_noticed() {
    let folder = Scratch::new("accounts-moved");
    let path = |name: &str| folder.path().join(name);
    let accounts = open(&format!("sqlite:{}", path("accounts.db").display())).await;
    let ada = account("ada@example.com", "hash");
    assert!(accounts.add(&ada).await.unwrap());
    let is_moved = |result: Result<bool, AccountsError>| {
        assert!(matches!(result, Err(AccountsError::Moved(_))));
    };
    let all_are_refused = async || {
        is_moved(accounts.add(&account("eve@example.com", "hash")).await);
        is_moved(accounts.replace_hash(&ada, "new").await);
        is_moved(accounts.remove(&ada).await);
        is_moved(accounts.by_id(&ada.id).await.map(|found| found.is_some()));
        is_moved(accounts.by_name(&ada.name).await.map(|found| found.is_some()));
    };
    std::fs::rename(path("accounts.db"), path("away.db")).unwrap();
    all_are_refused().await;
    std::fs::copy(path("away.db"), path("accounts.db")).unwrap();
    all_are_refused().await;
    std::fs::rename(path("away.db"), path("accounts.db")).unwrap();
    assert!(is_there(&accounts, &ada).await);
    assert!(accounts.by_name("eve@example.com").await.unwrap().is_none());
}

/// A demoted primary keeps its connections and answers with old accounts.
#[tokio::test]
#[ignore = "needs Redis"]
async fn a_replica_of_redis_is_not_asked() {
    let redis = Redis::start();
    let accounts = open(&redis.url()).await;
    let ada = account("ada@example.com", "hash");
    assert!(accounts.add(&ada).await.unwrap());
    let connections = || redis.command(&["CLIENT", "LIST", "TYPE", "NORMAL"]);
    let connection = connections().split(' ').next().unwrap().to_owned();
    assert!(connection.starts_with("id="), "{connection}");
    redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    for is_read_only in ["yes", "no"] {
        redis.command(&["CONFIG", "SET", "replica-read-only", is_read_only]);
        // The connection is made again after a tenth of a second.
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(accounts.by_id(&ada.id).await.is_err());
        assert!(accounts.by_name(&ada.name).await.is_err());
        assert!(accounts.add(&account("eve@example.com", "hash")).await.is_err());
        assert!(accounts.replace_hash(&ada, "new").await.is_err());
        assert!(accounts.remove(&ada).await.is_err());
    }
    redis.command(&["REPLICAOF", "NO", "ONE"]);
    while let Err(error) = accounts.by_id(&ada.id).await {
        assert!(matches!(error, AccountsError::Replica), "{error}");
    }
    assert!(is_there(&accounts, &ada).await);
    assert!(!connections().contains(&format!("{connection} ")), "it is the same connection");
}

/// The steps after a failover reach the new primary.
#[tokio::test]
#[ignore = "needs Redis"]
async fn accounts_follow_the_primary_that_sentinels_name() {
    let options = RedisOptions { password: Some("p@ss/word"), ..RedisOptions::default() };
    let primary = Redis::start_with(options);
    let mut sentinels = RedisSentinels::start(primary);
    let hosts: Vec<_> =
        sentinels.urls().iter().map(|url| url["redis://".len()..].replace('/', "")).collect();
    let (hosts, name) = (hosts.join(","), RedisSentinels::NAME);
    let accounts = open(&format!("redis-sentinel://default:p%40ss%2Fword@{hosts}/{name}")).await;
    let ada = account("ada@example.com", "hash");
    assert!(accounts.add(&ada).await.unwrap());
    let is_copied = |redis: &Redis| redis.command(&["HLEN", "auth_server:accounts"]).trim() == "1";
    wait_until("the copies", DEADLINE, || sentinels.servers.iter().all(is_copied));
    let primary = sentinels.primary().unwrap();
    sentinels.servers[primary].kill();
    sentinels.wait_for_failover(primary);
    let begin = std::time::Instant::now();
    while accounts.by_id(&ada.id).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_there(&accounts, &ada).await);
    assert!(accounts.replace_hash(&ada, "new").await.unwrap());
}

/// A read-only server refuses changes, and its connection is not used again.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_server_that_only_reads_changes_no_account() {
    let postgres = Postgres::start();
    let accounts = open(&postgres.url()).await;
    let ada = account("ada@example.com", "hash");
    assert!(accounts.add(&ada).await.unwrap());
    let admin = PgPoolOptions::new().connect(&postgres.url()).await.unwrap();
    let read_only = async |on: &str| {
        let alter = format!("ALTER DATABASE postgres SET default_transaction_read_only = {on}");
        let alter = format!("SET default_transaction_read_only = off; {alter}");
        sqlx::raw_sql(AssertSqlSafe(alter)).execute(&admin).await.unwrap();
    };
    // For connections that are opened from here on.
    read_only("on").await;
    let reading = open(&postgres.url()).await;
    for _ in 0..3 {
        assert!(matches!(reading.remove(&ada).await, Err(AccountsError::Replica)));
    }
    read_only("off").await;
    // The first one may still be an old connection.
    let _ = reading.remove(&account("eve@example.com", "hash")).await;
    assert!(reading.remove(&ada).await.unwrap());
    reading.close().await;
    accounts.close().await;
    admin.close().await;
}

/// A locked table holds the step up for longer than the deadline.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_database_that_does_not_answer_is_given_up() {
    let postgres = Postgres::start();
    let accounts = open(&postgres.url()).await;
    let locker = PgPoolOptions::new().connect(&postgres.url()).await.unwrap();
    let mut lock = locker.begin().await.unwrap();
    (&mut *lock).execute("LOCK TABLE auth_server_accounts").await.unwrap();
    let begin = std::time::Instant::now();
    let late = accounts.by_name("ada@example.com").await;
    assert!(matches!(late, Err(AccountsError::Late(_))));
    assert!(begin.elapsed() >= DEADLINE);
    lock.rollback().await.unwrap();
    assert!(accounts.by_name("ada@example.com").await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_mariadb_that_does_not_answer_is_given_up() {
    let server = MySql::start();
    let url = server.url_of(&server.database());
    let accounts = open(&url).await;
    let locker = MySqlPoolOptions::new().connect(&url).await.unwrap();
    let mut lock = locker.acquire().await.unwrap();
    (&mut *lock).execute("LOCK TABLES auth_server_accounts WRITE").await.unwrap();
    let late = accounts.by_name("ada@example.com").await;
    assert!(matches!(late, Err(AccountsError::Late(_))));
    (&mut *lock).execute("UNLOCK TABLES").await.unwrap();
    assert!(accounts.by_name("ada@example.com").await.unwrap().is_none());
}

/// A server goes silent while it is asked, and is then reached again. The locker has it wait.
async fn silence_keeps_no_connection(url: &str, port: u16, locker: impl Connection) {
    let address = Proxy::to(port).await;
    let through = url.replace(&format!(":{port}/"), &format!(":{}/", address.port()));
    assert_ne!(url, through);
    let accounts = open(&through).await;
    // As many as the pool may have connections.
    let steps: tokio::task::JoinSet<_> = (0..10)
        .map(|_| {
            let accounts = accounts.clone();
            async move { accounts.by_id("nobody").await }
        })
        .collect();
    while address.count() < 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    address.swallow();
    assert!(steps.join_all().await.iter().all(Result::is_err));
    locker.close().await.unwrap();
    address.switch(port);
    assert!(accounts.by_id("nobody").await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_step_that_was_given_up_keeps_no_connection_to_postgresql() {
    let postgres = Postgres::start();
    let url = postgres.url();
    open(&url).await.close().await;
    let mut locker = sqlx::PgConnection::connect(&url).await.unwrap();
    locker.execute("BEGIN; LOCK TABLE auth_server_accounts").await.unwrap();
    silence_keeps_no_connection(&url, postgres.port(), locker).await;
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_step_that_was_given_up_keeps_no_connection_to_mariadb() {
    let server = MySql::start();
    let url = server.url_of(&server.database());
    open(&url).await.close().await;
    let mut locker = sqlx::MySqlConnection::connect(&url).await.unwrap();
    locker.execute("LOCK TABLES auth_server_accounts WRITE").await.unwrap();
    silence_keeps_no_connection(&url, server.port(), locker).await;
}

/// A replica is behind its primary, and so is an old primary that comes back as one.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_replica_of_mariadb_is_not_asked() {
    let primary = MySql::start();
    let database = primary.database();
    let ada = account("ada@example.com", "hash");
    assert!(open(&primary.url_of(&database)).await.add(&ada).await.unwrap());
    let replica = primary.replica();
    let accounts = open(&replica.url_of(&database)).await;
    let is_replica = |result: Result<bool, AccountsError>| {
        assert!(matches!(result, Err(AccountsError::Replica)));
    };
    is_replica(accounts.by_id(&ada.id).await.map(|found| found.is_some()));
    is_replica(accounts.by_name(&ada.name).await.map(|found| found.is_some()));
    is_replica(accounts.add(&account("eve@example.com", "hash")).await);
    is_replica(accounts.replace_hash(&ada, "new").await);
    is_replica(accounts.remove(&ada).await);
    replica.promote();
    assert!(is_there(&accounts, &ada).await);
    assert!(accounts.remove(&ada).await.unwrap());
    accounts.close().await;
}

/// A standby is behind its primary, and so is an old primary that comes back as one.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_standby_of_postgresql_is_not_asked() {
    let primary = Postgres::start();
    let ada = account("ada@example.com", "hash");
    let accounts = open(&primary.url()).await;
    assert!(accounts.add(&ada).await.unwrap());
    let standby = primary.standby();
    let standby_accounts = open(&standby.url()).await;
    let is_replica = |result: Result<bool, AccountsError>| {
        assert!(matches!(result, Err(AccountsError::Replica)));
    };
    is_replica(standby_accounts.by_id(&ada.id).await.map(|found| found.is_some()));
    is_replica(standby_accounts.by_name(&ada.name).await.map(|found| found.is_some()));
    is_replica(standby_accounts.add(&account("eve@example.com", "hash")).await);
    is_replica(standby_accounts.replace_hash(&ada, "new").await);
    is_replica(standby_accounts.remove(&ada).await);
    standby.promote();
    assert!(is_there(&standby_accounts, &ada).await);
    assert!(standby_accounts.remove(&ada).await.unwrap());
    standby_accounts.close().await;
    accounts.close().await;
}
