//! A server that delays a rotation before the change, or between the change and the commit. The
//! grace period begins with the commit, and a token that was presented earlier does not count as
//! reused.

use std::{future::Future, time::Duration};

use kippu::session::{
    RefreshStore, RevokeReason, SessionRecord, StoreErrorKind, UnixMillis,
    rotation::{RotateOutcome, RotateRequest, Successor},
    store::EndedCursor,
};
use kippu_sqlx::MySqlStore;
use sqlx::{
    AssertSqlSafe, MySql, mysql::MySqlConnectOptions, mysql::MySqlPoolOptions, pool::PoolConnection,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    LIMIT, add, ended, mysql_server, patient, pool, pool_of,
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

/// Makes one store for all calls, whose connections have rotated before.
async fn warm(url: &str) -> MySqlStore {
    let store = patient(pool(url));
    let mut rotations = JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        rotations.spawn(async move {
            let session = session("warm");
            add(&store, &session).await;
            for generation in 0..10 {
                store.rotate(&super::request(&session, generation, FIRST)).await.unwrap();
            }
        });
    }
    rotations.join_all().await;
    store
}

/// Waits until `count` statements of the database have waited for a tenth of a second.
async fn waiting(url: &str, count: i64) {
    let admin = pool_of(url, 1);
    let found = async {
        let query = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() \
                     AND command IN ('Execute', 'Prepare', 'Query') AND time_ms > 100";
        while sqlx::query_scalar::<_, i64>(query).fetch_one(&admin).await.unwrap() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, found).await.expect("the statements wait");
}

/// Eight callers present one token while the server stalls, the last of them long after the first
/// one's grace period. One rotates, the others get replays. The grace period begins at the end of
/// the stall.
async fn none_is_reused(
    url: &str,
    session: &SessionRecord,
    stores: impl Fn() -> MySqlStore,
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
    store: &MySqlStore,
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
        super::request(session, 0, FIRST).idle_lifetime
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

/// Returns the connection of another program, which has run these statements and stays open.
async fn holding(url: &str, statements: &str) -> PoolConnection<MySql> {
    let mut holder = pool_of(url, 1).acquire().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *holder).await.unwrap();
    holder
}

async fn then(mut holder: PoolConnection<MySql>, statements: &str) {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *holder).await.unwrap();
}

/// A row that its holder leaves unchanged or changes, a table, and all tables, as a backup locks
/// them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_lock_delays_the_grace_period() {
    let server = mysql_server::MySql::start();
    let database = server.database();
    let url = server.url_of(&database);
    let root = server.url_for("root", None, &database);
    let first = store(&url).await;
    let warm = warm(&url).await;
    let cold_url = url.clone();
    for (lock, end) in [
        (
            "START TRANSACTION; SELECT * FROM kippu_sessions WHERE subject = 'alice' FOR UPDATE",
            "COMMIT",
        ),
        (
            "START TRANSACTION; UPDATE kippu_sessions SET label = 'x' WHERE subject = 'alice'",
            "COMMIT",
        ),
        ("LOCK TABLES kippu_sessions WRITE", "UNLOCK TABLES"),
        ("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"),
    ] {
        for is_cold in [false, true] {
            let stores = || {
                if is_cold { patient(pool_of(&cold_url, 1)) } else { warm.clone() }
            };
            sql(&pool_of(&url, 1), "DELETE FROM kippu_sessions").await;
            let alice = changed(session("alice"), |it| it.label = Some("x".to_owned()));
            add(&first, &alice).await;
            let holder = holding(&root, lock).await;
            none_is_reused(&url, &alice, stores, then(holder, end)).await;
        }
    }
}

/// The statement also counts a wait that is short compared with the grace period, so that nothing
/// is corrected afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_short_wait_delays_the_grace_period() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    for was_current in [false, true] {
        let alice = session("alice");
        add(&store, &alice).await;
        let lock =
            "START TRANSACTION; SELECT * FROM kippu_sessions WHERE subject = 'alice' FOR UPDATE";
        let holder = holding(&url, lock).await;
        let held = Instant::now();
        let request = changed(super::request(&alice, 0, FIRST), |it| {
            it.grace = Duration::from_secs(3600);
            it.was_current = was_current;
        });
        let rotating = tokio::spawn({
            let store = store.clone();
            async move { store.rotate(&request).await.unwrap() }
        });
        waiting(&url, 1).await;
        let short = held.elapsed();
        assert!(!rotating.is_finished());
        then(holder, "COMMIT").await;
        let outcome = rotating.await.unwrap();
        let longest = held.elapsed();
        let record = store.load(&alice.id).await.unwrap().unwrap();
        let stored = record.rotated_at.saturating_since(FIRST);
        assert!(stored >= Duration::from_millis(100) && stored <= longest, "{stored:?}, {short:?}");
        let RotateOutcome::Rotated(successor) = outcome else { panic!("{outcome:?}") };
        assert_eq!(successor.expires_at, record.expires_at);
        let lifetime = record.expires_at.saturating_since(record.rotated_at);
        assert_eq!(lifetime, Duration::from_secs(3600));
        sql(&pool_of(&url, 1), "DELETE FROM kippu_sessions").await;
    }
}

/// A wait extends a session neither beyond its absolute end nor beyond the latest time that can be
/// stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_wait_does_not_extend_a_session_beyond_its_end() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    let (alice, bob) = (session("alice"), session("bob"));
    let bob = changed(bob, |it| {
        it.absolute_expires_at = UnixMillis::MAX;
        it.expires_at = UnixMillis::MAX;
    });
    let last = UnixMillis::new(UnixMillis::MAX.get() - 1);
    for (session, now) in [(&alice, FIRST), (&bob, last)] {
        add(&store, session).await;
        let holder = holding(&url, "LOCK TABLES kippu_sessions WRITE").await;
        let request = changed(super::request(session, 0, now), |it| {
            it.idle_lifetime = Duration::from_secs(86_400 * 365);
            it.was_current = true;
        });
        let rotating = tokio::spawn({
            let store = store.clone();
            async move { store.rotate(&request).await.unwrap() }
        });
        waiting(&url, 1).await;
        then(holder, "UNLOCK TABLES").await;
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
#[ignore = "needs MariaDB"]
async fn a_late_commit_of_another_process_overtakes_the_rotation() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    let alice = session("alice");
    add(&store, &alice).await;
    let change = "START TRANSACTION; UPDATE kippu_sessions SET generation = 1, kid = 'k2', rotated_at = 1764000010000 \
                  WHERE subject = 'alice'";
    let holder = holding(&url, change).await;
    let late = presented(&alice, STALL);
    let rotating = tokio::spawn({
        let (store, late) = (store.clone(), late.clone());
        async move { store.rotate(&late).await.unwrap() }
    });
    waiting(&url, 1).await;
    then(holder, "COMMIT").await;
    let outcome = rotating.await.unwrap();
    assert!(is_replayed(&outcome), "{outcome:?}");
    // The same request, presented after the commit became visible.
    assert_eq!(store.rotate(&late).await.unwrap(), RotateOutcome::Reused);
    let record = store.load(&alice.id).await.unwrap().unwrap();
    assert_eq!(record.revoked.map(|revoked| revoked.reason), Some(RevokeReason::Reuse));
}

/// A backup blocks the commit of a change. The change is made long before it becomes visible.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn the_grace_period_begins_after_a_commit_that_waits_for_a_backup() {
    let server = mysql_server::MySql::start();
    let database = server.database();
    let (url, root) = (server.url_of(&database), server.url_for("root", None, &database));
    store(&url).await;
    let warm = warm(&url).await;
    let block =
        "BACKUP STAGE START; BACKUP STAGE FLUSH; BACKUP STAGE BLOCK_DDL; BACKUP STAGE BLOCK_COMMIT";
    let alice = session("alice");
    add(&warm, &alice).await;
    let holder = holding(&root, block).await;
    none_is_reused(&url, &alice, || warm.clone(), then(holder, "BACKUP STAGE END")).await;

    // The caller has gone when the rotation commits: at its deadline, or because it cancelled the
    // call.
    let hasty = warm.clone().with_deadline(STALL);
    for is_cancelled in [false, true] {
        let bob = session("bob");
        add(&warm, &bob).await;
        let holder = holding(&root, block).await;
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
        then(holder, "BACKUP STAGE END").await;
        // The rotation is corrected in the background.
        let corrected = async {
            loop {
                let record = warm.load(&bob.id).await.unwrap().unwrap();
                if record.rotated_at.saturating_since(FIRST) + ROUNDED >= STALL {
                    break;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, corrected).await.expect("the rotation is corrected");
        the_grace_begins_after(&bob, &warm, STALL, held.elapsed()).await;
    }
}

/// The store has decided that a token was reused. If the time of the rotation is corrected before
/// the session is revoked, the store decides again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_correction_before_the_revocation_causes_another_decision() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    let alice = session("alice");
    add(&store, &alice).await;
    store.rotate(&presented(&alice, Duration::ZERO)).await.unwrap();
    let change = "START TRANSACTION; UPDATE kippu_sessions SET rotated_at = rotated_at + 5000 WHERE subject = 'alice'";
    let holder = holding(&url, change).await;
    let retry = presented(&alice, Duration::from_secs(5));
    let rotating = tokio::spawn({
        let store = store.clone();
        async move { store.rotate(&retry).await.unwrap() }
    });
    waiting(&url, 1).await;
    then(holder, "COMMIT").await;
    let outcome = rotating.await.unwrap();
    assert!(is_replayed(&outcome), "{outcome:?}");
    assert_eq!(store.load(&alice.id).await.unwrap().unwrap().revoked, None);
}

/// The server ends lock waits after a second. The store outlasts a shorter lock and gives up at a
/// longer one, in every step that waits for the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_lock_wait_that_the_server_ends_is_repeated() {
    let server = server();
    let url = server.url_of(&server.database());
    store(&url).await;
    let options: MySqlConnectOptions = url.parse().unwrap();
    let pool = MySqlPoolOptions::new()
        .after_connect(|connection, _| {
            Box::pin(async move {
                let setting = "SET innodb_lock_wait_timeout = 1";
                sqlx::raw_sql(setting).execute(connection).await.map(|_| ())
            })
        })
        .connect_lazy_with(options);
    let store = patient(pool);
    let (alice, bob) = (session("alice"), session("bob"));
    add(&store, &alice).await;
    add(&store, &bob).await;
    let lock = "START TRANSACTION; SELECT * FROM kippu_sessions FOR UPDATE";
    let holder = holding(&url, lock).await;
    let held = Instant::now();
    let (rotating, revoking) = (store.clone(), store.clone());
    let request = presented(&alice, Duration::ZERO);
    let rotating = tokio::spawn(async move { rotating.rotate(&request).await });
    let revoking = tokio::spawn(async move {
        revoking.revoke_subject("bob", None, RevokeReason::LogoutAll, FIRST).await
    });
    sleep(Duration::from_millis(2500)).await;
    assert!(!rotating.is_finished() && !revoking.is_finished());
    let stall = held.elapsed();
    then(holder, "COMMIT").await;
    assert!(matches!(rotating.await.unwrap(), Ok(RotateOutcome::Rotated(_))));
    assert_eq!(revoking.await.unwrap().unwrap(), 1);
    the_grace_begins_after(&alice, &store, stall, held.elapsed()).await;

    let carol = session("carol");
    add(&store, &carol).await;
    let holder = holding(&url, lock).await;
    let request = presented(&carol, Duration::ZERO);
    let (rotated, revoked) =
        tokio::join!(store.rotate(&request), store.revoke(&carol.id, RevokeReason::Logout, FIRST));
    assert_eq!(kind(rotated), Some(StoreErrorKind::Contention));
    assert_eq!(kind(revoked), Some(StoreErrorKind::Contention));
    then(holder, "COMMIT").await;
    assert_eq!(store.load(&carol.id).await.unwrap(), Some(carol));
}

/// Transactions of another program take locks in the other order. One of the two is undone, and the
/// store repeats its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_deadlock_is_repeated() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    for _ in 0..5 {
        let alice = session("alice");
        add(&store, &alice).await;
        let mut other =
            holding(&url, "START TRANSACTION; UPDATE kippu_state SET version = version").await;
        let revoking = tokio::spawn({
            let store = store.clone();
            async move { store.revoke_subject("alice", None, RevokeReason::LogoutAll, FIRST).await }
        });
        waiting(&url, 1).await;
        // The server may undo either transaction.
        let statement = "UPDATE kippu_sessions SET label = 'x' WHERE subject = 'alice'";
        let _ = sqlx::raw_sql(statement).execute(&mut *other).await;
        then(other, "ROLLBACK").await;
        assert_eq!(revoking.await.unwrap().unwrap(), 1);
    }
}

#[tokio::test]
#[ignore = "needs MariaDB"]
async fn rejects_a_server_with_sysdate_is_now() {
    let server = mysql_server::MySql::start_with(&["--sysdate-is-now"]);
    let url = server.url_of(&server.database());
    let store = patient(pool(&url));
    let created = store.create_schema().await.unwrap_err();
    let loaded = store.load(&session("alice").id).await.unwrap_err();
    let rotated = store.rotate(&presented(&session("alice"), STALL)).await.unwrap_err();
    for error in [created, loaded, rotated] {
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        assert!(error.to_string().contains("sysdate-is-now"), "{error}");
    }
}

/// A reauthentication that keeps the token waits for a row, while its holder rotates or revokes the
/// session.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_reauthentication_sees_the_change_that_it_waited_for() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    for change in ["generation = 2", "revoked_at = 7, revoked_reason = 'logout'"] {
        let mut alice = changed(session("alice"), |it| it.generation = 1);
        add(&store, &alice).await;
        let update = format!(
            "START TRANSACTION; UPDATE kippu_sessions SET {change} WHERE subject = 'alice'"
        );
        let holder = holding(&url, &update).await;
        let proof = changed(super::request(&alice, 1, alice.rotated_at), |it| {
            (it.was_current, it.auth_time) = (true, Some(FIRST));
        });
        let waits = tokio::spawn({
            let store = store.clone();
            async move { store.rotate(&proof).await.unwrap() }
        });
        waiting(&url, 1).await;
        then(holder, "COMMIT").await;
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
        sql(&pool_of(&url, 1), "DELETE FROM kippu_sessions").await;
    }
}

/// A revocation waits for a purge that has not committed, and then finds no record.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs MariaDB"]
async fn a_revocation_that_waits_for_a_purge_is_in_the_log() {
    let server = server();
    let url = server.url_of(&server.database());
    let store = store(&url).await;
    let alice = session("alice");
    add(&store, &alice).await;
    let purge = "START TRANSACTION; DELETE FROM kippu_sessions WHERE subject = 'alice'";
    let holder = holding(&url, purge).await;
    let revocation = tokio::spawn({
        let (store, id) = (store.clone(), alice.id);
        async move { store.revoke(&id, RevokeReason::Logout, FIRST).await }
    });
    waiting(&url, 1).await;
    then(holder, "COMMIT").await;
    assert!(!timeout(LIMIT, revocation).await.unwrap().unwrap().unwrap());
    assert_eq!(ended(&store, &mut EndedCursor::default()).await, [alice.id]);
}
