//! The guarantees of the store in memory in every order of two threads' steps.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use kippu::session::{
    RefreshStore, RevokeReason, SessionId, SessionRecord, StoreError, UnixMillis,
    rotation::{AheadPolicy, RotateOutcome, RotateRequest},
    store::{InsertOutcome, InsertRequest, ListRequest, SessionLimit},
};
use kippu_interleavings::memory::MemoryStore;
use loom::{sync::Arc, thread};

const NOW: UnixMillis = UnixMillis::new(1_000);
const GRACE: Duration = Duration::from_secs(10);

/// Returns the result at once: the store in memory waits only for its lock.
fn now<T>(future: impl Future<Output = Result<T, StoreError>>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.unwrap(),
        Poll::Pending => panic!("it waits"),
    }
}

fn login() -> SessionRecord {
    let (id, end) = (SessionId::generate("user").unwrap(), UnixMillis::new(1_000_000));
    let session = SessionRecord::new(id, "user", "web", "1", NOW, end);
    changed(session, |it| it.expires_at = UnixMillis::new(100_000))
}

fn refresh(id: SessionId, generation: u64, grace: Duration) -> RotateRequest {
    let request = RotateRequest::new(id, generation, "1", NOW, grace, Duration::from_secs(90));
    changed(request, |it| it.ahead = AheadPolicy::Refuse)
}

/// Returns `value` after `change`. Code outside the crate cannot write these records as literals.
fn changed<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

/// Runs two steps on a separate store in every order, and passes their answers to `check`.
fn in_every_order<A: 'static, B: 'static>(
    store: impl Fn() -> MemoryStore + Send + Sync + 'static,
    one: impl Fn(&MemoryStore) -> A + Send + Sync + Clone + 'static,
    other: impl Fn(&MemoryStore) -> B + Send + Sync + 'static,
    check: impl Fn(&MemoryStore, A, B) + Send + Sync + 'static,
) {
    loom::model(move || {
        let store = Arc::new(store());
        let beside = thread::spawn({
            let (store, one) = (Arc::clone(&store), one.clone());
            move || one(&store)
        });
        let second = other(&store);
        let first = beside.join().unwrap();
        check(&store, first, second);
    });
}

fn with(sessions: Vec<SessionRecord>, capacity: usize) -> impl Fn() -> MemoryStore {
    move || {
        let store = MemoryStore::new(capacity);
        for session in &sessions {
            assert_eq!(
                now(store.insert(&InsertRequest::new(session.clone()))),
                InsertOutcome::INSERTED
            );
        }
        store
    }
}

fn is_rotated(outcome: &RotateOutcome) -> bool {
    matches!(outcome, RotateOutcome::Rotated(successor) if successor.generation == 1)
}

#[test]
fn one_of_two_refreshes_rotates() {
    let session = login();
    let request = refresh(session.id, 0, GRACE);
    let rotate = move |store: &MemoryStore| now(store.rotate(&request));
    in_every_order(with(vec![session], 8), rotate.clone(), rotate, |_, one, other| {
        let (first, second) = if is_rotated(&one) { (one, other) } else { (other, one) };
        assert!(is_rotated(&first), "{first:?}");
        assert!(
            matches!(&second, RotateOutcome::Replayed(successor) if successor.generation == 1),
            "{second:?}"
        );
    });
}

#[test]
fn one_of_two_refreshes_without_a_grace_period_is_a_reuse() {
    let session = login();
    let id = session.id;
    let request = refresh(id, 0, Duration::ZERO);
    let rotate = move |store: &MemoryStore| now(store.rotate(&request));
    in_every_order(with(vec![session], 8), rotate.clone(), rotate, move |store, one, other| {
        let (first, second) = if is_rotated(&one) { (one, other) } else { (other, one) };
        assert!(is_rotated(&first) && second == RotateOutcome::Reused, "{first:?} {second:?}");
        assert!(now(store.load(&id)).unwrap().revoked.is_some());
    });
}

#[test]
fn no_refresh_succeeds_after_a_logout() {
    let session = login();
    let id = session.id;
    in_every_order(
        with(vec![session], 8),
        move |store| now(store.revoke(&id, RevokeReason::Logout, NOW)),
        move |store| now(store.rotate(&refresh(id, 0, GRACE))),
        move |store, is_first, outcome| {
            assert!(is_first);
            assert!(
                is_rotated(&outcome) || outcome == RotateOutcome::Revoked(RevokeReason::Logout),
                "{outcome:?}"
            );
            for generation in 0..=1 {
                let after = now(store.rotate(&refresh(id, generation, GRACE)));
                assert_eq!(after, RotateOutcome::Revoked(RevokeReason::Logout));
            }
        },
    );
}

#[test]
fn no_refresh_succeeds_after_a_logout_of_all() {
    let session = login();
    let id = session.id;
    in_every_order(
        with(vec![session], 8),
        |store| now(store.revoke_subject("user", None, RevokeReason::LogoutAll, NOW)),
        move |store| now(store.rotate(&refresh(id, 0, GRACE))),
        move |store, revoked, outcome| {
            assert_eq!(revoked, 1);
            let ended = RotateOutcome::Revoked(RevokeReason::LogoutAll);
            assert!(is_rotated(&outcome) || outcome == ended, "{outcome:?}");
            for generation in 0..=1 {
                assert_eq!(now(store.rotate(&refresh(id, generation, GRACE))), ended);
            }
        },
    );
}

#[test]
fn a_logout_of_all_revokes_both_logins() {
    let (one, other) = (login(), login());
    in_every_order(
        with(vec![], 8),
        move |store| now(store.insert(&InsertRequest::new(one.clone()))),
        move |store| now(store.insert(&InsertRequest::new(other.clone()))),
        |store, one, other| {
            assert_eq!((one, other), (InsertOutcome::INSERTED, InsertOutcome::INSERTED));
            let revoked = now(store.revoke_subject("user", None, RevokeReason::LogoutAll, NOW));
            assert_eq!((revoked, now(store.list(&ListRequest::new("user", NOW))).len()), (2, 0));
        },
    );
}

#[test]
fn the_last_place_is_used_once() {
    let (one, other) = (login(), changed(login(), |it| it.subject = "other".to_owned()));
    // Another subject, which has another lock.
    let other = changed(other, |it| it.id = SessionId::generate("other").unwrap());
    in_every_order(
        with(vec![], 1),
        move |store| now(store.insert(&InsertRequest::new(one.clone()))),
        move |store| now(store.insert(&InsertRequest::new(other.clone()))),
        |store, one, other| {
            assert!(
                [
                    (InsertOutcome::INSERTED, InsertOutcome::Full),
                    (InsertOutcome::Full, InsertOutcome::INSERTED)
                ]
                .contains(&(one.clone(), other.clone())),
                "{one:?} {other:?}"
            );
            assert_eq!(store.len(), 1);
        },
    );
}

/// The first login finds the expired session and removes it. The other one has another lock, and
/// may be faster.
#[test]
fn a_freed_place_is_used_once() {
    let over = changed(login(), |it| it.expires_at = NOW);
    let one = login();
    let other = changed(login(), |it| {
        it.id = SessionId::generate("other").unwrap();
        it.subject = "other".to_owned();
    });
    in_every_order(
        with(vec![over], 1),
        move |store| now(store.insert(&InsertRequest::new(one.clone()))),
        move |store| now(store.insert(&InsertRequest::new(other.clone()))),
        |store, one, other| {
            let inserted = [one, other].iter().filter(|o| **o == InsertOutcome::INSERTED).count();
            assert_eq!((inserted, store.len()), (1, 1));
        },
    );
}

#[test]
fn two_logins_within_a_limit_of_one_leave_one_session() {
    let [one, other] = [login(), login()]
        .map(|session| InsertRequest::new(session).limit(SessionLimit::evict_oldest(1)));
    in_every_order(
        with(vec![], 2),
        move |store| now(store.insert(&one)),
        move |store| now(store.insert(&other)),
        |store, one, other| {
            let evicted = [one, other].map(|outcome| match outcome {
                InsertOutcome::Inserted { evicted } => evicted.len(),
                outcome => panic!("{outcome:?}"),
            });
            assert_eq!(evicted.iter().sum::<usize>(), 1);
            assert_eq!(now(store.list(&ListRequest::new("user", NOW))).len(), 1);
        },
    );
}
