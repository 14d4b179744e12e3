//! The store in Redis, on servers that these tests start: each step, races on several connections,
//! and what happens when scripts are forgotten, servers stop, masters fail, and slots move.
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use kippu::{
    NumericDate,
    session::{
        RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionRecord, StoreError,
        StoreErrorKind, UnixMillis,
        rotation::{AheadPolicy, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
        store::{
            EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest, Room, SessionLimit,
        },
    },
};
use kippu_redis::RedisStore;
use kippu_test_support::{records, redis as redis_server};
use proptest::{prelude::*, test_runner::TestRunner};
use redis::{
    AsyncConnectionConfig, Client,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    cluster_read_routing::RandomReplicaStrategy,
};
use tokio::{runtime::Runtime, sync::Barrier, task::JoinSet, time::timeout};

#[path = "redis/load.rs"]
mod load;

use self::{
    load::Load,
    records::{LOGIN, after, changed, kind, request, session},
    redis_server::{Redis, RedisCluster, RedisOptions},
};

const LIMIT: Duration = Duration::from_secs(60);

/// How long a connection waits for an answer. The client's default of half a second is too short
/// for a busy machine.
const ANSWER: Option<Duration> = Some(Duration::from_secs(5));

/// Sets a long deadline, so that no step fails because of a busy machine.
fn patient<C>(store: RedisStore<C>) -> RedisStore<C> {
    store.with_deadline(LIMIT)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn managed(redis: &Redis) -> RedisStore<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(100))
        .set_response_timeout(ANSWER);
    let client = Client::open(redis.url()).unwrap();
    patient(RedisStore::new(ConnectionManager::new_with_config(client, config).await.unwrap()))
}

async fn bare(redis: &Redis) -> RedisStore<MultiplexedConnection> {
    let client = Client::open(redis.url()).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(ANSWER);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    patient(RedisStore::new(connection.unwrap()))
}

async fn clustered(cluster: &RedisCluster) -> RedisStore<ClusterConnection> {
    let client = ClusterClientBuilder::new(cluster.urls())
        .read_routing_strategy(RandomReplicaStrategy)
        .response_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    patient(RedisStore::new(client.get_async_connection().await.unwrap()))
}

async fn few_retries(cluster: &RedisCluster) -> RedisStore<ClusterConnection> {
    let client = ClusterClientBuilder::new(cluster.urls()).retries(2).build().unwrap();
    patient(RedisStore::new(client.get_async_connection().await.unwrap()))
}

/// Returns the key of the shard with the sessions of a subject.
fn key_of(subject: &str) -> String {
    let shard = SessionId::shard_of(subject);
    format!("kippu:{{{:03x}}}:{:02x}", shard / 64, shard % 64)
}

/// Returns a subject that ends with this one, and whose shard has the relation to this one's.
fn longer_subject(subject: &str, is_related: impl Fn(u16, u16) -> bool) -> String {
    let shard = SessionId::shard_of(subject);
    let mut longer = (0..).map(|number| format!("{number} {subject}"));
    longer.find(|longer| is_related(shard, SessionId::shard_of(longer))).unwrap()
}

fn data(bytes: impl Into<Vec<u8>>) -> SessionData {
    SessionData::new(bytes.into()).unwrap()
}

/// Checks each step, on any kind of connection.
async fn each_step<C: ConnectionLike + Clone + Send + Sync + 'static>(store: &RedisStore<C>) {
    let alice = session("alice");
    assert_eq!(store.load(&alice.id).await.unwrap(), None);
    assert_eq!(
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap(),
        InsertOutcome::INSERTED
    );
    let other = changed(alice.clone(), |it| it.generation = 9);
    assert_eq!(
        store.insert(&InsertRequest::new(other.clone())).await.unwrap(),
        InsertOutcome::Duplicate
    );
    assert_eq!(store.load(&alice.id).await.unwrap(), Some(alice.clone()));

    // Rotated, replayed, reused. The rotation counts from when it is stored, a little after the
    // token was presented.
    let successor = |generation, end| Successor::new(generation, "k2", end);
    let answer = store.rotate(&request(&alice, 0, after(10))).await.unwrap();
    let kept = store.load(&alice.id).await.unwrap().unwrap();
    let rotated_at = kept.rotated_at;
    let wait = rotated_at.saturating_since(after(10));
    assert!(rotated_at >= after(10) && wait < Duration::from_secs(5), "{wait:?}");
    assert_eq!((kept.generation, &*kept.kid), (1, "k2"));
    let first = successor(1, rotated_at.saturating_add(Duration::from_secs(3600)));
    assert_eq!(
        (answer, kept.expires_at),
        (RotateOutcome::Rotated(first.clone()), first.expires_at)
    );
    let mut again = request(&alice, 0, rotated_at.saturating_add(Duration::from_secs(30)));
    again.kid = "k3".into();
    assert_eq!(store.rotate(&again).await.unwrap(), RotateOutcome::Replayed(first));
    assert_eq!(store.load(&alice.id).await.unwrap(), Some(kept));
    again.now = again.now.saturating_add(Duration::from_millis(1));
    assert_eq!(store.rotate(&again).await.unwrap(), RotateOutcome::Reused);
    let revoked = Some(Revoked { at: again.now, reason: RevokeReason::Reuse });
    assert_eq!(store.load(&alice.id).await.unwrap().unwrap().revoked, revoked);
    let answer = store.rotate(&request(&alice, 1, after(41))).await.unwrap();
    assert_eq!(answer, RotateOutcome::Revoked(RevokeReason::Reuse));

    // A token ahead of the store, the absolute end, an expired session, an unknown session.
    let bob = session("bob");
    assert_eq!(store.rotate(&request(&bob, 0, LOGIN)).await.unwrap(), RotateOutcome::Unknown);
    assert_eq!(store.load(&bob.id).await.unwrap(), None);
    store.insert(&InsertRequest::new(bob.clone())).await.unwrap();
    let mut ahead = request(&bob, 7, after(3599));
    ahead.ahead = AheadPolicy::Refuse;
    assert_eq!(store.rotate(&ahead).await.unwrap(), RotateOutcome::Ahead { lost: 7 });
    ahead.ahead = AheadPolicy::Heal;
    ahead.idle_lifetime = Duration::MAX;
    let healed = RotateOutcome::Healed { successor: successor(8, after(86_400)), lost: 7 };
    assert_eq!(store.rotate(&ahead).await.unwrap(), healed);
    ahead.generation = 8;
    ahead.now = after(86_400);
    assert_eq!(store.rotate(&ahead).await.unwrap(), RotateOutcome::Expired);
    ahead.now = after(86_399);
    let last = RotateOutcome::Rotated(successor(9, after(86_400)));
    assert_eq!(store.rotate(&ahead).await.unwrap(), last);

    // A session is revoked once, and listed while it is live.
    let mut carols: Vec<SessionRecord> = (0..4).map(|_| session("carol")).collect();
    carols[2].expires_at = after(1);
    for carol in &carols {
        store.insert(&InsertRequest::new(carol.clone())).await.unwrap();
    }
    let name = RevokeReason::Logout;
    assert!(store.revoke(&carols[3].id, name, after(1)).await.unwrap());
    assert!(!store.revoke(&carols[3].id, RevokeReason::Denied, after(2)).await.unwrap());
    let kept = store.load(&carols[3].id).await.unwrap().unwrap().revoked;
    assert_eq!(kept, Some(Revoked { at: after(1), reason: name }));
    assert!(!store.revoke(&session("carol").id, name, after(1)).await.unwrap());
    let mut live = carols[..2].to_vec();
    live.sort_by_key(|record| record.id);
    assert_eq!(store.list(&ListRequest::new("carol", after(1))).await.unwrap(), live);

    // Logging out everywhere revokes all sessions, also the expired one.
    let all = RevokeReason::LogoutAll;
    let keep = Some(&carols[0].id);
    assert_eq!(store.revoke_subject("carol", keep, all, after(2)).await.unwrap(), 2);
    assert_eq!(store.list(&ListRequest::new("carol", after(2))).await.unwrap(), carols[..1]);
    assert_eq!(store.revoke_subject("carol", None, all, after(2)).await.unwrap(), 1);
    assert_eq!(store.revoke_subject("carol", None, all, after(2)).await.unwrap(), 0);
    assert_eq!(store.load(&carols[3].id).await.unwrap().unwrap().revoked, kept);
    assert_eq!(store.load(&bob.id).await.unwrap().unwrap().revoked, None);

    policies(store).await;
    limits_and_pages(store).await;

    // Subjects of one shard, one of which ends with the other.
    let longer = longer_subject("carol", |shard, other| shard == other);
    let other = session(&longer);
    store.insert(&InsertRequest::new(other.clone())).await.unwrap();
    assert_eq!(store.list(&ListRequest::new("carol", after(2))).await.unwrap(), []);
    assert_eq!(store.revoke_subject("carol", None, all, after(2)).await.unwrap(), 0);
    assert_eq!(store.list(&ListRequest::new(&*longer, after(2))).await.unwrap(), [other]);
    assert_eq!(store.revoke_subject(&longer, None, all, after(2)).await.unwrap(), 1);

    let dave = session("dave");
    store.insert(&InsertRequest::new(dave.clone())).await.unwrap();
    assert!(store.revoke(&dave.id, name, after(1)).await.unwrap());

    // A purge removes expired sessions, and no more than the limit.
    assert_eq!(store.purge_expired(LOGIN, 100).await.unwrap(), 0);
    let mut over = Vec::new();
    for number in 0..25 {
        // Several sessions in a shard, so that a purge reaches its limit within one.
        let mut record = session(&format!("user {}", number / 4));
        record.expires_at = after(5);
        record.absolute_expires_at = after(5);
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        over.push(record.id);
    }
    assert_eq!(store.purge_expired(after(4), 0).await.unwrap(), 0);
    // One of carol's sessions expired in the first second.
    assert_eq!(store.purge_expired(after(4), 100).await.unwrap(), 1);
    assert_eq!(store.load(&carols[2].id).await.unwrap(), None);
    assert_eq!(store.purge_expired(after(5), 10).await.unwrap(), 10);
    assert_eq!(store.purge_expired(after(5), 10).await.unwrap(), 10);
    assert_eq!(store.purge_expired(after(5), 10).await.unwrap(), 5);
    assert_eq!(store.purge_expired(after(5), 10).await.unwrap(), 0);
    for id in &over {
        assert_eq!(store.load(id).await.unwrap(), None);
    }
    assert!(store.load(&carols[0].id).await.unwrap().is_some());
    assert_eq!(
        store.rotate(&request(&dave, 0, after(2))).await.unwrap(),
        RotateOutcome::Revoked(name)
    );
}

/// A login keeps its own policy and data. A request changes the data and the time of the login.
async fn policies<C: ConnectionLike + Clone + Send + Sync + 'static>(store: &RedisStore<C>) {
    let millis = Duration::from_millis;
    let wild: Vec<u8> = (0..=255).cycle().take(SessionData::MAX_LEN).collect();
    for (remembered, idle, bytes) in [
        (true, None, &b""[..]),
        (false, None, b"\n\0\xff"),
        (true, Some(millis(120_000)), &wild),
        (false, Some(millis(3_700_000)), b" "),
        (false, Some(millis(1 << 52)), b"2 0\n"),
    ] {
        let mut erin = changed(session("erin"), |it| {
            (it.remembered, it.idle_lifetime) = (remembered, idle);
            it.auth_time = after(1);
            it.data = data(bytes);
        });
        store.insert(&InsertRequest::new(erin.clone())).await.unwrap();
        assert_eq!(store.load(&erin.id).await.unwrap().as_ref(), Some(&erin));

        // The first rotation keeps the data and the time. The others bring new ones, the last the
        // time of the login.
        let new = [None, Some(data("new")), Some(data(&wild[..]))];
        for (generation, data) in (0..).zip(new) {
            // After the grace period of the rotation before.
            let now = after(10 + 40 * generation);
            let generation = usize::try_from(generation).unwrap();
            let auth_time = [None, Some(after(20)), Some(LOGIN)][generation];
            let generation = u64::try_from(generation).unwrap();
            let request = changed(request(&erin, generation, now), |it| {
                (it.auth_time, it.data) = (auth_time, data.clone());
            });
            let outcome = store.rotate(&request).await.unwrap();
            let kept = store.load(&erin.id).await.unwrap().unwrap();
            let waited = kept.rotated_at.saturating_since(now);
            let decided = request.after(waited).decide(&erin);
            assert_eq!(outcome, decided.outcome);
            erin.apply(decided.change.unwrap());
            assert_eq!(kept, erin);
            assert_eq!(kept.auth_time, auth_time.unwrap_or(after(1)));
        }
        // A replay changes neither. A reauthentication that comes too late changes nothing.
        let mut late = changed(request(&erin, 2, after(91)), |it| it.data = Some(data("late")));
        let outcome = store.rotate(&late).await.unwrap();
        assert!(matches!(outcome, RotateOutcome::Replayed(_)), "{outcome:?}");
        late.auth_time = Some(after(91));
        for (generation, at) in [(2, 130), (0, 91), (7, 91)] {
            (late.generation, late.now) = (generation, after(at));
            assert_eq!(store.rotate(&late).await.unwrap(), RotateOutcome::Overtaken);
        }
        assert_eq!(store.load(&erin.id).await.unwrap().as_ref(), Some(&erin));
        // Within the grace period a reauthentication keeps the token, whether it was read before
        // the rotation or after it.
        late.now = after(91);
        for (generation, auth_time) in [(2, 91), (3, 92), (3, 92)] {
            (late.generation, late.auth_time) = (generation, Some(after(auth_time)));
            let decided = late.decide(&erin);
            assert!(matches!(decided.outcome, RotateOutcome::Reauthenticated(_)));
            assert_eq!(store.rotate(&late).await.unwrap(), decided.outcome);
            erin.apply(decided.change.unwrap());
            assert_eq!(store.load(&erin.id).await.unwrap().as_ref(), Some(&erin));
        }
    }
}

/// The limit counts the live sessions of a subject, and a list is returned in pages.
async fn limits_and_pages<C: ConnectionLike + Clone + Send + Sync + 'static>(
    store: &RedisStore<C>,
) {
    let within = |session: &SessionRecord, limit| InsertRequest::new(session.clone()).limit(limit);
    let mut franks: Vec<SessionRecord> = (0..5).map(|_| session("frank")).collect();
    franks[4].created_at = after(1);
    let (oldest, last) = franks.split_at_mut(4);
    oldest.sort_by_key(|session| session.id);
    for frank in oldest.iter() {
        let inserted = store.insert(&within(frank, SessionLimit::refuse(4))).await.unwrap();
        assert_eq!(inserted, InsertOutcome::INSERTED);
    }
    let inserted = store.insert(&within(&last[0], SessionLimit::refuse(4))).await.unwrap();
    assert_eq!(inserted, InsertOutcome::LimitReached);
    assert_eq!(store.load(&last[0].id).await.unwrap(), None);
    let (_, cursor) = logged(store, EndedCursor::default()).await;
    let again = store.insert(&within(&oldest[1], SessionLimit::evict_oldest(1))).await.unwrap();
    assert_eq!(again, InsertOutcome::Duplicate);
    let inserted = store.insert(&within(&last[0], SessionLimit::evict_oldest(3))).await.unwrap();
    let evicted = vec![oldest[0].id, oldest[1].id];
    assert_eq!(inserted, InsertOutcome::Inserted { evicted: evicted.clone() });
    for frank in &mut oldest[..2] {
        frank.revoked = Some(Revoked { at: after(1), reason: RevokeReason::Limit });
        assert_eq!(store.load(&frank.id).await.unwrap().as_ref(), Some(&*frank));
    }
    assert_eq!(logged(store, cursor).await.0, evicted);

    let mut page = ListRequest::new("frank", after(1));
    page.limit = 1;
    for frank in &franks[2..] {
        assert_eq!(store.list(&page).await.unwrap(), std::slice::from_ref(frank));
        page.after = Some(ListCursor::of(frank));
    }
    assert_eq!(store.list(&page).await.unwrap(), []);
}

/// Returns the ids in the log after a place.
async fn logged(
    store: &impl RefreshStore,
    mut cursor: EndedCursor,
) -> (Vec<SessionId>, EndedCursor) {
    let mut ids = Vec::new();
    loop {
        let page = store.ended_after(&cursor).await.unwrap();
        ids.extend(page.ids);
        cursor = page.next;
        if page.is_last {
            return (ids, cursor);
        }
    }
}

/// Texts with any characters stay separate, and are read back unchanged.
async fn hostile_texts<C: ConnectionLike + Clone + Send + Sync + 'static>(store: &RedisStore<C>) {
    let subjects = [
        "{}",
        "{a}{b}",
        "kippu:{000}:00",
        "*",
        "?",
        "[a-z]",
        "\\",
        "'",
        "\"",
        "' .. x .. '",
        "%d+",
        "1 2 3",
        "- -",
        "\u{1f511}",
        "e\u{301}",
        "\u{e9}",
        "\u{a0}",
        " ",
        "  ",
        "\u{7f}",
        "\0",
        "a\nb",
        "\n",
        "\r\n",
    ];
    let long = "\u{10348}".repeat(128);
    let subjects: Vec<&str> = subjects.into_iter().chain([&*long]).collect();
    for &subject in &subjects {
        // Cuts the text to the limits of a record.
        let cut = |chars| subject.chars().take(chars).collect::<String>();
        let mut record = session(subject);
        record.kid = cut(5);
        record.client = cut(60).repeat(2);
        record.label = Some(cut(32));
        record.data = data([subject.as_bytes(), b"\xff\0\r\n 2 "].concat());
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        let list = ListRequest::new(subject, LOGIN);
        assert_eq!(store.list(&list).await.unwrap(), [record.clone()], "{subject:?}");
        let mut request = request(&record, 0, LOGIN);
        request.kid = cut(5).repeat(3);
        let RotateOutcome::Rotated(successor) = store.rotate(&request).await.unwrap() else {
            panic!("{subject:?}")
        };
        assert_eq!(successor.kid, request.kid);
        (record.generation, record.kid) = (1, request.kid);
        let kept = store.load(&record.id).await.unwrap().unwrap();
        (record.rotated_at, record.expires_at) = (kept.rotated_at, kept.expires_at);
        assert_eq!(kept, record, "{subject:?}");
    }
    let reason = RevokeReason::Denied;
    for &subject in &subjects {
        assert_eq!(store.revoke_subject(subject, None, reason, LOGIN).await.unwrap(), 1);
        assert_eq!(store.list(&ListRequest::new(subject, LOGIN)).await.unwrap(), []);
    }
}

/// 64 callers present the same generation concurrently, over four connections.
async fn races<C: ConnectionLike + Clone + Send + Sync + 'static>(stores: [RedisStore<C>; 4]) {
    let raced = session("raced");
    stores[0].insert(&InsertRequest::new(raced.clone())).await.unwrap();
    for generation in 0..20 {
        let start = Arc::new(Barrier::new(64));
        let mut tasks = JoinSet::new();
        for number in 0..64 {
            let (store, start) = (stores[number % 4].clone(), start.clone());
            let mut request = request(&raced, generation, after(generation));
            request.kid = format!("kid {number}");
            tasks.spawn(async move {
                start.wait().await;
                store.rotate(&request).await.unwrap()
            });
        }
        let (mut rotated, mut replayed, mut successors) = (0, 0, Vec::new());
        for outcome in tasks.join_all().await {
            let (count, successor) = match outcome {
                RotateOutcome::Rotated(successor) => (&mut rotated, successor),
                RotateOutcome::Replayed(successor) => (&mut replayed, successor),
                other => panic!("{other:?}"),
            };
            *count += 1;
            successors.push(successor);
        }
        assert_eq!((rotated, replayed), (1, 63));
        successors.dedup();
        assert_eq!(successors.len(), 1);
        assert_eq!(successors[0].generation, generation + 1);
    }

    // Of the callers that present a token too late, one revokes the session and the others see
    // that. None rotates after the revocation.
    for _ in 0..20 {
        let raced = session("raced too");
        stores[0].insert(&InsertRequest::new(raced.clone())).await.unwrap();
        stores[1].rotate(&request(&raced, 0, LOGIN)).await.unwrap();
        let start = Arc::new(Barrier::new(16));
        let mut tasks = JoinSet::new();
        for number in 0..16 {
            let (store, start) = (stores[number % 4].clone(), start.clone());
            let request = request(&raced, 0, after(60));
            tasks.spawn(async move {
                start.wait().await;
                store.rotate(&request).await.unwrap()
            });
        }
        let outcomes = tasks.join_all().await;
        let reused = outcomes.iter().filter(|outcome| **outcome == RotateOutcome::Reused).count();
        let revoked = RotateOutcome::Revoked(RevokeReason::Reuse);
        let others = outcomes.iter().filter(|outcome| **outcome == revoked).count();
        assert_eq!((reused, others), (1, 15));
    }

    // Logging out everywhere races with rotations. Every session that was rotated before is
    // rejected after.
    for _ in 0..20 {
        let subject = "raced against a logout";
        let raced = session(subject);
        stores[0].insert(&InsertRequest::new(raced.clone())).await.unwrap();
        let (store, request) = (stores[1].clone(), request(&raced, 0, LOGIN));
        let rotation = tokio::spawn(async move { store.rotate(&request).await.unwrap() });
        let all = RevokeReason::LogoutAll;
        assert_eq!(stores[2].revoke_subject(subject, None, all, LOGIN).await.unwrap(), 1);
        let outcome = rotation.await.unwrap();
        for generation in [0, 1] {
            let request = self::request(&raced, generation, LOGIN);
            let after = stores[3].rotate(&request).await.unwrap();
            assert_eq!(after, RotateOutcome::Revoked(all), "after {outcome:?}");
        }
    }
}

/// Runs a test on a server.
fn on_server<F: Future<Output = ()>>(options: RedisOptions<'_>, test: impl FnOnce(Redis) -> F) {
    runtime().block_on(test(Redis::start_with(options)));
}

#[test]
#[ignore = "needs Redis"]
fn each_step_on_a_server() {
    on_server(RedisOptions::default(), |redis| async move {
        each_step(&managed(&redis).await).await;
        hostile_texts(&bare(&redis).await).await;
        let store =
            |protocol| Client::open(format!("{}?protocol={protocol}", redis.url())).unwrap();
        let connection = store("resp3").get_multiplexed_async_connection().await.unwrap();
        each_step(&RedisStore::new(connection).with_prefix("another").unwrap()).await;
    });
}

#[test]
#[ignore = "needs Redis"]
fn races_on_a_server() {
    on_server(RedisOptions::default(), |redis| async move {
        races([
            managed(&redis).await,
            managed(&redis).await,
            managed(&redis).await,
            managed(&redis).await,
        ])
        .await;
    });
}

#[test]
#[ignore = "needs Redis"]
fn a_cluster_serves_each_step_and_races() {
    let cluster = RedisCluster::start();
    runtime().block_on(async {
        let store = clustered(&cluster).await;
        each_step(&store).await;
        hostile_texts(&store).await;
        let [one, two, three] =
            [clustered(&cluster).await, clustered(&cluster).await, clustered(&cluster).await];
        races([store.clone(), one, two, three]).await;

        // Subjects are spread over all masters. All sessions of a subject are in one slot.
        let mut owners = BTreeSet::new();
        for number in 0..40 {
            let subject = format!("subject {number}");
            store.insert(&InsertRequest::new(session(&subject))).await.unwrap();
            let key = key_of(&subject);
            let owner = cluster.owner_of(cluster.slot_of(&key)).unwrap();
            assert_eq!(cluster.command(owner, &["EXISTS", &key]).trim(), "1");
            owners.insert(owner);
        }
        assert_eq!(owners.len(), 3);

        // A connection to a single node returns an error that explains what to do.
        let client = Client::open(&*cluster.urls()[0]).unwrap();
        let one = RedisStore::new(client.get_multiplexed_async_connection().await.unwrap());
        let mut kinds = BTreeSet::new();
        for number in 0..40 {
            let result = one.list(&ListRequest::new(format!("subject {number}"), LOGIN)).await;
            kinds.insert(format!("{:?}", kind(result)));
        }
        assert_eq!(kinds, BTreeSet::from(["None".into(), "Some(Misconfigured)".into()]));
    });
}

/// The script makes the same decisions and changes as `RotateRequest::decide`.
#[test]
#[ignore = "needs Redis"]
fn the_rotation_script_agrees_with_decide() {
    let time = || {
        let near = (-3_i64..=3).prop_map(|by| LOGIN.get() + by);
        let edges =
            [i64::MIN, -(1 << 53) + 2, -1, 0, 1, 999_999_999_999_999, (1 << 53) - 2, i64::MAX];
        prop_oneof![4 => near, 1 => prop::sample::select(edges.to_vec())].prop_map(UnixMillis::new)
    };
    let generation = || {
        let edges = [0, 1, 2, 3, 100_000_000_000_000, 1_000_000_000_000_000, MAX_GENERATION - 2];
        let edges = [&edges[..], &[MAX_GENERATION - 1, MAX_GENERATION]].concat();
        prop::sample::select(edges)
    };
    let duration = || {
        let edges = [0, 1, 2, 3, 1000, 1 << 53, u64::MAX].map(Duration::from_millis);
        prop::sample::select([&edges[..], &[Duration::MAX, Duration::from_nanos(1)]].concat())
    };
    let revoked = prop::option::weighted(0.1, (time(), prop::sample::select(RevokeReason::ALL)));
    let text = || prop_oneof!["[a-z]{1,3}", "\\PC{1,15}", "[ -{}0-9\n]{1,5}"];
    let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(data);
    let own_idle_lifetime = [0, 1, 2, 3, 1000, (1 << 53) - 1].map(Duration::from_millis);
    let own_idle_lifetime = prop::option::of(prop::sample::select(own_idle_lifetime.to_vec()));
    let record = (
        (generation(), text(), text(), text(), prop::option::of(text())),
        (time(), time(), time(), time(), revoked),
        (any::<bool>(), own_idle_lifetime, prop::option::of(time()), bytes()),
    );
    let record = record.prop_map(|((generation, subject, client, kid, label), times, more)| {
        let (created_at, absolute_expires_at, rotated_at, expires_at, revoked) = times;
        changed(session(&subject), |it| {
            it.client = client;
            it.label = label;
            it.created_at = created_at;
            it.auth_time = more.2.unwrap_or(created_at);
            (it.remembered, it.idle_lifetime, it.data) = (more.0, more.1, more.3);
            it.absolute_expires_at = absolute_expires_at;
            it.generation = generation;
            it.kid = kid;
            it.rotated_at = rotated_at;
            it.expires_at = expires_at;
            it.revoked = revoked.map(|(at, reason)| Revoked { at, reason });
        })
    });
    let asked = prop_oneof![
        6 => (-3_i64..=3).prop_map(Some),
        1 => Just(None),
    ];
    let policy = prop::sample::select(vec![AheadPolicy::Heal, AheadPolicy::Refuse]);
    let case = (
        record,
        asked,
        (generation(), text(), time(), (duration(), duration()), duration(), policy),
        // The time of a reauthentication, or that of the login.
        (prop::option::weighted(0.2, prop::option::of(time())), prop::option::of(bytes())),
    );

    let redis = Redis::start();
    let runtime = runtime();
    let store = runtime.block_on(bare(&redis));
    let mut seen = BTreeSet::new();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(3000));
    let seen_there = std::cell::RefCell::new(&mut seen);
    runner
        .run(
            &case,
            |(record, asked, (any, kid, now, (grace, waited), idle_lifetime, ahead), more)| {
                let generation = match asked {
                    Some(by) => record.generation.saturating_add_signed(by),
                    None => any,
                };
                let id = record.id;
                let request = RotateRequest::new(id, generation, kid, now, grace, idle_lifetime);
                let request = changed(request, |it| {
                    (it.waited, it.ahead) = (waited, ahead);
                    it.auth_time = more.0.map(|time| time.unwrap_or(record.created_at));
                    it.data = more.1;
                });
                runtime.block_on(async {
                    store.insert(&InsertRequest::new(record.clone())).await.unwrap();
                    let outcome = store.rotate(&request).await.unwrap();
                    let stored = store.load(&record.id).await.unwrap().unwrap();
                    // The decision is made after the wait for the server. The time of the rotation
                    // shows when.
                    let waited = match outcome {
                        RotateOutcome::Rotated(_) | RotateOutcome::Healed { .. } => {
                            stored.rotated_at.saturating_since(request.rotated_at())
                        }
                        _ => Duration::ZERO,
                    };
                    prop_assert!(waited < Duration::from_secs(3), "{:?}", waited);
                    let decision = request.after(waited).decide(&record);
                    let mut expected = record.clone();
                    if let Some(change) = decision.change {
                        expected.apply(change);
                    }
                    prop_assert_eq!(&outcome, &decision.outcome);
                    prop_assert_eq!(stored, expected);
                    let name = format!("{outcome:?}");
                    let name = name.split(['(', ' ']).next().unwrap().to_owned();
                    seen_there.borrow_mut().insert(name);
                    Ok(())
                })
            },
        )
        .unwrap();
    let all = [
        "Ahead",
        "Expired",
        "Healed",
        "Overtaken",
        "Reauthenticated",
        "Replayed",
        "Reused",
        "Revoked",
        "Rotated",
    ];
    assert_eq!(seen, all.map(ToOwned::to_owned).into());
}

#[test]
#[ignore = "needs Redis"]
fn the_store_works_when_the_server_forgets_its_scripts() {
    on_server(RedisOptions::default(), |redis| async move {
        let mut load = Load::start(&managed(&redis).await, 16, false).await;
        for _ in 0..50 {
            assert_eq!(redis.command(&["SCRIPT", "FLUSH"]).trim(), "OK");
            load.wait_for(16).await;
        }
        assert_eq!(load.faults(), 0);
        load.finish().await;
        let stats = redis.command(&["INFO", "errorstats"]);
        assert!(stats.contains("errorstat_NOSCRIPT"), "no script was forgotten: {stats}");
    });
}

#[test]
#[ignore = "needs Redis"]
fn the_store_recovers_when_a_server_restarts_under_load() {
    // With `everysec`, a killed Redis loses the writes that it held back during a sync of the disk.
    let options = RedisOptions { append: Some("always"), ..RedisOptions::default() };
    on_server(options, |mut redis| async move {
        let mut load = Load::start(&managed(&redis).await, 32, false).await;
        for turn in 0..4 {
            if turn % 2 == 0 {
                redis.stop();
            } else {
                redis.kill();
            }
            load.wait_for_fault().await;
            redis.restart();
            load.wait_for(32 * 20).await;
        }
        load.finish().await;
    });
}

#[test]
#[ignore = "needs Redis"]
fn the_store_recovers_when_a_master_fails_under_load() {
    let mut cluster = RedisCluster::start();
    runtime().block_on(async {
        let store = clustered(&cluster).await;
        let mut load = Load::start(&store, 16, true).await;
        let slot = cluster.slot_of(&key_of("under load 0"));
        cluster.kill_master(slot);
        cluster.wait_for_failover(slot);
        load.wait_for(16 * 20).await;
        load.finish().await;
        each_step(&store).await;
    });
}

#[test]
#[ignore = "needs Redis"]
fn the_store_works_while_a_slot_moves_under_load() {
    let cluster = RedisCluster::start();
    runtime().block_on(async {
        let store = clustered(&cluster).await;
        let mut load = Load::start(&store, 16, false).await;
        let subject = "under load 3";
        let neighbour = longer_subject(subject, |a, b| a != b && a / 64 == b / 64);
        let slot = cluster.slot_of(&key_of(subject));
        assert_eq!(cluster.slot_of(&key_of(&neighbour)), slot);

        for turn in 0..6 {
            let from = cluster.owner_of(slot).unwrap();
            let to = (0..6).filter(|&node| {
                cluster.command(node, &["ROLE"]).starts_with("master") && node != from
            });
            let to = to.collect::<Vec<_>>()[turn % 2];
            assert_eq!(cluster.open_slot(slot, to), from);
            load.wait_for(16 * 5).await;
            // While the slot moves, all steps see all sessions of the subject, and new sessions are
            // not lost.
            let new = session(subject);
            assert_eq!(
                store.insert(&InsertRequest::new(new.clone())).await.unwrap(),
                InsertOutcome::INSERTED
            );
            let keep = store.list(&ListRequest::new(subject, LOGIN)).await.unwrap();
            assert_eq!(keep.len(), 2);
            // The first session of a shard whose key already belongs to the other node.
            let first = session(&neighbour);
            assert_eq!(
                store.insert(&InsertRequest::new(first.clone())).await.unwrap(),
                InsertOutcome::INSERTED
            );
            assert_eq!(store.load(&first.id).await.unwrap(), Some(first.clone()));
            // A purge takes several keys of a slot and has to wait. A logout and a login within a
            // limit take two, and may have to wait.
            let hasty = few_retries(&cluster).await;
            let within = InsertRequest::new(session(subject)).limit(SessionLimit::refuse(1));
            let refused = hasty.insert(&within).await;
            let is_refused = matches!(refused, Ok(InsertOutcome::LimitReached));
            assert!(is_refused || kind(refused) == Some(StoreErrorKind::Unavailable));
            let purge = hasty.purge_expired(LOGIN, 10).await;
            assert_eq!(kind(purge), Some(StoreErrorKind::Unavailable));
            let keep = keep.iter().find(|record| record.id != new.id).unwrap();
            let all = RevokeReason::LogoutAll;
            let revoked = hasty.revoke_subject(subject, Some(&keep.id), all, LOGIN).await;
            assert!(revoked.is_ok() || kind(revoked) == Some(StoreErrorKind::Unavailable));
            while cluster.move_keys(slot, from, to, 1) {}
            load.wait_for(16 * 5).await;
            cluster.close_slot(slot, from, to);
            store.revoke_subject(subject, Some(&keep.id), all, LOGIN).await.unwrap();
            assert_eq!(store.insert(&within).await.unwrap(), InsertOutcome::LimitReached);
            assert_eq!(store.list(&ListRequest::new(subject, LOGIN)).await.unwrap().len(), 1);
            load.wait_for(16 * 5).await;
            assert!(store.load(&first.id).await.unwrap().is_some());
            assert_eq!(store.purge_expired(UnixMillis::MIN, 10).await.unwrap(), 0);
        }
        assert_eq!(load.faults(), 0);
        load.finish().await;
    });
}

#[test]
#[ignore = "needs Redis"]
fn ten_thousand_sessions_of_a_subject_end_at_once() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let mut tasks = JoinSet::new();
        for _ in 0..10 {
            let store = store.clone();
            tasks.spawn(async move {
                for _ in 0..1000 {
                    store.insert(&InsertRequest::new(session("many"))).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let all = store.list(&ListRequest::new("many", LOGIN)).await.unwrap();
        assert_eq!(all.len(), 10_000);
        let keep = Some(&all[5000].id);
        let reason = RevokeReason::LogoutAll;
        assert_eq!(store.revoke_subject("many", keep, reason, LOGIN).await.unwrap(), 9999);
        assert_eq!(store.list(&ListRequest::new("many", LOGIN)).await.unwrap(), all[5000..=5000]);
        assert_eq!(store.purge_expired(after(3600), 6000).await.unwrap(), 6000);
        assert_eq!(store.purge_expired(after(3600), 6000).await.unwrap(), 4000);
        // Only the log of ended sessions remains.
        assert_eq!(redis.command(&["KEYS", "*"]).trim(), "kippu:ended");
        assert_eq!(redis.command(&["XLEN", "kippu:ended"]).trim(), "9999");
    });
}

const DAY: i64 = 86_400_000;

/// Returns a time in days from now, by this machine's clock, which the servers of the tests share.
fn in_days(days: i64) -> UnixMillis {
    let now = UnixMillis::from(NumericDate::now());
    UnixMillis::new(now.get() + days * DAY)
}

/// Returns a session that lasts from one day to another, counted from now.
fn lasting(subject: &str, from: i64, to: i64) -> SessionRecord {
    let (from, to) = (in_days(from), in_days(to));
    changed(session(subject), |it| {
        it.created_at = from;
        it.rotated_at = from;
        it.expires_at = to;
        it.absolute_expires_at = to;
    })
}

/// A shard is kept for as long as a session in it may live, and for a year more.
#[test]
#[ignore = "needs Redis"]
fn a_shard_expires_long_after_its_last_session() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let key = key_of("old");
        let days_left = || redis.command(&["PTTL", &key]).trim().parse::<i64>().unwrap() / DAY;
        // A session with an old date, as a test with its own clock makes it: the shard is kept for
        // its whole lifetime.
        let old = changed(session("old"), |it| it.absolute_expires_at = UnixMillis::new(2));
        let old = changed(old, |it| it.created_at = UnixMillis::new(0));
        store.insert(&InsertRequest::new(old.clone())).await.unwrap();
        assert!((365..=366).contains(&days_left()), "{}", days_left());
        assert_eq!(store.load(&old.id).await.unwrap(), Some(old));

        // The longest lifetime counts, by the server's clock and by that of Redis. A shorter one
        // does not reduce it.
        for (session, days) in [
            (lasting("old", 0, 30), 396),
            (lasting("old", 0, 1), 396),
            (lasting("old", 100, 130), 496),
            (lasting("old", -100, 0), 496),
            (lasting("old", -1000, -400), 966),
        ] {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
            assert!((days - 1..=days).contains(&days_left()), "{} of {days}", days_left());
        }
        let mut longest = session("old");
        (longest.created_at, longest.absolute_expires_at) = (UnixMillis::MIN, UnixMillis::MAX);
        store.insert(&InsertRequest::new(longest.clone())).await.unwrap();
        assert!(days_left() > (1 << 53) / DAY);
        // If an operator removes the expiry, the store does not set it again.
        redis.command(&["PERSIST", &key]);
        store.insert(&InsertRequest::new(session("old"))).await.unwrap();
        assert_eq!(redis.command(&["PTTL", &key]).trim(), "-1");
    });
}

/// Neither a server with a wrong clock nor a Redis with a wrong clock purges a live session.
#[test]
#[ignore = "needs Redis"]
fn a_purge_removes_only_what_has_ended_by_both_clocks() {
    let test = async |days: i64, redis: &Redis| {
        let store = bare(redis).await;
        let clock = |at: i64| in_days(at + days);
        let over = lasting("alice", days - 40, days - 1);
        let live = lasting("alice", days - 1, days + 30);
        for session in [&over, &live] {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        // A clock that is behind by the session's whole lifetime; one that is ahead by a hundred
        // days, and by the maximum.
        assert_eq!(store.purge_expired(clock(-40), 10).await.unwrap(), 0);
        for now in [clock(100), UnixMillis::MAX] {
            assert_eq!(
                store.purge_expired(now, 10).await.unwrap(),
                u64::from(now < UnixMillis::MAX)
            );
            assert!(store.load(&live.id).await.unwrap().is_some());
            assert!(store.load(&over.id).await.unwrap().is_none());
        }
        // Both clocks use the same end.
        let edge = lasting("bob", days - 40, days - 3);
        store.insert(&InsertRequest::new(edge.clone())).await.unwrap();
        let before = UnixMillis::new(edge.expires_at.get() - 1);
        assert_eq!(store.purge_expired(before, 10).await.unwrap(), 0);
        assert_eq!(store.purge_expired(edge.expires_at, 10).await.unwrap(), 1);
    };
    on_server(RedisOptions::default(), async |redis| test(0, &redis).await);
    let ahead = Redis::start_with_clock();
    ahead.set_clock(100 * DAY / 1000);
    runtime().block_on(async {
        test(100, &ahead).await;
        let store = bare(&ahead).await;
        // By the clock of Redis, this session has ended; by the server's right clock it has not.
        let live = lasting("carol", 0, 30);
        store.insert(&InsertRequest::new(live.clone())).await.unwrap();
        assert_eq!(store.purge_expired(in_days(0), 10).await.unwrap(), 0);
        for _ in 0..100 {
            store.insert(&InsertRequest::new(lasting("carol", 0, 30))).await.unwrap();
        }
        assert_eq!(store.load(&live.id).await.unwrap(), Some(live));
        assert_eq!(store.list(&ListRequest::new("carol", in_days(0))).await.unwrap().len(), 101);
    });
}

/// Returns a session as it is stored, without its id and the space.
fn value_of(redis: &Redis, subject: &str, id: SessionId) -> String {
    let (first, last) = (format!("[{id} "), format!("[{id}!"));
    let member = redis.command(&["ZRANGE", &key_of(subject), &first, &last, "BYLEX"]);
    let (_, value) = member.strip_suffix('\n').unwrap().split_once(' ').unwrap();
    value.to_owned()
}

/// Returns the value of a session as version 1 wrote it. It has no policy, no data and no time of a
/// reauthentication.
fn first_version(session: &SessionRecord) -> String {
    let SessionRecord { subject, client, label, kid, generation, .. } = session;
    let SessionRecord { created_at, absolute_expires_at, rotated_at, expires_at, .. } = session;
    let (at, reason) = match session.revoked {
        Some(Revoked { at, reason }) => (at.to_string(), reason.as_str()),
        None => ("-".to_owned(), "-"),
    };
    let label_length = label.as_ref().map_or("-".to_owned(), |label| label.len().to_string());
    let label = label.as_deref().unwrap_or_default();
    let (kid_length, client_length) = (kid.len(), client.len());
    format!(
        "1 {generation} {rotated_at} {expires_at} {at} {reason} {kid_length}\n\
         {kid}{absolute_expires_at} {created_at} {client_length} {label_length}\n\
         {client}{label}{subject}"
    )
}

/// The values of the previous version are read, and written as values of this version.
#[test]
#[ignore = "needs Redis"]
fn values_of_the_first_version_are_migrated() {
    on_server(RedisOptions::default(), |redis| async move {
        let stores = [bare(&redis).await, bare(&redis).await, bare(&redis).await];
        let store = &stores[0];
        let key = key_of("alice");
        let mut old: Vec<SessionRecord> = (0..20).map(|_| session("alice")).collect();
        old[1].revoked = Some(Revoked { at: after(1), reason: RevokeReason::Denied });
        old[2].generation = 7;
        old[3].label = None;
        for session in &mut old[4..] {
            (session.generation, session.rotated_at) = (1, after(1));
        }
        old[5].expires_at = after(2);
        let restore = || {
            redis.command(&["DEL", &key]);
            for session in &old {
                let member = format!("{} {}", session.id, first_version(session));
                let entry = format!("~5:alice{}", session.id);
                let added = redis.command(&["ZADD", &key, "0", &member, "0", &entry]);
                assert_eq!(added.trim(), "2");
            }
        };
        let version = |session: &SessionRecord| {
            value_of(&redis, "alice", session.id).split_once(' ').unwrap().0.to_owned()
        };
        let reason = RevokeReason::Logout;

        restore();
        for session in &old {
            assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(session));
        }
        let list = ListRequest::new("alice", after(1));
        assert_eq!(store.list(&list).await.unwrap(), list.page(old.clone()));
        let late = changed(list, |it| it.now = after(2));
        assert_eq!(store.list(&late).await.unwrap(), late.page(old.clone()));
        assert!(old.iter().all(|session| version(session) == "1"));
        let outcome = store.rotate(&request(&old[2], 7, LOGIN)).await.unwrap();
        assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
        assert!(!store.revoke(&old[1].id, reason, LOGIN).await.unwrap());
        assert!(store.revoke(&old[3].id, reason, LOGIN).await.unwrap());
        // Replayed, and reused.
        let outcome = store.rotate(&request(&old[4], 0, after(2))).await.unwrap();
        assert!(matches!(outcome, RotateOutcome::Replayed(_)), "{outcome:?}");
        let outcome = store.rotate(&request(&old[6], 0, after(40))).await.unwrap();
        assert_eq!(outcome, RotateOutcome::Reused);
        let written = [2, 3, 6].map(|at| version(&old[at]));
        assert_eq!(written, ["2", "2", "2"]);
        let untouched = [0, 1, 4].map(|at| version(&old[at]));
        assert_eq!(untouched, ["1", "1", "1"]);
        let (mut kept, revoked) = (old[3].clone(), Revoked { at: LOGIN, reason });
        kept.revoked = Some(revoked);
        assert_eq!(store.load(&kept.id).await.unwrap(), Some(kept));
        // A login evicts old sessions, too, and a purge removes them.
        let new = InsertRequest::new(session("alice")).limit(SessionLimit::evict_oldest(1));
        let InsertOutcome::Inserted { evicted } = store.insert(&new).await.unwrap() else {
            panic!("not inserted")
        };
        assert_eq!(evicted.len(), old.len() - 3);
        assert_eq!(version(&old[0]), "2");
        restore();
        assert_eq!(store.purge_expired(after(2), 100).await.unwrap(), 1);
        assert_eq!(store.load(&old[5].id).await.unwrap(), None);

        // Several servers migrate the same sessions concurrently: one rotation of each session
        // succeeds, and no session is lost.
        for _ in 0..20 {
            restore();
            let mut tasks = JoinSet::new();
            for number in 0..48 {
                let (store, session) = (stores[number % 3].clone(), old[4 + number / 3].clone());
                let request = request(&session, 1, LOGIN);
                tasks.spawn(async move { store.rotate(&request).await.unwrap() });
            }
            let outcomes = tasks.join_all().await;
            let made = |outcome: &&RotateOutcome| matches!(outcome, RotateOutcome::Rotated(_));
            assert_eq!(outcomes.iter().filter(made).count(), 16, "{outcomes:?}");
            for old in &old[4..] {
                let kept = store.load(&old.id).await.unwrap().unwrap();
                let (rotated_at, expires_at) = (kept.rotated_at, kept.expires_at);
                let rotated = changed(old.clone(), |it| {
                    (it.generation, it.kid) = (2, "k2".into());
                    (it.rotated_at, it.expires_at) = (rotated_at, expires_at);
                });
                assert_eq!(kept, rotated);
                assert_eq!(version(old), "2");
            }
        }
    });
}

/// The script makes the same decisions as `InsertRequest::decide` and `ListRequest::page`, for
/// sessions of any kind.
#[test]
#[ignore = "needs Redis"]
fn the_scripts_agree_with_decide_on_limits_and_pages() {
    let redis = Redis::start();
    let runtime = runtime();
    let store = runtime.block_on(bare(&redis));
    // Few times, so that the ids decide the order. The order of the ids as texts differs from that
    // of their bytes.
    let time = || (0_i64..3).prop_map(|by| UnixMillis::new(by - 1));
    let byte = || prop::sample::select(vec![0_u8, 0x07, 0x68, 0x69, 0xcf, 0xd0, 0xfb, 0xff]);
    let other = (
        time(),
        prop_oneof![3 => Just(9_i64), 1 => -1_i64..3],
        prop_oneof![3 => Just(9_i64), 1 => -1_i64..3],
        prop::option::weighted(0.2, prop::sample::select(RevokeReason::ALL)),
        (byte(), byte()),
    );
    let case = (
        (prop::collection::vec(other, 0..9), time(), (1_u32..6, any::<bool>())),
        (prop::option::of((time(), byte())), 0_u32..5),
    );
    let mut number = 0;
    let mut seen = BTreeSet::new();
    let cells = std::cell::RefCell::new((&mut number, &mut seen));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1000));
    runner
        .run(&case, |((others, now, (max, evicts)), (after, limit))| {
            let (subject, id) = {
                let mut cells = cells.borrow_mut();
                *cells.0 += 1;
                let subject = format!("subject {}", cells.0);
                let id = SessionId::generate(&subject).unwrap();
                (subject, id)
            };
            let with = |one: u8, other: u8| {
                let mut bytes = *id.as_bytes();
                (bytes[2], bytes[3]) = (one, other);
                SessionId::from_bytes(bytes)
            };
            let mut all: Vec<SessionRecord> = Vec::new();
            for (created_at, expires_at, absolute, reason, (one, other)) in others {
                let id = with(one, other);
                if all.iter().any(|session| session.id == id) {
                    continue;
                }
                all.push(changed(session(&subject), |it| {
                    (it.id, it.created_at) = (id, created_at);
                    it.expires_at = UnixMillis::new(expires_at);
                    it.absolute_expires_at = UnixMillis::new(absolute);
                    it.revoked = reason.map(|reason| Revoked { at: now, reason });
                }));
            }
            let new = changed(session(&subject), |it| {
                (it.id, it.created_at) = (with(0x33, 0x33), now);
            });
            let limits = [SessionLimit::refuse(max), SessionLimit::evict_oldest(max)];
            let request = InsertRequest::new(new.clone()).limit(limits[usize::from(evicts)]);
            let after =
                after.map(|(created_at, byte)| ListCursor { created_at, id: with(byte, byte) });
            let list = changed(ListRequest::new(&*subject, now), |it| {
                (it.after, it.limit) = (after, limit);
            });
            runtime.block_on(async {
                for session in &all {
                    store.insert(&InsertRequest::new(session.clone())).await.unwrap();
                }
                prop_assert_eq!(store.list(&list).await.unwrap(), list.page(all.clone()));
                let (_, cursor) = logged(&store, EndedCursor::default()).await;
                let outcome = store.insert(&request).await.unwrap();
                let (decided, evicted) = match request.decide(all.clone()) {
                    Room::Enough => (InsertOutcome::INSERTED, Vec::new()),
                    Room::Refused => (InsertOutcome::LimitReached, Vec::new()),
                    Room::After(ids) => (InsertOutcome::Inserted { evicted: ids.clone() }, ids),
                };
                prop_assert_eq!(&outcome, &decided);
                for session in &mut all {
                    if evicted.contains(&session.id) {
                        session.revoked = Some(Revoked { at: now, reason: RevokeReason::Limit });
                    }
                    let kept = store.load(&session.id).await.unwrap();
                    prop_assert_eq!(kept.as_ref(), Some(&*session));
                }
                let is_in = outcome != InsertOutcome::LimitReached;
                prop_assert_eq!(store.load(&new.id).await.unwrap(), is_in.then(|| new.clone()));
                prop_assert_eq!(logged(&store, cursor).await.0, evicted);
                let again = store.insert(&request).await.unwrap();
                if is_in {
                    prop_assert_eq!(again, InsertOutcome::Duplicate);
                }
                let name = format!("{decided:?}");
                cells.borrow_mut().1.insert(name.split([' ', '{']).next().unwrap().to_owned());
                Ok(())
            })
        })
        .unwrap();
    assert_eq!(seen, BTreeSet::from(["Inserted".into(), "LimitReached".into()]));
}

/// Redis does not send the sessions that are not on the page.
#[test]
#[ignore = "needs Redis"]
fn a_page_transfers_only_its_own_sessions() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        for number in 0..500 {
            let session = changed(session("many"), |it| it.created_at = after(number % 250));
            store.insert(&InsertRequest::new(session)).await.unwrap();
        }
        let bytes = async |request: &ListRequest| {
            redis.command(&["CONFIG", "RESETSTAT"]);
            let page = store.list(request).await.unwrap();
            let stats = redis.command(&["INFO", "stats"]);
            let mut lines = stats.lines();
            let line = lines.find_map(|line| line.strip_prefix("total_net_output_bytes:"));
            (page, line.unwrap().parse::<usize>().unwrap())
        };
        let all = ListRequest::new("many", after(300));
        let (sessions, whole) = bytes(&all).await;
        assert!(sessions.len() == 500 && whole > 50_000, "{whole}");
        let place = Some(ListCursor::of(&sessions[250]));
        let one = changed(all, |it| (it.limit, it.after) = (1, place));
        let (page, part) = bytes(&one).await;
        assert_eq!(page, sessions[251..252]);
        assert!(part < 1000, "{part}");
    });
}

/// The first layout of the store: a hash of ids and values, each value after the time when it may
/// be removed.
#[test]
#[ignore = "needs Redis"]
fn sessions_of_the_first_layout_are_converted() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let key = key_of("alice");
        let write = |session: &SessionRecord| {
            (session.id.to_string(), format!("1764086400000 {}", first_version(session)))
        };
        let neighbour = longer_subject("alice", |shard, other| shard == other);
        let mut old: Vec<SessionRecord> = (0..300).map(|_| session("alice")).collect();
        old.push(session(&neighbour));
        old[1].revoked = Some(Revoked { at: after(1), reason: RevokeReason::Denied });
        old[2].generation = 7;
        old[3].label = None;
        let fields: Vec<(String, String)> = old.iter().map(write).collect();
        let restore = |redis: &Redis| {
            redis.command(&["DEL", &key]);
            for chunk in fields.chunks(100) {
                let pairs = chunk.iter().flat_map(|(id, value)| [id.as_str(), value]);
                let arguments: Vec<&str> = ["HSET", &key].into_iter().chain(pairs).collect();
                redis.command(&arguments);
            }
            redis.command(&["PEXPIRE", &key, "5000000"]);
            assert_eq!(redis.command(&["HLEN", &key]).trim(), "301");
        };
        let live = async |store: &RedisStore<_>, subject: &str| {
            let mut ids: Vec<SessionId> = store
                .list(&ListRequest::new(subject, LOGIN))
                .await
                .unwrap()
                .iter()
                .map(|session| session.id)
                .collect();
            ids.sort_unstable();
            ids
        };
        let mut ids: Vec<SessionId> = old[..300].iter().map(|session| session.id).collect();
        ids.remove(1);
        ids.sort_unstable();

        // Each step may be the first, and sees the sessions of the old layout.
        let new = session("alice");
        for step in 0..8 {
            restore(&redis);
            match step {
                0 => assert_eq!(store.load(&old[2].id).await.unwrap(), Some(old[2].clone())),
                1 => {
                    let answer = store.rotate(&request(&old[2], 7, LOGIN)).await.unwrap();
                    assert!(matches!(answer, RotateOutcome::Rotated(_)), "{answer:?}");
                }
                2 => assert!(!store.revoke(&old[1].id, RevokeReason::Logout, LOGIN).await.unwrap()),
                3 => assert_eq!(live(&store, "alice").await, ids),
                4 => {
                    let all = RevokeReason::LogoutAll;
                    assert_eq!(store.revoke_subject("alice", None, all, LOGIN).await.unwrap(), 299);
                    assert_eq!(live(&store, "alice").await, []);
                    restore(&redis);
                    assert_eq!(store.load(&old[300].id).await.unwrap(), Some(old[300].clone()));
                }
                5 => {
                    assert_eq!(
                        store.insert(&InsertRequest::new(new.clone())).await.unwrap(),
                        InsertOutcome::INSERTED
                    );
                    assert!(store.revoke(&new.id, RevokeReason::Logout, LOGIN).await.unwrap());
                }
                6 => assert_eq!(store.purge_expired(UnixMillis::MIN, 10).await.unwrap(), 0),
                _ => {
                    let again = store.insert(&InsertRequest::new(old[0].clone())).await.unwrap();
                    assert_eq!(again, InsertOutcome::Duplicate);
                }
            }
            assert_eq!(redis.command(&["TYPE", &key]).trim(), "zset");
            assert_eq!(live(&store, "alice").await, ids, "{step}");
            assert_eq!(live(&store, &neighbour).await, [old[300].id]);
            let left: i64 = redis.command(&["PTTL", &key]).trim().parse().unwrap();
            assert!((4_900_000..=5_000_000).contains(&left) || step == 5, "{left}");
        }
        // The revocation, the generation and the missing label are kept, and the version is the
        // current one.
        for session in &old[1..4] {
            assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(session));
            assert!(value_of(&redis, "alice", session.id).starts_with("2 "));
        }

        // Several servers concurrently.
        let stores = [bare(&redis).await, bare(&redis).await, bare(&redis).await, store.clone()];
        for _ in 0..20 {
            restore(&redis);
            let mut tasks = JoinSet::new();
            for number in 0..16 {
                let (store, session) = (stores[number % 4].clone(), old[4 + number].clone());
                tasks.spawn(
                    async move { store.rotate(&request(&session, 0, LOGIN)).await.unwrap() },
                );
            }
            for answer in tasks.join_all().await {
                assert!(matches!(answer, RotateOutcome::Rotated(_)), "{answer:?}");
            }
            assert_eq!(live(&store, "alice").await, ids);
            let rotated = store.list(&ListRequest::new("alice", LOGIN)).await.unwrap();
            assert_eq!(rotated.iter().filter(|session| session.generation == 1).count(), 16);
        }

        // A server with the first layout fails, whichever step it runs first.
        for step in [
            &["HGET", &key, "id"][..],
            &["HEXISTS", &key, "id"],
            &["HGETALL", &key],
            &["HSET", &key, "id", "value"],
            &["HSCAN", &key, "0"],
        ] {
            assert!(redis.command(step).starts_with("WRONGTYPE"), "{step:?}");
        }
    });
}

/// Another user's sessions in the same shard add no cost.
#[test]
#[ignore = "needs Redis"]
fn other_subjects_in_the_shard_add_no_cost() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let shard = SessionId::shard_of("alice");
        let mut alices: Vec<SessionRecord> = (0..3).map(|_| session("alice")).collect();
        alices.sort_by_key(|session| session.id);
        for session in &alices {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        // The commands of a step, the elements that they read, and the bytes of the answer.
        let work = async |alices: &[SessionRecord]| {
            redis.command(&["CONFIG", "RESETSTAT"]);
            assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap(), alices);
            assert_eq!(
                store
                    .revoke_subject("alice", Some(&alices[0].id), RevokeReason::LogoutAll, LOGIN)
                    .await
                    .unwrap(),
                0
            );
            let stats = redis.command(&["INFO", "commandstats"]);
            let calls = |line: &str| Some(line.split(',').next()?.to_owned());
            let written: Vec<String> = stats.lines().filter_map(calls).collect();
            written
                .into_iter()
                .filter(|line| !line.contains("config") && !line.contains("info"))
                .collect::<BTreeSet<_>>()
        };
        let all = RevokeReason::LogoutAll;
        // Only the first session is left, so that the same work can be done twice.
        assert_eq!(
            store.revoke_subject("alice", Some(&alices[0].id), all, LOGIN).await.unwrap(),
            2
        );
        alices.truncate(1);
        // Once without counting, so that the server knows the scripts.
        work(&alices).await;
        let alone = work(&alices).await;
        let mut tasks = JoinSet::new();
        for worker in 0..10 {
            let store = store.clone();
            tasks.spawn(async move {
                for number in 0..1000 {
                    // In the shard of alice: a user who can choose a name can choose one in her
                    // shard.
                    let subject = format!("{worker} {number} alice");
                    let mut id = *SessionId::generate(&subject).unwrap().as_bytes();
                    id[..2].copy_from_slice(&shard.to_be_bytes());
                    let neighbour =
                        changed(session(&subject), |it| it.id = SessionId::from_bytes(id));
                    store.insert(&InsertRequest::new(neighbour.clone())).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(redis.command(&["ZCARD", &key_of("alice")]).trim(), "20006");
        assert_eq!(work(&alices).await, alone);
        assert!(alone.iter().any(|line| line.starts_with("cmdstat_zrange:calls=")), "{alone:?}");
    });
}

#[test]
#[ignore = "needs Redis"]
fn a_value_that_the_store_did_not_write_is_corrupt() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let (record, other) = (session("mallory"), session("mallory"));
        let (key, id) = (key_of("mallory"), record.id.to_string());
        let corrupt = Some(StoreErrorKind::Corrupt);
        let member = |value: &str| format!("{id} {value}");
        let logout_all = async || {
            let reason = RevokeReason::LogoutAll;
            store.revoke_subject("mallory", None, reason, LOGIN).await
        };

        let (first, second) = ("1 0 0 0 - - 999\nk", "2 0 1 2 3 1 - - - 1 0 1 -\nk");
        // Revoked only in part.
        let reason = "1 0 1 2 - logout 1\nk3 1 1 -\ncmallory";
        let time = "1 0 1 2 5 - 1\nk3 1 1 -\ncmallory";
        let mixed = "2 0 1 2 - - 1\nk3 1 1 -\ncmallory";
        for value in ["", "nonsense", first, reason, time, mixed, second] {
            redis.command(&["DEL", &key]);
            store.insert(&InsertRequest::new(record.clone())).await.unwrap();
            store.insert(&InsertRequest::new(other.clone())).await.unwrap();
            redis.command(&["ZREM", &key, &member(&value_of(&redis, "mallory", record.id))]);
            redis.command(&["ZADD", &key, "0", &member(value)]);
            assert_eq!(kind(store.load(&record.id).await), corrupt, "{value}");
            assert_eq!(kind(store.rotate(&request(&record, 0, LOGIN)).await), corrupt);
            let revoked = store.revoke(&record.id, RevokeReason::Logout, LOGIN).await;
            assert_eq!(kind(revoked), corrupt);
            assert_eq!(kind(store.list(&ListRequest::new("mallory", LOGIN)).await), corrupt);
            // The owner's logout fails, and her other session is revoked. Others of the shard are
            // not affected.
            assert_eq!(kind(logout_all().await), corrupt);
            assert!(store.load(&other.id).await.unwrap().unwrap().revoked.is_some());
            let neighbour = longer_subject("mallory", |shard, other| shard == other);
            let reason = RevokeReason::LogoutAll;
            assert_eq!(store.revoke_subject(&neighbour, None, reason, LOGIN).await.unwrap(), 0);
            assert_eq!(
                store.insert(&InsertRequest::new(record.clone())).await.unwrap(),
                InsertOutcome::Duplicate
            );
            assert_eq!(store.purge_expired(UnixMillis::MAX, 10).await.unwrap(), 1);
            assert_eq!(kind(store.load(&record.id).await), corrupt);
        }
        // An index entry without a session, and one with another subject's session.
        for value in [None, Some("1 0 1 2 - - 1\nk3 1 1 -\ncalice")] {
            redis.command(&["ZREMRANGEBYLEX", &key, &format!("[{id} "), &format!("[{id}!")]);
            if let Some(value) = value {
                redis.command(&["ZADD", &key, "0", &member(value)]);
            }
            assert_eq!(kind(store.list(&ListRequest::new("mallory", LOGIN)).await), corrupt);
            assert_eq!(kind(logout_all().await), corrupt);
        }
        // A number with two spellings.
        redis.command(&["DEL", &key]);
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        redis.command(&["ZREM", &key, &member(&value_of(&redis, "mallory", record.id))]);
        let end = after(3600);
        for value in [
            format!("1 00 1 {end} - - 1\nk{end} 1 1 -\ncmallory"),
            format!("2 00 1 {end} {end} 1 - - - 1 0 1 -\nkcmallory"),
        ] {
            redis.command(&["ZADD", &key, "0", &member(&value)]);
            assert_eq!(kind(store.load(&record.id).await), corrupt);
            assert_eq!(kind(store.list(&ListRequest::new("mallory", LOGIN)).await), corrupt);
            redis.command(&["ZREM", &key, &member(&value)]);
        }

        redis.command(&["DEL", &key]);
        redis.command(&["SET", &key, "a string"]);
        assert_eq!(kind(store.load(&record.id).await), corrupt);
        assert_eq!(kind(store.insert(&InsertRequest::new(record.clone())).await), corrupt);
        assert_eq!(kind(store.rotate(&request(&record, 0, LOGIN)).await), corrupt);
        assert_eq!(kind(store.list(&ListRequest::new("mallory", LOGIN)).await), corrupt);

        // A value that was unreadable in the first layout is still corrupt in this one.
        redis.command(&["DEL", &key]);
        redis.command(&["HSET", &key, &id, "1764086400000 nonsense"]);
        assert_eq!(kind(store.load(&record.id).await), corrupt);
    });
}

/// It is neither corrupt nor absent, and no step changes anything.
#[test]
#[ignore = "needs Redis"]
fn rejects_sessions_of_a_newer_version() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let (record, other) = (session("trudy"), session("trudy"));
        let (key, id) = (key_of("trudy"), record.id.to_string());
        let is_newer = |what: &str, error: Option<StoreError>| {
            let error = error.unwrap_or_else(|| panic!("{what} did not fail"));
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{what}: {error:?}");
            assert!(error.to_string().contains("written by a newer version of kippu"), "{error}");
        };
        let contents = || redis.command(&["ZRANGE", &key, "0", "-1"]);
        let within = InsertRequest::new(session("trudy")).limit(SessionLimit::evict_oldest(1));

        // A session among others.
        for value in ["3 whatever", "3 0 1 2 3 1 - - - 1 0 1 -\nkctrudy", "42 \n"] {
            redis.command(&["DEL", &key, "kippu:ended"]);
            store.insert(&InsertRequest::new(record.clone())).await.unwrap();
            redis.command(&[
                "ZREM",
                &key,
                &format!("{id} {}", value_of(&redis, "trudy", record.id)),
            ]);
            redis.command(&["ZADD", &key, "0", &format!("{id} {value}")]);
            let before = contents();
            let reason = RevokeReason::Logout;
            is_newer("load", store.load(&record.id).await.err());
            is_newer("rotate", store.rotate(&request(&record, 0, LOGIN)).await.err());
            is_newer("revoke", store.revoke(&record.id, reason, LOGIN).await.err());
            is_newer("list", store.list(&ListRequest::new("trudy", LOGIN)).await.err());
            is_newer("insert", store.insert(&within).await.err());
            is_newer("logout", store.revoke_subject("trudy", None, reason, LOGIN).await.err());
            assert_eq!(store.purge_expired(UnixMillis::MAX, 10).await.unwrap(), 0);
            assert_eq!(contents(), before);
            assert_eq!(redis.command(&["EXISTS", "kippu:ended"]).trim(), "0");
        }

        // A shard that a newer version has converted, in which this version finds nothing.
        redis.command(&["DEL", &key]);
        redis.command(&["ZADD", &key, "0", "!3"]);
        let reason = RevokeReason::Logout;
        is_newer("load", store.load(&record.id).await.err());
        is_newer("rotate", store.rotate(&request(&record, 0, LOGIN)).await.err());
        is_newer("revoke", store.revoke(&record.id, reason, LOGIN).await.err());
        is_newer("list", store.list(&ListRequest::new("trudy", LOGIN)).await.err());
        is_newer("logout", store.revoke_subject("trudy", None, reason, LOGIN).await.err());
        for request in [within, InsertRequest::new(other)] {
            is_newer("insert", store.insert(&request).await.err());
        }
        assert_eq!(contents().trim(), "!3");
        assert_eq!(redis.command(&["EXISTS", "kippu:ended"]).trim(), "0");
    });
}

/// Stores a session in two shards of each tag.
async fn fill(store: &impl RefreshStore) -> usize {
    let shards: Vec<u16> = (1..=u16::MAX).filter(|shard| matches!(shard % 64, 1 | 63)).collect();
    for shard in &shards {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&shard.to_be_bytes());
        let id = SessionId::from_bytes(id);
        assert_eq!(id.shard(), *shard);
        store
            .insert(&InsertRequest::new(changed(session("alice"), |it| it.id = id)))
            .await
            .unwrap();
    }
    shards.len()
}

/// The purge reports the corrupt shard after it has purged all others, also those with the same
/// tag.
#[test]
#[ignore = "needs Redis"]
fn a_corrupt_shard_does_not_stop_the_purge_of_others() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        redis.command(&["SET", "kippu:{000}:02", "a string"]);
        let all = fill(&store).await;
        assert_eq!(store.purge_expired(UnixMillis::MAX, 100).await.unwrap(), 100);
        assert_eq!(redis.command(&["DBSIZE"]).trim(), (all - 100 + 1).to_string());
        let purged = store.purge_expired(UnixMillis::MAX, 10_000).await;
        assert_eq!(kind(purged), Some(StoreErrorKind::Corrupt));
        assert_eq!(redis.command(&["DBSIZE"]).trim(), "1");
    });
}

/// Several calls purge a store that is too large for one deadline.
#[test]
#[ignore = "needs Redis"]
fn a_purge_that_runs_out_of_time_makes_progress() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        let all = fill(&store).await;
        let hasty = store.clone().with_deadline(Duration::from_millis(30));
        let (mut calls, mut progress) = (0, 0);
        while redis.command(&["DBSIZE"]).trim() != "0" {
            calls += 1;
            assert!(calls <= all);
            match hasty.purge_expired(UnixMillis::MAX, 10_000).await {
                Ok(_) => progress += 1,
                // Not one tag was finished in this time.
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
            }
        }
        assert!(calls > 1 && progress > 0, "{calls}, {progress}");
    });
}

#[test]
#[ignore = "needs Redis"]
fn stores_with_different_prefixes_are_separate() {
    on_server(RedisOptions::default(), |redis| async move {
        let store = bare(&redis).await;
        for prefix in ["{", "}", "{a}", "a{b", "{}"] {
            let refused = store.clone().with_prefix(prefix);
            assert_eq!(kind(refused), Some(StoreErrorKind::Misconfigured), "{prefix}");
        }
        let record = session("alice");
        for prefix in ["", "*", "kippu:", "app?"] {
            let other = store.clone().with_prefix(prefix).unwrap();
            assert_eq!(
                other.insert(&InsertRequest::new(record.clone())).await.unwrap(),
                InsertOutcome::INSERTED
            );
            assert_eq!(store.load(&record.id).await.unwrap(), None);
            assert_eq!(store.purge_expired(UnixMillis::MAX, 10).await.unwrap(), 0);
            assert_eq!(other.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(), 1);
        }
        let shown = r#"RedisStore { prefix: "kippu", deadline: 60s, .. }"#;
        assert_eq!(format!("{store:?}"), shown);
    });
}

#[test]
#[ignore = "needs Redis"]
fn each_fault_says_what_to_do() {
    let options = RedisOptions { password: Some("s3cret"), ..RedisOptions::default() };
    on_server(options, |redis| async move {
        let misconfigured = Some(StoreErrorKind::Misconfigured);
        let record = session("alice");

        // No password; then a wrong one, after the server's was changed.
        assert_eq!(kind(bare(&redis).await.load(&record.id).await), misconfigured);
        let client = Client::open(redis.url_with("", "s3cret")).unwrap();
        let manager = ConnectionManager::new(client).await.unwrap();
        let store = RedisStore::new(manager);
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        redis.command(&["CONFIG", "SET", "requirepass", "0ther"]);
        let kill = |redis: &Redis| {
            let port = redis.port().to_string();
            let mut kill = std::process::Command::new("redis-cli");
            kill.env("REDISCLI_AUTH", "0ther")
                .args(["-p", &port, "CLIENT", "KILL", "TYPE", "normal"]);
            assert!(kill.output().unwrap().status.success());
        };
        kill(&redis);
        let mut last = None;
        let refused = async {
            while last.as_ref().map(StoreError::kind) != misconfigured {
                last = store.load(&record.id).await.err();
            }
        };
        timeout(LIMIT, refused).await.unwrap();
        let error = last.unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains("the password"), "{text}");
        assert!(!text.contains("s3cret") && !text.contains("0ther"), "{text}");
    });

    on_server(RedisOptions::default(), |mut redis| async move {
        // The permissions in the documentation suffice, and fewer do not.
        let record = session("alice");
        let misconfigured = Some(StoreErrorKind::Misconfigured);
        let acl =
            "+eval +evalsha +info +pexpire +pttl +time +xadd +xrange +xtrim +zadd +zrange +zrem";
        let user = |name: &str, more: &[&str]| {
            let set = ["ACL", "SETUSER", name, "on", ">pw", "~kippu:*"];
            assert_eq!(redis.command(&[&set[..], more].concat()).trim(), "OK");
            Client::open(redis.url_with(name, "pw")).unwrap()
        };
        let enough = user("enough", &acl.split(' ').collect::<Vec<_>>());
        let store = RedisStore::new(enough.get_multiplexed_async_connection().await.unwrap());
        each_step(&store).await;
        let foreign = store.with_prefix("other").unwrap();
        assert_eq!(kind(foreign.load(&record.id).await), Some(StoreErrorKind::Misconfigured));
        let little = user("little", &["+evalsha", "+eval", "+hget"]);
        let store = RedisStore::new(little.get_multiplexed_async_connection().await.unwrap());
        let error = store.insert(&InsertRequest::new(record.clone())).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
        assert!(
            error.to_string().contains("run INFO, PEXPIRE, PTTL, TIME, XADD, XRANGE, XTRIM, ZADD"),
            "{error}"
        );
        assert!(!error.to_string().contains("7.0"), "{error}");
        // Removing a permission does not remove a session.
        let changing = user("changing", &acl.split(' ').collect::<Vec<_>>());
        let store = RedisStore::new(changing.get_multiplexed_async_connection().await.unwrap());
        let kept = session("kept");
        store.insert(&InsertRequest::new(kept.clone())).await.unwrap();
        for command in ["-zadd", "-zrem", "-zrange", "-info"] {
            let with = command.replacen('-', "+", 1);
            assert_eq!(redis.command(&["ACL", "SETUSER", "changing", command]).trim(), "OK");
            for result in [
                store.rotate(&request(&kept, 0, LOGIN)).await.err(),
                store.revoke(&kept.id, RevokeReason::Logout, LOGIN).await.err(),
            ] {
                let error = result.expect(command);
                assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error:?}");
                assert!(
                    error.to_string().contains("documentation lists the permissions"),
                    "{error}"
                );
            }
            assert_eq!(redis.command(&["ACL", "SETUSER", "changing", &with]).trim(), "OK");
            assert_eq!(store.load(&kept.id).await.unwrap().as_ref(), Some(&kept), "{command}");
        }
        // A session whose revocation cannot be logged is not revoked.
        redis.command(&["ACL", "SETUSER", "changing", "-xadd"]);
        let revoked = store.revoke(&kept.id, RevokeReason::Logout, LOGIN).await;
        assert_eq!(kind(revoked), misconfigured);
        assert_eq!(store.load(&kept.id).await.unwrap().as_ref(), Some(&kept));
        redis.command(&["ACL", "SETUSER", "changing", "-evalsha", "-eval"]);
        let error = store.load(&kept.id).await.unwrap_err();
        assert!(error.to_string().contains("documentation lists the permissions"), "{error}");

        // Without memory, a login fails and all other steps work.
        let store = managed(&redis).await;
        store.insert(&InsertRequest::new(record.clone())).await.unwrap();
        redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = store.insert(&InsertRequest::new(session("alice"))).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert!(error.to_string().contains("maxmemory"), "{error}");
        let rotated = store.rotate(&request(&record, 0, LOGIN)).await.unwrap();
        assert!(matches!(rotated, RotateOutcome::Rotated(_)), "{rotated:?}");
        assert!(store.revoke(&record.id, RevokeReason::Logout, LOGIN).await.unwrap());
        assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap(), []);
        redis.command(&["CONFIG", "SET", "maxmemory", "0"]);

        let unavailable = Some(StoreErrorKind::Unavailable);
        // The server is gone. A bare connection that is lost stays lost.
        let bare = bare(&redis).await;
        bare.load(&record.id).await.unwrap();
        redis.stop();
        assert_eq!(kind(bare.load(&record.id).await), unavailable);
        redis.restart();
        assert_eq!(kind(bare.load(&record.id).await), unavailable);
    });
}
