//! Messages that inform verifiers of ended sessions: a logout arrives long before the next reading
//! of the log, on one server, under Sentinel and in a cluster. Without messages it arrives with
//! that reading.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{future::Future, time::Duration};

use kippu::session::{
    EndedOptions, EndedSessions, RefreshStore, RevokeReason, SessionId, StoreErrorKind,
    rotation::RotateOutcome,
    store::{InsertRequest, SessionLimit},
};
use kippu_redis::{PrimaryConnection, RedisStore};
use kippu_test_support::{proxy::Proxy, records, redis as redis_server};
use redis::{
    Client,
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelServerType},
};
use tokio::{task::JoinHandle, time::timeout};

use self::{
    records::{LOGIN, after, changed, kind, request, session},
    redis_server::{Redis, RedisCluster, RedisSentinels},
};

/// So long that, after the first reading, no test sees one that no message caused.
const MAX_LAG: Duration = Duration::from_secs(3600);

/// A twelfth of the time between two readings, and long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);

const LIMIT: Duration = Duration::from_secs(60);

async fn connected(redis: &Redis) -> RedisStore<PrimaryConnection> {
    RedisStore::connect(Client::open(redis.url()).unwrap()).await.unwrap().with_wake_ups()
}

/// Returns a verifier that has read the log once.
async fn follow(store: impl RefreshStore, max_lag: Duration) -> (EndedSessions, JoinHandle<()>) {
    let ended = EndedSessions::follow(store, EndedOptions::new().max_lag(max_lag));
    let run = tokio::spawn(ended.clone().run(tokio::time::sleep));
    until("the first reading", async || ended.is_fresh()).await;
    (ended, run)
}

async fn until(what: &str, is_true: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("{what} did not happen in time"));
}

fn listeners(redis: &Redis) -> usize {
    let said = redis.command(&["PUBSUB", "NUMSUB", "kippu:ended"]);
    said.lines().nth(1).unwrap().trim().parse().unwrap()
}

async fn arrives_soon(what: &str, ended: &EndedSessions, id: &SessionId) {
    let wait = async {
        while !ended.contains(id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("{what} did not reach the verifier in time"));
}

/// Runs each step that ends a session. Returns what it is, and the session.
async fn each_end(store: &impl RefreshStore, subject: &str) -> Vec<(&'static str, SessionId)> {
    let [out, all, stolen, old, gone] = [(); 5].map(|()| session(subject));
    for session in [&out, &all, &stolen] {
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    }
    let mut ends = vec![("a logout", out.id), ("a session that is gone", gone.id)];
    for (_, id) in &ends {
        store.revoke(id, RevokeReason::Logout, LOGIN).await.unwrap();
    }
    store.rotate(&request(&stolen, 0, LOGIN)).await.unwrap();
    let outcome = store.rotate(&request(&stolen, 0, after(60))).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Reused);
    let reason = RevokeReason::LogoutAll;
    assert_eq!(store.revoke_subject(subject, None, reason, LOGIN).await.unwrap(), 1);
    let limit = SessionLimit::evict_oldest(1);
    for session in [&old, &changed(session(subject), |it| it.created_at = after(1))] {
        store.insert(&InsertRequest::new(session.clone()).limit(limit)).await.unwrap();
    }
    ends.extend([("a reuse", stolen.id), ("a logout of all", all.id), ("an eviction", old.id)]);
    ends
}

fn on_runtime(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test);
}

#[test]
#[ignore = "needs Redis"]
fn a_message_announces_each_ended_session() {
    on_runtime(async {
        let redis = Redis::start();
        let store = connected(&redis).await;
        let (ended, run) = follow(store.clone(), MAX_LAG).await;
        let wake = tokio::spawn(store.clone().wake(ended.clone()));
        until("the listener", async || listeners(&redis) == 1).await;
        for (what, id) in each_end(&store, "alice").await {
            arrives_soon(what, &ended, &id).await;
        }
        let many: Vec<SessionId> = (0..5).map(|_| session("bob").id).collect();
        for id in &many {
            store.revoke(id, RevokeReason::Logout, LOGIN).await.unwrap();
            arrives_soon("one of several", &ended, id).await;
        }
        // The listener connects again, and learns which sessions have ended meanwhile.
        for turn in 0..3 {
            let killed = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            assert_eq!(killed.trim(), "1", "{turn}");
            let meanwhile = session("bob").id;
            store.revoke(&meanwhile, RevokeReason::Logout, LOGIN).await.unwrap();
            arrives_soon("a logout without a listener", &ended, &meanwhile).await;
            until("the listener", async || listeners(&redis) == 1).await;
            let id = session("bob").id;
            store.revoke(&id, RevokeReason::Logout, LOGIN).await.unwrap();
            arrives_soon("a logout after that", &ended, &id).await;
        }
        wake.abort();
        until("the end of the listener", async || listeners(&redis) == 0).await;
        run.abort();
    });
}

/// Each step publishes one message, inside the step; none if the operator has not enabled them.
#[test]
#[ignore = "needs Redis"]
fn a_step_that_ends_sessions_publishes_one_message() {
    on_runtime(async {
        let redis = Redis::start();
        let sent = || {
            let stats = redis.command(&["INFO", "commandstats"]);
            let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
            line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
        };
        let store = connected(&redis).await;
        let client = Client::open(redis.url()).unwrap();
        let silent = RedisStore::connect(client).await.unwrap();
        each_end(&silent, "silent").await;
        assert_eq!(sent(), 0);
        each_end(&store, "alice").await;
        assert_eq!(sent(), 5);
        for _ in 0..10 {
            store.insert(&InsertRequest::new(session("carol"))).await.unwrap();
        }
        store.revoke_subject("carol", None, RevokeReason::LogoutAll, LOGIN).await.unwrap();
        assert_eq!(sent(), 6);
        // A step that ends no session publishes no message.
        store.revoke_subject("carol", None, RevokeReason::LogoutAll, LOGIN).await.unwrap();
        assert_eq!(sent(), 6);
    });
}

/// If no listener can connect, the log is read as without messages.
#[test]
#[ignore = "needs Redis"]
fn without_a_listener_logouts_arrive_with_the_log() {
    on_runtime(async {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.port()).await;
        let through = Client::open(format!("redis://127.0.0.1:{}/", proxy.port())).unwrap();
        proxy.set_silent(true);
        let nobody = Client::open("redis://127.0.0.1:1/").unwrap();
        let store = connected(&redis).await;
        let (ended, run) = follow(store.clone(), Duration::from_secs(2)).await;
        let wakes = [vec![through], vec![nobody], vec![]];
        let wakes =
            wakes.map(|clients| tokio::spawn(store.clone().wake_over(clients, ended.clone())));
        for _ in 0..3 {
            let id = session("alice").id;
            store.revoke(&id, RevokeReason::Logout, LOGIN).await.unwrap();
            until("the logout", async || ended.contains(&id)).await;
        }
        run.abort();
        for wake in wakes {
            wake.abort();
        }
    });
}

/// The permissions in the documentation suffice. Without them, no session ends partly.
#[test]
#[ignore = "needs Redis"]
fn messages_need_permission_to_publish_and_to_subscribe() {
    on_runtime(async {
        let redis = Redis::start();
        let acl =
            "+eval +evalsha +info +pexpire +pttl +time +xadd +xrange +xtrim +zadd +zrange +zrem";
        let user = |name: &str, more: &[&str]| {
            let set = ["ACL", "SETUSER", name, "on", ">pw", "~kippu:*"];
            let acl: Vec<&str> = acl.split(' ').collect();
            assert_eq!(redis.command(&[&set[..], &acl, more].concat()).trim(), "OK");
            Client::open(redis.url_with(name, "pw")).unwrap()
        };
        let issuer = user("issuer", &["+publish", "&kippu:ended"]);
        let issuer = RedisStore::connect(issuer).await.unwrap().with_wake_ups();
        let verifier = user("verifier", &["+subscribe", "&kippu:ended"]);
        let verifier = RedisStore::connect(verifier).await.unwrap();
        let (ended, run) = follow(verifier.clone(), MAX_LAG).await;
        let wake = tokio::spawn(verifier.wake(ended.clone()));
        until("the listener", async || listeners(&redis) == 1).await;
        for (what, id) in each_end(&issuer, "alice").await {
            arrives_soon(what, &ended, &id).await;
        }
        for lacking in [&["+publish"][..], &["&kippu:ended"], &["+publish", "&other"]] {
            let little = user("little", &[&["resetchannels", "-publish"], lacking].concat());
            let little = RedisStore::connect(little).await.unwrap().with_wake_ups();
            let kept = session("kept");
            little.insert(&InsertRequest::new(kept.clone())).await.unwrap();
            let reason = RevokeReason::Logout;
            let limit = SessionLimit::evict_oldest(1);
            let within =
                InsertRequest::new(changed(session("kept"), |it| it.created_at = after(1)));
            let log = redis.command(&["XLEN", "kippu:ended"]);
            for result in [
                little.revoke(&kept.id, reason, LOGIN).await.err(),
                little.revoke(&session("gone").id, reason, LOGIN).await.err(),
                little.revoke_subject("kept", None, reason, LOGIN).await.err(),
                little.insert(&within.limit(limit)).await.err(),
            ] {
                let error = result.unwrap();
                assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error:?}");
                assert!(error.to_string().contains("lists the permissions"), "{error}");
            }
            assert_eq!(little.load(&kept.id).await.unwrap(), Some(kept.clone()));
            assert_eq!(redis.command(&["XLEN", "kippu:ended"]), log);
            assert_eq!(kind(issuer.revoke(&kept.id, reason, LOGIN).await), None);
        }
        wake.abort();
        run.abort();
    });
}

#[test]
#[ignore = "needs Redis"]
fn messages_follow_the_primary_that_sentinels_name() {
    on_runtime(async {
        let sentinels = RedisSentinels::start(Redis::start());
        let name = RedisSentinels::NAME.to_owned();
        let urls = sentinels.urls();
        let client = SentinelClient::build(urls, name, None, SentinelServerType::Master).unwrap();
        let store = RedisStore::sentinel(client).await.unwrap().with_wake_ups();
        let (ended, run) = follow(store.clone(), MAX_LAG).await;
        let wake = tokio::spawn(store.clone().wake(ended.clone()));
        let heard = async || {
            let id = session("alice").id;
            // The listener may not be connected yet: it then gets a later message.
            let is_ended = store.revoke(&id, RevokeReason::Logout, LOGIN).await.is_ok();
            tokio::time::sleep(Duration::from_millis(200)).await;
            is_ended && ended.contains(&id)
        };
        until("a message", heard).await;
        let old = sentinels.primary().unwrap();
        sentinels.fail_over();
        sentinels.wait_for_failover(old);
        until("a message of the new primary", heard).await;
        wake.abort();
        run.abort();
    });
}

#[test]
#[ignore = "needs Redis"]
fn one_node_of_a_cluster_delivers_the_messages_of_all() {
    on_runtime(async {
        let cluster = RedisCluster::start();
        let client = ClusterClient::new(cluster.urls()).unwrap();
        let store = RedisStore::cluster(client).await.unwrap().with_wake_ups();
        let store = store.with_deadline(LIMIT);
        let (ended, run) = follow(store.clone(), MAX_LAG).await;
        // The first address does not answer, so that the listener uses the second.
        let nobody = Client::open("redis://127.0.0.1:1/").unwrap();
        let node = Client::open(cluster.urls().first().unwrap().as_str()).unwrap();
        let wake = tokio::spawn(store.clone().wake_over([nobody, node], ended.clone()));
        until("the listener", async || cluster.nodes().iter().map(listeners).sum::<usize>() == 1)
            .await;
        for number in 0..20 {
            let id = session(&format!("subject {number}")).id;
            store.revoke(&id, RevokeReason::Logout, LOGIN).await.unwrap();
            arrives_soon("a logout on any node", &ended, &id).await;
        }
        wake.abort();
        run.abort();
    });
}
