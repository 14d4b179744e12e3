//! Servers that must not answer: a replica, a primary that fails and comes back, a server that is
//! stopped, and an address that moves from one server to another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kippu::session::{
    RefreshStore, RevokeReason, SessionRecord, StoreErrorKind,
    rotation::RotateOutcome,
    store::{EndedCursor, InsertOutcome, InsertRequest, ListRequest, SessionLimit},
};
use kippu_sqlx::MySqlStore;
use sqlx::{
    MySqlPool,
    mysql::{MySqlConnectOptions, MySqlPoolOptions},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    LIMIT, add, kinds_of_all, list,
    mysql_server::MySql,
    patient, pool,
    proxy::Proxy,
    records::{LOGIN, after, changed, kind, request, session},
    server, sql, store,
};

const DEADLINE: Duration = Duration::from_millis(400);

fn through(url: &str, port: u16, size: u32, is_tested: bool) -> MySqlPool {
    let options: MySqlConnectOptions = url.parse().unwrap();
    MySqlPoolOptions::new()
        .max_connections(size)
        .test_before_acquire(is_tested)
        .connect_lazy_with(options.port(port))
}

/// Opens all connections of the pool.
async fn fill(pool: &MySqlPool) {
    let size = usize::try_from(pool.options().get_max_connections()).unwrap();
    let mut taken = Vec::new();
    for _ in 0..size {
        taken.push(pool.acquire().await.unwrap());
    }
    drop(taken);
    timeout(LIMIT, async {
        while pool.num_idle() < size {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

async fn none_is_answered(store: &MySqlStore, pool: &MySqlPool) {
    for (step, error) in kinds_of_all(store).await {
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
        assert!(error.to_string().contains("primary"), "{step}: {error}");
        assert_eq!(pool.size(), 0, "{step} left a connection in the pool");
    }
    assert_eq!(kind(store.create_schema().await), Some(StoreErrorKind::Unavailable));
}

async fn all_are_answered(store: &MySqlStore) {
    for (step, error) in kinds_of_all(store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

/// The store returns no answer from a replica, even for a user that may write to it: its writes
/// change nothing.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_replica_answers_nothing() {
    let primary = MySql::start();
    let database = primary.database();
    let first = store(&primary.url_of(&database)).await;
    let (alice, bob) = (session("alice"), session("bob"));
    add(&first, &alice).await;
    let replica = primary.replica();
    let url = replica.url_of(&database);
    let pools = [pool(&url), pool(&replica.url_for("root", None, &database))];
    let stores = pools.each_ref().map(|pool| MySqlStore::new(pool.clone()));
    for (store, pool) in stores.iter().zip(&pools) {
        none_is_answered(store, pool).await;
        let reason = RevokeReason::Logout;
        let current = changed(request(&alice, 0, after(1)), |it| it.was_current = true);
        for error in [
            store.rotate(&current).await.map(|_| ()),
            store.rotate(&request(&alice, 0, after(1))).await.map(|_| ()),
            store.revoke(&alice.id, reason, after(1)).await.map(|_| ()),
            store.revoke_subject("alice", None, reason, after(1)).await.map(|_| ()),
            store.insert(&InsertRequest::new(bob.clone())).await.map(|_| ()),
            store.load(&bob.id).await.map(|_| ()),
            store.list(&ListRequest::new("nobody", LOGIN)).await.map(|_| ()),
        ] {
            assert_eq!(kind(error), Some(StoreErrorKind::Unavailable));
        }
    }
    assert_eq!(kind(MySqlStore::connect(&url).await), Some(StoreErrorKind::Unavailable));
    // The replica becomes the primary at the same address. Before, nothing was changed on it.
    replica.catch_up(&primary);
    replica.promote();
    for store in &stores {
        assert_eq!(store.load(&alice.id).await.unwrap(), Some(alice.clone()));
        assert_eq!(store.load(&bob.id).await.unwrap(), None);
    }
    assert_eq!(super::ended(&stores[0], &mut EndedCursor::default()).await, []);
    for store in &stores {
        all_are_answered(store).await;
    }
}

/// The operator turns `read_only` on and off while connections stay open.
#[tokio::test]
#[ignore = "needs MariaDB"]
async fn a_read_only_primary_is_unavailable() {
    let server = MySql::start();
    let url = server.url_of(&server.database());
    let pool = pool(&url);
    let store = patient(pool.clone());
    store.create_schema().await.unwrap();
    for _ in 0..2 {
        all_are_answered(&store).await;
        server.sql("SET GLOBAL read_only = 1");
        none_is_answered(&store, &pool).await;
        server.sql("SET GLOBAL read_only = 0");
    }
    all_are_answered(&store).await;
}

/// A client, and the last answer about its session.
struct Client {
    session: SessionRecord,
    store: MySqlStore,
}

impl Client {
    /// Refreshes until the end, and repeats a request without an answer.
    async fn run(self, is_over: Arc<AtomicBool>) -> SessionRecord {
        let Self { mut session, store } = self;
        while !is_over.load(Ordering::Relaxed) {
            let request = request(&session, session.generation, after(1));
            match store.rotate(&request).await {
                Ok(RotateOutcome::Rotated(successor) | RotateOutcome::Replayed(successor)) => {
                    session.generation = successor.generation;
                }
                Ok(other) => panic!("{other:?}"),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
        session
    }
}

/// The primary is killed, its replica takes over, and the old primary comes back without the
/// changes since then. Replication is semi-synchronous, so that no acknowledged change is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn an_old_primary_that_comes_back_answers_nothing() {
    let mut old = MySql::start();
    let database = old.database();
    let url = old.url_of(&database);
    let first = store(&url).await;
    let new = old.replica();
    new.sql("STOP SLAVE; SET GLOBAL rpl_semi_sync_slave_enabled = 1; START SLAVE");
    old.sql(
        "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC; SET GLOBAL rpl_semi_sync_master_timeout = 600000; \
         SET GLOBAL rpl_semi_sync_master_enabled = 1",
    );
    let address = Proxy::to(old.port()).await;
    let open = || {
        [(1, true), (1, false), (10, true), (10, false)].map(|(size, is_tested)| {
            let pool = through(&url, address.port(), size, is_tested);
            (MySqlStore::new(pool.clone()), pool)
        })
    };

    // Clients refresh all the time.
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for (store, _) in open().iter().cycle().take(8) {
        let client = Client { session: session("client"), store: store.clone() };
        add(&first, &client.session).await;
        clients.spawn(client.run(Arc::clone(&is_over)));
    }
    let alice = session("alice");
    add(&first, &alice).await;
    sleep(Duration::from_millis(300)).await;

    // The failover.
    old.kill();
    new.apply_all();
    new.promote();
    let primary = store(&new.url_of(&database)).await;
    assert_eq!(list(&primary, "alice", LOGIN).await, std::slice::from_ref(&alice));
    old.set(&["--read-only=1"]);
    old.restart();

    // The address still leads to the old primary, which does not have the logout.
    let reason = RevokeReason::LogoutAll;
    assert_eq!(primary.revoke_subject("alice", None, reason, after(2)).await.unwrap(), 1);
    let stores = open();
    for (store, pool) in &stores {
        fill(pool).await;
        for _ in 0..10 {
            assert_eq!(kind(store.load(&alice.id).await), Some(StoreErrorKind::Unavailable));
            let listed = store.list(&ListRequest::new("alice", LOGIN)).await;
            assert_eq!(kind(listed), Some(StoreErrorKind::Unavailable));
        }
        fill(pool).await;
    }
    // The address moves, and the connections stay.
    address.switch(new.port());
    for (store, pool) in &stores {
        let size = pool.options().get_max_connections();
        let mut refused = 0;
        for _ in 0..20 {
            match store.load(&alice.id).await {
                Ok(record) => {
                    assert!(record.unwrap().revoked.is_some(), "a session that has ended");
                }
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                    refused += 1;
                }
            }
            match store.list(&ListRequest::new("alice", LOGIN)).await {
                Ok(list) => assert_eq!(list, []),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                    refused += 1;
                }
            }
            if let Err(error) = store.insert(&InsertRequest::new(session("bob"))).await {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                refused += 1;
            }
        }
        // The first call closes all idle connections.
        assert_eq!(refused, 1, "calls of 60 that failed with a pool of {size}");
    }
    sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(client) = timeout(LIMIT, clients.join_next()).await.unwrap() {
        let session = client.unwrap();
        let record = primary.load(&session.id).await.unwrap().unwrap();
        // One more rotation may be stored, whose answer was lost.
        assert_eq!(record.revoked, None);
        let answered = session.generation;
        assert!((answered..=answered + 1).contains(&record.generation), "{record:?}");
        assert!(answered > 0);
    }
}

/// Runs each step. None takes longer than its deadline, with a margin for a busy machine.
async fn all_end(store: &MySqlStore) {
    let all = timeout(LIMIT, kinds_of_all(store)).await;
    for (step, error) in all.expect("each step ends") {
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
    }
    let created = timeout(LIMIT, store.create_schema()).await.expect("create_schema ends");
    assert_eq!(kind(created), Some(StoreErrorKind::Unavailable));
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn each_step_ends_in_time_when_the_server_is_stopped() {
    let server = MySql::start();
    let url = server.url_of(&server.database());
    store(&url).await;
    for (size, is_tested) in [(1, true), (10, false)] {
        let pool = through(&url, server.port(), size, is_tested);
        let store = MySqlStore::new(pool.clone()).with_deadline(DEADLINE);
        fill(&pool).await;
        server.pause();
        all_end(&store).await;
        server.resume();
        all_are_answered(&store.with_deadline(LIMIT)).await;
    }
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn each_step_ends_in_time_when_the_network_drops_all_packets() {
    let server = server();
    let url = server.url_of(&server.database());
    store(&url).await;
    for (size, is_tested) in [(1, true), (1, false), (10, true), (10, false)] {
        let address = Proxy::to(server.port()).await;
        let pool = through(&url, address.port(), size, is_tested);
        let store = MySqlStore::new(pool.clone()).with_deadline(DEADLINE);
        let patient = store.clone().with_deadline(LIMIT);
        fill(&pool).await;
        address.swallow();
        all_end(&store).await;
        address.switch(server.port());
        all_are_answered(&patient).await;
        // One call may meet an old connection, but no later one.
        fill(&pool).await;
        address.swallow();
        address.switch(server.port());
        let id = session("alice").id;
        assert_eq!(kind(store.load(&id).await), Some(StoreErrorKind::Unavailable));
        patient.load(&id).await.unwrap();
    }
}

/// A client disconnects, or a timeout cancels the call. Nothing stays in the pool, neither a lock
/// nor a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_cancelled_step_leaves_nothing_in_the_pool() {
    let server = server();
    let url = server.url_of(&server.database());
    let other = store(&url).await;
    let pool = through(&url, server.port(), 1, true);
    let store = MySqlStore::new(pool.clone()).with_deadline(LIMIT);
    let alice = session("alice");
    add(&other, &alice).await;
    for generation in 0..5 {
        let mut holder = super::pool(&url).begin().await.unwrap();
        let hold = "SELECT * FROM kippu_sessions FOR UPDATE";
        sqlx::raw_sql(hold).execute(&mut *holder).await.unwrap();
        let request = request(&alice, generation, after(1));
        let limited = InsertRequest::new(session("alice")).limit(SessionLimit::evict_oldest(1));
        let given_up = timeout(Duration::from_millis(100), store.rotate(&request)).await;
        assert!(given_up.is_err(), "{given_up:?}");
        let given_up = timeout(Duration::from_millis(100), store.insert(&limited)).await;
        assert!(given_up.is_err(), "{given_up:?}");
        let revoked = store.revoke_subject("alice", None, RevokeReason::LogoutAll, after(1));
        let given_up = timeout(Duration::from_millis(100), revoked).await;
        assert!(given_up.is_err(), "{given_up:?}");
        holder.rollback().await.unwrap();
        // The rotation still happens, and the transactions do not.
        let rotated = async {
            while other.load(&alice.id).await.unwrap().unwrap().generation <= generation {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LIMIT, rotated).await.expect("the rotation happens");
        let record = other.load(&alice.id).await.unwrap().unwrap();
        assert_eq!((record.generation, record.revoked), (generation + 1, None));
    }
    // The lock of the limit is free.
    let request = InsertRequest::new(session("alice")).limit(SessionLimit::refuse(1));
    let outcome = other.clone().with_deadline(Duration::from_secs(20)).insert(&request).await;
    assert_eq!(outcome.unwrap(), InsertOutcome::LimitReached);
    sql(&pool, "SELECT 1").await;
}
