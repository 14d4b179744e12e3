//! The store in SQLite: each step, races of several handles on one file, files that do not belong
//! to the store, and the state after the process is killed.
#![cfg(feature = "sqlite")]
#![allow(
    clippy::indexing_slicing,
    clippy::items_after_statements,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    future::Future,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use kippu::session::{
    MemoryStore, RefreshStore, RevokeReason, Revoked, SessionData, SessionId, SessionLimit,
    SessionRecord, StoreError, StoreErrorKind, UnixMillis,
    rotation::{AheadPolicy, MAX_GENERATION, RotateOutcome, RotateRequest, Successor},
    store::{EndedCursor, InsertOutcome, InsertRequest, ListCursor, ListRequest},
};
use kippu_sqlx::SqliteStore;
use kippu_test_support::{records, rounds, servers};
use proptest::{prelude::*, test_runner::TestRunner};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

#[cfg(unix)]
#[path = "sqlite_store/files.rs"]
mod files;
#[path = "sqlite_store/waiting.rs"]
mod waiting;

use self::{
    records::{LOGIN, after, changed, request, session},
    servers::Scratch,
};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(120), test).await.unwrap() })
}

fn file(scratch: &Scratch) -> PathBuf {
    scratch.path().join("sessions.db")
}

/// Opens a store with a long deadline, because other tests keep the disk busy.
async fn open(path: impl AsRef<Path> + Send) -> SqliteStore {
    let path = path.as_ref();
    loop {
        match SqliteStore::open(path).await {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {}
            opened => return opened.unwrap().with_deadline(Duration::from_secs(60)),
        }
    }
}

/// Opens another connection to the file, without the store.
async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let connection = options.connect().await.unwrap();
    private(path);
    connection
}

/// Restricts a file to its owner, as the store requires.
#[cfg_attr(not(unix), expect(unused_variables, reason = "there are no such permissions"))]
fn private(path: &Path) {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Presents a token. Measures from the record how long the store stalled, which is never longer
/// than the call took.
async fn rotate(store: &SqliteStore, request: &RotateRequest) -> (RotateOutcome, Duration) {
    let asked = Instant::now();
    let outcome = store.rotate(request).await.unwrap();
    let took = asked.elapsed();
    let mut stall = Duration::ZERO;
    if matches!(outcome, RotateOutcome::Rotated(_) | RotateOutcome::Healed { .. }) {
        let record = store.load(&request.id).await.unwrap().unwrap();
        assert!(record.rotated_at >= request.rotated_at());
        stall = record.rotated_at.saturating_since(request.rotated_at());
    }
    assert!(stall <= took, "{stall:?} of {took:?}");
    (outcome, stall)
}

async fn kind_of_open(path: impl AsRef<Path> + Send) -> StoreErrorKind {
    SqliteStore::open(path).await.unwrap_err().kind()
}

/// Each of several requests for one session in one batch gets its own answer.
#[test]
fn each_rotation_of_a_session_in_one_batch_gets_its_own_answer() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        for number in 0..50 {
            let session = session("alice");
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
            let plain = request(&session, 0, after(1));
            // The batch statement does not handle these.
            let odd = match number % 3 {
                0 => changed(plain.clone(), |it| it.kid = "a\0a".to_owned()),
                1 => changed(plain.clone(), |it| it.generation = MAX_GENERATION),
                _ => changed(plain.clone(), |it| it.kid = "other".to_owned()),
            };
            let (first, second) = tokio::join!(store.rotate(&odd), store.rotate(&plain));
            let stored = store.load(&session.id).await.unwrap().unwrap();
            let outcomes = [first.unwrap(), second.unwrap()];
            let rotated = outcomes.iter().filter_map(|outcome| match outcome {
                RotateOutcome::Rotated(successor) => Some(successor),
                _ => None,
            });
            let rotated: Vec<_> = rotated.collect();
            assert_eq!(rotated.len(), 1, "{outcomes:?}");
            assert_eq!((&rotated[0].kid, rotated[0].generation), (&stored.kid, 1), "{outcomes:?}");
        }
    });
}

#[test]
fn each_step_does_what_the_trait_documents() {
    run(async {
        let scratch = Scratch::new("sqlite");
        for path in [file(&scratch), ":memory:".into()] {
            let store = open(&path).await;
            let (first, mut second) = (session("alice"), session("alice"));
            second.created_at = after(1);
            second.label = None;
            assert_eq!(store.load(&first.id).await.unwrap(), None);
            assert_eq!(
                store.insert(&InsertRequest::new(first.clone())).await.unwrap(),
                InsertOutcome::INSERTED
            );
            let other = changed(first.clone(), |it| it.subject = "mallory".to_owned());
            assert_eq!(
                store.insert(&InsertRequest::new(other.clone())).await.unwrap(),
                InsertOutcome::Duplicate
            );
            assert_eq!(store.load(&first.id).await.unwrap(), Some(first.clone()));
            store.insert(&InsertRequest::new(second.clone())).await.unwrap();
            store.insert(&InsertRequest::new(session("bob"))).await.unwrap();
            let listed = store.list(&ListRequest::new("alice", LOGIN)).await.unwrap();
            assert_eq!(listed, [first.clone(), second.clone()]);

            let (outcome, stall) = rotate(&store, &request(&first, 0, after(60))).await;
            let expires_at = after(3660).saturating_add(stall);
            let successor = Successor::new(1, "k2", expires_at);
            assert_eq!(outcome, RotateOutcome::Rotated(successor.clone()));
            let outcome = store.rotate(&request(&first, 0, after(90))).await.unwrap();
            assert_eq!(outcome, RotateOutcome::Replayed(successor));
            let record = store.load(&first.id).await.unwrap().unwrap();
            assert_eq!(
                record,
                changed(first.clone(), |it| {
                    it.generation = 1;
                    it.kid = "k2".to_owned();
                    it.rotated_at = after(60).saturating_add(stall);
                    it.expires_at = expires_at;
                })
            );
            let late = after(91).saturating_add(stall);
            let outcome = store.rotate(&request(&first, 0, late)).await.unwrap();
            assert_eq!(outcome, RotateOutcome::Reused);
            let outcome = store.rotate(&request(&first, 1, after(91))).await.unwrap();
            assert_eq!(outcome, RotateOutcome::Revoked(RevokeReason::Reuse));
            let record = store.load(&first.id).await.unwrap().unwrap();
            assert_eq!(record.revoked, Some(Revoked { at: late, reason: RevokeReason::Reuse }));
            assert!(!store.revoke(&first.id, RevokeReason::Logout, after(92)).await.unwrap());

            let keep = Some(&second.id);
            let reason = RevokeReason::LogoutAll;
            assert_eq!(store.revoke_subject("alice", keep, reason, after(93)).await.unwrap(), 0);
            assert_eq!(store.revoke_subject("alice", None, reason, after(93)).await.unwrap(), 1);
            assert_eq!(store.list(&ListRequest::new("alice", after(93))).await.unwrap(), []);
            assert_eq!(store.list(&ListRequest::new("bob", after(93))).await.unwrap().len(), 1);
            let unknown = session("alice");
            assert!(!store.revoke(&unknown.id, reason, LOGIN).await.unwrap());
            let outcome = store.rotate(&request(&unknown, 0, LOGIN)).await.unwrap();
            assert_eq!(outcome, RotateOutcome::Unknown);

            store.close().await;
            store.close().await;
            for error in [
                store.load(&first.id).await.unwrap_err(),
                store.insert(&InsertRequest::new(first.clone())).await.unwrap_err(),
                store.rotate(&request(&first, 0, LOGIN)).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), StoreErrorKind::Unavailable);
                assert!(error.to_string().ends_with("the store is closed"), "{error}");
            }
        }
    });
}

#[test]
fn stores_large_and_unusual_texts() {
    run(async {
        let store = open(":memory:").await;
        let mut strange = session("\"quoted\" \\ {\u{1f98a}} 'subject'");
        strange.kid = "\0\"k\\'\u{1f98a}".to_owned();
        strange.created_at = UnixMillis::MIN;
        strange.absolute_expires_at = UnixMillis::MAX;
        strange.expires_at = UnixMillis::MAX;
        strange.generation = MAX_GENERATION - 1;
        store.insert(&InsertRequest::new(strange.clone())).await.unwrap();
        assert_eq!(store.load(&strange.id).await.unwrap(), Some(strange.clone()));
        for (generation, kid) in
            [(MAX_GENERATION - 3, "a\0b"), (MAX_GENERATION - 2, "\"k\\'\u{1f98a}\u{1}")]
        {
            let mut session = session("x");
            session.absolute_expires_at = UnixMillis::MAX;
            session.generation = generation;
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
            let mut rotate = request(&session, generation, LOGIN);
            rotate.kid = kid.to_owned();
            rotate.idle_lifetime = Duration::MAX;
            let expected = Successor::new(generation + 1, kid, UnixMillis::MAX);
            assert_eq!(store.rotate(&rotate).await.unwrap(), RotateOutcome::Rotated(expected));
            let record = store.load(&session.id).await.unwrap().unwrap();
            assert_eq!((record.generation, &*record.kid), (generation + 1, kid));
        }
        let last = request(&strange, MAX_GENERATION, LOGIN);
        assert_eq!(store.rotate(&last).await.unwrap(), RotateOutcome::Expired);
        let outcome = store.rotate(&request(&strange, MAX_GENERATION - 1, LOGIN)).await.unwrap();
        assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
        let outcome = store.rotate(&last).await.unwrap();
        assert_eq!(outcome, RotateOutcome::Expired);
    });
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize, Option<SessionLimit>),
    Rotate {
        session: usize,
        generation: u64,
        now: u64,
        grace: u64,
        refuse: bool,
        proof: bool,
        data: Option<u8>,
    },
    Revoke(usize, u64),
    RevokeSubject(usize, Option<usize>, u64),
    List(usize, u64, Option<usize>, u32),
    Purge(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let now = 0_u64..5000;
    prop_oneof![
        (0_usize..4, proptest::option::of((1_u32..3, any::<bool>()))).prop_map(|(index, limit)| {
            let limit = limit.map(|(max, evicts)| {
                if evicts { SessionLimit::evict_oldest(max) } else { SessionLimit::refuse(max) }
            });
            Step::Insert(index, limit)
        }),
        (
            (0_usize..4, 0_u64..5, now.clone()),
            prop_oneof![Just(0_u64), 0_u64..5000],
            any::<bool>(),
            proptest::bool::weighted(0.2),
            proptest::option::of(any::<u8>())
        )
            .prop_map(|((session, generation, now), grace, refuse, proof, data)| {
                Step::Rotate { session, generation, now, grace, refuse, proof, data }
            }),
        (0_usize..4, now.clone()).prop_map(|(session, now)| Step::Revoke(session, now)),
        (0_usize..2, proptest::option::of(0_usize..4), now.clone())
            .prop_map(|(subject, keep, now)| Step::RevokeSubject(subject, keep, now)),
        (0_usize..2, now.clone(), proptest::option::of(0_usize..4), 0_u32..4)
            .prop_map(|(subject, now, after, limit)| Step::List(subject, now, after, limit)),
        now.prop_map(Step::Purge),
    ]
}

/// Step by step, it behaves like the store in memory.
#[test]
fn the_sqlite_store_behaves_like_the_memory_store() {
    let runtime = Runtime::new().unwrap();
    let subjects = ["alice", "bob"];
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })
        .run(&proptest::collection::vec(step(), 1..40), |steps| {
            runtime.block_on(async {
                let store = open(":memory:").await;
                let model = MemoryStore::new(100);
                let sessions = [0, 1, 0, 1].map(|subject| session(subjects[subject]));
                let [plain, own, fleeting, late] = sessions;
                let own = changed(own, |it| it.idle_lifetime = Some(Duration::from_secs(700)));
                let fleeting = changed(fleeting, |it| {
                    it.remembered = false;
                    it.data = SessionData::new(*b"otp").unwrap();
                });
                let late = changed(late, |it| {
                    it.created_at = after(300);
                    it.auth_time = after(200);
                    it.idle_lifetime = Some(Duration::ZERO);
                });
                let sessions = [plain, own, fleeting, late];
                for step in steps {
                    match step {
                        Step::Insert(index, limit) => {
                            let mut request = InsertRequest::new(sessions[index].clone());
                            request.limit = limit;
                            prop_assert_eq!(
                                store.insert(&request).await.unwrap(),
                                model.insert(&request).await.unwrap()
                            );
                        }
                        Step::Rotate { session, generation, now, grace, refuse, proof, data } => {
                            let request = changed(
                                request(&sessions[session], generation, after(now)),
                                |it| {
                                    it.grace = Duration::from_secs(grace);
                                    it.idle_lifetime = Duration::from_secs(1000);
                                    it.ahead = if refuse {
                                        AheadPolicy::Refuse
                                    } else {
                                        AheadPolicy::Heal
                                    };
                                    it.auth_time = proof.then(|| after(now));
                                    it.data = data.map(|byte| {
                                        let bytes = vec![byte; usize::from(byte) * 4];
                                        SessionData::new(bytes).unwrap()
                                    });
                                },
                            );
                            let (outcome, stall) = rotate(&store, &request).await;
                            let wanted = model.rotate(&request.after(stall)).await.unwrap();
                            prop_assert_eq!(outcome, wanted);
                        }
                        Step::Revoke(index, now) => {
                            let (id, reason) = (&sessions[index].id, RevokeReason::Logout);
                            prop_assert_eq!(
                                store.revoke(id, reason, after(now)).await.unwrap(),
                                model.revoke(id, reason, after(now)).await.unwrap()
                            );
                        }
                        Step::RevokeSubject(subject, keep, now) => {
                            let keep = keep.map(|index| &sessions[index].id);
                            let (subject, reason) = (subjects[subject], RevokeReason::LogoutAll);
                            prop_assert_eq!(
                                store
                                    .revoke_subject(subject, keep, reason, after(now))
                                    .await
                                    .unwrap(),
                                model
                                    .revoke_subject(subject, keep, reason, after(now))
                                    .await
                                    .unwrap()
                            );
                        }
                        Step::List(subject, now, behind, limit) => {
                            let mut request = ListRequest::new(subjects[subject], after(now));
                            request.after = behind.map(|index| ListCursor::of(&sessions[index]));
                            request.limit = limit;
                            prop_assert_eq!(
                                store.list(&request).await.unwrap(),
                                model.list(&request).await.unwrap()
                            );
                        }
                        Step::Purge(now) => prop_assert_eq!(
                            store.purge_expired(after(now), 100).await.unwrap(),
                            model.purge_expired(after(now), 100).await.unwrap()
                        ),
                    }
                    for session in &sessions {
                        prop_assert_eq!(
                            store.load(&session.id).await.unwrap(),
                            model.load(&session.id).await.unwrap()
                        );
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn one_of_many_callers_with_one_token_rotates() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let mut stores = Vec::new();
        for _ in 0..4 {
            stores.push(open(file(&scratch)).await);
        }
        for round in 0..u64::from(rounds(50)) {
            let session = session("alice");
            stores[0].insert(&InsertRequest::new(session.clone())).await.unwrap();
            let barrier = Arc::new(Barrier::new(64));
            let mut tasks = JoinSet::new();
            for task in 0..64 {
                let (store, barrier) = (stores[task % 4].clone(), Arc::clone(&barrier));
                let request = request(&session, 0, after(round));
                tasks.spawn(async move {
                    barrier.wait().await;
                    store.rotate(&request).await.unwrap()
                });
            }
            let (mut rotated, mut replayed) = (Vec::new(), Vec::new());
            for outcome in tasks.join_all().await {
                match outcome {
                    RotateOutcome::Rotated(successor) => rotated.push(successor),
                    RotateOutcome::Replayed(successor) => replayed.push(successor),
                    outcome => panic!("{outcome:?}"),
                }
            }
            assert_eq!((rotated.len(), replayed.len()), (1, 63));
            assert!(replayed.iter().all(|successor| *successor == rotated[0]));
        }
    });
}

/// A request that begins after the answer to a revocation does not rotate the session.
#[test]
fn a_revoked_session_stays_revoked() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let stores = [(); 2].map(|()| async { open(file(&scratch)).await });
        let [one, two] = stores;
        let (one, two) = (one.await, two.await);
        for _ in 0..rounds(20) {
            let sessions: Vec<_> = (0..8).map(|_| session("alice")).collect();
            for session in &sessions {
                one.insert(&InsertRequest::new(session.clone())).await.unwrap();
            }
            let mut tasks = JoinSet::new();
            for session in sessions.clone() {
                let two = two.clone();
                tasks.spawn(async move {
                    let mut generation = 0;
                    loop {
                        match two.rotate(&request(&session, generation, LOGIN)).await.unwrap() {
                            RotateOutcome::Rotated(successor) => generation = successor.generation,
                            RotateOutcome::Revoked(RevokeReason::LogoutAll) => return,
                            outcome => panic!("{outcome:?}"),
                        }
                    }
                });
            }
            sleep(Duration::from_millis(10)).await;
            let reason = RevokeReason::LogoutAll;
            assert_eq!(one.revoke_subject("alice", None, reason, LOGIN).await.unwrap(), 8);
            let mut generations = Vec::new();
            for session in &sessions {
                generations.push(two.load(&session.id).await.unwrap().unwrap().generation);
            }
            tasks.join_all().await;
            for (session, generation) in sessions.iter().zip(generations) {
                let record = one.load(&session.id).await.unwrap().unwrap();
                assert_eq!(record.generation, generation);
            }
            one.purge_expired(UnixMillis::MAX, 100).await.unwrap();
        }
    });
}

/// A step whose caller has gone happens or not, and does not affect the others.
#[test]
fn a_cancelled_step_does_not_affect_others() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let sessions: Vec<_> = (0..64).map(|_| session("alice")).collect();
        for session in &sessions {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        for generation in 0..u64::from(rounds(20)) {
            let rotations = sessions.iter().enumerate().map(|(index, session)| {
                let (store, request) = (store.clone(), request(session, generation, LOGIN));
                tokio::spawn(async move {
                    if index % 2 == 0 {
                        let limit = Duration::from_micros(50 * u64::try_from(index).unwrap());
                        timeout(limit, store.rotate(&request)).await.ok()
                    } else {
                        Some(store.rotate(&request).await)
                    }
                })
            });
            for rotation in rotations.collect::<Vec<_>>() {
                if let Some(outcome) = rotation.await.unwrap() {
                    assert!(matches!(outcome.unwrap(), RotateOutcome::Rotated(_)));
                }
            }
            // The cancelled step may have happened or not.
            for session in &sessions {
                let outcome = store.rotate(&request(session, generation, LOGIN)).await.unwrap();
                assert!(
                    matches!(
                        &outcome,
                        RotateOutcome::Rotated(to) | RotateOutcome::Replayed(to)
                            if to.generation == generation + 1
                    ),
                    "{outcome:?}"
                );
            }
        }
    });
}

/// The tables as the first version made them.
const FIRST_SCHEMA: &str = "\
CREATE TABLE kippu_sessions (
    id BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    subject TEXT NOT NULL,
    client TEXT NOT NULL,
    label TEXT,
    created_at INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    kid TEXT NOT NULL,
    rotated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    revoked_reason TEXT,
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX kippu_sessions_subject ON kippu_sessions (subject);
PRAGMA application_id = 1802072176;
PRAGMA user_version = 1;
INSERT INTO kippu_sessions VALUES
    (x'01010101010101010101010101010101', 'alice', 'web', NULL, 1, 4000000000000, 0, '1', 1, 4000000000000, NULL, NULL),
    (x'02020202020202020202020202020202', 'alice', 'web', NULL, 1, 4000000000000, 0, '1', 1, 4000000000000, 2, 'logout'),
    (x'03030303030303030303030303030303', 'bob', 'web', NULL, 1, 4000000000000, 0, '1', 1, 4000000000000, NULL, NULL);
";

/// The log, which the second version added.
const LOG: &str = "\
CREATE TABLE kippu_ended (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL CHECK (length(id) = 16),
    ended_at INTEGER NOT NULL DEFAULT (CAST(1000 * unixepoch('subsec') AS INTEGER))
) STRICT;
INSERT INTO sqlite_sequence (name, seq) VALUES ('kippu_ended', 1000);
CREATE TRIGGER kippu_sessions_ended AFTER UPDATE OF revoked_at ON kippu_sessions
WHEN OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL
BEGIN
    INSERT INTO kippu_ended (id) VALUES (NEW.id);
END;
PRAGMA user_version = 2;
INSERT INTO kippu_ended (id) VALUES (x'02020202020202020202020202020202');
";

/// The columns that the earlier versions know.
const OLD_COLUMNS: &str = "id, subject, client, label, created_at, absolute_expires_at, generation, kid, rotated_at, \
                           expires_at, revoked_at, revoked_reason";

/// Several processes open the file concurrently, while a process with the version that made it
/// still writes, with statements that it prepared before.
#[test]
fn a_file_of_an_earlier_version_is_migrated() {
    run(async {
        for more in ["", LOG] {
            let scratch = Scratch::new("sqlite");
            let path = file(&scratch);
            let mut old = raw(&path).await;
            execute(&mut old, FIRST_SCHEMA).await;
            execute(&mut old, more).await;
            let insert = async |old: &mut SqliteConnection, id: SessionId| {
                let sql = AssertSqlSafe(format!(
                    "INSERT INTO kippu_sessions ({OLD_COLUMNS}) \
                     VALUES (?1, 'carol', 'web', NULL, 7, 4000000000000, 0, '1', 7, 4000000000000, NULL, NULL)"
                ));
                sqlx::query(sql).bind(id.as_bytes().to_vec()).execute(old).await.unwrap();
            };
            let [live, revoked, by_hand, before, later] =
                [1, 2, 3, 4, 5].map(|byte| SessionId::from_bytes([byte; 16]));
            insert(&mut old, before).await;
            let (store, other, _) = tokio::join!(open(&path), open(&path), open(&path));
            let session = store.load(&live).await.unwrap().unwrap();
            assert!(session.remembered && session.data.as_bytes().is_empty());
            assert_eq!(
                (session.idle_lifetime, session.auth_time),
                (None, session.created_at),
                "{session:?}"
            );
            let rotated = store.rotate(&request(&session, 0, UnixMillis::now())).await.unwrap();
            assert!(matches!(rotated, RotateOutcome::Rotated(_)), "{rotated:?}");
            let page = other.ended_after(&EndedCursor::default()).await.unwrap();
            assert_eq!(page.ids, [revoked], "it ended before");
            execute(&mut old, "UPDATE kippu_sessions SET revoked_at = 3, revoked_reason = 'logout' WHERE subject = 'bob'").await;
            store.revoke(&live, RevokeReason::Logout, UnixMillis::now()).await.unwrap();
            let page = other.ended_after(&page.next).await.unwrap();
            assert_eq!(page.ids, [by_hand, live]);
            // The old process adds a login, which the new one has to read; the new one adds one;
            // and a limit counts both.
            insert(&mut old, later).await;
            let now = UnixMillis::new(8);
            let carol = store.list(&ListRequest::new("carol", now)).await.unwrap();
            assert_eq!(carol.iter().map(|session| session.id).collect::<Vec<_>>(), [before, later]);
            assert!(carol.iter().all(|it| it.auth_time == it.created_at && it.remembered));
            let new = changed(self::session("carol"), |it| {
                it.created_at = now;
                it.remembered = false;
                it.idle_lifetime = Some(Duration::from_millis(5));
                it.data = SessionData::new([7; 1024]).unwrap();
            });
            let login = InsertRequest::new(new.clone()).limit(SessionLimit::evict_oldest(2));
            let evicted = vec![before];
            assert_eq!(store.insert(&login).await.unwrap(), InsertOutcome::Inserted { evicted });
            let read =
                AssertSqlSafe(format!("SELECT {OLD_COLUMNS} FROM kippu_sessions WHERE id = ?1"));
            let read = sqlx::query(read).bind(new.id.as_bytes().to_vec()).fetch_one(&mut old).await;
            assert_eq!(read.unwrap().len(), 12);
            assert_eq!(other.load(&new.id).await.unwrap(), Some(new));
            // The file is migrated: opening it later changes nothing.
            let version: i64 =
                sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut old).await.unwrap();
            assert_eq!(version, 3);
            open(&path).await.load(&later).await.unwrap().unwrap();
        }
    });
}

/// An operator has run the schema on a file of the previous version, which sets the version but
/// does not add the columns.
#[test]
fn open_adds_the_columns_after_schema_was_run_on_an_old_file() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let mut old = raw(&path).await;
        for sql in [FIRST_SCHEMA, LOG, SqliteStore::SCHEMA] {
            execute(&mut old, sql).await;
        }
        let store = open(&path).await;
        let session = session("alice");
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        assert_eq!(store.load(&session.id).await.unwrap(), Some(session));
        let page = store.ended_after(&EndedCursor::default()).await.unwrap();
        assert_eq!(page.ids, [SessionId::from_bytes([2; 16])]);
    });
}

/// A log of many pages is read to its end, and each id is returned once.
#[test]
fn a_long_log_has_pages() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let mut other = raw(&file(&scratch)).await;
        execute(
            &mut other,
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) \
             INSERT INTO kippu_ended (id) SELECT unhex(format('%032x', i)) FROM n",
        )
        .await;
        let (mut cursor, mut ids, mut pages) = (EndedCursor::default(), Vec::new(), 0);
        loop {
            let page = store.ended_after(&cursor).await.unwrap();
            (cursor, pages) = (page.next, pages + 1);
            ids.extend(page.ids);
            if page.is_last {
                break;
            }
        }
        let number = |id: &SessionId| u128::from_be_bytes(*id.as_bytes());
        assert_eq!(pages, 3);
        assert!(ids.iter().map(number).eq(1..=25_000));
    });
}

#[test]
fn rejects_a_file_that_is_not_the_stores() {
    run(async {
        use StoreErrorKind::{Corrupt, Misconfigured};

        let scratch = Scratch::new("sqlite");
        let at = |name: &str| scratch.path().join(name);

        for (name, sql) in [
            ("tables", "CREATE TABLE notes (text)"),
            ("application", "PRAGMA application_id = 7"),
            ("version", "PRAGMA user_version = 7"),
            ("newer", "PRAGMA application_id = 1802072176; PRAGMA user_version = 4"),
            ("older", "PRAGMA application_id = 1802072176"),
        ] {
            let mut connection = raw(&at(name)).await;
            execute(&mut connection, sql).await;
            connection.close().await.unwrap();
            let before = fs::read(at(name)).unwrap();
            assert_eq!(kind_of_open(at(name)).await, Misconfigured, "{name}");
            assert_eq!(fs::read(at(name)).unwrap(), before, "{name}");
        }
        for (name, content) in [
            ("text", "This is not a database. ".repeat(1000)),
            ("short", "no".to_owned()),
            ("line", "This is not a database, and short.\n".to_owned()),
        ] {
            fs::write(at(name), &content).unwrap();
            private(&at(name));
            assert_eq!(kind_of_open(at(name)).await, Corrupt, "{name}");
            assert_eq!(fs::read(at(name)).unwrap(), content.as_bytes(), "{name}");
        }
        fs::create_dir(at("folder")).unwrap();
        for path in [at("folder"), at("missing/sessions.db"), PathBuf::new(), at("n\0l")] {
            assert_eq!(kind_of_open(&path).await, Misconfigured, "{}", path.display());
        }
        let error = SqliteStore::open(at("newer")).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("has version 4") && text.contains("update"), "{text}");
        // An empty file belongs to no application.
        fs::write(at("empty"), "").unwrap();
        private(&at("empty"));
        let store = open(at("empty")).await;
        store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
        store.close().await;
        assert_eq!(
            open(at("empty")).await.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(),
            1
        );
    });
}

#[test]
fn an_error_distinguishes_changes_by_other_programs() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let store = open(&path).await;
        let (good, bad) = (session("alice"), session("bob"));
        store.insert(&InsertRequest::new(good.clone())).await.unwrap();
        let mut connection = raw(&path).await;
        for change in [
            "UPDATE kippu_sessions SET generation = -1",
            "UPDATE kippu_sessions SET generation = 9007199254740992",
            "UPDATE kippu_sessions SET kid = ''",
            "UPDATE kippu_sessions SET client = CAST(x'ff' AS TEXT)",
            "UPDATE kippu_sessions SET created_at = 9223372036854775807",
            "UPDATE kippu_sessions SET revoked_at = 1, revoked_reason = 'whim'",
            "PRAGMA ignore_check_constraints = ON; UPDATE kippu_sessions SET revoked_at = 1",
            "PRAGMA ignore_check_constraints = ON; UPDATE kippu_sessions SET revoked_reason = 'reuse'",
        ] {
            store.purge_expired(UnixMillis::MAX, 10).await.unwrap();
            store.insert(&InsertRequest::new(bad.clone())).await.unwrap();
            execute(&mut connection, change).await;
            store.insert(&InsertRequest::new(good.clone())).await.unwrap();
            // Together, in one transaction: the good request does not fail with the bad one.
            let (bad_request, good_request) = (request(&bad, 3, LOGIN), request(&good, 0, LOGIN));
            let (of_bad, of_good) =
                tokio::join!(store.rotate(&bad_request), store.rotate(&good_request));
            assert_eq!(of_bad.unwrap_err().kind(), StoreErrorKind::Corrupt, "{change}");
            assert!(matches!(of_good, Ok(RotateOutcome::Rotated(_))), "{change}");
            let kind = store.load(&bad.id).await.unwrap_err().kind();
            assert_eq!(kind, StoreErrorKind::Corrupt, "{change}");
        }
        execute(&mut connection, "DROP TABLE kippu_sessions").await;
        for error in [
            store.insert(&InsertRequest::new(good.clone())).await.unwrap_err(),
            store.load(&good.id).await.unwrap_err(),
            store.rotate(&request(&good, 0, LOGIN)).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error:?}");
        }
        // It works again when an operator has repaired it.
        execute(&mut connection, SqliteStore::SCHEMA).await;
        assert_eq!(
            store.insert(&InsertRequest::new(good.clone())).await.unwrap(),
            InsertOutcome::INSERTED
        );
    });
}

/// A statement that the database rejects only fails for its caller, whatever else its transaction
/// does.
#[test]
fn a_rejected_statement_fails_only_its_caller() {
    // One thread, so that concurrent requests form one batch.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let store = open(&path).await;
        let (good, bad) = (session("alice"), session("bob"));
        store.insert(&InsertRequest::new(bad.clone())).await.unwrap();
        let mut connection = raw(&path).await;
        execute(
            &mut connection,
            "CREATE UNIQUE INDEX more ON kippu_sessions (subject); \
             CREATE TRIGGER more_yet BEFORE UPDATE ON kippu_sessions WHEN OLD.subject = 'bob' \
             BEGIN SELECT RAISE(ABORT, 'bob stays as he is'); END",
        )
        .await;

        let namesake = session("bob");
        let [good_login, bad_login] =
            [&good, &namesake].map(|session| InsertRequest::new(session.clone()));
        let (of_good, of_namesake) =
            tokio::join!(store.insert(&good_login), store.insert(&bad_login));
        assert_eq!(of_good.unwrap(), InsertOutcome::INSERTED);
        assert_eq!(of_namesake.unwrap_err().kind(), StoreErrorKind::Corrupt);
        // The rejected login evicts no session, and the login of bob needs no eviction.
        let [carol, second] = [session("carol"), session("alice")]
            .map(|session| InsertRequest::new(session).limit(SessionLimit::evict_oldest(1)));
        let bad_login = bad_login.limit(SessionLimit::evict_oldest(1));
        let (of_carol, of_second, of_namesake) =
            tokio::join!(store.insert(&carol), store.insert(&second), store.insert(&bad_login));
        assert_eq!(of_carol.unwrap(), InsertOutcome::INSERTED);
        for refused in [of_second, of_namesake] {
            assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::Corrupt);
        }
        for session in [&good, &bad] {
            assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(session));
        }
        assert_eq!(store.ended_after(&EndedCursor::default()).await.unwrap().ids, []);

        let (good_request, bad_request) = (request(&good, 0, LOGIN), request(&bad, 0, LOGIN));
        let (of_good, of_bad) =
            tokio::join!(store.rotate(&good_request), store.rotate(&bad_request));
        assert!(matches!(of_good, Ok(RotateOutcome::Rotated(_))), "{of_good:?}");
        assert_eq!(of_bad.unwrap_err().kind(), StoreErrorKind::Corrupt);
    });
}

/// Afterwards the log is in the file, which can be copied alone.
#[test]
fn a_closed_store_leaves_one_file() {
    run(async {
        for _ in 0..20 {
            let scratch = Scratch::new("sqlite");
            let store = open(file(&scratch)).await;
            store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
            store.close().await;
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
        }
    });
}

/// The store creates no empty file in the place of a removed one.
#[test]
fn a_removed_file_is_not_created_again() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let store = open(&path).await;
        fs::remove_file(&path).unwrap();
        let error = store.load(&session("alice").id).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error:?}");
        assert!(!path.exists());
    });
}

#[test]
fn many_tasks_create_the_file_at_once() {
    let times = |makers: usize, full| (0..rounds(full)).map(move |_| makers);
    make_the_file_at_once(times(8, 10).chain(times(3, 20)));
}

/// Sometimes two of them change the journal mode concurrently.
#[test]
#[ignore = "two hundred files take ten seconds: scripts/test runs it"]
fn few_tasks_create_the_file_at_once_repeatedly() {
    make_the_file_at_once([3; 200]);
}

/// Tasks create one file concurrently, again and again.
fn make_the_file_at_once(makers: impl IntoIterator<Item = usize>) {
    run(async {
        for makers in makers {
            let scratch = Scratch::new("sqlite");
            let barrier = Arc::new(Barrier::new(makers));
            let mut tasks = JoinSet::new();
            for _ in 0..makers {
                let (path, barrier) = (file(&scratch), Arc::clone(&barrier));
                tasks.spawn(async move {
                    barrier.wait().await;
                    let store = open(path).await;
                    assert_eq!(
                        store.insert(&InsertRequest::new(session("alice"))).await.unwrap(),
                        InsertOutcome::INSERTED
                    );
                    store
                });
            }
            for store in tasks.join_all().await {
                assert_eq!(
                    store.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(),
                    makers
                );
            }
        }
    });
}

/// Opening a file may have to change its journal mode.
#[test]
fn opening_waits_for_a_lock() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        store.close().await;
        let mut connection = raw(&file(&scratch)).await;
        execute(&mut connection, "PRAGMA journal_mode = DELETE").await;
        execute(&mut connection, "BEGIN; SELECT count(*) FROM kippu_sessions").await;
        let opening = tokio::spawn(SqliteStore::open(file(&scratch)));
        sleep(Duration::from_millis(300)).await;
        assert!(!opening.is_finished());
        execute(&mut connection, "COMMIT").await;
        let store = opening.await.unwrap().unwrap();
        assert_eq!(
            store.insert(&InsertRequest::new(session("alice"))).await.unwrap(),
            InsertOutcome::INSERTED
        );
    });
}

#[test]
fn a_step_waits_for_a_lock() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let store = open(file(&scratch)).await;
        let session = session("alice");
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        let mut connection = raw(&file(&scratch)).await;
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        let start = Instant::now();
        let rotation = tokio::spawn({
            let (store, request) = (store.clone(), request(&session, 0, LOGIN));
            async move { store.rotate(&request).await.unwrap() }
        });
        sleep(Duration::from_millis(500)).await;
        assert!(!rotation.is_finished());
        // Reading does not wait.
        assert_eq!(store.load(&session.id).await.unwrap(), Some(session.clone()));
        execute(&mut connection, "COMMIT").await;
        assert!(matches!(rotation.await.unwrap(), RotateOutcome::Rotated(_)));
        assert!(start.elapsed() >= Duration::from_millis(500));

        // With a shorter deadline the step fails, and the next one succeeds.
        let hasty = store.clone().with_deadline(Duration::from_millis(50));
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        let error: StoreError = hasty.rotate(&request(&session, 1, LOGIN)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        execute(&mut connection, "ROLLBACK").await;
        let outcome = store.rotate(&request(&session, 1, LOGIN)).await.unwrap();
        assert!(matches!(outcome, RotateOutcome::Rotated(_)));
    });
}

#[test]
fn a_full_database_fails_and_recovers() {
    run(async {
        let scratch = Scratch::new("sqlite");
        for path in [file(&scratch), ":memory:".into()] {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .pragma("max_page_count", "40");
            let store = SqliteStore::with_options(options).await.unwrap();
            let mut inserted = Vec::new();
            let error = loop {
                let session = session("alice");
                match store.insert(&InsertRequest::new(session.clone())).await {
                    Ok(_) => inserted.push(session),
                    Err(error) => break error,
                }
                assert!(inserted.len() < 10_000);
            };
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
            assert_eq!(
                store.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(),
                inserted.len()
            );
            assert!(store.revoke(&inserted[0].id, RevokeReason::Logout, LOGIN).await.unwrap());
            let removed = store.purge_expired(UnixMillis::MAX, u32::MAX).await.unwrap();
            assert_eq!(removed, u64::try_from(inserted.len()).unwrap());
            assert_eq!(
                store.insert(&InsertRequest::new(inserted[0].clone())).await.unwrap(),
                InsertOutcome::INSERTED
            );
        }
    });
}

#[test]
fn a_purge_of_a_file_removes_only_ended_sessions() {
    run(async {
        let scratch = Scratch::new("sqlite");
        for path in [file(&scratch), ":memory:".into()] {
            let store = Arc::new(open(path).await);
            let mut kept = BTreeSet::new();
            let mut tasks = JoinSet::new();
            for number in 0..4000 {
                let mut session = session(&format!("user{}", number % 7));
                match number % 4 {
                    0 => session.absolute_expires_at = after(100),
                    1 => session.expires_at = after(100),
                    2 => {
                        session.expires_at = after(101);
                        kept.insert(session.id);
                    }
                    _ => {
                        let reason = RevokeReason::Logout;
                        session.revoked = Some(Revoked { at: LOGIN, reason });
                        kept.insert(session.id);
                    }
                }
                let store = Arc::clone(&store);
                tasks.spawn(async move {
                    store.insert(&InsertRequest::new(session.clone())).await.unwrap()
                });
            }
            tasks.join_all().await;
            assert_eq!(store.purge_expired(after(99), 5000).await.unwrap(), 0);
            assert_eq!(store.purge_expired(after(100), 0).await.unwrap(), 0);
            assert_eq!(store.purge_expired(after(100), 10).await.unwrap(), 10);
            assert_eq!(store.purge_expired(after(100), 1500).await.unwrap(), 1500);
            assert_eq!(store.purge_expired(after(100), u32::MAX).await.unwrap(), 490);
            assert_eq!(store.purge_expired(after(100), 100).await.unwrap(), 0);
            for id in &kept {
                assert!(store.load(id).await.unwrap().is_some());
            }
        }
    });
}

#[test]
fn stores_in_memory_are_separate() {
    run(async {
        let one = open(":memory:").await;
        let two = open(":memory:").await;
        let session = session("alice");
        one.insert(&InsertRequest::new(session.clone())).await.unwrap();
        assert_eq!(two.load(&session.id).await.unwrap(), None);
        assert_eq!(one.clone().load(&session.id).await.unwrap(), Some(session));
        assert!(!Path::new(":memory:").exists());
        assert_eq!(format!("{one:?}"), "SqliteStore { .. }");
    });
}

/// The task that writes ends with its runtime.
#[test]
fn the_store_is_closed_when_its_runtime_ends() {
    let scratch = Scratch::new("sqlite");
    let store = run(async { open(file(&scratch)).await });
    let error =
        run(async { store.insert(&InsertRequest::new(session("alice"))).await.unwrap_err() });
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
}

/// An environment variable with the arguments of a test that runs in a separate process. Other
/// processes do not have it.
const CHILD: &str = "KIPPU_TEST_SQLITE_CHILD";

/// Runs a test of this file in a separate process, with these arguments.
fn spawn(test: &str, words: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, words.join("\n"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

/// Returns the arguments, in the process that was started with them.
fn words() -> Option<Vec<String>> {
    let words = env::var_os(CHILD)?.into_string().unwrap();
    Some(words.split('\n').map(str::to_owned).collect())
}

/// The test below runs this in a separate process: it changes sessions, and prints each change,
/// until it is killed.
#[test]
fn until_it_is_killed() {
    let Some(words) = words() else { return };
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).unwrap();
        out.flush().unwrap();
    };
    Runtime::new().unwrap().block_on(async {
        let store = open(&words[0]).await;
        let mut tasks = JoinSet::new();
        for session in store.list(&ListRequest::new("alice", LOGIN)).await.unwrap() {
            let store = store.clone();
            tasks.spawn(async move {
                for generation in session.generation.. {
                    let rotated = store.rotate(&request(&session, generation, LOGIN)).await;
                    assert!(matches!(rotated.unwrap(), RotateOutcome::Rotated(_)));
                    say(format!("\nrotated {} {}\n", session.id, generation + 1));
                }
            });
        }
        tasks.spawn(async move {
            loop {
                let session = session("bob");
                store.insert(&InsertRequest::new(session.clone())).await.unwrap();
                store.revoke(&session.id, RevokeReason::Logout, LOGIN).await.unwrap();
                say(format!("\nrevoked {} 0\n", session.id));
            }
        });
        tasks.join_all().await;
    });
}

#[test]
fn acknowledged_changes_survive_kill_9() {
    let scratch = Scratch::new("sqlite");
    let path = file(&scratch);
    run(async {
        let store = open(&path).await;
        for _ in 0..8 {
            store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
        }
        store.close().await;
    });
    let (mut rotated, mut revoked) = (BTreeMap::new(), BTreeSet::new());
    for round in 0..u64::from(rounds(20)) {
        let (mut child, mut output) = spawn("until_it_is_killed", &[path.to_str().unwrap()]);
        let (answered, first) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut lines = Vec::new();
            let mut line = String::new();
            while output.read_line(&mut line).unwrap() > 0 {
                if line.starts_with("rotated") {
                    let _ = answered.send(());
                }
                lines.push(std::mem::take(&mut line));
            }
            lines
        });
        first.recv().expect("the child answers before it ends");
        thread::sleep(Duration::from_millis(7 * round));
        assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        let mut answers = 0;
        for line in reader.join().unwrap() {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let (true, &[what @ ("rotated" | "revoked"), id, generation]) =
                (line.ends_with('\n'), &*words)
            else {
                continue;
            };
            answers += 1;
            let id: SessionId = id.parse().unwrap();
            if what == "rotated" {
                rotated.insert(id, generation.parse::<u64>().unwrap());
            } else {
                revoked.insert(id);
            }
        }
        assert!(answers > 0, "no change was acknowledged");
        run(async {
            let store = open(&path).await;
            for (id, generation) in &mut rotated {
                let stored = store.load(id).await.unwrap().unwrap().generation;
                // One rotation may have happened without an answer.
                assert!((*generation..=*generation + 1).contains(&stored), "{stored} {generation}");
                // And another one in the next round.
                *generation = stored;
            }
            for id in &revoked {
                let record = store.load(id).await.unwrap().unwrap();
                assert_eq!(record.revoked.unwrap().reason, RevokeReason::Logout);
            }
            store.close().await;
            let mut connection = raw(&path).await;
            let check: String = sqlx::query_scalar("PRAGMA integrity_check")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(check, "ok");
        });
    }
    assert_eq!(rotated.len(), 8);
    assert!(!revoked.is_empty());
}
