//! Runs the store in Redis while servers fail, stall, stop answering or change their role. Checks
//! what each step returns then, when it ends, and that the store works again afterwards.
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    future::Future,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kippu::session::{
    BoxStore, RefreshStore, RevokeReason, SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{AheadPolicy, RotateOutcome, RotateRequest},
    store::{EndedCursor, InsertRequest, ListRequest, SessionLimit},
};
use kippu_redis::RedisStore;
use kippu_test_support::{proxy, records, redis as redis_server};
use redis::{
    AsyncConnectionConfig, Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelServerType},
};
use tokio::{runtime::Runtime, task::JoinSet, time::timeout};

#[path = "redis/load.rs"]
mod load;

use self::{
    load::Load,
    proxy::Proxy,
    records::{LOGIN, changed, request, session},
    redis_server::{Redis, RedisCluster, RedisOptions, RedisSentinels},
};

const LIMIT: Duration = Duration::from_secs(60);

const UNAVAILABLE: StoreErrorKind = StoreErrorKind::Unavailable;

fn url_of(proxy: &Proxy) -> String {
    format!("redis://127.0.0.1:{}/", proxy.port())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Makes the store over each kind of connection to one server. Only the deadline ends a step.
async fn stores(url: &str, deadline: Duration) -> Vec<(&'static str, BoxStore)> {
    let client = || Client::open(url).unwrap();
    let config = ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(100))
        .set_response_timeout(None);
    let manager = ConnectionManager::new_with_config(client(), config).await.unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let multiplexed = client().get_multiplexed_async_connection_with_config(&config).await;
    let connected = RedisStore::connect(client()).await.unwrap();
    vec![
        ("connect", BoxStore::new(connected.with_deadline(deadline))),
        ("manager", BoxStore::new(RedisStore::new(manager).with_deadline(deadline))),
        (
            "multiplexed",
            BoxStore::new(RedisStore::new(multiplexed.unwrap()).with_deadline(deadline)),
        ),
    ]
}

async fn by_sentinels(sentinels: &RedisSentinels) -> RedisStore<kippu_redis::PrimaryConnection> {
    let name = RedisSentinels::NAME.to_owned();
    let client = SentinelClient::build(sentinels.urls(), name, None, SentinelServerType::Master);
    RedisStore::sentinel(client.unwrap()).await.unwrap()
}

/// Runs each step on a session, one after the other. Returns their errors, and the time of the
/// slowest step.
async fn each_step(store: &BoxStore, alice: &SessionRecord) -> ([Option<StoreError>; 8], Duration) {
    let reason = RevokeReason::Logout;
    let mut slowest = Duration::ZERO;
    macro_rules! timed {
        ($step:expr) => {{
            let begun = Instant::now();
            let error = timeout(LIMIT, $step).await.expect("the step ends").err();
            slowest = slowest.max(begun.elapsed());
            error
        }};
    }
    let errors = [
        timed!(store.load(&alice.id)),
        timed!(store.list(&ListRequest::new("alice", LOGIN))),
        timed!(store.insert(&InsertRequest::new(session("alice")))),
        timed!(store.rotate(&request(alice, alice.generation, LOGIN))),
        timed!(store.revoke(&alice.id, reason, LOGIN)),
        timed!(store.revoke_subject("alice", None, reason, LOGIN)),
        timed!(store.purge_expired(UnixMillis::MAX, 10)),
        timed!(store.insert(&InsertRequest::new(session("alice")).limit(SessionLimit::refuse(1)))),
    ];
    (errors, slowest)
}

/// Fails unless every step returns that the store is unavailable.
async fn no_step_works(what: &str, store: &BoxStore, alice: &SessionRecord) -> Vec<StoreError> {
    let (errors, _) = each_step(store, alice).await;
    let errors = errors.into_iter().enumerate().map(|(step, error)| {
        let error = error.unwrap_or_else(|| panic!("{what}: step {step} did not fail"));
        assert_eq!(error.kind(), UNAVAILABLE, "{what}: step {step}: {error:?}");
        error
    });
    errors.collect()
}

/// Repeats a step until it succeeds. Until then it must return that the store is unavailable.
async fn works_again<T, F: Future<Output = Result<T, StoreError>>>(
    what: &str,
    mut step: impl FnMut() -> F,
) -> T {
    let tries = async {
        loop {
            match step().await {
                Ok(answer) => break answer,
                Err(error) => assert_eq!(error.kind(), UNAVAILABLE, "{what}: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), tries)
        .await
        .unwrap_or_else(|_| panic!("{what}: the store does not recover"))
}

/// Returns everything that the server stores.
fn contents(redis: &Redis) -> String {
    let keys = redis.command(&["KEYS", "kippu:*"]);
    keys.lines().map(|key| redis.command(&["ZRANGE", key, "0", "-1"])).collect()
}

/// Neither a replica that rejects writes, nor one that is configured to accept them.
#[test]
#[ignore = "needs Redis"]
fn a_replica_answers_no_step() {
    let primary = Redis::start();
    let replica = primary.start_replica();
    runtime().block_on(async {
        let alice = session("alice");
        let [(_, store), ..] = &stores(&primary.url(), LIMIT).await[..] else { panic!("a store") };
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        assert_eq!(primary.command(&["WAIT", "1", "10000"]).trim(), "1");
        let before = contents(&replica);
        assert!(before.contains("alice"));
        for read_only in ["yes", "no"] {
            replica.command(&["CONFIG", "SET", "replica-read-only", read_only]);
            for (name, store) in stores(&replica.url(), LIMIT).await {
                let what = format!("{name}, replica-read-only {read_only}");
                let errors = no_step_works(&what, &store, &alice).await;
                let first = errors[0].to_string();
                assert!(first.contains("this Redis is a replica"), "{what}: {first}");
            }
            assert_eq!(contents(&replica), before);
        }
        // A replica that is configured to answer nothing while its primary is away.
        replica.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
        replica.command(&["REPLICAOF", "127.0.0.1", "1"]);
        for (name, store) in stores(&replica.url(), LIMIT).await {
            no_step_works(name, &store, &alice).await;
        }
    });
}

/// Returns how many connections a server has, without the one that asks.
fn clients(redis: &Redis) -> usize {
    redis
        .command(&["CLIENT", "LIST", "TYPE", "NORMAL"])
        .lines()
        .filter(|line| !line.is_empty())
        .count()
        - 1
}

/// The primary becomes a replica of the server that takes over, and closes no connection. From then
/// on the address leads to the new primary.
#[test]
#[ignore = "needs Redis"]
fn a_primary_that_is_demoted_behind_its_address_is_replaced() {
    let old = Redis::start();
    let new = old.start_replica();
    runtime().block_on(async {
        let proxy = Proxy::to(old.port()).await;
        let (left, stayed) = (session("alice"), session("bob"));
        let through = stores(&url_of(&proxy), LIMIT).await;
        for session in [&left, &stayed] {
            through[0].1.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        for (_, store) in &through {
            assert_eq!(store.load(&left.id).await.unwrap().as_ref(), Some(&left));
        }
        assert_eq!(old.command(&["WAIT", "1", "10000"]).trim(), "1");

        assert_eq!(new.command(&["REPLICAOF", "NO", "ONE"]).trim(), "OK");
        old.command(&["CONFIG", "SET", "replica-read-only", "no"]);
        old.follow(&new);
        // The old primary must not receive the logout, so that its data is outdated.
        old.command(&["REPLICAOF", "127.0.0.1", "1"]);
        let there = RedisStore::connect(Client::open(new.url()).unwrap()).await.unwrap();
        assert!(there.revoke(&left.id, RevokeReason::Logout, LOGIN).await.unwrap());
        assert_eq!(clients(&old), through.len());
        for (name, store) in &through {
            no_step_works(
                &format!("{name}, before the address leads to the new primary"),
                store,
                &left,
            )
            .await;
        }
        proxy.switch(new.port());

        for (name, store) in &through {
            if *name == "multiplexed" {
                no_step_works("on the closed connection", store, &left).await;
                continue;
            }
            let load = || async { store.load(&left.id).await };
            let loaded = works_again(name, load).await.unwrap();
            assert!(loaded.revoked.is_some(), "{name}");
            let generation = store.load(&stayed.id).await.unwrap().unwrap().generation;
            let rotated = store.rotate(&request(&stayed, generation, LOGIN)).await.unwrap();
            assert!(matches!(rotated, RotateOutcome::Rotated(_)), "{name}: {rotated:?}");
        }
        assert_eq!(clients(&old), 0);
    });
}

/// The primary does not know that another server has taken over, and no sentinel reaches it.
#[test]
#[ignore = "needs Redis"]
fn a_primary_that_is_cut_off_is_replaced_by_the_one_that_took_over() {
    let old = Redis::start();
    let new = old.start_replica();
    runtime().block_on(async {
        let proxy = Proxy::to(old.port()).await;
        let client = Client::open(url_of(&proxy)).unwrap();
        let store = BoxStore::new(RedisStore::connect(client).await.unwrap());
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        assert_eq!(old.command(&["WAIT", "1", "10000"]).trim(), "1");
        assert_eq!(new.command(&["REPLICAOF", "NO", "ONE"]).trim(), "OK");
        old.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        no_step_works("cut off", &store, &alice).await;
        proxy.switch(new.port());
        let loaded = works_again("connect", || async { store.load(&alice.id).await }).await;
        assert_eq!(loaded, Some(alice));
    });
}

/// The sentinels promote another server: on command, after the primary has died, and while it is
/// stopped.
#[test]
#[ignore = "needs Redis"]
fn the_store_follows_the_primary_that_sentinels_promote() {
    let primary = Redis::start();
    let mut sentinels = RedisSentinels::start(primary);
    runtime().block_on(async {
        let store = by_sentinels(&sentinels).await.with_deadline(Duration::from_secs(2));
        let mut load = Load::start(&store, 16, true).await;
        let mut primary = sentinels.primary().unwrap();

        sentinels.fail_over();
        primary = sentinels.wait_for_failover(primary);
        load.wait_for(16 * 20).await;

        sentinels.servers[primary].kill();
        let killed = primary;
        primary = sentinels.wait_for_failover(killed);
        load.wait_for(16 * 20).await;
        sentinels.servers[killed].restart();

        // The server keeps its connections, and does not know about the new primary when it runs
        // again.
        sentinels.wait_until_whole();
        sentinels.servers[primary].pause();
        let paused = primary;
        primary = sentinels.wait_for_failover(paused);
        load.wait_for(16 * 20).await;
        sentinels.servers[paused].resume();
        load.wait_for(16 * 20).await;

        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        assert!(store.revoke(&alice.id, RevokeReason::Logout, LOGIN).await.unwrap());
        assert!(contents(&sentinels.servers[primary]).contains("alice"));
        load.finish().await;
    });
}

/// The server is down, stopped, and silent: each step ends at its deadline or before, and the store
/// works again when the server does.
#[test]
#[ignore = "needs Redis"]
fn each_step_ends_within_the_deadline() {
    let deadline = Duration::from_millis(500);
    // Long enough for a busy machine. Shorter than any time limit of the client, and than the
    // default deadline.
    let late = deadline + Duration::from_secs(2);
    let options = RedisOptions { append: Some("everysec"), ..RedisOptions::default() };
    let mut redis = Redis::start_with(options);
    runtime().block_on(async {
        let proxy = Proxy::to(redis.port()).await;
        let direct = stores(&redis.url(), deadline).await;
        let through = stores(&url_of(&proxy), deadline).await;
        let alice = session("alice");
        direct[0].1.insert(&InsertRequest::new(alice.clone())).await.unwrap();

        for (what, stores) in [("stopped", &direct), ("silent", &through), ("down", &direct)] {
            match what {
                "stopped" => redis.pause(),
                "silent" => proxy.set_silent(true),
                _ => redis.stop(),
            }
            for (name, store) in stores {
                let (errors, slowest) = each_step(store, &alice).await;
                for (step, error) in errors.into_iter().enumerate() {
                    let kind = error.map(|error| error.kind());
                    assert_eq!(kind, Some(UNAVAILABLE), "{what}, {name}, step {step}");
                }
                assert!(slowest < late, "{what}, {name}: {slowest:?}");
            }
            match what {
                "stopped" => redis.resume(),
                "silent" => proxy.set_silent(false),
                _ => redis.restart(),
            }
            for (name, store) in stores {
                if (what, *name) != ("down", "multiplexed") {
                    let load = || async { store.load(&alice.id).await };
                    works_again(&format!("{what}, {name}"), load).await.unwrap();
                }
            }
        }
    });
}

#[test]
#[ignore = "needs Redis"]
fn each_step_ends_within_the_deadline_in_a_cluster_and_under_sentinels() {
    let deadline = Duration::from_millis(500);
    let late = deadline + Duration::from_secs(2);
    let (mut cluster, primary) = (RedisCluster::start(), Redis::start());
    let mut sentinels = RedisSentinels::start(primary);
    runtime().block_on(async {
        let client = ClusterClient::new(cluster.urls()).unwrap();
        let clustered = RedisStore::cluster(client).await.unwrap();
        let stores = [
            ("cluster", BoxStore::new(clustered.with_deadline(deadline))),
            ("sentinels", BoxStore::new(by_sentinels(&sentinels).await.with_deadline(deadline))),
        ];
        let alice = session("alice");
        for (_, store) in &stores {
            store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        }
        cluster.nodes().iter().for_each(Redis::pause);
        sentinels.pause();
        for what in ["stopped", "down"] {
            if what == "down" {
                cluster.kill();
                sentinels.kill();
            }
            for (name, store) in &stores {
                let (errors, slowest) = each_step(store, &alice).await;
                for (step, error) in errors.into_iter().enumerate() {
                    let kind = error.map(|error| error.kind());
                    assert_eq!(kind, Some(UNAVAILABLE), "{what}, {name}, step {step}");
                }
                assert!(slowest < late, "{what}, {name}: {slowest:?}");
            }
        }
    });
}

/// A plain `ClusterConnection` may stop answering for good in this case: see
/// [`kippu_redis::ClusterPrimaries`].
#[test]
#[ignore = "needs Redis"]
fn a_cluster_that_loses_a_primary_under_load_recovers() {
    const STORES: usize = 4;
    let mut cluster = RedisCluster::start();
    runtime().block_on(async {
        let readings = Arc::new([const { AtomicU64::new(0) }; STORES]);
        let mut readers = JoinSet::new();
        for number in 0..STORES {
            let client = ClusterClient::new(cluster.urls()).unwrap();
            let store = RedisStore::cluster(client).await.unwrap();
            let store = store.with_deadline(Duration::from_secs(4));
            let readings = Arc::clone(&readings);
            readers.spawn(async move {
                loop {
                    if store.ended_after(&EndedCursor::default()).await.is_ok() {
                        readings[number].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let all_read = async || {
            let done = || -> [u64; STORES] {
                std::array::from_fn(|number| readings[number].load(Ordering::Relaxed))
            };
            let before = done();
            // The first reading may have begun earlier.
            let read = async || {
                while done().into_iter().zip(before).any(|(now, before)| now < before + 2) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(LIMIT, read()).await.unwrap_or_else(|_| panic!("{before:?}, {:?}", done()));
        };
        all_read().await;
        cluster.kill_master(0);
        cluster.wait_for_failover(0);
        all_read().await;
    });
}

const GRACE: Duration = Duration::from_millis(300);

/// Much longer than the grace period.
const STALL: Duration = Duration::from_millis(1500);

fn presented(session: &SessionRecord, generation: u64, now: UnixMillis) -> RotateRequest {
    changed(request(session, generation, now), |it| it.grace = GRACE)
}

/// The reason why a server does not answer for as long as `STALL`, or until the stall is ended.
enum Stall {
    Stopped,
    /// The server runs the script of another client.
    Busy(Child),
    /// `CLIENT PAUSE`, which a failover on command uses.
    Paused,
}

impl Stall {
    fn begin(kind: &str, redis: &Redis) -> Self {
        let millis = STALL.as_millis().to_string();
        match kind {
            "stopped" => {
                redis.pause();
                Self::Stopped
            }
            "busy" => {
                let script = "local time = redis.call('TIME') \
                     local till = time[1] * 1000 + time[2] / 1000 + ARGV[1] \
                     repeat time = redis.call('TIME') until time[1] * 1000 + time[2] / 1000 > till";
                let port = redis.port().to_string();
                let mut client = Command::new("redis-cli");
                client.args(["-p", &port, "EVAL", script, "0", &millis]).stdout(Stdio::null());
                let client = client.spawn().unwrap();
                std::thread::sleep(Duration::from_millis(200));
                Self::Busy(client)
            }
            _ => {
                redis.command(&["CLIENT", "PAUSE", &millis, "WRITE"]);
                Self::Paused
            }
        }
    }

    fn end(self, redis: &Redis) {
        match self {
            Self::Stopped => redis.resume(),
            Self::Busy(mut client) => assert!(client.wait().unwrap().success()),
            Self::Paused => {}
        }
    }
}

/// R1 and R2 through a stall that is longer than the grace period: every token that is presented
/// meanwhile gets the successor, and the grace period begins when the rotation is stored.
#[test]
#[ignore = "needs Redis"]
fn the_grace_period_begins_after_a_stall() {
    let redis = Redis::start();
    runtime().block_on(async {
        for kind in ["stopped", "busy", "paused"] {
            for (name, store) in stores(&redis.url(), LIMIT).await {
                let what = format!("{kind}, {name}");
                let store = Arc::new(store);
                let alice = session("alice");
                store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
                // The test uses the real clock, counted from the login.
                let begun = Instant::now();
                let now = move || LOGIN.saturating_add(begun.elapsed());
                let stall = Stall::begin(kind, &redis);
                let mut tasks = JoinSet::new();
                while begun.elapsed() < STALL.mul_f32(0.8) {
                    let (store, request) = (Arc::clone(&store), presented(&alice, 0, now()));
                    tasks
                        .spawn(async move { (request.now, store.rotate(&request).await.unwrap()) });
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                stall.end(&redis);
                let (mut last, mut rotated) = (LOGIN, 0);
                for (now, outcome) in tasks.join_all().await {
                    last = last.max(now);
                    match outcome {
                        RotateOutcome::Rotated(_) => rotated += 1,
                        RotateOutcome::Replayed(_) => {}
                        other => panic!("{what}: {other:?} for a token at {now}"),
                    }
                }
                assert_eq!(rotated, 1, "{what}");
                let kept = store.load(&alice.id).await.unwrap().unwrap();
                // The two clocks may be slewed against each other.
                let latest = now().saturating_add(GRACE / 10);
                assert!(
                    last < kept.rotated_at && kept.rotated_at <= latest,
                    "{what}: {last} {kept:?}"
                );
                assert_eq!(
                    kept.expires_at.saturating_since(kept.rotated_at),
                    Duration::from_secs(3600)
                );

                // Presented shortly before the rotation was stored, at the end of the grace period,
                // and after it.
                let milli = Duration::from_millis(1);
                let before = UnixMillis::new(kept.rotated_at.get() - 1);
                let end = kept.rotated_at.saturating_add(GRACE);
                for (now, is_replayed) in
                    [(before, true), (end, true), (end.saturating_add(milli), false)]
                {
                    let outcome = store.rotate(&presented(&alice, 0, now)).await.unwrap();
                    match outcome {
                        RotateOutcome::Replayed(_) => assert!(is_replayed, "{what}: {now}"),
                        RotateOutcome::Reused => assert!(!is_replayed, "{what}: {now}"),
                        other => panic!("{what}: {other:?}"),
                    }
                }
            }
        }
    });
}

/// A token that is ahead of the store, and one that is delayed on the network: the delay counts,
/// too.
#[test]
#[ignore = "needs Redis"]
fn a_delay_on_the_network_postpones_the_rotation() {
    let redis = Redis::start();
    runtime().block_on(async {
        let proxy = Proxy::to(redis.port()).await;
        for (name, store) in stores(&url_of(&proxy), LIMIT).await {
            let alice = session("alice");
            store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
            for (generation, policy) in [(0, AheadPolicy::Refuse), (7, AheadPolicy::Heal)] {
                let request = changed(presented(&alice, generation, LOGIN), |it| it.ahead = policy);
                proxy.set_silent(true);
                let waits = async {
                    tokio::time::sleep(STALL).await;
                    proxy.set_silent(false);
                };
                let (outcome, ()) = tokio::join!(store.rotate(&request), waits);
                let outcome = outcome.unwrap();
                let kept = store.load(&alice.id).await.unwrap().unwrap();
                assert_eq!(kept.generation, generation + 1, "{name}: {outcome:?}");
                let waited = kept.rotated_at.saturating_since(LOGIN);
                assert!(waited >= STALL.mul_f32(0.9) && waited < STALL * 4, "{name}: {waited:?}");
            }
        }
    });
}

/// A rotation whose caller has got an error does not happen later. A logout still happens.
#[test]
#[ignore = "needs Redis"]
fn a_rotation_that_arrives_after_the_deadline_changes_nothing() {
    let redis = Redis::start();
    runtime().block_on(async {
        for (name, store) in stores(&redis.url(), Duration::from_millis(300)).await {
            let (alice, bob) = (session("alice"), session("bob"));
            for session in [&alice, &bob] {
                works_again(name, || async {
                    store.insert(&InsertRequest::new(session.clone())).await
                })
                .await;
            }
            redis.pause();
            let rotated = store.rotate(&presented(&alice, 0, LOGIN)).await;
            assert_eq!(rotated.map_err(|error| error.kind()), Err(UNAVAILABLE), "{name}");
            let revoked = store.revoke(&bob.id, RevokeReason::Logout, LOGIN).await;
            assert_eq!(revoked.map_err(|error| error.kind()), Err(UNAVAILABLE), "{name}");
            tokio::time::sleep(Duration::from_millis(500)).await;
            redis.resume();
            let kept = works_again(name, || async { store.load(&alice.id).await }).await;
            assert_eq!(kept, Some(alice.clone()), "{name}");
            let outcome = store.rotate(&presented(&alice, 0, LOGIN)).await.unwrap();
            assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{name}: {outcome:?}");
        }
    });
}

/// Setting the clock of Redis does not make a session live longer.
#[test]
#[ignore = "needs Redis"]
fn setting_the_server_clock_does_not_postpone_a_rotation() {
    let redis = Redis::start_with_clock();
    runtime().block_on(async {
        let [(_, store), ..] = &stores(&redis.url(), LIMIT).await[..] else { panic!("a store") };
        let (mut alice, mut offset) = (session("alice"), 0);
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        for by in [3600, -3600, 100 * 86_400, -100 * 86_400, -1, 0] {
            store.load(&alice.id).await.unwrap();
            offset += by;
            redis.set_clock(offset);
            let request = presented(&alice, alice.generation, LOGIN);
            let outcome = store.rotate(&request).await.unwrap();
            assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{by}: {outcome:?}");
            alice = store.load(&alice.id).await.unwrap().unwrap();
            let waited = alice.rotated_at.saturating_since(LOGIN);
            assert!(waited < Duration::from_secs(20), "{by}: {waited:?}");
        }
    });
}

/// Each error of a server that refuses a step tells the operator what to do.
#[test]
#[ignore = "needs Redis"]
fn an_error_of_a_refusing_server_says_what_to_do() {
    let options = RedisOptions { more: &["--maxclients", "10"], ..RedisOptions::default() };
    let redis = Redis::start_with(options);
    runtime().block_on(async {
        let store = RedisStore::connect(Client::open(redis.url()).unwrap()).await.unwrap();
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();

        redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
        for error in no_step_works("cut off", &BoxStore::new(store.clone()), &alice).await {
            assert!(error.to_string().contains("min-replicas-to-write"), "{error}");
        }
        redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);

        redis.command(&["CONFIG", "SET", "busy-reply-threshold", "100"]);
        let stall = Stall::begin("busy", &redis);
        let error = store.load(&alice.id).await.unwrap_err();
        assert_eq!(error.kind(), UNAVAILABLE);
        assert!(error.to_string().contains("the script of another client"), "{error}");
        stall.end(&redis);

        // With too many clients, the server rejects new ones with the code ERR, which has many
        // meanings.
        let client = Client::open(redis.url()).unwrap();
        let mut others = Vec::new();
        while let Ok(other) = client.get_multiplexed_async_connection().await {
            others.push(other);
            assert!(others.len() < 10);
        }
        let error = RedisStore::connect(client).await.unwrap_err();
        assert_eq!(error.kind(), UNAVAILABLE, "{error:?}");
        // Existing connections still work.
        store.load(&alice.id).await.unwrap();
    });
}
