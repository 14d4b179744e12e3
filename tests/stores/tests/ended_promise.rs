//! The guarantee of ended sessions: once a logout has returned, no verification that begins
//! `max_lag` or more later accepts a token of that session. Tested under load, with clocks an hour
//! apart, with a network that delays and cuts connections, and through failovers.
//!
//! `KIPPU_CHECKS=1000000 cargo test --release -p kippu-store-tests --test ended_promise --
//! --include-ignored` makes a million checks of each store.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kippu::{
    Clock, DecodeError, Key, SystemClock,
    session::{
        AccessVerifier, BoxStore, EndedOptions, EndedSessions, Login, MemoryStore, NoClaims,
        RefreshStore, SessionLimit, Sessions, TokenResponse,
    },
};
use kippu_redis::RedisStore;
use kippu_sqlx::{MySqlStore, PostgresStore, SqliteStore};
use kippu_test_support::{
    mysql::MySql,
    postgres::Postgres,
    proxy::Proxy,
    redis::{Redis, RedisCluster, RedisSentinels},
    rounds,
    servers::Scratch,
};
use redis::{Client, cluster::ClusterClient};
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use tokio::{
    sync::{RwLock, RwLockWriteGuard},
    task::JoinSet,
    time::sleep,
};

const HOUR: Duration = Duration::from_secs(3600);
const USERS: usize = 8;
const VERIFIERS: usize = 3;

/// A clock that is wrong by this many milliseconds.
struct Wrong(i64);

impl Clock for Wrong {
    fn unix_millis(&self) -> i64 {
        SystemClock.unix_millis() + self.0
    }
}

/// An ended session: its access token, and when the logout returned.
struct Ended {
    access_token: String,
    answered: Instant,
}

/// The state that all tasks share.
struct World {
    max_lag: Duration,
    /// One issuer has the right clock, the other one is an hour behind.
    issuers: [Sessions<BoxStore>; 2],
    verifiers: Vec<AccessVerifier>,
    following: Vec<EndedSessions>,
    ended: Mutex<Vec<Arc<Ended>>>,
    /// A user holds a read lock from the login to the logout. A disturbance that loses sessions
    /// holds the write lock.
    logouts: RwLock<()>,
    is_over: AtomicBool,
    checks: AtomicU64,
    accepted: AtomicU64,
}

fn key() -> Key {
    Key::hs256([0x5a; 32]).unwrap()
}

impl World {
    /// Makes the world with the stores of the issuers and of the verifiers. Each is a separate
    /// handle, like the one of another process.
    fn new(stores: [BoxStore; 2], followed: Vec<BoxStore>) -> Arc<Self> {
        Self::with_lag(Duration::from_millis(500), stores, followed)
    }

    fn with_lag(max_lag: Duration, stores: [BoxStore; 2], followed: Vec<BoxStore>) -> Arc<Self> {
        let hour = i64::try_from(HOUR.as_millis()).unwrap();
        let mut offsets = [0, -hour].into_iter();
        let issuers = stores.map(|store| {
            Sessions::builder(store)
                .issuer("https://auth.example")
                .audience("api")
                .client("web")
                .access_lifetime(4 * HOUR)
                .access_key(key())
                .refresh_key(Key::hs256([0x5b; 32]).unwrap().with_kid("1"))
                .clock(Wrong(offsets.next().unwrap()))
                .build()
                .unwrap()
        });
        let options = EndedOptions::new().max_lag(max_lag).access_lifetime(4 * HOUR);
        let following: Vec<_> = followed
            .into_iter()
            .map(|store| EndedSessions::follow(store, options.clone()))
            .collect();
        let verifiers = following.iter().zip([0, hour, 2 * hour]).map(|(ended, offset)| {
            AccessVerifier::new(key(), "https://auth.example", "api")
                .clock(Wrong(offset))
                .ended_sessions(ended.clone())
        });
        Arc::new(Self {
            max_lag,
            issuers,
            verifiers: verifiers.collect(),
            following,
            ended: Mutex::default(),
            logouts: RwLock::default(),
            is_over: AtomicBool::new(false),
            checks: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
        })
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn verify(&self, verifier: usize, token: &str) -> Result<(), DecodeError> {
        self.verifiers[verifier].verify::<NoClaims>(token).map(|_| ())
    }

    /// Blocks logouts, once none is in flight and all are replicated.
    async fn hold_logouts(&self) -> RwLockWriteGuard<'_, ()> {
        let held = self.logouts.write().await;
        sleep(Duration::from_millis(500)).await;
        held
    }

    /// Logs in, uses the token, and ends the session in one of several ways. Ignores a failure.
    async fn use_up(&self, user: usize, turn: usize) -> Option<()> {
        let _going = self.logouts.read().await;
        let subject = format!("user-{user}");
        let issuer = &self.issuers[turn % 2];
        let login = async |limit: u32| {
            let login = Login::new(&*subject).limit(SessionLimit::evict_oldest(limit));
            issuer.login(login, &NoClaims {}).await.ok()
        };
        let tokens = login(10).await?;
        for verifier in 0..VERIFIERS {
            if self.verify(verifier, &tokens.access_token).is_ok() {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
        }
        match turn % 4 {
            0 => issuer.logout(&tokens.refresh_token).await.ok()?,
            1 => issuer.logout_all(&subject).await.ok().filter(|ended| *ended > 0).map(|_| ())?,
            2 => {
                let ended = issuer.logout_session(&subject, &tokens.session_id).await;
                ended.ok()?.then_some(())?;
            }
            // A later login evicts it.
            _ => login(1).await.map(|_| ())?,
        }
        let access_token = tokens.access_token;
        let ended = Arc::new(Ended { access_token, answered: Instant::now() });
        self.ended.lock().unwrap().push(ended);
        Some(())
    }

    /// Verifies tokens whose sessions ended long enough ago, old ones and new ones.
    fn check(&self, number: usize) {
        let (total, picked) = {
            let ended = self.ended.lock().unwrap();
            let total = ended.len();
            // Every second check is among the last few hundred.
            let recent = total.saturating_sub(400);
            let index = if number.is_multiple_of(2) {
                number / 2 % total.max(1)
            } else {
                recent + number / 2 % 400
            };
            (total, ended.get(index).cloned())
        };
        let Some(ended) = picked.filter(|_| total > 0) else { return };
        let begins = Instant::now();
        if begins < ended.answered + self.max_lag {
            return;
        }
        let verdict = self.verify(number % VERIFIERS, &ended.access_token);
        let is_refused =
            matches!(verdict, Err(DecodeError::SessionEnded | DecodeError::EndedUnknown { .. }));
        let age = begins - ended.answered;
        assert!(
            is_refused,
            "verifier {}, {age:?} after the logout: {verdict:?}",
            number % VERIFIERS
        );
        self.checks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the tasks, even of a test that fails.
struct Over(Arc<World>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Logs in and out, checks and disturbs, until there were enough checks and the last disturbance
/// has ended.
async fn holds(world: Arc<World>, disturb: impl Future<Output = ()>) {
    let wanted = env::var("KIPPU_CHECKS")
        .map_or_else(|_| u64::from(rounds(20_000)), |text| text.parse().unwrap());
    let over = Over(Arc::clone(&world));
    let mut tasks = JoinSet::new();
    for ended in &world.following {
        tasks.spawn(ended.clone().run(sleep));
    }
    let mut users = JoinSet::new();
    for user in 0..USERS {
        let world = Arc::clone(&world);
        users.spawn(async move {
            let mut turn = user;
            while world.goes_on() {
                turn += 1;
                if world.use_up(user, turn).await.is_none() {
                    sleep(Duration::from_millis(50)).await;
                }
                // Limits the logouts in a second, so that their list stays short.
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
    let checker = {
        let world = Arc::clone(&world);
        tokio::task::spawn_blocking(move || {
            let mut number = 0;
            while world.goes_on() {
                for _ in 0..64 {
                    number += 1;
                    world.check(number);
                }
                // The processors belong to the stores: 30,000 checks a second suffice.
                std::thread::sleep(Duration::from_millis(2));
            }
        })
    };
    disturb.await;
    let is_done = || world.checks.load(Ordering::Relaxed) >= wanted || checker.is_finished();
    while !is_done() {
        sleep(Duration::from_millis(50)).await;
    }
    // Everything works as before the disturbances: each verifier accepts the token of a live
    // session.
    let recovered = Instant::now();
    let stays = loop {
        assert!(recovered.elapsed() < Duration::from_secs(60), "no login has succeeded");
        match world.issuers[0].login("stays", &NoClaims {}).await {
            Ok(tokens) => break tokens,
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    };
    for verifier in 0..VERIFIERS {
        while !is_accepted(&world, verifier, &stays) {
            assert!(
                recovered.elapsed() < Duration::from_secs(60),
                "verifier {verifier} is not fresh"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
    drop(over);
    checker.await.unwrap();
    users.join_all().await;
    let (ended, accepted) =
        (world.ended.lock().unwrap().len(), world.accepted.load(Ordering::Relaxed));
    let checks = world.checks.load(Ordering::Relaxed);
    println!(
        "{ended} sessions ended, {accepted} tokens accepted before, {checks} checks after, none accepted"
    );
    assert!(accepted > 100, "{accepted}: a verifier that rejects every token would prove nothing");
}

fn is_accepted(world: &World, verifier: usize, tokens: &TokenResponse) -> bool {
    world.verify(verifier, &tokens.access_token).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_memory() {
    let store = Arc::new(MemoryStore::new(1_000_000));
    let open = || BoxStore::new(Arc::clone(&store));
    let world = World::new([open(), open()], vec![open(), open(), open()]);
    let during = Arc::clone(&world);
    // The session is removed while its access token is still valid.
    let purge = async {
        for _ in 0..rounds(20) {
            let _held = during.logouts.write().await;
            let late = kippu::session::UnixMillis::now().saturating_add(15 * 24 * HOUR);
            store.purge_expired(late, 1000).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    };
    holds(world, purge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_sqlite_that_others_lock() {
    let folder = Scratch::new("ended");
    let path = folder.path().join("sessions.db");
    let open = async || BoxStore::new(SqliteStore::open(&path).await.unwrap());
    let world =
        World::new([open().await, open().await], vec![open().await, open().await, open().await]);
    let url = format!("sqlite://{}", path.display());
    let lock = async {
        let other = sqlx::SqlitePool::connect(&url).await.unwrap();
        for _ in 0..rounds(5) {
            let mut transaction = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
            sqlx::query("UPDATE kippu_sessions SET kid = kid WHERE subject = 'user-1'")
                .execute(&mut *transaction)
                .await
                .unwrap();
            sleep(Duration::from_millis(700)).await;
            transaction.rollback().await.unwrap();
            sleep(Duration::from_millis(500)).await;
        }
    };
    holds(world, lock).await;
}

/// Delays and cuts connections: silences as long as `max_lag` and longer, and dead connections.
async fn cut(proxy: &Proxy, target: u16) {
    for millis in [100, 300, 490, 510, 700, 1500] {
        proxy.set_silent(true);
        sleep(Duration::from_millis(millis)).await;
        proxy.set_silent(false);
        sleep(Duration::from_millis(400)).await;
    }
    proxy.swallow();
    sleep(Duration::from_millis(700)).await;
    proxy.switch(target);
    sleep(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn in_postgres_that_fails_over() {
    let old = Postgres::start();
    let url = old.database();
    let proxy = Proxy::to(old.port()).await;
    let through = url.replace(&format!(":{}/", old.port()), &format!(":{}/", proxy.port()));
    assert_ne!(url, through);
    let open = async || PostgresStore::connect(&through).await.unwrap();
    let direct = PostgresStore::connect(&url).await.unwrap();
    direct.create_schema().await.unwrap();
    let mut stores = Vec::new();
    for _ in 0..5 {
        stores.push(BoxStore::new(open().await.with_deadline(Duration::from_secs(1))));
    }
    let followed = stores.split_off(2);
    let [first, second] = [stores.remove(0), stores.remove(0)];
    let world = World::new([first, second], followed);
    let during = Arc::clone(&world);
    let mut servers = vec![old];
    let disturb = async {
        // Twice, so that the transaction numbers repeat.
        for _ in 0..2 {
            let old = servers.last_mut().unwrap();
            cut(&proxy, old.port()).await;
            let new = old.standby();
            sleep(Duration::from_secs(1)).await;
            let held = during.hold_logouts().await;
            old.kill();
            new.promote();
            proxy.switch(new.port());
            drop(held);
            sleep(Duration::from_secs(2)).await;
            servers.push(new);
        }
    };
    holds(world, disturb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn in_mysql_that_fails_over() {
    let mut old = MySql::start();
    let database = old.database();
    let new = old.replica();
    let proxy = Proxy::to(old.port()).await;
    let options: MySqlConnectOptions = old.url_of(&database).parse().unwrap();
    MySqlStore::new(MySqlPool::connect_lazy_with(options.clone())).create_schema().await.unwrap();
    let open = || {
        let pool = MySqlPool::connect_lazy_with(options.clone().port(proxy.port()));
        BoxStore::new(MySqlStore::new(pool).with_deadline(Duration::from_secs(1)))
    };
    let world = World::new([open(), open()], vec![open(), open(), open()]);
    let during = Arc::clone(&world);
    let disturb = async {
        cut(&proxy, old.port()).await;
        let held = during.hold_logouts().await;
        new.catch_up(&old);
        old.kill();
        new.promote();
        proxy.switch(new.port());
        drop(held);
        sleep(Duration::from_secs(2)).await;
        cut(&proxy, new.port()).await;
    };
    holds(world, disturb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis"]
async fn in_redis_that_is_cut_off() {
    let server = Redis::start();
    let proxy = Proxy::to(server.port()).await;
    let through =
        server.url().replace(&format!(":{}", server.port()), &format!(":{}", proxy.port()));
    assert_ne!(server.url(), through);
    let open = async || {
        let store = RedisStore::connect(Client::open(&*through).unwrap()).await.unwrap();
        BoxStore::new(store.with_deadline(Duration::from_secs(1)))
    };
    let world =
        World::new([open().await, open().await], vec![open().await, open().await, open().await]);
    holds(world, cut(&proxy, server.port())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis"]
async fn in_redis_that_fails_over() {
    let sentinels = RedisSentinels::start(Redis::start());
    let open = async || {
        let client = redis::sentinel::SentinelClient::build(
            sentinels.urls(),
            RedisSentinels::NAME.to_owned(),
            None,
            redis::sentinel::SentinelServerType::Master,
        );
        let store = RedisStore::sentinel(client.unwrap()).await.unwrap();
        BoxStore::new(store.with_deadline(Duration::from_secs(1)))
    };
    let world =
        World::new([open().await, open().await], vec![open().await, open().await, open().await]);
    let during = Arc::clone(&world);
    let disturb = async {
        for _ in 0..3 {
            sleep(Duration::from_secs(1)).await;
            sentinels.wait_until_whole();
            let old = sentinels.primary().unwrap();
            let held = during.hold_logouts().await;
            sentinels.fail_over();
            sentinels.wait_for_failover(old);
            // Until then the old primary accepts logouts that it will lose. No guarantee covers
            // such a split brain.
            sentinels.wait_until_whole();
            drop(held);
        }
    };
    holds(world, disturb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs Redis"]
async fn in_a_redis_cluster_that_loses_a_master() {
    let mut cluster = RedisCluster::start();
    let open = async |urls: Vec<String>| {
        let store = RedisStore::cluster(ClusterClient::new(urls).unwrap()).await.unwrap();
        BoxStore::new(store.with_deadline(Duration::from_secs(4)))
    };
    let mut stores = Vec::new();
    for _ in 0..5 {
        stores.push(open(cluster.urls()).await);
    }
    let followed = stores.split_off(2);
    let [first, second] = [stores.remove(0), stores.remove(0)];
    // One reading takes a step on each of 1,024 tags.
    let world = World::with_lag(Duration::from_secs(10), [first, second], followed);
    let during = Arc::clone(&world);
    let disturb = async {
        sleep(Duration::from_secs(2)).await;
        let held = during.hold_logouts().await;
        cluster.kill_master(0);
        cluster.wait_for_failover(0);
        drop(held);
        sleep(Duration::from_secs(2)).await;
    };
    holds(world, disturb).await;
}
