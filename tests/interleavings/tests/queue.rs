//! The guarantees of the queue in front of SQLite, in every order of the callers' and the writer's
//! steps.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    pin::pin,
    task::{Context, Waker},
};

use kippu::session::{StoreError, StoreErrorKind};
use kippu_interleavings::queue::{Callers, Disk};
use loom::{future::block_on, sync::Arc, thread};

/// The maximum number of preemptions of a thread in one order. All orders would be too many.
const INTERRUPTIONS: usize = 2;

fn tried(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(INTERRUPTIONS);
    builder.check(model);
}

/// Runs `one` and `other` concurrently with each other and with the writer, in every order. `check`
/// sees the disk when all have ended.
fn in_every_order<A: 'static, B: 'static>(
    disk: impl Fn() -> Disk + Send + Sync + 'static,
    one: impl Fn(&Callers, &Disk) -> A + Send + Sync + Clone + 'static,
    other: impl Fn(&Callers, &Disk) -> B + Send + Sync + 'static,
    check: impl Fn(&Disk, A, B) + Send + Sync + 'static,
) {
    tried(move || {
        let disk = disk();
        let (callers, work) = Callers::new(&disk);
        let callers = Arc::new(callers);
        let writer = thread::spawn(move || block_on(work));
        let beside = thread::spawn({
            let (callers, disk, one) = (Arc::clone(&callers), disk.clone(), one.clone());
            move || one(&callers, &disk)
        });
        let second = other(&callers, &disk);
        drop(callers);
        let first = beside.join().unwrap();
        // No caller is left.
        writer.join().unwrap();
        assert!(disk.is_disconnected());
        check(&disk, first, second);
    });
}

fn kind(answer: &Result<u8, StoreError>) -> Option<StoreErrorKind> {
    answer.as_ref().err().map(StoreError::kind)
}

/// Adds a value. Checks that the answer agrees with the disk, at once and afterwards.
fn add(value: u8) -> impl Fn(&Callers, &Disk) -> Result<u8, StoreError> + Send + Sync + Clone {
    move |callers, disk| {
        let answer = block_on(callers.add(value));
        assert_eq!(answer.is_ok(), disk.has(value), "{answer:?}");
        answer
    }
}

/// Starts a step, and drops it before there is an answer.
fn give_up(callers: &Callers, value: u8) {
    let mut asked = pin!(callers.add(value));
    let _ = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn each_caller_gets_its_own_answer_after_the_commit() {
    in_every_order(Disk::default, add(1), add(2), |disk, one, other| {
        assert_eq!((one.unwrap(), other.unwrap()), (1, 2));
        assert!(disk.has(1) && disk.has(2));
    });
}

/// Both fail at once, or only the first one.
#[test]
fn each_caller_learns_of_a_failed_commit() {
    in_every_order(
        || Disk::failing(1),
        add(1),
        add(2),
        |disk, one, other| {
            let told = [kind(&one), kind(&other)];
            assert!(told.contains(&Some(StoreErrorKind::Contention)), "{told:?}");
            assert!(told.iter().flatten().all(|kind| *kind == StoreErrorKind::Contention));
            assert_eq!((one.is_ok(), other.is_ok()), (disk.has(1), disk.has(2)));
        },
    );
}

#[test]
fn a_cancelled_caller_does_not_affect_others() {
    in_every_order(
        Disk::default,
        |callers, _| give_up(callers, 1),
        add(2),
        |disk, (), other| {
            assert_eq!(other.unwrap(), 2);
            // Committed wholly, or dropped.
            disk.has(1);
        },
    );
}

/// The caller has gone before the writer takes the step.
#[test]
fn a_step_without_a_caller_is_dropped() {
    tried(|| {
        let disk = Disk::default();
        let (callers, work) = Callers::new(&disk);
        give_up(&callers, 1);
        let writer = thread::spawn(move || block_on(work));
        assert_eq!(block_on(callers.add(2)).unwrap(), 2);
        drop(callers);
        writer.join().unwrap();
        assert_eq!(disk.values(), [2]);
    });
}

#[test]
fn a_step_is_committed_before_the_end_or_fails() {
    in_every_order(
        Disk::default,
        add(1),
        |callers, disk| {
            // Sent before the queue closed, by a caller that still waits for it.
            let mut asked = pin!(callers.add(3));
            let _ = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            block_on(callers.close());
            assert!(disk.has(3) && disk.is_disconnected());
            let late = block_on(callers.add(2));
            assert_eq!(kind(&late), Some(StoreErrorKind::Unavailable));
        },
        |disk, one, ()| {
            assert!(matches!(kind(&one), None | Some(StoreErrorKind::Unavailable)), "{one:?}");
            assert_eq!((disk.has(1), disk.has(2)), (one.is_ok(), false));
        },
    );
}

#[test]
fn every_close_waits_for_the_end() {
    let close = |callers: &Callers, disk: &Disk| {
        block_on(callers.close());
        assert!(disk.is_disconnected());
    };
    in_every_order(Disk::default, close, close, |disk, (), ()| assert!(disk.values().is_empty()));
}

/// As when the runtime ends: the waiting callers get an error, although the writer is gone.
#[test]
fn a_dropped_writer_leaves_no_caller_waiting() {
    tried(|| {
        let disk = Disk::default();
        let (callers, work) = Callers::new(&disk);
        let writer = thread::spawn(move || {
            let mut work = pin!(work);
            let _ = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
        let answer = block_on(callers.add(1));
        match kind(&answer) {
            None => assert!(disk.has(1)),
            // If the step had been committed, it would have been answered.
            Some(kind) => assert!(kind == StoreErrorKind::Unavailable && !disk.has(1), "{kind:?}"),
        }
        writer.join().unwrap();
    });
}
