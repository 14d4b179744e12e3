//! Verifiers that are notified of logouts: at once while they listen, and with the next poll
//! otherwise.

use std::time::Duration;

use kippu::session::{
    EndedOptions, EndedSessions, RefreshStore, RevokeReason, store::InsertRequest,
};
use kippu_sqlx::PostgresStore;
use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout};

use super::{
    LIMIT, pool, pool_with,
    records::{LOGIN, session},
    server, sql, store,
};

/// The log is polled every half a minute.
const MAX_LAG: Duration = Duration::from_secs(300);

/// Logs out `users`, one after the other. Returns how long it took until the verifier knew all of
/// them.
async fn log_out(store: &PostgresStore, ended: &EndedSessions, users: usize) -> Duration {
    let start = Instant::now();
    for user in 0..users {
        let alice = session("alice");
        // The log also contains sessions that never existed.
        if user % 2 == 0 {
            store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        }
        store.revoke(&alice.id, RevokeReason::Logout, LOGIN).await.unwrap();
        let known = async {
            while !ended.contains(&alice.id) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(2 * LIMIT, known).await.expect("the verifier learns of the logout");
    }
    start.elapsed()
}

/// Ends the connections that listen, once there is one.
async fn kill_listeners(pool: &PgPool) {
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    while sqlx::query_scalar::<_, i64>(kill).fetch_one(pool).await.unwrap() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_logout_arrives_before_the_next_poll() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    let admin = pool(&url);
    for _ in 0..2 {
        sql(&admin, PostgresStore::NOTIFY).await;
    }
    let verifier = PostgresStore::new(pool_with(&url, 2, &[])).with_deadline(LIMIT);
    let ended = EndedSessions::follow(verifier.clone(), EndedOptions::new().max_lag(MAX_LAG));
    let run = tokio::spawn(ended.clone().run(sleep));
    let listening = tokio::spawn(verifier.listen(ended.clone()));
    // Repeated until the listener is connected.
    log_out(&store, &ended, 1).await;
    // With polls alone this would take five minutes; with the pings of a connection that gets no
    // notifications, more than three.
    let took = log_out(&store, &ended, 20).await;
    println!("20 logouts reached the verifier within {took:?}");
    assert!(took < MAX_LAG / 5, "{took:?}");
    // After its connection was lost, it listens again, and finds the logouts that it has missed.
    for _ in 0..3 {
        kill_listeners(&admin).await;
        log_out(&store, &ended, 1).await;
    }
    let took = log_out(&store, &ended, 20).await;
    println!("20 logouts reached the verifier within {took:?}");
    assert!(took < MAX_LAG / 5, "{took:?}");
    listening.abort();
    run.abort();
}

/// Notifications only wake the verifier. While its connections are killed as soon as they exist, or
/// it does not listen at all, the polls find the logouts, and the verifier stays fresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn polls_find_logouts_without_notifications() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    let admin = pool(&url);
    sql(&admin, PostgresStore::NOTIFY).await;
    // Much longer than a poll takes on a busy machine.
    let options = EndedOptions::new().max_lag(Duration::from_secs(20));
    let ended = EndedSessions::follow(store.clone(), options);
    let run = tokio::spawn(ended.clone().run(sleep));
    let listening = tokio::spawn(store.clone().listen(ended.clone()));
    let killer = tokio::spawn({
        let admin = admin.clone();
        async move {
            loop {
                kill_listeners(&admin).await;
            }
        }
    });
    log_out(&store, &ended, 3).await;
    assert!(ended.is_fresh());
    killer.abort();
    listening.abort();
    log_out(&store, &ended, 1).await;
    assert!(ended.is_fresh());
    run.abort();
}
