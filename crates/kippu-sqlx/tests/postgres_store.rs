//! The store in PostgreSQL, on servers that these tests start: each step, races over several pools,
//! every isolation level, wrong settings, and a server that stops under load.
#![cfg(feature = "postgres")]
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
    process::Command,
    slice,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kippu::{
    NumericDate,
    session::{
        RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionLimit, SessionRecord,
        StoreError, StoreErrorKind, UnixMillis,
        rotation::{AheadPolicy, Change, MAX_GENERATION, RotateOutcome, Successor},
        store::{CompareAndSwap, EndedCursor, InsertOutcome, InsertRequest, ListRequest},
    },
};
use kippu_sqlx::PostgresStore;
use kippu_test_support::{postgres as postgres_server, proxy, races, records, servers};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

#[path = "postgres_store/deadline.rs"]
mod deadline;
#[path = "postgres_store/failover.rs"]
mod failover;
#[path = "postgres_store/listening.rs"]
mod listening;
#[path = "postgres_store/pooler.rs"]
mod pooler;
#[path = "postgres_store/stalls.rs"]
mod stalls;

use self::{
    postgres_server::Postgres,
    races::{Pair, Seen, more},
    records::{LOGIN, after, changed, kind, request, session},
};

const LIMIT: Duration = Duration::from_secs(60);
/// Returns a server that all tests share which leave it running. It stops after the last of them.
fn server() -> Arc<Postgres> {
    static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());

    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Postgres::start());
    *shared = Arc::downgrade(&server);
    server
}

/// Makes a pool whose connections have further settings.
fn pool_with(url: &str, size: u32, settings: &[(&str, &str)]) -> PgPool {
    let options = PgConnectOptions::from_str(url).unwrap().options(settings.iter().copied());
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(Duration::from_secs(20))
        .connect_lazy_with(options)
}

fn pool(url: &str) -> PgPool {
    pool_with(url, 8, &[])
}

async fn sql(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

async fn store(url: &str) -> PostgresStore {
    let store = patient(pool(url));
    store.create_schema().await.unwrap();
    store
}

/// Makes a store for races, with a deadline that a busy machine does not reach.
fn patient(pool: PgPool) -> PostgresStore {
    PostgresStore::new(pool).with_deadline(LIMIT)
}

/// Returns a login that evicts other sessions if there would be more than `max`.
fn within(max: u32, session: &SessionRecord) -> InsertRequest {
    InsertRequest::new(session.clone()).limit(SessionLimit::evict_oldest(max))
}

/// Returns the stored record. It must equal `wanted`, except for the time that the server counted
/// as a wait before it rotated at `at`.
async fn stored(store: &PostgresStore, wanted: &SessionRecord, at: UnixMillis) -> SessionRecord {
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

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn each_step() {
    let server = server();
    let store = store(&server.database()).await;
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
    store.insert(&InsertRequest::new(aged.clone())).await.unwrap();
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

    // A swap requires the record as it was seen.
    let dave = session("dave");
    store.insert(&InsertRequest::new(dave.clone())).await.unwrap();
    let (generation, kid) = (1, "k9".to_owned());
    let advance = Change::Advance {
        generation,
        kid,
        rotated_at: after(1),
        expires_at: after(3601),
        auth_time: Some(after(1)),
        data: Some(SessionData::new(*b"otp").unwrap()),
    };
    assert!(store.swap(&dave, &advance).await.unwrap());
    assert!(!store.swap(&dave, &advance).await.unwrap());
    let mut seen = dave.clone();
    seen.apply(advance.clone());
    assert_eq!(store.load(&dave.id).await.unwrap(), Some(seen.clone()));
    let proof = Change::Reauthenticate { auth_time: after(2), data: None };
    assert!(!store.swap(&dave, &proof).await.unwrap());
    assert!(store.swap(&seen, &proof).await.unwrap());
    seen.apply(proof.clone());
    assert_eq!(store.load(&dave.id).await.unwrap(), Some(seen.clone()));
    let revoke = Change::Revoke { at: after(2), reason: RevokeReason::Denied };
    assert!(!store.swap(&dave, &revoke).await.unwrap());
    assert!(store.swap(&seen, &revoke).await.unwrap());
    assert!(!store.swap(&seen, &revoke).await.unwrap());
    assert!(!store.swap(&seen, &proof).await.unwrap());
    seen.apply(revoke);
    assert_eq!(store.load(&dave.id).await.unwrap(), Some(seen));
    assert!(!store.swap(&session("dave"), &advance).await.unwrap());

    // An unknown session.
    let nobody = session("nobody");
    let outcome = store.rotate(&request(&nobody, 0, LOGIN)).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Unknown);
    assert!(!store.revoke(&nobody.id, RevokeReason::Logout, LOGIN).await.unwrap());
}

/// The policy and the data of a login survive rotations. The session's own idle lifetime takes
/// precedence over the request's.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_session_keeps_its_own_policy() {
    let server = server();
    let store = store(&server.database()).await;
    let data = |length| SessionData::new(vec![0xff; length]).unwrap();
    let alice = changed(session("alice"), |it| {
        it.remembered = false;
        it.idle_lifetime = Some(Duration::from_secs(600));
        it.expires_at = after(600);
        it.auth_time = after(1);
        it.data = data(3);
    });
    let bob =
        changed(session("bob"), |it| it.idle_lifetime = Some(Duration::from_millis((1 << 53) - 1)));
    for session in [&alice, &bob] {
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(session));
    }
    let listed = store.list(&ListRequest::new("alice", LOGIN)).await.unwrap();
    assert_eq!(listed, slice::from_ref(&alice));

    // A refresh with other data.
    let refresh = changed(request(&alice, 0, after(10)), |it| it.data = Some(data(1024)));
    assert!(matches!(store.rotate(&refresh).await.unwrap(), RotateOutcome::Rotated(_)));
    let wanted = changed(alice.clone(), |it| {
        it.generation = 1;
        it.kid = "k2".to_owned();
        it.expires_at = after(610);
        it.data = data(1024);
    });
    let wanted = stored(&store, &wanted, after(10)).await;
    // A retry changes nothing.
    let retry = changed(refresh, |it| it.data = Some(data(9)));
    assert!(matches!(store.rotate(&retry).await.unwrap(), RotateOutcome::Replayed(_)));
    assert_eq!(store.load(&alice.id).await.unwrap(), Some(wanted.clone()));
    // A reauthentication within the grace period, without data: it only stores its time, whether
    // the token was read before the rotation or after it.
    let proof = |generation, seconds| {
        changed(request(&alice, generation, after(seconds)), |it| {
            it.auth_time = Some(after(seconds));
        })
    };
    let mut wanted = wanted;
    for (generation, seconds) in [(0, 15), (1, 16), (1, 16)] {
        let outcome = store.rotate(&proof(generation, seconds)).await.unwrap();
        wanted.auth_time = after(seconds);
        let successor = Successor::new(1, "k2", wanted.expires_at);
        assert_eq!(outcome, RotateOutcome::Reauthenticated(successor));
        assert_eq!(store.load(&alice.id).await.unwrap(), Some(wanted.clone()));
    }
    // After the grace period it rotates.
    assert!(matches!(store.rotate(&proof(1, 50)).await.unwrap(), RotateOutcome::Rotated(_)));
    let wanted = changed(wanted, |it| {
        it.generation = 2;
        it.expires_at = after(650);
        it.auth_time = after(50);
    });
    let wanted = stored(&store, &wanted, after(50)).await;
    // A reauthentication for another generation is overtaken, and revokes nothing: one behind, many
    // behind, ahead.
    for generation in [1, 0, 3, 9] {
        let outcome = store.rotate(&proof(generation, 90)).await.unwrap();
        assert_eq!(outcome, RotateOutcome::Overtaken, "{generation}");
        assert_eq!(store.load(&alice.id).await.unwrap(), Some(wanted.clone()));
    }
    let empty = changed(request(&alice, 2, after(100)), |it| it.data = Some(data(0)));
    assert!(matches!(store.rotate(&empty).await.unwrap(), RotateOutcome::Rotated(_)));
    let record = store.load(&alice.id).await.unwrap().unwrap();
    assert_eq!((record.data, record.auth_time), (data(0), after(50)));
    // Healed, and so on the path that reads the record.
    let healed = changed(request(&alice, 7, after(110)), |it| it.data = Some(data(7)));
    assert!(matches!(store.rotate(&healed).await.unwrap(), RotateOutcome::Healed { .. }));
    let record = store.load(&alice.id).await.unwrap().unwrap();
    let idle = record.expires_at.saturating_since(record.rotated_at);
    assert_eq!((record.data, idle), (data(7), Duration::from_secs(600)));
    // The longest lifetime ends with the session.
    assert!(matches!(
        store.rotate(&request(&bob, 0, after(1))).await.unwrap(),
        RotateOutcome::Rotated(_)
    ));
    let record = store.load(&bob.id).await.unwrap().unwrap();
    assert_eq!(record.expires_at, bob.absolute_expires_at);
}

/// Another transaction changes a session that is to be evicted. The login waits, and then revokes
/// the changed session, or finds it revoked.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_login_waits_for_changes_of_the_sessions_that_it_evicts() {
    let server = server();
    let url = server.database();
    let (store, pool) = (store(&url).await, pool(&url));
    for (change, is_evicted) in [
        (
            "UPDATE kippu_sessions SET generation = 1, kid = 'k2', rotated_at = rotated_at + 1 WHERE id = $1",
            true,
        ),
        (
            "UPDATE kippu_sessions SET revoked_at = 1, revoked_reason = 'logout' WHERE id = $1",
            false,
        ),
    ] {
        let (old, new) = (session("alice"), session("alice"));
        store.insert(&within(1, &old)).await.unwrap();
        let (_, cursor) = ended(&store, &EndedCursor::default()).await;
        let mut holder = pool.begin().await.unwrap();
        sqlx::query(change).bind(old.id.as_bytes().to_vec()).execute(&mut *holder).await.unwrap();
        let login = {
            let (store, request) = (store.clone(), within(1, &new));
            tokio::spawn(async move { store.insert(&request).await.unwrap() })
        };
        waiting(&pool).await;
        // The login of another subject does not wait. One of the same subject does.
        let other = session(&format!("bob {is_evicted}"));
        store.insert(&within(1, &other)).await.unwrap();
        let impatient = store.clone().with_deadline(Duration::from_millis(300));
        let refused = InsertRequest::new(session("alice")).limit(SessionLimit::refuse(1));
        assert_eq!(kind(impatient.insert(&refused).await), Some(StoreErrorKind::Unavailable));
        holder.commit().await.unwrap();
        let outcome = timeout(LIMIT, login).await.unwrap().unwrap();
        let evicted = if is_evicted { vec![old.id] } else { vec![] };
        assert_eq!(outcome, InsertOutcome::Inserted { evicted });
        let record = store.load(&old.id).await.unwrap().unwrap();
        let reason = if is_evicted { RevokeReason::Limit } else { RevokeReason::Logout };
        assert_eq!(record.revoked.map(|revoked| revoked.reason), Some(reason));
        assert_eq!(record.generation, u64::from(is_evicted));
        assert_eq!(ended(&store, &cursor).await.0, [old.id], "{change}");
        let listed = store.list(&ListRequest::new("alice", LOGIN)).await.unwrap();
        assert_eq!(listed, slice::from_ref(&new));
        store.revoke(&new.id, RevokeReason::Logout, LOGIN).await.unwrap();
    }
}

/// A login was sent twice: the first one is about to commit, and the second one does not see it
/// yet.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_login_that_was_sent_twice_evicts_nothing() {
    let server = server();
    let url = server.database();
    let (store, pool) = (store(&url).await, pool(&url));
    let (old, new) = (session("alice"), session("alice"));
    store.insert(&InsertRequest::new(old.clone())).await.unwrap();
    let mut holder = pool.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO kippu_sessions (id, subject, client, created_at, absolute_expires_at, generation, kid, rotated_at, \
         expires_at) SELECT $1, subject, client, created_at, absolute_expires_at, generation, kid, rotated_at, expires_at \
         FROM kippu_sessions",
    )
    .bind(new.id.as_bytes().to_vec())
    .execute(&mut *holder)
    .await
    .unwrap();
    let login = {
        let (store, request) = (store.clone(), within(1, &new));
        tokio::spawn(async move { store.insert(&request).await.unwrap() })
    };
    waiting(&pool).await;
    holder.commit().await.unwrap();
    let outcome = timeout(LIMIT, login).await.unwrap().unwrap();
    assert_eq!(outcome, InsertOutcome::Duplicate);
    assert_eq!(store.load(&old.id).await.unwrap(), Some(old));
}

/// Waits until a statement waits for a lock.
async fn waiting(pool: &PgPool) {
    let waits = "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.unwrap() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn ended(store: &PostgresStore, cursor: &EndedCursor) -> (Vec<SessionId>, EndedCursor) {
    let page = store.ended_after(cursor).await.unwrap();
    (page.ids, page.next)
}

/// A revocation waits for a purge that has not committed, and then finds no record. Its statement
/// began while there was one. A verifier whose clock is behind, or has a leeway, may still accept
/// the access token.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_revocation_that_waits_for_a_purge_is_in_the_log() {
    let server = server();
    let url = server.database();
    let (store, pool) = (store(&url).await, pool(&url));
    let alice = session("alice");
    store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    let mut purge = pool.begin().await.unwrap();
    let delete = "DELETE FROM kippu_sessions WHERE id = $1";
    sqlx::query(delete).bind(alice.id.as_bytes().to_vec()).execute(&mut *purge).await.unwrap();
    let revocation = {
        let (store, id) = (store.clone(), alice.id);
        tokio::spawn(async move { store.revoke(&id, RevokeReason::Logout, LOGIN).await })
    };
    waiting(&pool).await;
    purge.commit().await.unwrap();
    assert!(!timeout(LIMIT, revocation).await.unwrap().unwrap().unwrap());
    assert_eq!(ended(&store, &EndedCursor::default()).await.0, [alice.id]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn revokes_and_lists_the_sessions_of_a_subject() {
    let server = server();
    let store = store(&server.database()).await;
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
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
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
    store.insert(&InsertRequest::new(aged.clone())).await.unwrap();
    assert_eq!(store.list(&ListRequest::new("bob", after(10))).await.unwrap(), []);
    assert_eq!(&store.list(&ListRequest::new("Bob", LOGIN)).await.unwrap(), capital);
    let outcome = store.rotate(&request(&bob[0], 0, LOGIN)).await.unwrap();
    assert_eq!(outcome, RotateOutcome::Revoked(reason));
    // A text in PostgreSQL cannot contain NUL, so this subject has no sessions.
    assert_eq!(store.list(&ListRequest::new("b\0b", LOGIN)).await.unwrap(), []);
    assert_eq!(store.revoke_subject("b\0b", None, reason, LOGIN).await.unwrap(), 0);
    let error = store.insert(&InsertRequest::new(session("b\0b"))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn stores_the_extreme_values() {
    let server = server();
    let store = store(&server.database()).await;
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
#[ignore = "needs PostgreSQL"]
async fn a_purge_removes_only_ended_sessions() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    let unused = changed(session("alice"), |it| it.expires_at = after(10));
    // The store never writes this end, but a session with it has expired.
    let aged = changed(session("alice"), |it| it.absolute_expires_at = after(10));
    let revoked = Some(Revoked { at: LOGIN, reason: RevokeReason::Logout });
    let (live, left) = (session("alice"), changed(session("alice"), |it| it.revoked = revoked));
    for session in [&unused, &aged, &live, &left] {
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
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
    store.insert(&InsertRequest::new(held.clone())).await.unwrap();
    store.insert(&InsertRequest::new(free.clone())).await.unwrap();
    let mut holder = pool(&url).begin().await.unwrap();
    sqlx::query("SELECT FROM kippu_sessions WHERE id = $1 FOR UPDATE")
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
    let nested = [("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("enable_sort", "off")];
    let nested = patient(pool_with(&url, 1, &nested));
    for store in [&store, &nested] {
        assert_eq!(store.purge_expired(after(10), 7).await.unwrap(), 7);
    }
    assert_eq!(nested.purge_expired(after(10), u32::MAX).await.unwrap(), 86);
}

/// A table of several portions. A call stops when it has used half of its deadline.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_large_table_is_purged_by_several_calls() {
    let server = server();
    let url = server.database();
    let store = store(&url).await;
    let pool = pool(&url);
    // A page holds few of these rows.
    let fill = "ALTER TABLE kippu_sessions SET (fillfactor = 10); \
        INSERT INTO kippu_sessions (id, subject, client, created_at, absolute_expires_at, generation, kid, rotated_at, expires_at) \
        SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 'user ' || n, 'web', 1, 2, 0, '1', 1, 2 FROM generate_series(1, 60000) AS n";
    sqlx::raw_sql(fill).execute(&pool).await.unwrap();
    let blocks =
        "SELECT pg_relation_size('kippu_sessions') / current_setting('block_size')::bigint";
    let blocks: i64 = sqlx::query_scalar(blocks).fetch_one(&pool).await.unwrap();
    assert!(blocks > 8192, "{blocks}");
    let live = session("alice");
    store.insert(&InsertRequest::new(live.clone())).await.unwrap();

    assert_eq!(store.purge_expired(after(10), 7).await.unwrap(), 7);
    let hasty = store.clone().with_deadline(Duration::from_millis(200));
    let (mut calls, mut progress) = (0, 0);
    let count = "SELECT count(*) FROM kippu_sessions";
    while sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap() > 1 {
        calls += 1;
        assert!(calls < 1000, "{progress}");
        match hasty.purge_expired(after(10), 5000).await {
            Ok(_) => progress += 1,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
        }
    }
    assert!(progress > 0);
    assert_eq!(store.purge_expired(after(10), u32::MAX).await.unwrap(), 0);
    assert_eq!(store.load(&live.id).await.unwrap(), Some(live));
}

/// The clock of one host of several is ahead, while the sessions of all users are live.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_purge_by_a_clock_that_is_ahead_removes_no_live_session() {
    let server = server();
    let store = store(&server.database()).await;
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
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
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
#[ignore = "needs PostgreSQL"]
async fn eight_nodes_create_the_table_at_once() {
    let server = server();
    for _ in 0..5 {
        let url = server.database();
        let barrier = Arc::new(Barrier::new(8));
        let mut nodes = JoinSet::new();
        for _ in 0..8 {
            let (pool, barrier) = (pool_with(&url, 1, &[]), Arc::clone(&barrier));
            nodes.spawn(async move {
                sql(&pool, "SELECT").await;
                barrier.wait().await;
                let store = patient(pool);
                store.create_schema().await.unwrap();
                store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
            });
        }
        while let Some(node) = nodes.join_next().await {
            node.unwrap();
        }
        // Applications that migrate by themselves run the same script.
        let pool = pool(&url);
        sql(&pool, PostgresStore::SCHEMA).await;
        let store = patient(pool);
        store.create_schema().await.unwrap();
        assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(), 8);
    }
}

/// The table as the first version made it.
const FIRST_SCHEMA: &str = "\
    CREATE TABLE kippu_sessions (
        id BYTEA PRIMARY KEY CHECK (octet_length(id) = 16), subject TEXT COLLATE \"C\" NOT NULL,
        client TEXT COLLATE \"C\" NOT NULL, label TEXT, created_at BIGINT NOT NULL,
        absolute_expires_at BIGINT NOT NULL, generation BIGINT NOT NULL CHECK (generation >= 0),
        kid TEXT NOT NULL, rotated_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
        revoked_at BIGINT, revoked_reason TEXT,
        CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
    ) WITH (fillfactor = 80);
    CREATE INDEX kippu_sessions_subject ON kippu_sessions (subject);
    INSERT INTO kippu_sessions SELECT decode(repeat(id, 16), 'hex'), subject, 'web', NULL, 1, 4000000000000, 0, '1', 1,
        4000000000000, revoked_at, reason
    FROM (VALUES ('01', 'alice', NULL::bigint, NULL), ('02', 'alice', 2, 'logout'), ('03', 'bob', NULL, NULL))
        AS rows (id, subject, revoked_at, reason)";

/// The log, which the second version added.
const LOG: &str = "\
    CREATE TABLE kippu_ended (
        txid BIGINT NOT NULL DEFAULT txid_current(), id BYTEA NOT NULL CHECK (octet_length(id) = 16),
        ended_at BIGINT NOT NULL DEFAULT floor(date_part('epoch', clock_timestamp()) * 1000)
    );
    CREATE INDEX kippu_ended_txid ON kippu_ended (txid);
    CREATE INDEX kippu_ended_ended_at ON kippu_ended (ended_at);
    CREATE FUNCTION kippu_log_ended() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO kippu_ended (id) VALUES (NEW.id);
        RETURN NULL;
    END;
    $$;
    CREATE TRIGGER kippu_sessions_ended AFTER UPDATE OF revoked_at ON kippu_sessions
    FOR EACH ROW WHEN (OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION kippu_log_ended();
    INSERT INTO kippu_ended (id) SELECT id FROM kippu_sessions WHERE revoked_at IS NOT NULL";

/// Logs in and rotates as a process with the previous version does, until `is_over`. Returns each
/// session and its generation.
async fn old_process(pool: PgPool, is_over: Arc<AtomicBool>) -> Vec<(SessionId, i64)> {
    let mut sessions = Vec::new();
    while !is_over.load(Ordering::Relaxed) || sessions.is_empty() {
        let id = session("dora").id;
        let bytes = id.as_bytes().to_vec();
        sqlx::query(
            "INSERT INTO kippu_sessions (id, subject, client, label, created_at, absolute_expires_at, generation, kid, \
             rotated_at, expires_at, revoked_at, revoked_reason) \
             VALUES ($1, 'dora', 'web', NULL, 7, 4000000000000, 0, '1', 7, 4000000000000, NULL, NULL) \
             ON CONFLICT (id) DO NOTHING RETURNING id",
        )
        .bind(&bytes)
        .fetch_one(&pool)
        .await
        .unwrap();
        let advance = "WITH held AS ( \
            SELECT id FROM kippu_sessions WHERE id = $1 AND generation = $2 AND revoked_at IS NULL FOR UPDATE \
        ), moved AS ( \
            UPDATE kippu_sessions AS session SET generation = $3, kid = '2', rotated_at = 8, expires_at = 4000000000000 \
            FROM held WHERE session.id = held.id RETURNING session.rotated_at \
        ) SELECT rotated_at FROM moved";
        for generation in 0..3_i64 {
            let rotated = sqlx::query(advance).bind(&bytes).bind(generation).bind(generation + 1);
            assert_eq!(rotated.fetch_all(&pool).await.unwrap().len(), 1);
        }
        let read: i64 = sqlx::query_scalar("SELECT generation FROM kippu_sessions WHERE id = $1")
            .bind(&bytes)
            .fetch_one(&pool)
            .await
            .unwrap();
        sessions.push((id, read));
    }
    sessions
}

/// Several nodes migrate concurrently, while a process with the version that made the table still
/// writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn tables_of_an_earlier_version_are_migrated() {
    let server = server();
    for (more, isolation) in [
        ("SELECT", "read committed"),
        (LOG, "read committed"),
        ("SELECT", "repeatable read"),
        (LOG, "serializable"),
    ] {
        let url = server.database();
        let old = pool(&url);
        sql(&old, FIRST_SCHEMA).await;
        sql(&old, more).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for _ in 0..4 {
            writers.spawn(old_process(old.clone(), Arc::clone(&is_over)));
        }
        let nodes: JoinSet<PostgresStore> = [(); 4]
            .map(|()| {
                let pool = pool_with(&url, 2, &[("default_transaction_isolation", isolation)]);
                async move {
                    let store = patient(pool);
                    store.create_schema().await.unwrap();
                    store
                }
            })
            .into_iter()
            .collect();
        let stores = timeout(LIMIT, nodes.join_all()).await.unwrap();
        is_over.store(true, Ordering::Relaxed);
        let written = timeout(LIMIT, writers.join_all()).await.unwrap().concat();
        let [store, other, ..] = &stores[..] else { panic!("four nodes") };
        for (id, generation) in written {
            let record = store.load(&id).await.unwrap().unwrap();
            assert_eq!(
                (i64::try_from(record.generation).unwrap(), record.revoked),
                (generation, None)
            );
            assert_eq!((record.auth_time, record.remembered), (record.created_at, true));
        }
        let [live, revoked, by_hand] = [1, 2, 3].map(|byte| SessionId::from_bytes([byte; 16]));
        let record = store.load(&live).await.unwrap().unwrap();
        let rotated = store.rotate(&request(&record, 0, UnixMillis::now())).await.unwrap();
        assert!(matches!(rotated, RotateOutcome::Rotated(_)), "{rotated:?}");
        let page = other.ended_after(&EndedCursor::default()).await.unwrap();
        assert_eq!(page.ids, [revoked], "it ended before");
        sql(
            &old,
            "UPDATE kippu_sessions SET revoked_at = 3, revoked_reason = 'logout' WHERE subject = 'bob'",
        )
        .await;
        store.revoke(&live, RevokeReason::Logout, UnixMillis::now()).await.unwrap();
        let mut page = other.ended_after(&page.next).await.unwrap();
        page.ids.sort();
        assert_eq!(page.ids, [live, by_hand]);
        let session = changed(session("alice"), |it| {
            it.data = SessionData::new(*b"otp").unwrap();
            it.idle_lifetime = Some(Duration::from_secs(1));
        });
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        assert_eq!(other.load(&session.id).await.unwrap(), Some(session));
        // The schema is complete, and running the script again changes nothing.
        sql(&old, PostgresStore::SCHEMA).await;
        let owned: i64 =
            sqlx::query_scalar("SELECT count(*) FROM kippu_ended").fetch_one(&old).await.unwrap();
        assert_eq!(owned, 3);
    }
}

/// A later version has changed the tables. A program with this version that starts then returns an
/// error, and leaves the tables unchanged.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_newer_schema_is_rejected() {
    let server = server();
    let url = server.database();
    let (running, pool) = (store(&url).await, pool(&url));
    sql(&pool, "COMMENT ON TABLE kippu_sessions IS 'kippu schema 40, since Monday'").await;
    // A verifier may have only the right to read the log.
    sql(&pool, "CREATE ROLE verifier LOGIN; GRANT SELECT ON kippu_ended TO verifier").await;
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let verifier = patient(self::pool(&server.url_for("verifier", None, database)));
    let page = verifier.ended_after(&EndedCursor::default()).await;
    for error in kinds_of_all(&patient(self::pool(&url))).await.into_iter().chain([
        ("connect", PostgresStore::connect(&url).await.err()),
        ("create_schema", patient(self::pool(&url)).create_schema().await.err()),
        ("a verifier", page.err()),
    ]) {
        let (step, error) = (error.0, error.1.unwrap_or_else(|| panic!("{}", error.0)));
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{step}: {error}");
        let text = error.to_string();
        assert!(text.contains("version 40") && text.contains("update"), "{step}: {text}");
    }
    let by_hand = sqlx::raw_sql(PostgresStore::SCHEMA).execute(&pool).await.unwrap_err();
    assert!(by_hand.to_string().contains("newer version of kippu"), "{by_hand}");
    // A store that has already taken a step still works: the later version keeps the columns that
    // it knows.
    for (step, error) in kinds_of_all(&running).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
    // The program works again when its version is back. A comment of the operator is not a version.
    for comment in
        ["kippu schema 3", "kippu schema 2", "sessions", "kippu schema", "kippu schema x"]
    {
        let comment = AssertSqlSafe(format!("COMMENT ON TABLE kippu_sessions IS '{comment}'"));
        sqlx::raw_sql(comment).execute(&pool).await.unwrap();
        let store = patient(self::pool(&url));
        store.create_schema().await.unwrap();
        store.load(&session("alice").id).await.unwrap();
    }
}

/// The log misses neither a transaction that began before others and commits after them, nor a
/// prepared one, nor one that was rolled back in part.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_log_misses_no_transaction_that_commits_late() {
    let server = server();
    let url = server.database();
    let (store, pool) = (store(&url).await, pool(&url));
    let sessions = [(); 4].map(|()| session("alice"));
    for session in &sessions {
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    }
    let [held, between, cancelled, kept] = sessions.each_ref().map(|session| session.id);
    let revoke =
        "UPDATE kippu_sessions SET revoked_at = 1, revoked_reason = 'logout' WHERE id = $1";
    let by_hand = async |connection: &mut PgConnection, id: SessionId| {
        sqlx::query(revoke).bind(id.as_bytes().to_vec()).execute(connection).await.unwrap();
    };
    let mut late = pool.begin().await.unwrap();
    by_hand(&mut late, held).await;
    let mut nested = late.begin().await.unwrap();
    by_hand(&mut nested, cancelled).await;
    nested.rollback().await.unwrap();
    let mut nested = late.begin().await.unwrap();
    by_hand(&mut nested, kept).await;
    nested.commit().await.unwrap();
    store.revoke(&between, RevokeReason::Logout, LOGIN).await.unwrap();
    let page = store.ended_after(&EndedCursor::default()).await.unwrap();
    assert_eq!(page.ids, [between]);
    late.commit().await.unwrap();
    let page = store.ended_after(&page.next).await.unwrap();
    assert_eq!(page.ids, [held, kept]);
    assert_eq!(store.ended_after(&page.next).await.unwrap().ids, []);
}

/// A server that has recovered from a crash may assign the same transaction numbers again.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_log_is_read_from_its_beginning_after_a_recovery() {
    let server = Postgres::start();
    let url = server.database();
    let (store, pool) = (store(&url).await, pool_with(&url, 1, &[]));
    let session = session("alice");
    store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    store.revoke(&session.id, RevokeReason::Logout, LOGIN).await.unwrap();
    let page = store.ended_after(&EndedCursor::default()).await.unwrap();
    let page = store.ended_after(&page.next).await.unwrap();
    assert_eq!(page.ids, [], "it was read");
    let process: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&pool).await.unwrap();
    let killed = Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
    assert!(killed.success());
    let again = loop {
        match store.ended_after(&page.next).await {
            Ok(page) if !page.ids.is_empty() => break page,
            // The server ends the other connections a moment later.
            Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}"),
        }
    };
    assert_eq!(again.ids, [session.id]);
}

/// Concurrent logins over several pools, while the subject logs out everywhere and its sessions are
/// listed. There are never more sessions than the limit, and each evicted one is in the log.
async fn no_login_exceeds_the_limit(url: &str, rounds: u32) {
    let stores: Vec<_> = (0..4).map(|_| patient(pool_with(url, 4, &[]))).collect();
    for round in 0..rounds {
        for limit in [SessionLimit::evict_oldest(3), SessionLimit::refuse(3)] {
            let subject = format!("visitor {round} {}", limit.evicts());
            let (_, cursor) = ended(&stores[0], &EndedCursor::default()).await;
            let barrier = Arc::new(Barrier::new(34));
            let mut logins = JoinSet::new();
            for store in stores.iter().cycle().take(32) {
                let (store, barrier) = (store.clone(), Arc::clone(&barrier));
                let request = InsertRequest::new(session(&subject)).limit(limit);
                logins.spawn(async move {
                    barrier.wait().await;
                    (request.session.id, store.insert(&request).await.unwrap())
                });
            }
            let mut others = JoinSet::new();
            let (store, name) = (stores[1].clone(), subject.clone());
            others.spawn({
                let barrier = Arc::clone(&barrier);
                async move {
                    barrier.wait().await;
                    for _ in 0..20 {
                        let live = store.list(&ListRequest::new(&*name, LOGIN)).await.unwrap();
                        assert!(live.len() <= 3, "{live:?}");
                    }
                }
            });
            let (store, name) = (stores[2].clone(), subject.clone());
            others.spawn(async move {
                barrier.wait().await;
                store.revoke_subject(&name, None, RevokeReason::LogoutAll, LOGIN).await.unwrap();
            });
            let (mut added, mut evicted) = (Vec::new(), Vec::new());
            while let Some(login) = timeout(LIMIT, logins.join_next()).await.unwrap() {
                match login.unwrap() {
                    (id, InsertOutcome::Inserted { evicted: mut ids }) => {
                        added.push(id);
                        evicted.append(&mut ids);
                    }
                    (_, InsertOutcome::LimitReached) => assert!(!limit.evicts()),
                    (_, other) => panic!("{other:?}"),
                }
            }
            while let Some(other) = timeout(LIMIT, others.join_next()).await.unwrap() {
                other.unwrap();
            }
            let live = stores[0].list(&ListRequest::new(&*subject, LOGIN)).await.unwrap();
            assert!(live.len() <= 3, "{live:?}");
            assert!(limit.evicts() || evicted.is_empty());
            assert!(!limit.evicts() || added.len() == 32);
            // Each session appears once: it is live, or it is in the log.
            let (mut log, _) = ended(&stores[0], &cursor).await;
            assert!(evicted.iter().all(|id| log.contains(id)));
            log.extend(live.iter().map(|session| session.id));
            log.sort_unstable();
            added.sort_unstable();
            assert_eq!(log, added);
        }
    }
}

/// Runs the races after a statement that configures the database.
async fn races(setting: &'static str) {
    let server = server();
    let url = server.database();
    sql(&pool(&url), setting).await;
    store(&url).await;
    races::run(|connections| patient(pool_with(&url, connections, &[]))).await;
    no_login_exceeds_the_limit(&url, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn races_under_read_committed() {
    races("SELECT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn races_under_repeatable_read() {
    races(
        "DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L',
                 current_database(), 'repeatable read');
         END $$",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn races_under_serializable() {
    races(
        "DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L',
                 current_database(), 'serializable');
         END $$",
    )
    .await;
}

/// A commit that fails after the server has sent the row does not rotate. If it fails every time,
/// the step gives up.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_commit_that_fails_is_a_fault() {
    let server = server();
    let url = server.database();
    let (store, admin) = (store(&url).await, pool(&url));
    let alice = session("alice");
    store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
    sql(
        &admin,
        "CREATE TABLE faults (code TEXT, times INT);
         CREATE SEQUENCE tries;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
             fault faults;
         BEGIN
             SELECT * INTO fault FROM faults;
             -- A sequence keeps its count when the transaction is undone.
             IF nextval('tries') <= fault.times THEN
                 RAISE EXCEPTION 'on purpose' USING ERRCODE = fault.code;
             END IF;
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER fail AFTER UPDATE ON kippu_sessions
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail();",
    )
    .await;
    for (code, times, expected, tries) in [
        ("53100", 1000, Err(StoreErrorKind::Unavailable), 1),
        ("40001", 1000, Err(StoreErrorKind::Contention), 5),
        ("40P01", 1000, Err(StoreErrorKind::Contention), 5),
        ("40P01", 1, Ok(1), 2),
        ("40001", 4, Ok(2), 5),
    ] {
        sqlx::raw_sql("TRUNCATE faults; SELECT setval('tries', 1, false)")
            .execute(&admin)
            .await
            .unwrap();
        sqlx::query("INSERT INTO faults VALUES ($1, $2)")
            .bind(code)
            .bind(times)
            .execute(&admin)
            .await
            .unwrap();
        let before = store.load(&alice.id).await.unwrap().unwrap();
        let request = request(&alice, before.generation, after(1));
        match store.rotate(&request).await {
            Ok(RotateOutcome::Rotated(successor)) => assert_eq!(Ok(successor.generation), expected),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(Err(error.kind()), expected, "{code}");
                assert_eq!(store.load(&alice.id).await.unwrap(), Some(before));
            }
        }
        let tried = "SELECT last_value FROM tries";
        let tried: i64 = sqlx::query_scalar(tried).fetch_one(&admin).await.unwrap();
        assert_eq!(tried, tries, "{code}");

        // A login that evicts a session is several statements, which fail together.
        let [old, new] = [(); 2].map(|()| session(&format!("{code} {times}")));
        store.insert(&InsertRequest::new(old.clone())).await.unwrap();
        sql(&admin, "SELECT setval('tries', 1, false)").await;
        match store.insert(&within(1, &new)).await {
            Ok(outcome) => {
                assert!(expected.is_ok(), "{code}");
                assert_eq!(outcome, InsertOutcome::Inserted { evicted: vec![old.id] });
                assert_eq!(store.load(&new.id).await.unwrap(), Some(new));
            }
            Err(error) => {
                assert_eq!(Some(error.kind()), expected.err(), "{code}");
                assert_eq!(store.load(&new.id).await.unwrap(), None);
                assert_eq!(store.load(&old.id).await.unwrap(), Some(old));
            }
        }
        let tried = "SELECT last_value FROM tries";
        let tried: i64 = sqlx::query_scalar(tried).fetch_one(&admin).await.unwrap();
        assert_eq!(tried, tries, "{code}");
    }
}

/// Runs every step of a store.
async fn kinds_of_all(store: &PostgresStore) -> Vec<(&'static str, Option<StoreError>)> {
    let (alice, reason) = (session("alice"), RevokeReason::Logout);
    let revoke = Change::Revoke { at: LOGIN, reason };
    let refusing = InsertRequest::new(session("alice")).limit(SessionLimit::refuse(1));
    vec![
        ("load", store.load(&alice.id).await.err()),
        ("list", store.list(&ListRequest::new("alice", LOGIN)).await.err()),
        ("insert", store.insert(&InsertRequest::new(alice.clone())).await.err()),
        ("duplicate", store.insert(&within(1, &alice)).await.err()),
        ("evict", store.insert(&within(1, &session("alice"))).await.err()),
        ("refuse", store.insert(&refusing).await.err()),
        ("rotate", store.rotate(&request(&alice, 0, LOGIN)).await.err()),
        ("revoke", store.revoke(&alice.id, reason, LOGIN).await.err()),
        ("revoke_subject", store.revoke_subject("alice", None, reason, LOGIN).await.err()),
        ("swap", store.swap(&alice, &revoke).await.err()),
        ("purge_expired", store.purge_expired(LOGIN, 1).await.err()),
        ("ended_after", store.ended_after(&EndedCursor::default()).await.err()),
        ("trim_ended", store.trim_ended(Duration::ZERO).await.err()),
    ]
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn a_missing_table_says_what_to_do() {
    let server = server();
    let store = patient(pool(&server.database()));
    for (step, error) in kinds_of_all(&store).await {
        let error = error.unwrap_or_else(|| panic!("{step}"));
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{step}");
        let text = error.to_string();
        assert!(text.contains("create_schema") && text.contains("SCHEMA"), "{step}: {text}");
    }
    // Then it works.
    store.create_schema().await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn an_error_of_connecting_shows_no_password() {
    let server = server();
    let url = server.database();
    let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let admin = pool(&url);
    sql(&admin, "CREATE ROLE guarded LOGIN PASSWORD 'correct-horse'").await;
    let guarded = |password, database| server.url_for(Postgres::GUARDED, Some(password), database);
    for url in [
        guarded("hunter2", database),
        guarded("correct-horse", "hunter2-no-such-database"),
        server.url_for("nobody", Some("hunter2"), database),
        "postgres://user:hunter2@127.0.0.1:port/database".to_owned(),
        "postgres://user:hunter2@127.0.0.1/database?sslmode=hunter2".to_owned(),
        "user:hunter2@127.0.0.1".to_owned(),
        "mysql://user:hunter2@127.0.0.1/database".to_owned(),
        String::new(),
    ] {
        let error = PostgresStore::connect(&url).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
        let text = text(&error);
        assert!(!text.contains("correct-horse"), "{text}");
        assert!(url.contains("no-such") || !text.contains("hunter2"), "{text}");
        assert!(url.is_empty() || !text.contains(&url), "{text}");
        // The same from a pool that connects later.
        if let (Ok(options), true) =
            (PgConnectOptions::from_str(&url), url.contains(&format!(":{}/", port(&server))))
        {
            let store = PostgresStore::new(PgPool::connect_lazy_with(options));
            let error = store.load(&session("alice").id).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{url}: {error}");
        }
    }

    // A user that may only use the table does not need the right to create one.
    let store = PostgresStore::connect(&guarded("correct-horse", database)).await.unwrap();
    assert_eq!(kind(store.create_schema().await), Some(StoreErrorKind::Misconfigured));
    patient(admin.clone()).create_schema().await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        let error = error.unwrap_or_else(|| panic!("{step}"));
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{step}");
        assert!(error.to_string().contains("GRANT"), "{error}");
    }
    sql(&admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON kippu_sessions, kippu_ended TO guarded")
        .await;
    store.create_schema().await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

fn port(server: &Postgres) -> String {
    let url = server.url();
    url.split(':').next_back().unwrap().split('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn an_address_without_a_server_is_unavailable() {
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", servers::free_port());
    let options = PgConnectOptions::from_str(&url).unwrap();
    let pool = PgPoolOptions::new().acquire_timeout(Duration::from_millis(50));
    let store = PostgresStore::new(pool.connect_lazy_with(options));
    for (step, error) in kinds_of_all(&store).await {
        assert_eq!(error.map(|error| error.kind()), Some(StoreErrorKind::Unavailable), "{step}");
    }
    let closed = PgPool::connect_lazy(&url).unwrap();
    closed.close().await;
    let error = PostgresStore::new(closed).create_schema().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn rejects_rows_that_the_store_did_not_write() {
    let server = server();
    let url = server.database();
    let (store, admin) = (store(&url).await, pool(&url));
    sql(
        &admin,
        "ALTER TABLE kippu_sessions DROP CONSTRAINT kippu_sessions_check;
         ALTER TABLE kippu_sessions DROP CONSTRAINT kippu_sessions_generation_check",
    )
    .await;
    for change in [
        "UPDATE kippu_sessions SET subject = ''",
        "UPDATE kippu_sessions SET client = repeat('c', 513)",
        "UPDATE kippu_sessions SET label = repeat('l', 129)",
        "UPDATE kippu_sessions SET kid = ''",
        "UPDATE kippu_sessions SET generation = -1",
        "UPDATE kippu_sessions SET generation = 9007199254740992",
        "UPDATE kippu_sessions SET created_at = 9223372036854775807",
        "UPDATE kippu_sessions SET expires_at = -9007199254740992",
        "UPDATE kippu_sessions SET revoked_at = 1",
        "UPDATE kippu_sessions SET revoked_reason = 'logout'",
        "UPDATE kippu_sessions SET revoked_at = 1, revoked_reason = 'whim'",
    ] {
        let alice = session("alice");
        store.insert(&InsertRequest::new(alice.clone())).await.unwrap();
        sql(&admin, change).await;
        assert_eq!(kind(store.load(&alice.id).await), Some(StoreErrorKind::Corrupt), "{change}");
        sql(&admin, "TRUNCATE kippu_sessions").await;
    }
    // A row that the schema rejects is not stored, and the error does not show it.
    sql(&admin, "ALTER TABLE kippu_sessions ADD CHECK (client <> 'web')").await;
    let error = store.insert(&InsertRequest::new(session("alice"))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);
    assert!(!text(&error).contains("alice"), "{}", text(&error));
    // The table of another program, one without a column, and one with a column of another type.
    for change in [
        "ALTER TABLE kippu_sessions DROP COLUMN kid",
        "DROP TABLE kippu_sessions; CREATE TABLE kippu_sessions (id INT)",
    ] {
        sql(&admin, change).await;
        let fresh = patient(pool(&url));
        let error = fresh.load(&session("alice").id).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{change}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn the_search_path_names_the_schema() {
    let server = server();
    let url = server.database();
    sql(&pool(&url), "CREATE SCHEMA auth").await;
    let first = patient(pool_with(&url, 1, &[("search_path", "auth")]));
    first.create_schema().await.unwrap();
    let second = store(&url).await;
    let alice = session("alice");
    assert_eq!(
        first.insert(&InsertRequest::new(alice.clone())).await.unwrap(),
        InsertOutcome::INSERTED
    );
    assert_eq!(second.load(&alice.id).await.unwrap(), None);
    assert_eq!(
        second.insert(&InsertRequest::new(alice.clone())).await.unwrap(),
        InsertOutcome::INSERTED
    );
    let nowhere = patient(pool_with(&url, 1, &[("search_path", "nowhere")]));
    assert_eq!(kind(nowhere.create_schema().await), Some(StoreErrorKind::Misconfigured));
}

/// Rotations and revocations write no index, and find space without a vacuum.
#[tokio::test]
#[ignore = "needs PostgreSQL"]
async fn updates_are_hot() {
    // A separate server: any open snapshot in a database keeps its old rows from being reused, and
    // the autovacuum of many databases visits one after the other.
    let server = Postgres::start();
    let url = server.database();
    let admin = pool(&url);
    // Whether a commit waits for the disk makes no difference here, except for the time.
    let pool = pool_with(&url, 1, &[("synchronous_commit", "off")]);
    let store = patient(pool.clone());
    store.create_schema().await.unwrap();
    sql(&admin, "ALTER TABLE kippu_sessions SET (autovacuum_enabled = off)").await;
    let own = |it: &mut SessionRecord| it.idle_lifetime = Some(Duration::from_secs(3600));
    let sessions: Vec<_> =
        (0..200).map(|index| changed(session(&format!("user {index}")), own)).collect();
    for session in &sessions {
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    }
    for generation in 0..20 {
        for session in &sessions {
            // After the grace period of the last rotation, so that a reauthentication rotates.
            let now = after(60 * generation);
            let rotation = changed(request(session, generation, now), |it| {
                it.auth_time = (generation % 2 == 0).then(|| after(generation));
                it.data = Some(SessionData::new(*b"pwd otp").unwrap());
            });
            let outcome = store.rotate(&rotation).await.unwrap();
            assert!(matches!(outcome, RotateOutcome::Rotated(_)));
        }
    }
    for session in &sessions {
        let reason = RevokeReason::LogoutAll;
        store.revoke_subject(&session.subject, None, reason, after(2)).await.unwrap();
    }
    // A connection reports its statistics when it closes.
    pool.close().await;
    let counts = async {
        loop {
            let (updates, hot): (i64, i64) = sqlx::query_as(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
                 WHERE relname = 'kippu_sessions'",
            )
            .fetch_one(&admin)
            .await
            .unwrap();
            if updates >= 4200 {
                return (updates, hot);
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (updates, hot) = timeout(LIMIT, counts).await.expect("PostgreSQL counts the updates");
    println!("{hot} of {updates} updates were HOT");
    assert_eq!(updates, 4200);
    assert!(hot >= 4150, "{hot}");
}

/// The server stops under load, crashed or in order, and comes back. Meanwhile calls return that it
/// is unavailable, each acknowledged change stays, and the same stores work again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "needs PostgreSQL"]
async fn the_stores_recover_when_the_server_stops_under_load() {
    let mut server = Postgres::start();
    let url = server.database();
    let creator = store(&url).await;
    let stores = || {
        let options = PgConnectOptions::from_str(&url).unwrap();
        // One of them does not test its connections, and so uses dead ones.
        [true, false].map(|test| {
            let pool = PgPoolOptions::new()
                .max_connections(8)
                .acquire_timeout(Duration::from_millis(500))
                .test_before_acquire(test);
            PostgresStore::new(pool.connect_lazy_with(options.clone()))
        })
    };
    let shared = stores();
    let seen = Arc::new(Seen::default());
    let mut pairs = JoinSet::new();
    for index in 0..8 {
        let pair = Pair { session: session(&format!("pair {index}")), stores: shared.clone() };
        creator.insert(&InsertRequest::new(pair.session.clone())).await.unwrap();
        pairs.spawn(pair.run(Arc::clone(&seen)));
    }
    for round in 0..4 {
        more("rounds", &seen.rounds, 200).await;
        if round == 2 {
            server.stop();
        } else {
            server.crash();
        }
        more("faults", &seen.faults, 8).await;
        server.restart();
    }
    more("rounds", &seen.rounds, 200).await;
    seen.is_over.store(true, Ordering::Relaxed);
    while let Some(pair) = timeout(LIMIT, pairs.join_next()).await.unwrap() {
        pair.unwrap();
    }
    println!(
        "{} rounds, {} faults",
        seen.rounds.load(Ordering::Relaxed),
        seen.faults.load(Ordering::Relaxed)
    );
}
