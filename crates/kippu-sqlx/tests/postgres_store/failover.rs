//! A primary that fails, a standby that takes over, and the old primary that comes back as a
//! standby, behind an address that moves from one to the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kippu::session::{
    RefreshStore, RevokeReason, SessionLimit, SessionRecord, StoreErrorKind,
    rotation::RotateOutcome,
    store::{InsertRequest, ListRequest},
};
use kippu_sqlx::PostgresStore;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    LIMIT, kinds_of_all, pool, pool_with,
    postgres_server::Postgres,
    proxy::Proxy,
    records::{LOGIN, after, kind, request, session},
    server, sql, store,
};

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_standby_answers_nothing() {
    let primary = Postgres::start();
    let url = primary.database();
    let alice = session("alice");
    let store = store(&url).await;
    store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    let standby = primary.standby();
    // A store that has checked the version of the tables at the primary.
    let address = Proxy::to(primary.port()).await;
    let behind = through(&address, &url, 1, true);
    let moved = PostgresStore::new(behind.clone()).with_deadline(LIMIT);
    moved.load(&alice.id).await.unwrap();
    drop(behind.acquire().await.unwrap().detach());
    address.switch(standby.port());
    let url = standby.url_of(url.rsplit('/').next().unwrap().split('?').next().unwrap());

    let pool = pool_with(&url, 4, &[]);
    let lagging = PostgresStore::new(pool.clone());
    for (step, error) in kinds_of_all(&lagging).await {
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
        assert!(error.to_string().contains("primary"), "{step}: {error}");
        assert_eq!(pool.size(), 0, "{step} left a connection in the pool");
    }
    for (step, error) in kinds_of_all(&moved).await {
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
        assert!(error.to_string().contains("primary"), "{step}: {error}");
    }
    let refused = InsertRequest::new(session("alice")).limit(SessionLimit::refuse(1));
    assert_eq!(kind(moved.insert(&refused).await), Some(StoreErrorKind::Unavailable));
    let repeated = InsertRequest::new(alice.clone()).limit(SessionLimit::refuse(1));
    assert_eq!(kind(moved.insert(&repeated).await), Some(StoreErrorKind::Unavailable));
    assert_eq!(kind(lagging.create_schema().await), Some(StoreErrorKind::Unavailable));
    assert_eq!(kind(PostgresStore::connect(&url).await), Some(StoreErrorKind::Unavailable));
    // A session that never existed is unknown on the standby, too.
    let nobody = session("nobody");
    assert_eq!(kind(lagging.load(&nobody.id).await), Some(StoreErrorKind::Unavailable));
    assert_eq!(
        kind(lagging.list(&ListRequest::new("nobody", LOGIN)).await),
        Some(StoreErrorKind::Unavailable)
    );

    // The standby becomes the primary at the same address.
    standby.promote();
    for (step, error) in kinds_of_all(&lagging).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

/// A setting of the role or the database, which the operator removes again.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_read_only_primary_is_unavailable() {
    let server = server();
    let url = server.database();
    let live = InsertRequest::new(session("alice")).limit(SessionLimit::refuse(1));
    store(&url).await.insert(&live).await.unwrap();
    let set = |value| {
        let database = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = %L', \
                        current_database(), '";
        sqlx::AssertSqlSafe(format!("SET transaction_read_only = off; {database}{value}'); END $$"))
    };
    sqlx::raw_sql(set("on")).execute(&pool(&url)).await.unwrap();
    let pool = pool_with(&url, 4, &[]);
    let store = PostgresStore::new(pool.clone());
    for (step, error) in kinds_of_all(&store).await {
        // It is still the primary, whose answers are up to date.
        if ["load", "list", "ended_after"].contains(&step) {
            assert!(error.is_none(), "{step}: {error:?}");
            continue;
        }
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
        assert!(error.to_string().contains("default_transaction_read_only"), "{step}: {error}");
        assert_eq!(pool.size(), 0, "{step} left a connection in the pool");
    }
    // An outcome that writes nothing must not come from a server that is about to be replaced.
    let error = store.insert(&live).await.unwrap_err();
    assert!(error.to_string().contains("default_transaction_read_only"), "{error}");
    store.create_schema().await.unwrap();
    sqlx::raw_sql(set("off")).execute(&self::pool(&url)).await.unwrap();
    // Of the connections that were opened before, only one call fails.
    assert_eq!(
        kind(store.insert(&InsertRequest::new(session("alice"))).await),
        Some(StoreErrorKind::Unavailable)
    );
    for (step, error) in kinds_of_all(&store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

/// A client, and the last answer about its session.
struct Client {
    session: SessionRecord,
    store: PostgresStore,
}

impl Client {
    /// Logs in, refreshes until the end, and repeats a request without an answer. Returns how many
    /// refreshes succeeded.
    async fn run(self, is_over: Arc<AtomicBool>) -> (SessionRecord, u64) {
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
        let answered = session.generation;
        (session, answered)
    }
}

fn through(proxy: &Proxy, url: &str, size: u32, is_tested: bool) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    PgPoolOptions::new()
        .max_connections(size)
        .test_before_acquire(is_tested)
        .connect_lazy_with(options.port(proxy.port()))
}

/// Opens all connections of the pool.
pub(super) async fn fill(pool: &PgPool) {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn an_old_primary_that_comes_back_answers_nothing() {
    let mut old = Postgres::start();
    let url = old.database();
    let first = store(&url).await;
    let new = old.standby();
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    sql(&pool(&url), "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    sql(&pool(&url), "SELECT pg_reload_conf()").await;
    let address = Proxy::to(old.port()).await;
    let open = || {
        [(1, true), (1, false), (10, true), (10, false)].map(|(size, is_tested)| {
            let pool = through(&address, &url, size, is_tested);
            (PostgresStore::new(pool.clone()), pool)
        })
    };

    // Clients refresh all the time.
    let is_over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for (store, _) in open().iter().cycle().take(8) {
        let client = Client { session: session("client"), store: store.clone() };
        first.insert(&InsertRequest::new(client.session.clone())).await.unwrap();
        clients.spawn(client.run(Arc::clone(&is_over)));
    }
    let alice = session("alice");
    first.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    sleep(Duration::from_millis(300)).await;

    // The failover. The new primary does not wait for a standby that is not connected yet.
    old.kill();
    new.promote();
    let other = new.url_of(database);
    sql(&pool(&other), "ALTER SYSTEM RESET synchronous_standby_names").await;
    sql(&pool(&other), "SELECT pg_reload_conf()").await;
    let primary = store(&other).await;
    assert_eq!(
        primary.list(&ListRequest::new("alice", LOGIN)).await.unwrap(),
        std::slice::from_ref(&alice)
    );
    old.follow(&new);

    // The address still leads to the old primary, which does not have the logout.
    let reason = RevokeReason::LogoutAll;
    let lag = pool(&old.url_of(database));
    sql(&lag, "SELECT pg_wal_replay_pause()").await;
    assert_eq!(primary.revoke_subject("alice", None, reason, after(2)).await.unwrap(), 1);
    let stores = open();
    for (store, pool) in &stores {
        fill(pool).await;
        for _ in 0..20 {
            assert_eq!(kind(store.load(&alice.id).await), Some(StoreErrorKind::Unavailable));
            assert_eq!(
                kind(store.list(&ListRequest::new("alice", LOGIN)).await),
                Some(StoreErrorKind::Unavailable)
            );
        }
        fill(pool).await;
    }
    // The address moves, and the connections stay.
    address.switch(new.port());
    for (store, pool) in &stores {
        let size = pool.options().get_max_connections();
        let mut refused = 0;
        for _ in 0..40 {
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
        assert_eq!(refused, 1, "calls of 120 that failed with a pool of {size}");
    }
    sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::Relaxed);
    while let Some(client) = timeout(LIMIT, clients.join_next()).await.unwrap() {
        let (session, answered) = client.unwrap();
        let record = primary.load(&session.id).await.unwrap().unwrap();
        // One more rotation may be stored, whose answer was lost.
        assert_eq!(record.revoked, None);
        assert!((answered..=answered + 1).contains(&record.generation), "{record:?}");
        assert!(answered > 0);
    }
}
