//! A server that does not answer: every step ends at its deadline, and leaves no connection that
//! would delay the next one.

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

/// Runs each step. None takes longer than its deadline, with a margin for a busy machine.
async fn all_end(store: &PostgresStore) {
    let all = timeout(LIMIT, kinds_of_all(store)).await;
    for (step, error) in all.expect("each step ends") {
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
    }
    let created = timeout(LIMIT, store.create_schema()).await.expect("create_schema ends");
    assert_eq!(kind(created), Some(StoreErrorKind::Unavailable));
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn each_step_ends_in_time_when_the_server_is_stopped() {
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
        // It works again without a restart.
        let patient = store.with_deadline(LIMIT);
        for (step, error) in kinds_of_all(&patient).await {
            assert!(error.is_none(), "{step}: {error:?}");
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn each_step_ends_in_time_when_the_network_drops_all_packets() {
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
            // The first call that finds a dead connection closes all idle ones.
            address.switch(server.port());
            for (step, error) in kinds_of_all(&patient).await {
                assert!(error.is_none(), "{step}: {error:?}");
            }
        }
        // One call may meet an old connection, but no later one.
        super::failover::fill(&pool).await;
        address.swallow();
        address.switch(server.port());
        let id = session("alice").id;
        assert_eq!(kind(store.load(&id).await), Some(StoreErrorKind::Unavailable));
        patient.load(&id).await.unwrap();
    }
}

/// A client disconnects, or a timeout cancels the call. The pool uses the connection again if it
/// answers; if it does not, its place becomes free.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_cancelled_step_leaves_nothing_in_the_pool() {
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
            // The rotation still happened, and this read waits for it.
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
async fn accepts_the_shortest_and_the_longest_deadline() {
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

/// Connecting uses the default deadline.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn connecting_ends_within_the_default_deadline() {
    let server = server();
    let url = server.database();
    let address = Proxy::to(server.port()).await;
    address.swallow();
    let swallowed = url.replace(&server.port().to_string(), &address.port().to_string());
    let connected = timeout(LIMIT, PostgresStore::connect(&swallowed)).await;
    assert_eq!(kind(connected.expect("connecting ends")), Some(StoreErrorKind::Unavailable));
    assert_eq!(PostgresStore::DEFAULT_DEADLINE, Duration::from_secs(3));
}

/// A connection can be open and still unusable. The store closes it, and the next call gets another
/// one.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn an_unusable_connection_is_closed() {
    let server = server();
    let url = server.database();
    let fine = store(&url).await;
    let alice = session("alice");
    fine.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    let pool = pool_of(&url, server.port(), 1, true);
    let store = PostgresStore::new(pool.clone());
    for (what, spoil, expected) in [
        // A pooler has forgotten the statements, or uses those of another client.
        ("statements are gone", "DEALLOCATE ALL", StoreErrorKind::Misconfigured),
        (
            "statements are another's",
            "DEALLOCATE ALL; PREPARE sqlx_s_1 AS SELECT 1",
            StoreErrorKind::Misconfigured,
        ),
        // A program returned the connection in the middle of a failed transaction.
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

    // If all connections of a pool have ended, only one call fails.
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
