//! A server that delays a rotation before the change, or between the change and the commit. The
//! grace period begins with the commit, and a token that was presented earlier does not count as
//! reused.

use std::{future::Future, time::Duration};

use kippu::session::{
    RefreshStore, RevokeReason, SessionRecord, StoreErrorKind, UnixMillis,
    rotation::{RotateOutcome, RotateRequest, Successor},
    store::InsertRequest,
};
use kippu_sqlx::PostgresStore;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    LIMIT, pool, pool_with, postgres_server,
    records::{changed, kind, session},
    server, sql, store,
};

const GRACE: Duration = Duration::from_millis(600);
const STALL: Duration = Duration::from_millis(1800);

/// Each part of a wait is counted in whole milliseconds, and a caller may be interrupted before it
/// calls.
const ROUNDED: Duration = Duration::from_millis(20);

/// When the first token is presented, by the callers' clock.
const FIRST: UnixMillis = UnixMillis::new(1_764_000_010_000);

/// Returns a request with a token of the first generation, presented `after` the first one.
fn presented(session: &SessionRecord, after: Duration) -> RotateRequest {
    let now = FIRST.saturating_add(after);
    changed(super::records::request(session, 0, now), |it| it.grace = GRACE)
}

fn is_replayed(outcome: &RotateOutcome) -> bool {
    matches!(outcome, RotateOutcome::Replayed(_))
}

/// Makes a store for each call, which then has to open a connection and to prepare its statements.
fn cold(url: &str) -> impl Fn() -> PostgresStore {
    let url = url.to_owned();
    move || PostgresStore::new(pool_with(&url, 1, &[])).with_deadline(LIMIT)
}

/// Makes one store for all calls, whose connections have rotated before.
async fn warm(url: &str, settings: &[(&str, &str)]) -> impl Fn() -> PostgresStore + use<> {
    let store = PostgresStore::new(pool_with(url, 8, settings)).with_deadline(LIMIT);
    let mut rotations = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        rotations.spawn(async move {
            let session = session("warm");
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
            for generation in 0..20 {
                let request = super::request(&session, generation, FIRST);
                store.rotate(&request).await.unwrap();
            }
        });
    }
    rotations.join_all().await;
    move || store.clone()
}

/// Waits until `count` steps wait for the server.
async fn waiting(url: &str, count: i64) {
    let admin = pool(url);
    let found = async {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event IN ('relation', 'transactionid', 'tuple', 'SyncRep')";
        while sqlx::query_scalar::<_, i64>(query).fetch_one(&admin).await.unwrap() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, found).await.expect("the steps wait");
}

/// Eight callers present one token while the server stalls, the last of them long after the first
/// one's grace period. One rotates, the others get replays. The grace period begins at the end of
/// the stall.
async fn none_is_reused(
    url: &str,
    session: &SessionRecord,
    stores: impl Fn() -> PostgresStore,
    end: impl Future<Output = ()>,
) {
    let held = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (store, session) = (stores(), session.clone());
        tasks.spawn(
            async move { store.rotate(&presented(&session, held.elapsed())).await.unwrap() },
        );
        sleep(STALL / 8).await;
    }
    waiting(url, 8).await;
    let stall = held.elapsed();
    end.await;
    let outcomes = tasks.join_all().await;
    let longest = held.elapsed();
    let rotated = |outcome: &&RotateOutcome| matches!(outcome, RotateOutcome::Rotated(_));
    assert_eq!(outcomes.iter().filter(rotated).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| is_replayed(outcome)).count(), 7, "{outcomes:?}");
    the_grace_begins_after(session, &stores(), stall, longest).await;
}

/// A retry that was presented at the end of the stall is replayed, and one at the end of the grace
/// period, too. A later one is not.
async fn the_grace_begins_after(
    session: &SessionRecord,
    store: &PostgresStore,
    stall: Duration,
    longest: Duration,
) {
    let record = store.load(&session.id).await.unwrap().unwrap();
    assert_eq!((record.generation, record.revoked), (1, None));
    let stored = record.rotated_at.saturating_since(FIRST);
    let counted = stall.saturating_sub(ROUNDED)..=longest;
    assert!(counted.contains(&stored), "{stored:?} after a stall of {stall:?}");
    assert_eq!(
        record.expires_at.saturating_since(record.rotated_at),
        session.idle_lifetime.unwrap_or(super::request(session, 0, FIRST).idle_lifetime)
    );
    for (after, is_granted) in [
        (stall.saturating_sub(ROUNDED), true),
        (stored + GRACE, true),
        (longest + GRACE + Duration::from_millis(1), false),
    ] {
        let outcome = store.rotate(&presented(session, after)).await.unwrap();
        assert_eq!(is_replayed(&outcome), is_granted, "{after:?}: {outcome:?}");
        assert_eq!(outcome == RotateOutcome::Reused, !is_granted, "{after:?}: {outcome:?}");
    }
}

/// Returns the transaction of another program, which has run this statement and stays open.
async fn holding(pool: &PgPool, statement: &'static str) -> Transaction<'static, Postgres> {
    let mut holder = pool.begin().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut *holder).await.unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_locked_table_delays_the_grace_period() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    let lock = "LOCK TABLE kippu_sessions IN ACCESS EXCLUSIVE MODE";
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let stores = warm(&url, &[("default_transaction_isolation", isolation)]).await;
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        let holder = holding(&pool(&url), lock).await;
        none_is_reused(&url, &alice, stores, async { holder.rollback().await.unwrap() }).await;
    }
    let alice = session("alice");
    store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    let holder = holding(&pool(&url), lock).await;
    none_is_reused(&url, &alice, cold(&url), async { holder.rollback().await.unwrap() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_locked_row_delays_the_grace_period() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    for change in [
        // The holder of the row changes nothing, or another column.
        "SELECT FROM kippu_sessions WHERE subject = 'alice' FOR UPDATE",
        "UPDATE kippu_sessions SET label = 'Renamed' WHERE subject = 'alice'",
    ] {
        for isolation in ["read committed", "repeatable read", "serializable"] {
            let stores = warm(&url, &[("default_transaction_isolation", isolation)]).await;
            let alice = session("alice");
            store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
            let holder = holding(&pool(&url), change).await;
            none_is_reused(&url, &alice, stores, async { holder.commit().await.unwrap() }).await;
            sql(&pool(&url), "DELETE FROM kippu_sessions").await;
        }
    }
}

/// The statement also counts a wait that is short compared with the grace period, so that nothing
/// is corrected afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_short_wait_delays_the_grace_period() {
    let server = server();
    let url = server.database();
    store(&url).await;
    let short = Duration::from_millis(300);
    let (warm, cold) = (warm(&url, &[]).await, cold(&url)());
    let warm = warm();
    for (hold, store) in [
        // The call waits for the table when it prepares its statement.
        ("LOCK TABLE kippu_sessions IN ACCESS EXCLUSIVE MODE", &cold),
        ("LOCK TABLE kippu_sessions IN ACCESS EXCLUSIVE MODE", &warm),
        ("SELECT FROM kippu_sessions WHERE subject = 'alice' FOR UPDATE", &warm),
        ("UPDATE kippu_sessions SET label = 'Renamed' WHERE subject = 'alice'", &warm),
    ] {
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        let holder = holding(&pool(&url), hold).await;
        let held = Instant::now();
        let request =
            changed(super::request(&alice, 0, FIRST), |it| it.grace = Duration::from_secs(3600));
        let rotating = tokio::spawn({
            let store = store.clone();
            async move { store.rotate(&request).await.unwrap() }
        });
        waiting(&url, 1).await;
        let begun = Instant::now();
        sleep(short).await;
        assert!(!rotating.is_finished());
        let short = begun.elapsed();
        holder.commit().await.unwrap();
        let outcome = rotating.await.unwrap();
        let longest = held.elapsed();
        let record = store.load(&alice.id).await.unwrap().unwrap();
        let stored = record.rotated_at.saturating_since(FIRST);
        assert!((short.saturating_sub(ROUNDED)..=longest).contains(&stored), "{hold}: {stored:?}");
        let RotateOutcome::Rotated(successor) = outcome else { panic!("{outcome:?}") };
        assert_eq!(successor.expires_at, record.expires_at);
        assert_eq!(
            record.expires_at.saturating_since(record.rotated_at),
            Duration::from_secs(3600)
        );
        sql(&pool(&url), "DELETE FROM kippu_sessions").await;
    }
}

/// A wait extends a session neither beyond its absolute end nor beyond the latest time that can be
/// stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_wait_does_not_extend_a_session_beyond_its_end() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    let (alice, bob) = (session("alice"), session("bob"));
    let bob = changed(bob, |it| {
        it.absolute_expires_at = UnixMillis::MAX;
        it.expires_at = UnixMillis::MAX;
    });
    let last = UnixMillis::new(UnixMillis::MAX.get() - 1);
    for (session, now) in [(&alice, FIRST), (&bob, last)] {
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        let holder =
            holding(&pool(&url), "LOCK TABLE kippu_sessions IN ACCESS EXCLUSIVE MODE").await;
        let request = changed(super::request(session, 0, now), |it| {
            it.idle_lifetime = Duration::from_secs(86_400 * 365);
        });
        let rotating = tokio::spawn({
            let store = store.clone();
            async move { store.rotate(&request).await.unwrap() }
        });
        waiting(&url, 1).await;
        sleep(Duration::from_millis(50)).await;
        holder.rollback().await.unwrap();
        let outcome = rotating.await.unwrap();
        assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
        let record = store.load(&session.id).await.unwrap().unwrap();
        assert_eq!(record.expires_at, session.absolute_expires_at);
        assert!(record.rotated_at > now, "{record:?}");
    }
}

/// Another process rotates, and its commit takes longer than the grace period. A request that waits
/// for the row was overtaken, whatever the times are.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_late_commit_of_another_process_overtakes_the_rotation() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let stores = warm(&url, &[("default_transaction_isolation", isolation)]).await;
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        let holder = holding(
            &pool(&url),
            "UPDATE kippu_sessions SET generation = 1, kid = 'k2', rotated_at = 1764000010000 \
             WHERE subject = 'alice'",
        )
        .await;
        let late = presented(&alice, STALL);
        let waiting = tokio::spawn({
            let store = stores();
            let late = late.clone();
            async move { store.rotate(&late).await.unwrap() }
        });
        self::waiting(&url, 1).await;
        holder.commit().await.unwrap();
        let outcome = waiting.await.unwrap();
        assert!(is_replayed(&outcome), "{isolation}: {outcome:?}");
        // The same request, presented after the commit became visible.
        assert_eq!(store.rotate(&late).await.unwrap(), RotateOutcome::Reused, "{isolation}");
        let record = store.load(&alice.id).await.unwrap().unwrap();
        assert_eq!(record.revoked.map(|revoked| revoked.reason), Some(RevokeReason::Reuse));
        sql(&pool(&url), "DELETE FROM kippu_sessions").await;
    }
}

/// The commit of a change waits for a standby that is stopped. The change is made long before it
/// becomes visible.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn the_grace_period_begins_after_a_commit_that_waits_for_a_standby() {
    let server = postgres_server::Postgres::start();
    let url = server.database();
    let store = store(&url).await.with_deadline(LIMIT);
    let standby = server.standby();
    sql(&pool(&url), "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    sql(&pool(&url), "SELECT pg_reload_conf()").await;
    let stores = warm(&url, &[]).await;

    let alice = session("alice");
    store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    standby.pause();
    none_is_reused(&url, &alice, &stores, async { standby.resume() }).await;

    // The caller has gone when the rotation commits: at its deadline, or because it cancelled the
    // call.
    let hasty = stores().with_deadline(STALL);
    for is_cancelled in [false, true] {
        // One of the two sessions has its own idle lifetime.
        let idle = is_cancelled.then_some(Duration::from_secs(600));
        let bob = changed(session("bob"), |it| it.idle_lifetime = idle);
        store.insert(&InsertRequest::new(bob.clone())).await.unwrap();
        standby.pause();
        let held = Instant::now();
        let (store, request) = (hasty.clone(), presented(&bob, Duration::ZERO));
        let rotating = tokio::spawn(async move { store.rotate(&request).await });
        waiting(&url, 1).await;
        if is_cancelled {
            rotating.abort();
            assert!(rotating.await.unwrap_err().is_cancelled());
        } else {
            assert_eq!(kind(rotating.await.unwrap()), Some(StoreErrorKind::Unavailable));
        }
        sleep(STALL.saturating_sub(held.elapsed())).await;
        standby.resume();
        // The rotation is corrected in the background.
        let store = stores();
        let corrected = async {
            loop {
                let record = store.load(&bob.id).await.unwrap().unwrap();
                if record.rotated_at.saturating_since(FIRST) + ROUNDED >= STALL {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, corrected).await.expect("the rotation is corrected");
        the_grace_begins_after(&bob, &store, STALL, held.elapsed()).await;
    }
}

/// The store has decided that a token was reused. If the time of the rotation is corrected before
/// the session is revoked, the store decides again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_correction_before_the_revocation_causes_another_decision() {
    let server = server();
    let url = server.database();
    let store = store(&url).await.with_deadline(LIMIT);
    let alice = session("alice");
    store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    store.rotate(&presented(&alice, Duration::ZERO)).await.unwrap();
    let holder = holding(
        &pool(&url),
        "UPDATE kippu_sessions SET rotated_at = rotated_at + 5000 WHERE subject = 'alice'",
    )
    .await;
    let retry = presented(&alice, Duration::from_secs(5));
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.rotate(&retry).await.unwrap() }
    });
    self::waiting(&url, 1).await;
    holder.commit().await.unwrap();
    let outcome = waiting.await.unwrap();
    assert!(is_replayed(&outcome), "{outcome:?}");
    assert_eq!(store.load(&alice.id).await.unwrap().unwrap().revoked, None);
}

/// A reauthentication that keeps the token waits for a row, while its holder rotates or revokes the
/// session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn a_reauthentication_sees_the_change_that_it_waited_for() {
    let server = server();
    let url = server.database();
    store(&url).await;
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let store = warm(&url, &[("default_transaction_isolation", isolation)]).await;
        let store = store();
        for change in [
            "UPDATE kippu_sessions SET generation = 2 WHERE subject = 'alice'",
            "UPDATE kippu_sessions SET revoked_at = 7, revoked_reason = 'logout' WHERE subject = 'alice'",
        ] {
            let mut alice = changed(session("alice"), |it| it.generation = 1);
            store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
            let holder = holding(&pool(&url), change).await;
            let proof = changed(super::request(&alice, 1, alice.rotated_at), |it| {
                (it.was_current, it.auth_time) = (true, Some(FIRST));
            });
            let waits = tokio::spawn({
                let store = store.clone();
                async move { store.rotate(&proof).await.unwrap() }
            });
            waiting(&url, 1).await;
            holder.commit().await.unwrap();
            let outcome = waits.await.unwrap();
            let record = store.load(&alice.id).await.unwrap().unwrap();
            if record.revoked.is_some() {
                assert_eq!(outcome, RotateOutcome::Revoked(RevokeReason::Logout));
                assert_eq!(record.auth_time, alice.auth_time);
            } else {
                (alice.generation, alice.auth_time) = (2, FIRST);
                assert_eq!(record, alice);
                let current = Successor::new(2, alice.kid, alice.expires_at);
                assert_eq!(outcome, RotateOutcome::Reauthenticated(current));
            }
            sql(&pool(&url), "DELETE FROM kippu_sessions").await;
        }
    }
}
