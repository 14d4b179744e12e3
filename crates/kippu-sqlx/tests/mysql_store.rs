//! The store in MariaDB, on servers that these tests start: the conformance suite, each step, races
//! over several pools, wrong settings, and a server that stops under load.
#![cfg(feature = "mysql")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    error::Error,
    fmt::Write,
    iter,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use kippu::{
    NumericDate,
    session::{
        RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionRecord, StoreError,
        StoreErrorKind, UnixMillis,
        conformance::{Harness, Stall, Suite},
        rotation::{AheadPolicy, MAX_GENERATION, RotateOutcome, Successor},
        store::{EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest, SessionLimit},
    },
};
use kippu_sqlx::MySqlStore;
use kippu_test_support::{mysql as mysql_server, proxy, races, records, servers};
use sqlx::{
    AssertSqlSafe, MySqlPool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

#[path = "mysql_store/replicas.rs"]
mod replicas;
#[path = "mysql_store/stalls.rs"]
mod stalls;

use self::{
    mysql_server::MySql,
    races::{Pair, Seen, more},
    records::{LOGIN, after, changed, kind, request, session},
};

const LIMIT: Duration = Duration::from_secs(60);

/// Returns a server that all tests share which leave it running. It stops after the last of them.
fn server() -> Arc<MySql> {
    static SERVER: Mutex<Weak<MySql>> = Mutex::new(Weak::new());

    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(MySql::start());
    *shared = Arc::downgrade(&server);
    server
}

fn pool_of(url: &str, size: u32) -> MySqlPool {
    let options: MySqlConnectOptions = url.parse().unwrap();
    MySqlPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(20))
        .connect_lazy_with(options)
}

fn pool(url: &str) -> MySqlPool {
    pool_of(url, 8)
}

/// Runs a statement as the application's user.
async fn sql(pool: &MySqlPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(pool).await.unwrap();
}

async fn store(url: &str) -> MySqlStore {
    let store = patient(pool(url));
    store.create_schema().await.unwrap();
    store
}

/// Makes a store for races, with a deadline that a busy machine does not reach.
fn patient(pool: MySqlPool) -> MySqlStore {
    MySqlStore::new(pool).with_deadline(LIMIT)
}

async fn add(store: &MySqlStore, session: &SessionRecord) {
    let outcome = store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    assert_eq!(outcome, InsertOutcome::INSERTED);
}

async fn list(store: &MySqlStore, subject: &str, now: UnixMillis) -> Vec<SessionRecord> {
    store.list(&ListRequest::new(subject, now)).await.unwrap()
}

/// Returns all ids of the log after a cursor.
async fn ended(store: &MySqlStore, cursor: &mut EndedCursor) -> Vec<SessionId> {
    let mut ids = Vec::new();
    loop {
        let page = store.ended_after(cursor).await.unwrap();
        ids.extend(page.ids);
        *cursor = page.next;
        if page.is_last {
            return ids;
        }
    }
}

/// Returns the stored record. It must equal `wanted`, except for the time that the server counted
/// as a wait before it rotated at `at`.
async fn stored(store: &MySqlStore, wanted: &SessionRecord, at: UnixMillis) -> SessionRecord {
    let found = store.load(&wanted.id).await.unwrap().unwrap();
    let wait = found.rotated_at.saturating_since(at);
    assert!(wait < LIMIT, "{found:?}");
    let expires_at = wanted.expires_at.saturating_add(wait).min(wanted.absolute_expires_at);
    assert_eq!(
        found,
        changed(wanted.clone(), |it| {
            it.rotated_at = at.saturating_add(wait);
            it.expires_at = expires_at;
        })
    );
    found
}

/// Returns everything about an error that a log could show.
fn text(error: &StoreError) -> String {
    let mut text = format!("{error} {error:?}");
    let causes = iter::successors(error.source(), |cause| (*cause).source());
    causes.for_each(|cause| write!(text, " {cause} {cause:?}").unwrap());
    text
}

/// Each handle has a separate pool, like the one of another process.
struct Conformance(String);

impl Harness for Conformance {
    type Store = MySqlStore;

    async fn open(&self) -> MySqlStore {
        MySqlStore::new(pool_of(&self.0, 8))
    }

    async fn stall(&self) -> Option<Stall> {
        let pool = pool_of(&self.0, 1);
        let mut holder = pool.acquire().await.unwrap();
        let lock = "LOCK TABLES kippu_sessions WRITE, kippu_state WRITE, kippu_ended WRITE";
        sqlx::raw_sql(lock).execute(&mut *holder).await.unwrap();
        Some(Stall::new(async move {
            sqlx::raw_sql("UNLOCK TABLES").execute(&mut *holder).await.unwrap();
        }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn passes_the_conformance_suite() {
    let server = server();
    let url = server.url_of(&server.database());
    store(&url).await;
    let report = Suite::new().rounds(4).run(&Conformance(url)).await;
    println!("{report}");
    report.assert_passed();
}
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn each_step() {
    let server = server();
    let store = store(&server.url_of(&server.database())).await;
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

    // A rotation, its replay within the grace period, a token ahead of the store.
    let outcome = store.rotate(&request(&alice, 0, after(10))).await.unwrap();
    let (kid, expires_at) = ("k2".to_owned(), after(3610));
    let wanted = changed(alice.clone(), |it| {
        it.generation = 1;
        it.kid = kid;
        it.expires_at = expires_at;
    });
    let expires_at = stored(&store, &wanted, after(10)).await.expires_at;
    let first = Successor::new(1, "k2", expires_at);
    assert_eq!(outcome, RotateOutcome::Rotated(first.clone()));
    let later = changed(request(&alice, 0, after(40)), |it| it.kid = "k3".to_owned());
    assert_eq!(store.rotate(&later).await.unwrap(), RotateOutcome::Replayed(first));
    let outcome = store.rotate(&request(&alice, 5, after(50))).await.unwrap();
    let refusing = changed(request(&alice, 7, after(50)), |it| it.ahead = AheadPolicy::Refuse);
    assert_eq!(store.rotate(&refusing).await.unwrap(), RotateOutcome::Ahead { lost: 1 });
    let wanted = changed(wanted, |it| {
        it.generation = 6;
        it.expires_at = after(3650);
    });
    let healed = stored(&store, &wanted, after(50)).await;
    let (kid, expires_at) = ("k2".to_owned(), healed.expires_at);
    let successor = Successor::new(6, kid, expires_at);
    assert_eq!(outcome, RotateOutcome::Healed { successor, lost: 4 });

    // The end never exceeds the absolute end. At that time the session has expired. The last
    // generation has no successor.
    let outcome = store.rotate(&request(&alice, 6, healed.expires_at)).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Expired);
    let long = changed(request(&alice, 6, after(60)), |it| it.idle_lifetime = Duration::MAX);
    let RotateOutcome::Rotated(successor) = store.rotate(&long).await.unwrap() else { panic!() };
    assert_eq!(successor.expires_at, alice.absolute_expires_at);
    let outcome = store.rotate(&request(&alice, 7, after(86_400))).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Expired);
    for last in [MAX_GENERATION, u64::MAX] {
        let outcome = store.rotate(&request(&alice, last, after(60))).await.unwrap();
        assert_eq!(outcome, RotateOutcome::Expired);
    }

    // The earlier of the two ends applies.
    let aged = changed(session("alice"), |it| it.absolute_expires_at = after(10));
    add(&store, &aged).await;
    let outcome = store.rotate(&request(&aged, 0, after(10))).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Expired);

    // A token that was used long ago revokes the session. The reason stays.
    let outcome = store.rotate(&request(&alice, 2, after(70))).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Reused);
    let outcome = store.rotate(&request(&alice, 7, after(70))).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Revoked(RevokeReason::Reuse));
    assert!(!store.revoke(&alice.id, RevokeReason::Logout, after(80)).await.unwrap());
    let record = store.load(&alice.id).await.unwrap().unwrap();
    assert_eq!(record.revoked, Some(Revoked { at: after(70), reason: RevokeReason::Reuse }));

    // An unknown id.
    let nobody = session("nobody");
    let outcome = store.rotate(&request(&nobody, 0, LOGIN)).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Unknown);
    assert!(!store.revoke(&nobody.id, RevokeReason::Logout, LOGIN).await.unwrap());
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn revokes_and_lists_the_sessions_of_a_subject() {
    let server = server();
    let store = store(&server.url_of(&server.database())).await;
    let reason = RevokeReason::LogoutAll;
    // Subjects that are equal under many collations, but different here, and texts that mean
    // something in SQL, LIKE and paths.
    let subjects =
        ["bob", "Bob", "bob ", "b\u{f6}b", "bo\u{308}b", "%", "'; DROP TABLE x; --", "😀"];
    let mut kept = Vec::new();
    for subject in subjects {
        let mut sessions: Vec<_> = (0..3).map(|_| session(subject)).collect();
        sessions[2].created_at = after(0).saturating_add(Duration::from_millis(1));
        for session in &sessions {
            add(&store, session).await;
        }
        sessions.sort_by_key(|session| (session.created_at, session.id));
        kept.push(sessions);
    }
    for sessions in &kept {
        let subject = &*sessions[0].subject;
        assert_eq!(&store.list(&ListRequest::new(subject, LOGIN)).await.unwrap(), sessions);
        assert_eq!(store.list(&ListRequest::new(subject, after(3600))).await.unwrap(), []);
    }
    // All sessions except one, then that one, then none is left. Expired sessions count, too.
    let [bob, capital, ..] = &kept[..] else { panic!() };
    let keep = Some(&bob[1].id);
    assert_eq!(store.revoke_subject("bob", keep, reason, after(9999)).await.unwrap(), 2);
    assert_eq!(store.list(&ListRequest::new("bob", LOGIN)).await.unwrap(), bob[1..2]);
    assert_eq!(store.revoke_subject("bob", None, reason, after(1)).await.unwrap(), 1);
    assert_eq!(store.revoke_subject("bob", None, reason, after(1)).await.unwrap(), 0);
    assert_eq!(store.list(&ListRequest::new("bob", LOGIN)).await.unwrap(), []);
    let aged = changed(session("bob"), |it| it.absolute_expires_at = after(10));
    add(&store, &aged).await;
    assert_eq!(store.list(&ListRequest::new("bob", after(10))).await.unwrap(), []);
    assert_eq!(&store.list(&ListRequest::new("Bob", LOGIN)).await.unwrap(), capital);
    let outcome = store.rotate(&request(&bob[0], 0, LOGIN)).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Revoked(reason));
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn stores_the_extreme_values() {
    let server = server();
    let store = store(&server.url_of(&server.database())).await;
    let longest = "é".repeat(256);
    for (subject, time, generation, label) in [
        ("a", UnixMillis::MIN, 0, None),
        (&*longest, UnixMillis::MAX, MAX_GENERATION, Some("é".repeat(64))),
    ] {
        for revoked in iter::once(None)
            .chain(RevokeReason::ALL.iter().map(|&reason| Some(Revoked { at: time, reason })))
        {
            let id = SessionId::generate(subject).unwrap();
            let session = SessionRecord::new(id, subject, subject, "k".repeat(64), time, time);
            let session = changed(session, |it| {
                it.label.clone_from(&label);
                it.generation = generation;
                it.revoked = revoked;
            });
            assert_eq!(
                store.insert(&InsertRequest::new(session.clone())).await.unwrap(),
                InsertOutcome::INSERTED
            );
            assert_eq!(store.load(&session.id).await.unwrap(), Some(session));
        }
    }
    let beyond = changed(session("a"), |it| it.generation = u64::MAX);
    assert_eq!(
        kind(store.insert(&InsertRequest::new(beyond.clone())).await),
        Some(StoreErrorKind::Corrupt)
    );
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_purge_removes_only_ended_sessions() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    let unused = changed(session("alice"), |it| it.expires_at = after(10));
    // The store never writes this end, but a session with it has expired.
    let aged = changed(session("alice"), |it| it.absolute_expires_at = after(10));
    let revoked = Some(Revoked { at: LOGIN, reason: RevokeReason::Logout });
    let (live, left) = (session("alice"), changed(session("alice"), |it| it.revoked = revoked));
    for session in [&unused, &aged, &live, &left] {
        add(&store, session).await;
    }
    let before = UnixMillis::new(after(10).get() - 1);
    assert_eq!(store.purge_expired(before, 10).await.unwrap(), 0);
    assert_eq!(store.purge_expired(after(10), 0).await.unwrap(), 0);
    assert_eq!(store.purge_expired(after(10), 10).await.unwrap(), 2);
    assert_eq!(store.load(&unused.id).await.unwrap(), None);
    assert_eq!(store.load(&aged.id).await.unwrap(), None);
    assert_eq!(store.purge_expired(after(10), 10).await.unwrap(), 0);
    assert_eq!(store.load(&live.id).await.unwrap(), Some(live.clone()));
    assert_eq!(store.load(&left.id).await.unwrap(), Some(left));
    // A removed session does not come back.
    let outcome = store.rotate(&request(&unused, 0, LOGIN)).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Unknown);

    // A purge skips a row that another transaction has locked, and does not wait.
    let (held, free) = (unused.clone(), aged.clone());
    add(&store, &held).await;
    add(&store, &free).await;
    let mut holder = pool(&url).begin().await.unwrap();
    sqlx::query("SELECT id FROM kippu_sessions WHERE id = ? FOR UPDATE")
        .bind(held.id.as_bytes().as_slice())
        .fetch_one(&mut *holder)
        .await
        .unwrap();
    let purge = timeout(LIMIT, store.purge_expired(after(10), 10));
    assert_eq!(purge.await.expect("it waits").unwrap(), 1);
    assert_eq!(store.load(&free.id).await.unwrap(), None);
    holder.rollback().await.unwrap();
    assert_eq!(store.purge_expired(after(10), 10).await.unwrap(), 1);

    // Never more than the limit, whatever the query plan.
    for _ in 0..100 {
        store
            .insert(&InsertRequest::new(changed(session("bob"), |it| it.expires_at = LOGIN)))
            .await
            .unwrap();
    }
    for _ in 0..2 {
        assert_eq!(store.purge_expired(after(10), 7).await.unwrap(), 7);
    }
    assert_eq!(store.purge_expired(after(10), u32::MAX).await.unwrap(), 86);
}

/// The clock of one host of several is ahead, while the sessions of all users are live.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_purge_by_a_clock_that_is_ahead_removes_no_live_session() {
    let server = server();
    let store = store(&server.url_of(&server.database())).await;
    let now = UnixMillis::from(NumericDate::now());
    let at = |seconds: u64| now.saturating_add(Duration::from_secs(seconds));
    let live = changed(session("a"), |it| {
        it.expires_at = at(60);
        it.absolute_expires_at = at(3600);
    });
    let aged = changed(session("b"), |it| {
        it.expires_at = at(3600);
        it.absolute_expires_at = at(60);
    });
    let over = changed(session("c"), |it| {
        it.expires_at = now;
        it.absolute_expires_at = at(3600);
    });
    for session in [&live, &aged, &over] {
        add(&store, session).await;
    }
    // A host whose clock is behind removes fewer sessions, not more.
    assert_eq!(store.purge_expired(LOGIN, 10).await.unwrap(), 0);
    assert_eq!(store.purge_expired(at(100 * 86_400), 10).await.unwrap(), 1);
    assert_eq!(store.purge_expired(UnixMillis::MAX, 10).await.unwrap(), 0);
    assert_eq!(store.load(&over.id).await.unwrap(), None);
    for session in [live, aged] {
        assert_eq!(store.load(&session.id).await.unwrap(), Some(session));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn races_over_several_pools() {
    let server = server();
    let url = server.url_of(&server.database());
    store(&url).await;
    races::run(|connections| patient(pool_of(&url, connections))).await;
}

/// Every field of a record survives rotations and new data, also texts with characters that
/// collations ignore.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn every_field_survives_rotations() {
    let server = server();
    let store = store(&server.url_of(&server.database())).await;
    let session = changed(session("alice  "), |it| {
        it.client = "web \0 \u{feff}".to_owned();
        it.label = Some(String::new());
        it.remembered = false;
        it.idle_lifetime = Some(Duration::from_millis(1_234_567));
        it.auth_time = after(1);
        it.data = SessionData::new(vec![0xff; 1024]).unwrap();
    });
    add(&store, &session).await;
    assert_eq!(store.load(&session.id).await.unwrap(), Some(session.clone()));
    assert_eq!(list(&store, "alice", LOGIN).await, []);
    assert_eq!(list(&store, "alice  ", LOGIN).await, std::slice::from_ref(&session));
    let proven = changed(request(&session, 0, after(5)), |it| {
        it.auth_time = Some(after(4));
        it.data = Some(SessionData::default());
        it.was_current = true;
    });
    let outcome = store.rotate(&proven).await.unwrap();
    let wanted = changed(session.clone(), |it| {
        it.generation = 1;
        it.kid = "k2".to_owned();
        it.auth_time = after(4);
        it.data = SessionData::default();
        it.expires_at = after(5).saturating_add(Duration::from_millis(1_234_567));
    });
    let found = stored(&store, &wanted, after(5)).await;
    assert_eq!(outcome, RotateOutcome::Rotated(Successor::new(1, "k2", found.expires_at)));
    // They stay unchanged if the request does not set them.
    store.rotate(&request(&session, 1, after(6))).await.unwrap();
    let found = store.load(&session.id).await.unwrap().unwrap();
    assert_eq!((found.auth_time, &found.data), (after(4), &SessionData::default()));
    // Within the grace period a reauthentication keeps the token, whether it was read before the
    // rotation or after it. A driver may repeat the request.
    let mut wanted = found;
    for generation in [1, 2, 2] {
        let again = changed(request(&session, generation, after(7)), |it| {
            it.auth_time = Some(after(7));
            it.was_current = true;
        });
        wanted.auth_time = after(7);
        let outcome = store.rotate(&again).await.unwrap();
        let kept = Successor::new(2, "k2", wanted.expires_at);
        assert_eq!(outcome, RotateOutcome::Reauthenticated(kept));
        assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(&wanted));
    }
    // A reauthentication for a generation that is no longer current changes nothing.
    assert_eq!(store.rotate(&proven).await.unwrap(), RotateOutcome::Overtaken);
}

/// A list in pages, with sessions of the same time and of different times.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_list_is_returned_in_pages() {
    let server = server();
    let store = store(&server.url_of(&server.database())).await;
    let mut sessions: Vec<_> = (0..10)
        .map(|number| changed(session("alice"), |it| it.created_at = after(number / 4)))
        .collect();
    for session in &sessions {
        add(&store, session).await;
    }
    sessions.sort_by_key(|session| (session.created_at, session.id));
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let request = changed(ListRequest::new("alice", after(5)), |it| {
            it.limit = 3;
            it.after = cursor;
        });
        let page = store.list(&request).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        cursor = Some(ListCursor::of(last));
        found.extend(page);
    }
    assert_eq!(found, sessions);
    let none = changed(ListRequest::new("alice", after(5)), |it| it.limit = 0);
    assert_eq!(store.list(&none).await.unwrap(), []);
}

/// 64 logins of one subject over 4 pools: the limit allows five, in each mode.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn concurrent_logins_do_not_exceed_the_limit() {
    let server = server();
    let url = server.url_of(&server.database());
    let stores: Vec<_> = (0..4).map(|_| patient(pool_of(&url, 8))).collect();
    stores[0].create_schema().await.unwrap();
    for limit in [SessionLimit::evict_oldest(5), SessionLimit::refuse(5)] {
        let subject = format!("evicts: {}", limit.evicts());
        let mut cursor = EndedCursor::default();
        ended(&stores[0], &mut cursor).await;
        let barrier = Arc::new(Barrier::new(64));
        let mut logins = JoinSet::new();
        for store in stores.iter().cycle().take(64) {
            let (store, barrier) = (store.clone(), Arc::clone(&barrier));
            let request = InsertRequest::new(session(&subject)).limit(limit);
            logins.spawn(async move {
                barrier.wait().await;
                store.insert(&request).await.unwrap()
            });
        }
        let (mut added, mut refused, mut evicted) = (0, 0, Vec::new());
        for outcome in logins.join_all().await {
            match outcome {
                InsertOutcome::Inserted { evicted: ids } => {
                    added += 1;
                    evicted.extend(ids);
                }
                InsertOutcome::LimitReached => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(list(&stores[0], &subject, LOGIN).await.len(), 5);
        let wanted = if limit.evicts() { (64, 0, 59) } else { (5, 59, 0) };
        assert_eq!((added, refused, evicted.len()), wanted);
        let mut logged = ended(&stores[1], &mut cursor).await;
        logged.sort_unstable();
        evicted.sort_unstable();
        assert_eq!(logged, evicted);
        for id in evicted {
            let record = stores[2].load(&id).await.unwrap().unwrap();
            assert_eq!(record.revoked.map(|revoked| revoked.reason), Some(RevokeReason::Limit));
        }
    }
    // The lock is released: the next login does not wait until a connection ends.
    let hasty = stores[3].clone().with_deadline(Duration::from_secs(20));
    let request = InsertRequest::new(session("evicts: true")).limit(SessionLimit::evict_oldest(5));
    assert!(hasty.insert(&request).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn eight_nodes_create_the_tables_at_once() {
    let server = server();
    for _ in 0..5 {
        let url = server.url_of(&server.database());
        let barrier = Arc::new(Barrier::new(8));
        let mut nodes = JoinSet::new();
        for _ in 0..8 {
            let (pool, barrier) = (pool_of(&url, 1), Arc::clone(&barrier));
            nodes.spawn(async move {
                sql(&pool, "DO 1").await;
                barrier.wait().await;
                let store = patient(pool);
                store.create_schema().await.unwrap();
                add(&store, &session("alice")).await;
                assert!(
                    store.revoke(&session("bob").id, RevokeReason::Logout, LOGIN).await.is_ok()
                );
            });
        }
        while let Some(node) = nodes.join_next().await {
            node.unwrap();
        }
        // Applications that migrate by themselves run the same script.
        let pool = pool(&url);
        sql(&pool, MySqlStore::SCHEMA).await;
        let store = patient(pool);
        store.create_schema().await.unwrap();
        assert_eq!(list(&store, "alice", LOGIN).await.len(), 8);
        assert_eq!(ended(&store, &mut EndedCursor::default()).await.len(), 8);
    }
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn tables_of_a_newer_version_are_rejected() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, admin) = (store(&url).await, pool(&url));
    let alice = session("alice");
    add(&store, &alice).await;
    sql(&admin, "UPDATE kippu_state SET version = 2").await;
    for result in [
        store.create_schema().await,
        store.load(&alice.id).await.map(|_| ()),
        store.rotate(&request(&alice, 0, LOGIN)).await.map(|_| ()),
        store.ended_after(&EndedCursor::default()).await.map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}

/// A transaction that has taken its number blocks all later ones until it has committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn the_log_misses_no_transaction_that_commits_late() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, pool) = (store(&url).await, pool(&url));
    let (held, later) = (session("alice").id, session("alice").id);
    let mut late = pool.begin().await.unwrap();
    let statement = "UPDATE kippu_state SET seq = seq + 1, tag = REPEAT('x', 16)";
    sqlx::raw_sql(statement).execute(&mut *late).await.unwrap();
    sqlx::query("INSERT INTO kippu_ended SELECT seq, ?, tag, 0 FROM kippu_state")
        .bind(held.as_bytes().as_slice())
        .execute(&mut *late)
        .await
        .unwrap();
    let revoking = tokio::spawn({
        let store = store.clone();
        async move { store.revoke(&later, RevokeReason::Logout, LOGIN).await }
    });
    sleep(Duration::from_millis(200)).await;
    assert!(!revoking.is_finished());
    let mut cursor = EndedCursor::default();
    assert_eq!(ended(&store, &mut cursor).await, []);
    late.commit().await.unwrap();
    assert!(!revoking.await.unwrap().unwrap());
    assert_eq!(ended(&store, &mut cursor).await, [held, later]);
    assert_eq!(ended(&store, &mut cursor).await, []);
}

/// After a restored backup, or a crash that lost the last entries, the log no longer has the
/// cursor's entry.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_log_that_lost_its_end_is_read_from_its_beginning() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, pool) = (store(&url).await, pool(&url));
    let ids = [(); 5].map(|()| session("alice").id);
    let revoke = async |id| store.revoke(&id, RevokeReason::Logout, LOGIN).await.unwrap();
    let [kept, lost, retried, other, newest] = ids;
    revoke(kept).await;
    let backup: (i64, Vec<u8>) =
        sqlx::query_as("SELECT seq, tag FROM kippu_state").fetch_one(&pool).await.unwrap();
    revoke(lost).await;
    revoke(retried).await;
    let mut cursor = EndedCursor::default();
    assert_eq!(ended(&store, &mut cursor).await, [kept, lost, retried]);
    sqlx::query("UPDATE kippu_state SET seq = ?, tag = ?")
        .bind(backup.0)
        .bind(backup.1)
        .execute(&pool)
        .await
        .unwrap();
    sql(&pool, "DELETE FROM kippu_ended WHERE seq > 1").await;
    // With fewer entries than before, and with the same id at the cursor's number.
    let mut early = cursor.clone();
    revoke(other).await;
    assert_eq!(ended(&store, &mut early).await, [kept, other]);
    revoke(retried).await;
    assert_eq!(ended(&store, &mut cursor).await, [kept, other, retried]);
    assert_eq!(ended(&store, &mut early).await, [retried]);
    // A cursor stays valid after its entry was removed.
    assert_eq!(store.trim_ended(Duration::ZERO).await.unwrap(), 3);
    assert_eq!(ended(&store, &mut cursor).await, []);
    revoke(newest).await;
    assert_eq!(ended(&store, &mut cursor).await, [newest]);
    assert_eq!(store.trim_ended(Duration::from_secs(3600)).await.unwrap(), 0);
    // A cursor of another store.
    let mut foreign = EndedCursor::new(*b"another store's, and long enough");
    assert_eq!(ended(&store, &mut foreign).await, [newest]);
}

/// More than a page, from one transaction and from many.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_long_log_is_returned_in_pages() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, pool) = (store(&url).await, pool(&url));
    let fill = "INSERT INTO kippu_sessions SELECT UNHEX(LPAD(HEX(seq), 32, '0')), 'alice', 'web', NULL, 1, 4000000000000, 1, \
                NULL, 1, '', 0, '1', 1, 4000000000000, NULL, NULL FROM seq_1_to_25000";
    sql(&pool, fill).await;
    let (reason, bob) = (RevokeReason::LogoutAll, session("bob").id);
    assert_eq!(store.revoke_subject("alice", None, reason, after(1)).await.unwrap(), 25_000);
    store.revoke(&bob, RevokeReason::Logout, LOGIN).await.unwrap();
    let first = store.ended_after(&EndedCursor::default()).await.unwrap();
    assert!(!first.is_last);
    let mut cursor = EndedCursor::default();
    let ids = ended(&store, &mut cursor).await;
    assert_eq!((ids.len(), ids.last()), (25_001, Some(&bob)));
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 25_001);
    assert_eq!(store.trim_ended(Duration::ZERO).await.unwrap(), 25_001);
    assert_eq!(list(&store, "alice", LOGIN).await, []);
}

/// A table of several portions. A call stops when it has used half of its deadline.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_large_table_is_purged_by_several_calls() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, pool) = (store(&url).await, pool(&url));
    let fill = "INSERT INTO kippu_sessions SELECT UNHEX(MD5(seq)), CONCAT('user ', seq), 'web', NULL, 1, 2, 1, NULL, 1, '', 0, \
                '1', 1, 2, NULL, NULL FROM seq_1_to_30000";
    sql(&pool, fill).await;
    let live = session("alice");
    add(&store, &live).await;
    assert_eq!(store.purge_expired(after(10), 7).await.unwrap(), 7);
    // Wherever a call begins, it continues to the end and then from the beginning.
    for _ in 0..4 {
        let other = patient(pool.clone());
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM kippu_sessions")
            .fetch_one(&pool)
            .await
            .unwrap();
        let removed = other.purge_expired(after(10), u32::MAX).await.unwrap();
        assert_eq!(i64::try_from(removed).unwrap(), left - 1);
        sql(&pool, fill).await;
    }
    let hasty = store.clone().with_deadline(Duration::from_millis(400));
    let (mut calls, mut progress) = (0, 0);
    let count = "SELECT COUNT(*) FROM kippu_sessions";
    while sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap() > 1 {
        calls += 1;
        assert!(calls < 1000, "{progress}");
        match hasty.purge_expired(after(10), 4000).await {
            Ok(_) => progress += 1,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
        }
    }
    assert!(progress > 0);
    assert_eq!(store.purge_expired(after(10), u32::MAX).await.unwrap(), 0);
    assert_eq!(store.load(&live.id).await.unwrap(), Some(live));
}

async fn kinds_of_all(store: &MySqlStore) -> Vec<(&'static str, Option<StoreError>)> {
    let (alice, reason) = (session("alice"), RevokeReason::Logout);
    let insert = InsertRequest::new(alice.clone());
    let limited = InsertRequest::new(session("alice")).limit(SessionLimit::evict_oldest(1));
    let overtaken = changed(request(&alice, 0, LOGIN), |it| it.was_current = true);
    vec![
        ("load", store.load(&alice.id).await.err()),
        ("list", store.list(&ListRequest::new("alice", LOGIN)).await.err()),
        ("insert", store.insert(&insert).await.err()),
        ("insert within a limit", store.insert(&limited).await.err()),
        ("rotate", store.rotate(&request(&alice, 0, LOGIN)).await.err()),
        ("rotate again", store.rotate(&overtaken).await.err()),
        ("revoke", store.revoke(&alice.id, reason, LOGIN).await.err()),
        ("revoke_subject", store.revoke_subject("alice", None, reason, LOGIN).await.err()),
        ("purge_expired", store.purge_expired(LOGIN, 1).await.err()),
        ("ended_after", store.ended_after(&EndedCursor::default()).await.err()),
        ("trim_ended", store.trim_ended(Duration::ZERO).await.err()),
    ]
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_missing_table_says_what_to_do() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = patient(pool(&url));
    let all_fail = async || {
        for (step, error) in kinds_of_all(&store).await {
            let error = error.unwrap_or_else(|| panic!("{step}"));
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{step}: {error}");
            let text = error.to_string();
            assert!(text.contains("create_schema") && text.contains("SCHEMA"), "{step}: {text}");
        }
    };
    all_fail().await;
    // Then it works.
    store.create_schema().await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
    // The same holds for the row that each step reads.
    sql(&pool(&url), "DELETE FROM kippu_state").await;
    assert_eq!(kind(store.load(&session("a").id).await), Some(StoreErrorKind::Misconfigured));
    store.create_schema().await.unwrap();
    assert_eq!(store.load(&session("a").id).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn no_error_shows_a_password() {
    let server = server();
    let database = server.database();
    let guarded = format!("guarded_{database}");
    server.sql(&format!("CREATE USER {guarded}@'127.0.0.1' IDENTIFIED BY 'correct-horse'"));
    for url in [
        server.url_for(&guarded, Some("hunter2"), &database),
        server.url_for(&guarded, Some("correct-horse"), "hunter2_no_such_database"),
        server.url_for("nobody", Some("hunter2"), &database),
        "mysql://user:hunter2@127.0.0.1:port/database".to_owned(),
        "mysql://user:hunter2@127.0.0.1/database?ssl-mode=hunter2".to_owned(),
        "user:hunter2@127.0.0.1".to_owned(),
        "postgres://user:hunter2@127.0.0.1/database".to_owned(),
        String::new(),
    ] {
        let error = MySqlStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
        let text = text(&error);
        assert!(!text.contains("correct-horse"), "{text}");
        assert!(url.contains("no_such") || !text.contains("hunter2"), "{text}");
        assert!(url.is_empty() || !text.contains(&url), "{text}");
    }
    // A user that may only use the tables does not need the right to create them. A verifier only
    // reads.
    server.sql(&format!("CREATE TABLE {database}.other (id INT)"));
    let grant = |what: &str| server.sql(&format!("GRANT {what} TO {guarded}@'127.0.0.1'"));
    grant(&format!("SELECT ON {database}.other"));
    let url = server.url_for(&guarded, Some("correct-horse"), &database);
    let store = MySqlStore::connect(&url).await.unwrap();
    let error = store.create_schema().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("GRANT"), "{error}");
    patient(pool(&server.url_of(&database))).create_schema().await.unwrap();
    grant(&format!("SELECT ON {database}.kippu_ended"));
    grant(&format!("SELECT ON {database}.kippu_state"));
    let pool = pool(&url);
    let store = patient(pool.clone());
    store.ended_after(&EndedCursor::default()).await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        if step != "ended_after" {
            let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{step}: {error}");
        }
    }
    grant(&format!("SELECT, INSERT, UPDATE, DELETE ON {database}.kippu_sessions"));
    grant(&format!("SELECT, INSERT, UPDATE, DELETE ON {database}.kippu_ended"));
    grant(&format!("SELECT, UPDATE ON {database}.kippu_state"));
    store.create_schema().await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

/// A failed step leaves nothing on its connection: neither a lock, nor a transaction that locks a
/// row.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_failed_step_leaves_no_lock() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, admin) = (store(&url).await, pool(&url));
    let other = patient(pool(&url)).with_deadline(Duration::from_secs(20));
    let alice = session("alice");
    add(&store, &alice).await;
    let limited = |client: &str| {
        let session = changed(session("alice"), |it| it.client = client.to_owned());
        InsertRequest::new(session).limit(SessionLimit::evict_oldest(5))
    };
    sql(&admin, "ALTER TABLE kippu_sessions ADD CONSTRAINT none CHECK (client <> 'none')").await;
    let refused = store.insert(&limited("none")).await;
    assert_eq!(kind(refused), Some(StoreErrorKind::Misconfigured));
    assert_eq!(other.insert(&limited("app")).await.unwrap(), InsertOutcome::INSERTED);
    sql(&admin, "DELETE FROM kippu_state").await;
    let reason = RevokeReason::Logout;
    let refused = store.revoke(&alice.id, reason, LOGIN).await;
    assert_eq!(kind(refused), Some(StoreErrorKind::Misconfigured));
    store.create_schema().await.unwrap();
    let outcome = other.rotate(&request(&alice, 0, LOGIN)).await.unwrap();
    assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
}

#[tokio::test]
async fn an_address_without_a_server_is_unavailable() {
    let url = format!("mysql://app@127.0.0.1:{}/database", servers::free_port());
    let options: MySqlConnectOptions = url.parse().unwrap();
    let pool = MySqlPoolOptions::new().acquire_timeout(Duration::from_millis(50));
    let store = MySqlStore::new(pool.connect_lazy_with(options));
    for (step, error) in kinds_of_all(&store).await {
        assert_eq!(error.map(|error| error.kind()), Some(StoreErrorKind::Unavailable), "{step}");
    }
    let closed = MySqlPool::connect_lazy(&url).unwrap();
    closed.close().await;
    let error = MySqlStore::new(closed).create_schema().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// The store rejects settings under which it would be wrong.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn rejects_settings_that_would_make_it_wrong() {
    let server = server();
    let url = server.url_of(&server.database());
    let good = store(&url).await;
    let alice = session("alice");
    add(&good, &alice).await;
    for (setting, word) in [
        ("SET autocommit = 0", "autocommit"),
        (
            "SET sql_mode = CONCAT(@@sql_mode, ',SIMULTANEOUS_ASSIGNMENT')",
            "SIMULTANEOUS_ASSIGNMENT",
        ),
    ] {
        let options: MySqlConnectOptions = url.parse().unwrap();
        let pool = MySqlPoolOptions::new()
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    sqlx::raw_sql(setting).execute(connection).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        let store = patient(pool);
        let current = changed(request(&alice, 0, LOGIN), |it| it.was_current = true);
        for result in [
            store.load(&alice.id).await.map(|_| ()),
            store.rotate(&request(&alice, 0, LOGIN)).await.map(|_| ()),
            store.rotate(&current).await.map(|_| ()),
        ] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
            assert!(error.to_string().contains(word), "{error}");
        }
        if word == "autocommit" {
            let error = store.insert(&InsertRequest::new(session("bob"))).await.unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }
    assert_eq!(good.load(&alice.id).await.unwrap(), Some(alice));
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn rejects_rows_that_the_store_did_not_write() {
    let server = server();
    let url = server.url_of(&server.database());
    let (store, admin) = (store(&url).await, pool_of(&url, 1));
    sql(&admin, "SET check_constraint_checks = 0, sql_mode = ''").await;
    for change in [
        "subject = ''",
        "subject = x'ff'",
        "kid = ''",
        "remembered = 2",
        "idle_lifetime = -1",
        "generation = -1",
        "generation = 9007199254740992",
        "created_at = 9223372036854775807",
        "expires_at = -9007199254740992",
        "revoked_at = 1",
        "revoked_reason = 'logout'",
        "revoked_at = 1, revoked_reason = 'whim'",
    ] {
        let alice = session("alice");
        add(&store, &alice).await;
        sql(&admin, &format!("UPDATE kippu_sessions SET {change}")).await;
        assert_eq!(kind(store.load(&alice.id).await), Some(StoreErrorKind::Corrupt), "{change}");
        sql(&admin, "DELETE FROM kippu_sessions").await;
    }
    // A text that the column would truncate if the server is not strict.
    let long = changed(session("alice"), |it| it.kid = "k".repeat(65));
    assert_eq!(kind(store.insert(&InsertRequest::new(long)).await), Some(StoreErrorKind::Corrupt));
    // A row that the schema rejects is not stored, and the error does not show it.
    sql(&admin, "ALTER TABLE kippu_sessions ADD CONSTRAINT none CHECK (client <> 'web')").await;
    let error = store.insert(&InsertRequest::new(session("alice"))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(!text(&error).contains("alice"), "{}", text(&error));
    sql(&admin, "ALTER TABLE kippu_sessions DROP COLUMN kid").await;
    let fresh = patient(pool(&url));
    let error = fresh.load(&session("alice").id).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
}

/// The server stops under load, killed or in order, and comes back. Meanwhile calls return that it
/// is unavailable, each acknowledged change stays, and the same stores work again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn the_stores_recover_when_the_server_stops_under_load() {
    let mut server = MySql::start();
    let url = server.url_of(&server.database());
    let creator = store(&url).await;
    // One of them does not test its connections, and so uses dead ones.
    let shared = [true, false].map(|is_tested| {
        let pool = MySqlPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_millis(500))
            .test_before_acquire(is_tested);
        MySqlStore::new(pool.connect_lazy_with(url.parse().unwrap()))
    });
    let seen = Arc::new(Seen::default());
    let mut pairs = JoinSet::new();
    for index in 0..8 {
        let pair = Pair { session: session(&format!("pair {index}")), stores: shared.clone() };
        add(&creator, &pair.session).await;
        pairs.spawn(pair.run(Arc::clone(&seen)));
    }
    let mut ended_ids = Vec::new();
    for round in 0..3 {
        more("rounds", &seen.rounds, 100).await;
        // A logout that was acknowledged before the stop is in the log after it.
        let id = session("leaver").id;
        creator.revoke(&id, RevokeReason::Logout, LOGIN).await.unwrap();
        ended_ids.push(id);
        if round == 1 {
            server.stop();
        } else {
            server.kill();
        }
        more("faults", &seen.faults, 8).await;
        server.restart();
    }
    more("rounds", &seen.rounds, 100).await;
    seen.is_over.store(true, Ordering::Relaxed);
    while let Some(pair) = timeout(LIMIT, pairs.join_next()).await.unwrap() {
        pair.unwrap();
    }
    let fresh = patient(pool(&url));
    assert_eq!(ended(&fresh, &mut EndedCursor::default()).await, ended_ids);
    println!(
        "{} rounds, {} faults",
        seen.rounds.load(Ordering::Relaxed),
        seen.faults.load(Ordering::Relaxed)
    );
}
