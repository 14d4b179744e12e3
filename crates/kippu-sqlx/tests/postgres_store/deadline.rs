//! A server that does not answer: every step ends at its deadline, and leaves no connection behind that would hold the next
//! one up.

use std::time::Duration;

use kippu::session::{
    RefreshStore, StoreErrorKind,
    store::{InsertRequest, ListRequest},
};
use kippu_sqlx::PostgresStore;
use sqlx::{
    AssertSqlSafe, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{
    LIMIT, kinds_of_all, pool,
    postgres_server::Postgres,
    proxy::Proxy,
    records::{LOGIN, after, kind, request, session},
    server, store,
};

const DEADLINE: Duration = Duration::from_millis(400);

fn pool_of(url: &str, port: u16, size: u32, is_tested: bool) -> PgPool {
    let options: PgConnectOptions = url.parse().unwrap();
    PgPoolOptions::new()
        .max_connections(size)
        .test_before_acquire(is_tested)
        .connect_lazy_with(options.port(port))
}

/// Each step, one after the other: none takes longer than its deadline, but for the time that the machine is busy.
async fn all_end(store: &PostgresStore) {
    let all = timeout(LIMIT, kinds_of_all(store)).await;
    for (step, error) in all.expect("a step does not end") {
        let error = error.unwrap_or_else(|| panic!("{step} was answered"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
    }
    let created = timeout(LIMIT, store.create_schema()).await.expect("create_schema does not end");
    assert_eq!(kind(created), Some(StoreErrorKind::Unavailable));
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_server_that_stands_still() {
    let server = Postgres::start();
    let url = server.database();
    store(&url).await;
    for (size, is_tested) in [(1, true), (1, false), (10, true), (10, false)] {
        let pool = pool_of(&url, server.port(), size, is_tested);
        let store = PostgresStore::new(pool.clone()).with_deadline(DEADLINE);
        super::failover::fill(&pool).await;
        server.pause();
        all_end(&store).await;
        server.resume();
        // Nobody has to start anything again.
        let patient = store.with_deadline(LIMIT);
        for (step, error) in kinds_of_all(&patient).await {
            assert!(error.is_none(), "{step}: {error:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_network_that_swallows_everything() {
    let server = server();
    let url = server.database();
    store(&url).await;
    for (size, is_tested) in [(1, true), (1, false), (10, true), (10, false)] {
        let address = Proxy::to(server.port()).await;
        let pool = pool_of(&url, address.port(), size, is_tested);
        let store = PostgresStore::new(pool.clone()).with_deadline(DEADLINE);
        let patient = store.clone().with_deadline(LIMIT);
        for _ in 0..3 {
            super::failover::fill(&pool).await;
            address.swallow();
            all_end(&store).await;
            // The first call that finds a connection dead clears the pool of all of them.
            address.switch(server.port());
            for (step, error) in kinds_of_all(&patient).await {
                assert!(error.is_none(), "{step}: {error:?}");
            }
        }
        // One call meets what is left of before, and no other.
        super::failover::fill(&pool).await;
        address.swallow();
        address.switch(server.port());
        let id = session("alice").id;
        assert_eq!(kind(store.load(&id).await), Some(StoreErrorKind::Unavailable));
        patient.load(&id).await.unwrap();
    }
}

/// A client that hangs up, or a time-out around the call: the connection is used again if it answers, and its place is free
/// if it does not.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_step_that_its_caller_gives_up() {
    let server = server();
    let url = server.database();
    store(&url).await;
    for isolation in ["read committed", "serializable"] {
        let address = Proxy::to(server.port()).await;
        let options: PgConnectOptions = url.parse().unwrap();
        let options =
            options.port(address.port()).options([("default_transaction_isolation", isolation)]);
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let store = PostgresStore::new(pool.clone()).with_deadline(LIMIT);
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        for generation in 0..5 {
            let mut holder = self::pool(&url).begin().await.unwrap();
            sqlx::query("SELECT FROM kippu_sessions WHERE id = $1 FOR UPDATE")
                .bind(alice.id.as_bytes().as_slice())
                .fetch_one(&mut *holder)
                .await
                .unwrap();
            let request = request(&alice, generation, after(1));
            let given_up = timeout(Duration::from_millis(100), store.rotate(&request)).await;
            assert!(given_up.is_err(), "{given_up:?}");
            holder.rollback().await.unwrap();
            // It has rotated nevertheless, as this waits for.
            let record = store.load(&alice.id).await.unwrap().unwrap();
            assert_eq!(record.generation, generation + 1);
        }
        assert_eq!(address.count(), 1, "a healthy connection was closed");

        let hasty = store.clone().with_deadline(DEADLINE);
        super::failover::fill(&pool).await;
        let mut locked = self::pool(&url).begin().await.unwrap();
        sqlx::raw_sql("LOCK TABLE kippu_sessions").execute(&mut *locked).await.unwrap();
        let given_up = timeout(Duration::from_millis(100), hasty.load(&alice.id)).await;
        assert!(given_up.is_err(), "{given_up:?}");
        address.swallow();
        address.switch(server.port());
        locked.rollback().await.unwrap();
        store.load(&alice.id).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_ends_of_a_deadline() {
    let server = server();
    let url = server.database();
    store(&url).await;
    let address = Proxy::to(server.port()).await;
    let pool = pool_of(&url, address.port(), 1, false);
    super::failover::fill(&pool).await;
    let never = PostgresStore::new(pool.clone()).with_deadline(Duration::ZERO);
    for (step, error) in kinds_of_all(&never).await {
        assert_eq!(error.unwrap().kind(), StoreErrorKind::Unavailable, "{step}");
    }
    assert_eq!(kind(never.create_schema().await), Some(StoreErrorKind::Unavailable));
    let for_ever = never.with_deadline(Duration::MAX);
    assert_eq!(for_ever.list(&ListRequest::new("alice", LOGIN)).await.unwrap(), []);
    for (step, error) in kinds_of_all(&for_ever).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
    assert_eq!(address.count(), 1);
}

/// The deadline is the default one.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn connecting_ends() {
    let server = server();
    let url = server.database();
    let address = Proxy::to(server.port()).await;
    address.swallow();
    let swallowed = url.replace(&server.port().to_string(), &address.port().to_string());
    let connected = timeout(LIMIT, PostgresStore::connect(&swallowed)).await;
    assert_eq!(kind(connected.expect("it does not end")), Some(StoreErrorKind::Unavailable));
    assert_eq!(PostgresStore::DEFAULT_DEADLINE, Duration::from_secs(3));
}

/// A connection can stay open and be useless. The store closes it, and the next call has another one.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_connection_that_is_spoilt() {
    let server = server();
    let url = server.database();
    let fine = store(&url).await;
    let alice = session("alice");
    fine.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    let pool = pool_of(&url, server.port(), 1, true);
    let store = PostgresStore::new(pool.clone());
    for (what, spoil, expected) in [
        // A pooler in between has forgotten the statements, or gives those of another client.
        ("statements are gone", "DEALLOCATE ALL", StoreErrorKind::Misconfigured),
        (
            "statements are another's",
            "DEALLOCATE ALL; PREPARE sqlx_s_1 AS SELECT 1",
            StoreErrorKind::Misconfigured,
        ),
        // Somebody gave it back in the middle of a transaction that has failed.
        ("a transaction has failed", "BEGIN; SELECT 1 / 0", StoreErrorKind::Unavailable),
        // A migration.
        (
            "the table is another one",
            "ALTER TABLE kippu_sessions ALTER label TYPE varchar",
            StoreErrorKind::Unavailable,
        ),
    ] {
        store.load(&alice.id).await.unwrap();
        let _ = sqlx::raw_sql(spoil).execute(&pool).await;
        let error = store.load(&alice.id).await.expect_err(what);
        assert_eq!(error.kind(), expected, "{what}: {error}");
        assert_eq!(pool.size(), 0, "{what}");
        assert_eq!(store.load(&alice.id).await.unwrap(), Some(alice.clone()), "{what}");
    }

    // Of a pool whose connections have all ended, one call finds out.
    for end in ["pg_terminate_backend(pid)", "pg_terminate_backend(pid, 1000)"] {
        let pool = pool_of(&url, server.port(), 10, false);
        super::failover::fill(&pool).await;
        let ended = format!(
            "SELECT count({end}) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        );
        sqlx::raw_sql(AssertSqlSafe(ended)).execute(&self::pool(&url)).await.unwrap();
        let store = PostgresStore::new(pool);
        assert_eq!(kind(store.load(&alice.id).await), Some(StoreErrorKind::Unavailable), "{end}");
        store.load(&alice.id).await.unwrap();
    }
}
