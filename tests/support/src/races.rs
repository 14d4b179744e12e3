//! Several processes that work on the same sessions, for the tests of a store over a server: races,
//! and two clients with one token while the server stops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use kippu::session::{
    RefreshStore, RevokeReason, Revoked, SessionRecord, StoreErrorKind,
    rotation::RotateOutcome,
    store::{InsertOutcome, InsertRequest, ListRequest},
};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::records::{LOGIN, after, changed, request, session};

const LIMIT: Duration = Duration::from_secs(60);

/// A store whose clones share its connections.
pub trait Shared: RefreshStore + Clone + 'static {}

impl<S: RefreshStore + Clone + 'static> Shared for S {}

/// Runs all races. `open` makes a store with a pool of this many connections, and with a deadline
/// that a busy machine does not reach.
pub async fn run<S: Shared>(open: impl Fn(u32) -> S) {
    a_race_has_one_winner(&open, 10).await;
    no_session_survives_a_logout_of_all(&open, 10).await;
    one_insert_wins(&open, 10).await;
    concurrent_purges_remove_only_ended_sessions(&open, 400).await;
}

/// 64 callers present one generation over 4 pools. One of them rotates; the others get the same
/// successor.
async fn a_race_has_one_winner<S: Shared>(open: &impl Fn(u32) -> S, rounds: u64) {
    let stores: Vec<_> = (0..4).map(|_| open(8)).collect();
    let racer = session("racer");
    assert_eq!(
        stores[0].insert(&InsertRequest::new(racer.clone())).await.unwrap(),
        InsertOutcome::INSERTED
    );
    for generation in 0..rounds {
        let barrier = Arc::new(Barrier::new(64));
        let mut tasks = JoinSet::new();
        for store in stores.iter().cycle().take(64) {
            let (store, racer, barrier) = (store.clone(), racer.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                store.rotate(&request(&racer, generation, after(generation))).await.unwrap()
            });
        }
        let (mut rotated, mut replayed) = (Vec::new(), Vec::new());
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                RotateOutcome::Rotated(successor) => rotated.push(successor),
                RotateOutcome::Replayed(successor) => replayed.push(successor),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((rotated.len(), replayed.len()), (1, 63));
        assert!(replayed.iter().all(|successor| *successor == rotated[0]));
        assert_eq!(rotated[0].generation, generation + 1);
    }
}

/// A logout of all sessions while they are refreshed: afterwards none is live.
async fn no_session_survives_a_logout_of_all<S: Shared>(open: &impl Fn(u32) -> S, rounds: u32) {
    let store = open(8);
    let other = open(2);
    let reason = RevokeReason::LogoutAll;
    for round in 0..rounds {
        let subject = format!("leaver {round}");
        let sessions: Vec<_> = (0..8).map(|_| session(&subject)).collect();
        for session in &sessions {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        let barrier = Arc::new(Barrier::new(9));
        let mut tasks = JoinSet::new();
        for session in sessions.clone() {
            let (store, barrier) = (store.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                for generation in 0.. {
                    match store.rotate(&request(&session, generation, after(1))).await.unwrap() {
                        RotateOutcome::Rotated(_) => {}
                        RotateOutcome::Revoked(by) if by == reason => break,
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        barrier.wait().await;
        let revoked = other.revoke_subject(&subject, None, reason, after(2)).await.unwrap();
        assert_eq!(revoked, 8);
        for session in &sessions {
            let record = store.load(&session.id).await.unwrap().unwrap();
            assert_eq!(record.revoked, Some(Revoked { at: after(2), reason }));
        }
        while let Some(task) = timeout(LIMIT, tasks.join_next()).await.unwrap() {
            task.unwrap();
        }
    }
}

/// Eight logins use the same id: one of them succeeds.
async fn one_insert_wins<S: Shared>(open: &impl Fn(u32) -> S, rounds: u32) {
    let store = open(8);
    for _ in 0..rounds {
        let (alice, barrier) = (session("alice"), Arc::new(Barrier::new(8)));
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let (store, alice, barrier) = (store.clone(), alice.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                store.insert(&InsertRequest::new(alice.clone())).await.unwrap()
            });
        }
        let outcomes = tasks.join_all().await;
        let won = outcomes.iter().filter(|outcome| **outcome == InsertOutcome::INSERTED).count();
        assert_eq!(won, 1);
    }
}

/// Two purges and many rotations run concurrently: each ended session is removed once, each live
/// one stays.
async fn concurrent_purges_remove_only_ended_sessions<S: Shared>(
    open: &impl Fn(u32) -> S,
    over: u64,
) {
    let store = open(8);
    let live: Vec<_> = (0..8).map(|_| session("bob")).collect();
    for index in 0..over {
        // A live session between ended ones, so that they share pages.
        if let (Some(session), true) =
            (live.get(usize::try_from(index / 50).unwrap()), index % 50 == 0)
        {
            store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        }
        let session = changed(session("over"), |it| it.expires_at = after(10));
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let mut rotations = JoinSet::new();
    for session in live {
        let (store, is_done) = (store.clone(), Arc::clone(&is_done));
        rotations.spawn(async move {
            let mut generation = 0;
            while !is_done.load(Ordering::Relaxed) || generation == 0 {
                let outcome =
                    store.rotate(&request(&session, generation, after(20))).await.unwrap();
                assert!(matches!(outcome, RotateOutcome::Rotated(_)), "{outcome:?}");
                generation += 1;
            }
            assert_eq!(store.load(&session.id).await.unwrap().unwrap().generation, generation);
        });
    }
    let removed = Arc::new(AtomicU64::new(0));
    let mut purgers = JoinSet::new();
    for _ in 0..2 {
        let store = open(1);
        let removed = Arc::clone(&removed);
        purgers.spawn(async move {
            while removed.load(Ordering::Relaxed) < over {
                let count = store.purge_expired(after(20), 25).await.unwrap();
                assert!(count <= 25);
                removed.fetch_add(count, Ordering::Relaxed);
            }
        });
    }
    while let Some(purger) = timeout(LIMIT, purgers.join_next()).await.unwrap() {
        purger.unwrap();
    }
    is_done.store(true, Ordering::Relaxed);
    while let Some(rotation) = timeout(LIMIT, rotations.join_next()).await.unwrap() {
        rotation.unwrap();
    }
    assert_eq!(removed.load(Ordering::Relaxed), over);
    assert_eq!(store.list(&ListRequest::new("bob", after(20))).await.unwrap().len(), 8);
    assert_eq!(store.list(&ListRequest::new("over", LOGIN)).await.unwrap(), []);
}

/// A session of two clients, which always present the same generation, and repeat a failed request.
pub struct Pair<S> {
    pub session: SessionRecord,
    pub stores: [S; 2],
}

/// The counts of all clients.
#[derive(Default)]
pub struct Seen {
    pub rounds: AtomicU64,
    pub faults: AtomicU64,
    pub is_over: AtomicBool,
}

impl<S: Shared> Pair<S> {
    pub async fn run(self, seen: Arc<Seen>) {
        let [first, second] = &self.stores;
        let mut generation = 0;
        while !seen.is_over.load(Ordering::Relaxed) {
            let (first, second) = tokio::join!(
                self.present(first, generation, &seen),
                self.present(second, generation, &seen)
            );
            assert!(!(first.rotated && second.rotated), "two rotated {generation}");
            // If neither answer reports the rotation, its answer was lost.
            assert!(
                first.rotated || second.rotated || first.failed || second.failed,
                "neither rotated {generation}"
            );
            generation += 1;
            seen.rounds.fetch_add(1, Ordering::Relaxed);
        }
        let record = first.load(&self.session.id).await.unwrap().unwrap();
        assert_eq!((record.generation, record.revoked), (generation, None));
    }

    /// Repeats until there is an answer, which must be the successor.
    async fn present(&self, store: &S, generation: u64, seen: &Seen) -> Answer {
        let mut failed = false;
        loop {
            let (successor, rotated) =
                match store.rotate(&request(&self.session, generation, after(1))).await {
                    Ok(RotateOutcome::Rotated(successor)) => (successor, true),
                    Ok(RotateOutcome::Replayed(successor)) => (successor, false),
                    Ok(other) => panic!("generation {generation}: {other:?}"),
                    Err(error) => {
                        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
                        failed = true;
                        seen.faults.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(5)).await;
                        continue;
                    }
                };
            assert_eq!(successor.generation, generation + 1);
            return Answer { rotated, failed };
        }
    }
}

struct Answer {
    rotated: bool,
    failed: bool,
}

/// Waits until the count has grown by `more`.
pub async fn more(what: &str, count: &AtomicU64, more: u64) {
    let aim = count.load(Ordering::Relaxed) + more;
    let growth = async {
        while count.load(Ordering::Relaxed) < aim {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LIMIT, growth).await.unwrap_or_else(|_| panic!("no more {what}"));
}
