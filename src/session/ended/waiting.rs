//! The tasks that wait for a session to end, and for the next read of the log.

use alloc::vec::Vec;
use core::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::session::id::SessionId;

/// The waiting tasks.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Each waiting task has its own number.
    for_sessions: HashMap<SessionId, Vec<(u64, Waker)>>,
    last: u64,
    /// Whether the log has to be read at once, and the task that reads it.
    is_wanted: bool,
    reader: Option<Waker>,
}

impl Waiters {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the tasks that wait for these sessions.
    pub(super) fn wake(&self, ids: &[SessionId]) {
        let woken: Vec<_> = {
            let mut state = self.state();
            if state.for_sessions.is_empty() {
                return;
            }
            ids.iter().filter_map(|id| state.for_sessions.remove(id)).flatten().collect()
        };
        wake(woken);
    }

    /// Wakes the tasks that wait for any session.
    pub(super) fn wake_all(&self) {
        let places = mem::take(&mut self.state().for_sessions);
        wake(places.into_values().flatten());
    }

    /// Waits until `end` returns something for this session. It is called again after each
    /// [`wake`](Self::wake) for the session, and each [`wake_all`](Self::wake_all).
    pub(super) async fn wait<T>(&self, id: &SessionId, end: impl Fn() -> Option<T>) -> T {
        let mut place = Place { waiters: self, id, number: None };
        poll_fn(|context| {
            // At each call: a wake has removed the place, and the task may have another waker now.
            place.take(context);
            // `end` is called after the place is taken: the cause of an earlier wake is visible in
            // it, and a later wake finds the place.
            end().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Ends the current [`nap`](Self::nap), or the next one.
    pub(super) fn want_a_reading(&self) {
        let reader = {
            let mut state = self.state();
            state.is_wanted = true;
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Waits for `sleep`, or until the log has to be read.
    pub(super) async fn nap(&self, sleep: impl Future<Output = ()>) {
        let wanted = poll_fn(|context| {
            let mut state = self.state();
            state.reader = Some(context.waker().clone());
            if mem::take(&mut state.is_wanted) { Poll::Ready(()) } else { Poll::Pending }
        });
        first_of(core::pin::pin!(wanted), core::pin::pin!(sleep)).await;
    }
}

/// Wakes tasks. The lock has to be released, because a waker may run code that takes it.
fn wake(places: impl IntoIterator<Item = (u64, Waker)>) {
    for (_, waker) in places {
        waker.wake();
    }
}

/// A place among the waiting tasks. Dropping it gives the place up.
struct Place<'w> {
    waiters: &'w Waiters,
    id: &'w SessionId,
    number: Option<u64>,
}

impl Place<'_> {
    fn take(&mut self, context: &Context<'_>) {
        self.leave();
        let mut state = self.waiters.state();
        state.last += 1;
        let place = (state.last, context.waker().clone());
        self.number = Some(state.last);
        state.for_sessions.entry(*self.id).or_default().push(place);
    }

    fn leave(&mut self) {
        let Some(number) = self.number.take() else { return };
        let mut state = self.waiters.state();
        if let Some(places) = state.for_sessions.get_mut(self.id) {
            places.retain(|(other, _)| *other != number);
            if places.is_empty() {
                state.for_sessions.remove(self.id);
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Waits for one of two futures. Returns the output of the first one, or `None` if the second one
/// completed before it.
pub(in crate::session) async fn first_of<T>(
    mut first: Pin<&mut impl Future<Output = T>>,
    mut second: Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    poll_fn(|context| match first.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => second.as_mut().poll(context).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use core::{
        future::pending,
        pin::pin,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn id(byte: u8) -> SessionId {
        SessionId::from_bytes([byte; 16])
    }

    #[test]
    fn tasks_that_wait_for_a_session_are_woken_and_no_others() {
        let (waiters, ended) = (Waiters::default(), AtomicBool::new(false));
        let has_ended = || ended.load(Ordering::SeqCst).then_some(());
        let [one, other] = [(); 2].map(|()| Arc::<Counted>::default());
        let (first, second) = (id(1), id(2));
        let mut wait_for_one = pin!(waiters.wait(&first, has_ended));
        let wakers = [&one, &other].map(|counted| Waker::from(Arc::clone(counted)));
        let [mut context, mut other_context] = wakers.each_ref().map(Context::from_waker);
        assert!(wait_for_one.as_mut().poll(&mut context).is_pending());
        {
            let mut wait_for_other = pin!(waiters.wait(&second, has_ended));
            assert!(wait_for_other.as_mut().poll(&mut other_context).is_pending());
            waiters.wake(&[id(3)]);
            // Polled again for another reason: the task still has one place.
            assert!(wait_for_one.as_mut().poll(&mut context).is_pending());
            assert_eq!(waiters.state().for_sessions[&first].len(), 1);
        }
        assert_eq!(waiters.state().for_sessions.len(), 1, "who waits no more has no place");
        ended.store(true, Ordering::SeqCst);
        waiters.wake(&[first, second]);
        let woken = [one, other].map(|counted| counted.0.load(Ordering::SeqCst));
        assert_eq!(woken, [1, 0]);
        assert!(wait_for_one.as_mut().poll(&mut context).is_ready());
        assert!(waiters.state().for_sessions.is_empty());
    }

    /// The session ends after the task has looked, and before it sleeps.
    #[test]
    fn a_wake_between_the_check_and_the_await_is_not_lost() {
        for wake in [|waiters: &Waiters| waiters.wake(&[id(1)]), Waiters::wake_all] {
            let (waiters, ended) = (Waiters::default(), AtomicBool::new(false));
            let look = || {
                let seen = ended.swap(true, Ordering::SeqCst);
                wake(&waiters);
                seen.then_some("ended")
            };
            let counted = Arc::<Counted>::default();
            let waker = Waker::from(Arc::clone(&counted));
            let mut context = Context::from_waker(&waker);
            let session = id(1);
            let mut wait = pin!(waiters.wait(&session, look));
            assert!(wait.as_mut().poll(&mut context).is_pending());
            assert_eq!(counted.0.load(Ordering::SeqCst), 1, "the task is polled again");
            assert_eq!(wait.as_mut().poll(&mut context), Poll::Ready("ended"));
        }
    }

    #[test]
    fn a_wanted_reading_ends_one_nap() {
        let waiters = Waiters::default();
        let counted = Arc::<Counted>::default();
        let waker = Waker::from(Arc::clone(&counted));
        let mut context = Context::from_waker(&waker);
        let mut nap = pin!(waiters.nap(pending()));
        assert!(nap.as_mut().poll(&mut context).is_pending());
        waiters.want_a_reading();
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        assert!(nap.as_mut().poll(&mut context).is_ready());
        let mut next = pin!(waiters.nap(pending()));
        assert!(next.as_mut().poll(&mut context).is_pending());
        // The log is wanted before the nap begins.
        let other = Waiters::default();
        other.want_a_reading();
        assert!(pin!(other.nap(pending())).poll(&mut context).is_ready());
    }
}
