//! The parts of tokio's channels that the queue needs, built on loom's locks and wakers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use loom::{
    future::AtomicWaker,
    sync::{Arc, Mutex},
};

struct Shared<T> {
    state: Mutex<State<T>>,
    receiver: AtomicWaker,
}

struct State<T> {
    values: Vec<T>,
    has_sender: bool,
    /// Closed by the receiver, or because it was dropped.
    closed: bool,
}

fn shared<T>() -> Arc<Shared<T>> {
    let state = State { values: Vec::new(), has_sender: true, closed: false };
    Arc::new(Shared { state: Mutex::new(state), receiver: AtomicWaker::new() })
}

impl<T> Shared<T> {
    /// Returns the value if no receiver will get it.
    fn send(&self, value: T) -> Result<(), T> {
        let mut state = self.state.lock().unwrap();
        if state.closed {
            return Err(value);
        }
        state.values.push(value);
        drop(state);
        self.receiver.wake();
        Ok(())
    }

    /// Returns the values that were sent, up to `limit`; none if no more will come.
    fn receive(&self, limit: usize, context: &mut Context<'_>) -> Poll<Vec<T>> {
        // Registered before the check, so that no value is missed in between.
        self.receiver.register_by_ref(context.waker());
        let mut state = self.state.lock().unwrap();
        if state.values.is_empty() && state.has_sender && !state.closed {
            return Poll::Pending;
        }
        let count = state.values.len().min(limit);
        Poll::Ready(state.values.drain(..count).collect())
    }

    fn no_sender(&self) {
        self.state.lock().unwrap().has_sender = false;
        self.receiver.wake();
    }

    fn close(&self) {
        self.state.lock().unwrap().closed = true;
        self.receiver.wake();
    }

    fn no_receiver(&self) {
        self.close();
        // Outside of the lock, because dropping a value may wake a task.
        let values = std::mem::take(&mut self.state.lock().unwrap().values);
        drop(values);
    }
}

/// A channel with a sender that can be shared and one receiver.
pub mod mpsc {
    use super::{Arc, Shared, shared};

    pub struct Sender<T>(Arc<Shared<T>>);
    pub struct Receiver<T>(Arc<Shared<T>>);

    /// There is always room: no test sends more values.
    pub fn channel<T>(_room: usize) -> (Sender<T>, Receiver<T>) {
        let shared = shared();
        (Sender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> Sender<T> {
        #[expect(clippy::unused_async, reason = "tokio's may wait for room")]
        pub async fn send(&self, value: T) -> Result<(), T> {
            self.0.send(value)
        }
    }

    impl<T> Receiver<T> {
        pub async fn recv_many(&mut self, buffer: &mut Vec<T>, limit: usize) -> usize {
            let received = std::future::poll_fn(|context| self.0.receive(limit, context)).await;
            let count = received.len();
            buffer.extend(received);
            count
        }

        pub fn close(&mut self) {
            self.0.close();
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.no_sender();
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            self.0.no_receiver();
        }
    }
}

/// A channel for one value.
pub mod oneshot {
    use super::{Arc, Context, Pin, Poll, Shared, shared};

    pub struct Sender<T>(Arc<Shared<T>>);
    pub struct Receiver<T>(Arc<Shared<T>>);

    /// The sender was dropped without a value.
    #[derive(Debug)]
    pub struct Gone;

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let shared = shared();
        (Sender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> Sender<T> {
        pub fn send(self, value: T) -> Result<(), T> {
            self.0.send(value)
        }

        pub fn is_closed(&self) -> bool {
            self.0.state.lock().unwrap().closed
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, Gone>;

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Gone>> {
            self.0.receive(1, context).map(|mut values| values.pop().ok_or(Gone))
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            self.0.no_sender();
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            self.0.no_receiver();
        }
    }
}

/// A channel that informs many receivers that the sender was dropped. No value is ever sent.
pub mod watch {
    use std::{marker::PhantomData, task::Waker};

    use super::{Arc, Mutex, Poll};

    #[derive(Default)]
    struct State {
        has_no_sender: bool,
        waiting: Vec<Waker>,
    }

    pub struct Sender<T>(Arc<Mutex<State>>, PhantomData<T>);
    #[derive(Clone)]
    pub struct Receiver<T>(Arc<Mutex<State>>, PhantomData<T>);

    pub fn channel<T>(_: T) -> (Sender<T>, Receiver<T>) {
        let state = Arc::new(Mutex::default());
        (Sender(Arc::clone(&state), PhantomData), Receiver(state, PhantomData))
    }

    impl<T> Receiver<T> {
        pub async fn changed(&mut self) -> Result<(), super::oneshot::Gone> {
            std::future::poll_fn(|context| {
                let mut state = self.0.lock().unwrap();
                if state.has_no_sender {
                    return Poll::Ready(Err(super::oneshot::Gone));
                }
                state.waiting.push(context.waker().clone());
                Poll::Pending
            })
            .await
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            let mut state = self.0.lock().unwrap();
            state.has_no_sender = true;
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}
