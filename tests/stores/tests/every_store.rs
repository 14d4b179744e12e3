//! Tests for every store: the conformance suite, races between several servers, and a search for
//! secrets in the stored data.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, mpsc},
    time::Duration,
};

use kippu::{
    DecodeError, Key,
    session::{
        AccessVerifier, BoxStore, EndedOptions, EndedSessions, Event, EventKind, MemoryStore,
        NoClaims, RefreshStore, RevokeReason, Session, SessionError, Sessions, SessionsBuilder,
        conformance::{Harness, Stall, Suite},
        rotation::AheadPolicy,
    },
};
use kippu_test_support::{postgres as postgres_server, redis as redis_server, rounds, servers};
use tokio::{sync::Barrier, time::sleep};

/// A set of data, and the server that stores it.
trait Data: Send + Sync + 'static {
    /// Opens another handle on it, like another server.
    fn open(&self) -> impl Future<Output = BoxStore> + Send;

    /// Opens another connection, which blocks every rotation.
    fn stall(&self) -> impl Future<Output = Option<Stall>> + Send;

    /// Longer if a reading of the ended sessions takes longer: in a cluster it takes a step on each
    /// of 1,024 tags.
    fn max_lag(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// Returns all bytes that a thief of the data would find.
    fn dump(&self) -> impl Future<Output = Vec<u8>> + Send;
}

/// Data in a folder that can be backed up.
trait Restorable: Data {
    fn folder(&self) -> PathBuf;

    /// Stops every process that uses the folder.
    async fn stop(&mut self);

    fn restart(&mut self);
}

struct Memory(Arc<MemoryStore>);

impl Data for Memory {
    async fn open(&self) -> BoxStore {
        BoxStore::new(Arc::clone(&self.0))
    }

    async fn stall(&self) -> Option<Stall> {
        None
    }

    async fn dump(&self) -> Vec<u8> {
        format!("{:?}", self.0).into_bytes()
    }
}

fn memory() -> Memory {
    Memory(Arc::new(MemoryStore::new(100_000)))
}

/// Returns the bytes of all files in a folder and below.
fn files(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.append(&mut files(&path));
        } else if path.is_file() {
            bytes.append(&mut fs::read(path).unwrap_or_default());
        }
    }
    bytes
}

mod redis_data {
    use std::time::Duration;

    use kippu_redis::RedisStore;
    use redis::{Client, cluster::ClusterClient};

    use super::{
        BoxStore, Data, PathBuf, Restorable, Stall, files,
        redis_server::{Redis, RedisCluster, RedisOptions},
    };

    /// Long enough for a busy machine.
    pub(super) const DEADLINE: Duration = Duration::from_secs(10);

    impl Data for Redis {
        async fn open(&self) -> BoxStore {
            let client = Client::open(self.url()).unwrap();
            let store = RedisStore::connect(client).await.unwrap();
            BoxStore::new(store.with_deadline(DEADLINE))
        }

        async fn stall(&self) -> Option<Stall> {
            self.command(&["CLIENT", "PAUSE", "30000", "WRITE"]);
            let port = self.port();
            Some(Stall::new(async move { unpause(port).await }))
        }

        async fn dump(&self) -> Vec<u8> {
            self.command(&["SAVE"]);
            files(self.folder())
        }
    }

    impl Restorable for Redis {
        fn folder(&self) -> PathBuf {
            self.folder().to_owned()
        }

        async fn stop(&mut self) {
            self.stop();
        }

        fn restart(&mut self) {
            self.restart();
        }
    }

    impl Data for RedisCluster {
        async fn open(&self) -> BoxStore {
            let client = ClusterClient::new(self.urls()).unwrap();
            let store = RedisStore::cluster(client).await.unwrap();
            BoxStore::new(store.with_deadline(DEADLINE))
        }

        fn max_lag(&self) -> Duration {
            Duration::from_secs(5)
        }

        async fn stall(&self) -> Option<Stall> {
            let ports: Vec<u16> = self.nodes().iter().map(Redis::port).collect();
            for node in self.nodes() {
                node.command(&["CLIENT", "PAUSE", "30000", "WRITE"]);
            }
            Some(Stall::new(async move {
                for port in ports {
                    unpause(port).await;
                }
            }))
        }

        async fn dump(&self) -> Vec<u8> {
            self.nodes()
                .iter()
                .flat_map(|node| {
                    node.command(&["SAVE"]);
                    files(node.folder())
                })
                .collect()
        }
    }

    async fn unpause(port: u16) {
        let client = Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("CLIENT").arg("UNPAUSE").exec_async(&mut connection).await.unwrap();
    }

    pub(super) fn redis() -> Redis {
        Redis::start_with(RedisOptions { append: Some("everysec"), ..RedisOptions::default() })
    }

    pub(super) fn redis_cluster() -> RedisCluster {
        RedisCluster::start()
    }
}

mod sqlite_data {
    use std::sync::Mutex;

    use kippu_sqlx::SqliteStore;
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

    use super::{BoxStore, Data, PathBuf, Restorable, Stall, files, servers::Scratch};

    pub(super) struct File {
        folder: Scratch,
        opened: Mutex<Vec<SqliteStore>>,
    }

    impl Data for File {
        async fn open(&self) -> BoxStore {
            let path = self.folder.path().join("sessions.db");
            let store = SqliteStore::open(path).await.unwrap();
            self.opened.lock().unwrap().push(store.clone());
            BoxStore::new(store)
        }

        async fn stall(&self) -> Option<Stall> {
            let options =
                SqliteConnectOptions::new().filename(self.folder.path().join("sessions.db"));
            let mut other = options.connect().await.unwrap();
            sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
            Some(Stall::new(async { other.close().await.unwrap() }))
        }

        async fn dump(&self) -> Vec<u8> {
            files(self.folder.path())
        }
    }

    impl Restorable for File {
        fn folder(&self) -> PathBuf {
            self.folder.path().to_owned()
        }

        async fn stop(&mut self) {
            for store in self.opened.get_mut().unwrap().drain(..) {
                store.close().await;
            }
        }

        fn restart(&mut self) {}
    }

    pub(super) fn file() -> File {
        File { folder: Scratch::new("every-store"), opened: Mutex::default() }
    }
}

mod mysql_data {
    use kippu_sqlx::MySqlStore;
    use kippu_test_support::mysql::MySql;
    use sqlx::{Connection, MySqlConnection, mysql::MySqlPoolOptions};

    use super::{BoxStore, Data, Stall, files};

    pub(super) struct Database {
        server: MySql,
        url: String,
    }

    pub(super) fn database() -> Database {
        let server = MySql::start();
        let url = server.url_of(&server.database());
        Database { server, url }
    }

    impl Data for Database {
        async fn open(&self) -> BoxStore {
            let options = MySqlPoolOptions::new().max_connections(8);
            let store = MySqlStore::new(options.connect(&self.url).await.unwrap());
            store.create_schema().await.unwrap();
            BoxStore::new(store)
        }

        async fn stall(&self) -> Option<Stall> {
            let mut other = MySqlConnection::connect(&self.url).await.unwrap();
            let lock = "LOCK TABLES kippu_sessions WRITE";
            sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
            Some(Stall::new(async { other.close().await.unwrap() }))
        }

        /// Includes the logs of changes.
        async fn dump(&self) -> Vec<u8> {
            files(self.server.folder())
        }
    }
}

mod postgres_data {
    use kippu_sqlx::PostgresStore;
    use sqlx::{Connection, PgConnection, postgres::PgPoolOptions};

    use super::{BoxStore, Data, PathBuf, Restorable, Stall, files, postgres_server::Postgres};

    impl Data for Postgres {
        async fn open(&self) -> BoxStore {
            let options = PgPoolOptions::new().max_connections(8);
            let store = PostgresStore::new(options.connect(&self.url()).await.unwrap());
            store.create_schema().await.unwrap();
            BoxStore::new(store)
        }

        async fn stall(&self) -> Option<Stall> {
            let mut other = PgConnection::connect(&self.url()).await.unwrap();
            let lock = "BEGIN; LOCK TABLE kippu_sessions IN ACCESS EXCLUSIVE MODE";
            sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
            Some(Stall::new(async { other.close().await.unwrap() }))
        }

        /// Includes the write-ahead log, which contains each change at its commit.
        async fn dump(&self) -> Vec<u8> {
            files(&self.folder())
        }
    }

    impl Restorable for Postgres {
        fn folder(&self) -> PathBuf {
            self.folder()
        }

        async fn stop(&mut self) {
            self.stop();
        }

        fn restart(&mut self) {
            self.restart();
        }
    }
}

struct Handles<D>(Arc<D>);

impl<D: Data> Harness for Handles<D> {
    type Store = BoxStore;

    fn open(&self) -> impl Future<Output = BoxStore> + Send {
        self.0.open()
    }

    fn stall(&self) -> impl Future<Output = Option<Stall>> + Send {
        self.0.stall()
    }
}

async fn conforms(data: impl Data, suite: Suite) {
    let report = suite.run(&Handles(Arc::new(data))).await;
    println!("{report}");
    report.assert_passed();
}

const ACCESS_SECRET: [u8; 32] = *b"the access key is a secret: 0001";
const REFRESH_SECRET: [u8; 32] = *b"the refresh key is a secret: 001";

/// Makes one of several servers.
fn server(store: BoxStore) -> Sessions<BoxStore> {
    builder(store).build().unwrap()
}

fn builder(store: BoxStore) -> SessionsBuilder<BoxStore> {
    Sessions::builder(store)
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::hs256(ACCESS_SECRET).unwrap())
        .refresh_key(Key::hs256(REFRESH_SECRET).unwrap().with_kid("1"))
}

async fn servers(data: &impl Data) -> Vec<Arc<Sessions<BoxStore>>> {
    let mut servers = Vec::new();
    for _ in 0..4 {
        servers.push(Arc::new(server(data.open().await)));
    }
    servers
}

async fn welcome(_: Session) -> Result<Option<NoClaims>, io::Error> {
    Ok(Some(NoClaims {}))
}

/// 64 tasks on 4 servers present one token: there is one successor, and the session has its
/// generation.
async fn a_race_has_one_winner_and_no_loser(data: impl Data, rounds: u32) {
    let servers = servers(&data).await;
    let look = data.open().await;
    for _ in 0..rounds {
        let tokens = servers.first().unwrap().login("racer", &NoClaims {}).await.unwrap();
        let (token, barrier) = (Arc::new(tokens.refresh_token), Arc::new(Barrier::new(64)));
        let tasks: Vec<_> = servers
            .iter()
            .cycle()
            .take(64)
            .map(|server| {
                let (server, token, barrier) =
                    (Arc::clone(server), Arc::clone(&token), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    server.refresh(&token, welcome).await.unwrap().refresh_token
                })
            })
            .collect();
        let mut successors = HashSet::new();
        for task in tasks {
            successors.insert(task.await.unwrap());
        }
        assert_eq!(successors.len(), 1);
        let record = look.load(&tokens.session_id).await.unwrap().unwrap();
        assert_eq!((record.generation, record.revoked), (1, None));
    }
}

/// Tabs share the cookie of the refresh token. In 16 of them the page refreshes, in 4 the user
/// authenticates again. All get the same token, and the new authentication is kept.
async fn concurrent_refreshes_and_reauthentications_agree(data: impl Data, rounds: u32) {
    let servers = servers(&data).await;
    let look = data.open().await;
    for _ in 0..rounds {
        let login = servers.first().unwrap().login("user", &NoClaims {}).await.unwrap();
        let access = servers.first().unwrap().verify::<NoClaims>(&login.access_token).unwrap();
        // The clock of the sessions counts milliseconds.
        sleep(Duration::from_millis(2)).await;
        let (tab, barrier) = (Arc::new((login, access)), Arc::new(Barrier::new(20)));
        let tabs = servers.iter().cycle().zip(0..20).map(|(server, number)| {
            let (server, tab, barrier) =
                (Arc::clone(server), Arc::clone(&tab), Arc::clone(&barrier));
            tokio::spawn(async move {
                let (login, access) = &*tab;
                barrier.wait().await;
                let tokens = if number % 5 == 0 {
                    server.reauthenticate(access, NoClaims {}).await
                } else {
                    server.refresh(&login.refresh_token, welcome).await
                };
                tokens.unwrap().refresh_token
            })
        });
        let mut successors = HashSet::new();
        for tab in tabs.collect::<Vec<_>>() {
            successors.insert(tab.await.unwrap());
        }
        assert_eq!(successors.len(), 1);
        let record = look.load(&tab.0.session_id).await.unwrap().unwrap();
        assert_eq!((record.generation, record.revoked), (1, None));
        assert!(record.auth_time > record.created_at);
    }
}

/// A refresh races against a logout, and against a logout of all sessions: nothing is live
/// afterwards.
async fn nothing_survives_a_logout(data: impl Data, rounds: u32) {
    let servers = servers(&data).await;
    let [first, second, ..] = &servers[..] else { panic!("two servers") };
    let mut refreshed = 0;
    for round in 0..rounds {
        let subject = format!("leaver-{round}");
        let tokens = first.login(&*subject, &NoClaims {}).await.unwrap();
        let token = Arc::new(tokens.refresh_token);
        let refresh = {
            let (server, token) = (Arc::clone(first), Arc::clone(&token));
            tokio::spawn(async move { server.refresh(&token, welcome).await })
        };
        if round % 2 == 0 {
            second.logout(&token).await.unwrap();
        } else {
            second.logout_all(&subject).await.unwrap();
        }
        let mut left = vec![token.to_string()];
        match refresh.await.unwrap() {
            Ok(next) => {
                refreshed += 1;
                left.push(next.refresh_token);
            }
            Err(error) => assert!(matches!(error, SessionError::Revoked(_)), "{error}"),
        }
        for token in left {
            for server in &servers {
                let error = server.refresh(&token, welcome).await.unwrap_err();
                assert!(matches!(error, SessionError::Revoked(_)), "{error}");
            }
        }
        assert!(first.list(&subject).await.unwrap().sessions.is_empty());
    }
    println!("{refreshed} of {rounds} refreshes came first");
}

/// How many times a token is verified after the logout.
const CHECKS: u32 = 20;

/// 16 users log out on one server, `logouts` times each. Another server follows the ended sessions.
/// It accepts none of their tokens once `max_lag` has passed since the answer. It accepts the
/// tokens of live sessions whenever it is fresh.
async fn a_logout_reaches_a_verifier_in_time(data: impl Data, logouts: u32) {
    let max_lag = data.max_lag();
    let issuer = Arc::new(server(data.open().await));
    let ended = EndedSessions::follow(data.open().await, EndedOptions::new().max_lag(max_lag));
    let verifier =
        AccessVerifier::new(Key::hs256(ACCESS_SECRET).unwrap(), "https://auth.example", "api");
    let verifier = Arc::new(verifier.ended_sessions(ended.clone()));
    let follower = tokio::spawn(ended.clone().run(sleep));
    let stays = issuer.login("stays", &NoClaims {}).await.unwrap();
    let users = (0..16).map(|user| {
        let (issuer, verifier, ended) = (Arc::clone(&issuer), Arc::clone(&verifier), ended.clone());
        tokio::spawn(async move {
            let verify = |token: &str| verifier.verify::<NoClaims>(token).map(|_| ());
            for logout in 0..logouts {
                let subject = format!("leaver-{user}");
                let tokens = issuer.login(&*subject, &NoClaims {}).await.unwrap();
                while verify(&tokens.access_token).is_err() {
                    // The verifier is not fresh, because the machine is busy.
                    assert!(!ended.contains(&tokens.session_id));
                    sleep(Duration::from_millis(10)).await;
                }
                if (user + logout) % 2 == 0 {
                    issuer.logout(&tokens.refresh_token).await.unwrap();
                } else {
                    issuer.logout_all(&subject).await.unwrap();
                }
                sleep(max_lag).await;
                for _ in 0..CHECKS {
                    let error = verify(&tokens.access_token).unwrap_err();
                    let (is_ended, is_unknown) = (
                        matches!(error, DecodeError::SessionEnded),
                        matches!(error, DecodeError::EndedUnknown { .. }),
                    );
                    assert!(is_ended || is_unknown, "{error}");
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.unwrap();
    }
    ended.poll().await.unwrap();
    assert!(verifier.verify::<NoClaims>(&stays.access_token).is_ok());
    follower.abort();
}

/// A backup that is one rotation old is restored. The token that proves it is accepted and
/// reported, or rejected and reported, as configured. The used token stays used.
async fn a_restored_backup_accepts_or_rejects_as_configured(mut data: impl Restorable) {
    let backup = servers::Scratch::new("backup");
    let copy = |from: &Path, to: &Path| {
        // With owners and modes, which PostgreSQL checks.
        let status = Command::new("cp").arg("-pR").args([from, to]).status().unwrap();
        assert!(status.success());
    };
    for (number, policy) in [AheadPolicy::Heal, AheadPolicy::Refuse].into_iter().enumerate() {
        let backup = backup.path().join(number.to_string());
        let first = server(data.open().await);
        let login = first.login("returner", &NoClaims {}).await.unwrap();
        let kept = first.refresh(&login.refresh_token, welcome).await.unwrap();
        drop(first);
        data.stop().await;
        copy(&data.folder(), &backup);
        data.restart();
        let first = server(data.open().await);
        let lost = first.refresh(&kept.refresh_token, welcome).await.unwrap();
        drop(first);
        data.stop().await;
        fs::remove_dir_all(data.folder()).unwrap();
        copy(&backup, &data.folder());
        data.restart();

        let (sender, events) = mpsc::channel();
        let tell = move |event: &Event<'_>| sender.send(event.kind).unwrap();
        let store = data.open().await;
        let restored = builder(store).ahead(policy).on_event(tell).build().unwrap();
        let answer = restored.refresh(&lost.refresh_token, welcome).await;
        if policy == AheadPolicy::Heal {
            let next = answer.unwrap();
            assert_eq!(events.try_recv(), Ok(EventKind::Healed { lost: 1 }));
            let retry = restored.refresh(&lost.refresh_token, welcome).await.unwrap();
            assert_eq!(retry.refresh_token, next.refresh_token);
            let error = restored.refresh(&kept.refresh_token, welcome).await.unwrap_err();
            assert!(matches!(error, SessionError::Reused), "{error}");
            let error = restored.refresh(&next.refresh_token, welcome).await.unwrap_err();
            assert!(matches!(error, SessionError::Revoked(RevokeReason::Reuse)), "{error}");
        } else {
            assert!(matches!(answer, Err(SessionError::Ahead { lost: 1 })), "{answer:?}");
            assert_eq!(events.try_recv(), Ok(EventKind::Ahead { lost: 1 }));
            let error = restored.refresh(&lost.refresh_token, welcome).await.unwrap_err();
            assert!(matches!(error, SessionError::Ahead { lost: 1 }), "{error}");
        }
        drop(restored);
        data.stop().await;
        data.restart();
    }
}

/// The data contains neither a token nor a key; it does contain the expected values.
async fn the_data_contain_no_token(data: impl Data) {
    let servers = servers(&data).await;
    let server = servers.first().unwrap();
    let (mut tokens, mut ids) = (Vec::new(), Vec::new());
    for index in 0..20 {
        let subject = format!("findable-{index}");
        let mut answer = server.login(&*subject, &NoClaims {}).await.unwrap();
        ids.push(subject);
        for _ in 0..3 {
            let next = server.refresh(&answer.refresh_token, welcome).await.unwrap();
            tokens.extend([answer.access_token, answer.refresh_token]);
            answer = next;
        }
        tokens.extend([answer.access_token, answer.refresh_token]);
    }
    let dump = data.dump().await;
    let mut secrets = vec![b"kippu_rt_".to_vec(), ACCESS_SECRET.to_vec(), REFRESH_SECRET.to_vec()];
    for token in &tokens {
        // The end of each token is the tag, as text and as bytes.
        let (_, tag) = token.split_at(token.len() - 40);
        secrets.push(tag.as_bytes().to_vec());
        let body = match token.strip_prefix("kippu_rt_") {
            Some(body) => body,
            None => token.rsplit('.').next().unwrap(),
        };
        let bytes = kippu::base64url::decode(body).unwrap();
        secrets.push(bytes.split_at(bytes.len() - 32).1.to_vec());
    }
    assert!(holds_any(&dump, &ids), "the dump does not contain the data");
    assert!(!holds_any(&dump, &secrets));
}

/// Returns whether the dump contains one of these, in one pass over what may be a whole database.
fn holds_any(dump: &[u8], wanted: &[impl AsRef<[u8]>]) -> bool {
    let mut by_start = vec![Vec::new(); 1 << 16];
    let start = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    for bytes in wanted {
        by_start[start(bytes.as_ref())].push(bytes.as_ref());
    }
    dump.windows(2).enumerate().any(|(offset, window)| {
        by_start[start(window)].iter().any(|bytes| dump[offset..].starts_with(bytes))
    })
}

/// Runs all tests for one store.
macro_rules! on {
    ($(#[$ignored:meta])? $store:ident, $open:expr, conformance: $suite:expr, races: $races:expr, logouts: $logouts:expr) => {
        mod $store {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$ignored])?
            async fn conforms() {
                super::conforms($open, $suite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$ignored])?
            async fn a_race_has_one_winner_and_no_loser() {
                super::a_race_has_one_winner_and_no_loser($open, $races).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$ignored])?
            async fn concurrent_refreshes_and_reauthentications_agree() {
                super::concurrent_refreshes_and_reauthentications_agree($open, $races).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$ignored])?
            async fn nothing_survives_a_logout() {
                super::nothing_survives_a_logout($open, $logouts).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            $(#[$ignored])?
            async fn a_logout_reaches_a_verifier_in_time() {
                super::a_logout_reaches_a_verifier_in_time($open, rounds(4)).await;
            }
        }
    };
}

on!(in_memory, memory(), conformance: Suite::new().shares_the_clock(), races: rounds(200), logouts: rounds(1000));
on!(in_sqlite, sqlite_data::file(), conformance: Suite::new().rounds(2), races: rounds(200), logouts: rounds(1000));
on!(#[ignore = "needs PostgreSQL"] in_postgres, postgres_server::Postgres::start(), conformance: Suite::new().rounds(2), races: 200, logouts: 1000);
on!(#[ignore = "needs MariaDB"] in_mysql, mysql_data::database(), conformance: Suite::new().rounds(2), races: 100, logouts: 500);
on!(#[ignore = "needs Redis"] in_redis, redis_data::redis(), conformance: Suite::new().rounds(2).deadline(redis_data::DEADLINE), races: 200, logouts: 1000);
on!(#[ignore = "needs Redis"] in_redis_cluster, redis_data::redis_cluster(), conformance: Suite::new().rounds(2).deadline(redis_data::DEADLINE), races: 50, logouts: 200);

#[tokio::test]
async fn memory_contains_no_token() {
    the_data_contain_no_token(memory()).await;
}

#[tokio::test]
async fn sqlite_contains_no_token() {
    the_data_contain_no_token(sqlite_data::file()).await;
}

#[tokio::test]
async fn a_restored_sqlite_backup_accepts_or_rejects_as_configured() {
    a_restored_backup_accepts_or_rejects_as_configured(sqlite_data::file()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn postgres_contains_no_token() {
    the_data_contain_no_token(postgres_server::Postgres::start()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_restored_postgres_backup_accepts_or_rejects_as_configured() {
    a_restored_backup_accepts_or_rejects_as_configured(postgres_server::Postgres::start()).await;
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn mysql_contains_no_token() {
    the_data_contain_no_token(mysql_data::database()).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn redis_contains_no_token() {
    the_data_contain_no_token(redis_data::redis()).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn redis_cluster_contains_no_token() {
    the_data_contain_no_token(redis_data::redis_cluster()).await;
}

#[tokio::test]
#[ignore = "needs Redis"]
async fn a_restored_redis_backup_accepts_or_rejects_as_configured() {
    a_restored_backup_accepts_or_rejects_as_configured(redis_data::redis()).await;
}
