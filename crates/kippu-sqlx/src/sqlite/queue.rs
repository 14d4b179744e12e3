//! The queue in front of the writer. Steps that wait at the same time are committed together, and
//! each caller gets its answer after the commit.
//!
//! The [`Writer`] knows what a step is and how steps are committed. `tests/interleavings` compiles
//! this file with its own channels, and checks every interleaving of the threads.

use kippu::session::StoreError;

use super::{
    fault::closed,
    sync::{mpsc, oneshot, watch},
};

/// The maximum number of steps in one transaction, so that no step waits for very many others.
const BATCH: usize = 256;

/// The maximum number of steps that wait for the writer. Further callers wait for a free place.
const WAITING: usize = 1024;

/// The side that runs the steps, and may wait for the disk.
pub(super) trait Writer: Send {
    type Step: Step + Send;

    /// Runs all steps of a batch durably, or none. First removes the steps whose callers have gone.
    fn commit(
        &mut self,
        batch: &mut Vec<Self::Step>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    fn disconnect(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a batch was not committed, for each of its callers.
pub(super) type Failure = Box<dyn Fn() -> StoreError + Send + Sync>;

/// A step, with the answer that its caller waits for.
pub(super) trait Step {
    fn answer(&mut self) -> &mut dyn Answer;
}

/// The answer to a step, whatever its type.
pub(super) trait Answer {
    /// Returns whether the caller has gone: its deadline has passed, or it dropped the future.
    fn is_abandoned(&self) -> bool;

    /// Sends the answer, once it is durable, or the failure. The caller of a step without an answer
    /// gets the error that the store is closed.
    fn send(&mut self, failure: Option<&Failure>);
}

/// An answer, and the caller that waits for it until the transaction is durable.
pub(super) struct Pending<T> {
    answer: Option<Result<T, StoreError>>,
    /// `None` after the answer was sent.
    caller: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T> Pending<T> {
    /// Returns a pending answer, and the future in which it arrives.
    pub(super) fn new() -> (Self, impl Future<Output = Result<T, StoreError>> + Send)
    where
        T: Send,
    {
        let (caller, answer) = oneshot::channel();
        let pending = Self { answer: None, caller: Some(caller) };
        (pending, async move { answer.await.map_err(|_| closed())? })
    }

    pub(super) fn settle(&mut self, answer: Result<T, StoreError>) {
        self.answer = Some(answer);
    }

    pub(super) fn settled(&mut self) -> Option<&mut Result<T, StoreError>> {
        self.answer.as_mut()
    }
}

impl<T> Answer for Pending<T> {
    fn is_abandoned(&self) -> bool {
        self.caller.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn send(&mut self, failure: Option<&Failure>) {
        let answer = match failure {
            Some(failure) => Some(Err(failure())),
            None => self.answer.take(),
        };
        if let (Some(caller), Some(answer)) = (self.caller.take(), answer) {
            // The caller may have gone.
            let _ = caller.send(answer);
        }
    }
}

enum Message<S> {
    Step(S),
    Close,
}

/// The queue of the callers.
pub(super) struct Queue<S> {
    messages: mpsc::Sender<Message<S>>,
    /// No value is ever sent: the sender belongs to the writer, and is dropped with it.
    ended: watch::Receiver<()>,
}

impl<S: Step + Send> Queue<S> {
    /// Returns the queue, and the work of the writer, which ends when the queue is dropped or
    /// closed. If the work is dropped first, each waiting caller gets the error that the store is
    /// closed.
    pub(super) fn new<W: Writer<Step = S>>(writer: W) -> (Self, impl Future<Output = ()> + Send) {
        let (messages, waiting) = mpsc::channel(WAITING);
        let (end, ended) = watch::channel(());
        (Self { messages, ended }, write(writer, waiting, end))
    }

    /// Sends a step to the writer, and returns its answer.
    pub(super) async fn ask<T: Send>(
        &self,
        step: impl FnOnce(Pending<T>) -> S + Send,
    ) -> Result<T, StoreError> {
        let (pending, answer) = Pending::new();
        self.messages.send(Message::Step(step(pending))).await.map_err(|_| closed())?;
        answer.await
    }

    /// Ends the writer after the waiting steps. Returns when the writer has disconnected, whichever
    /// handle called this first.
    pub(super) async fn close(&self) {
        // An error means that the queue is already closed, and that the writer ends soon.
        let _ = self.messages.send(Message::Close).await;
        let _ = self.ended.clone().changed().await;
    }
}

async fn write<W: Writer>(
    mut writer: W,
    mut waiting: mpsc::Receiver<Message<W::Step>>,
    end: watch::Sender<()>,
) {
    let mut messages = Vec::new();
    while waiting.recv_many(&mut messages, BATCH).await > 0 {
        let mut batch = Vec::with_capacity(messages.len());
        for message in messages.drain(..) {
            match message {
                Message::Step(step) => batch.push(step),
                // The waiting steps still run; no others are accepted.
                Message::Close => waiting.close(),
            }
        }
        let failure = writer.commit(&mut batch).await.err();
        for mut step in batch {
            step.answer().send(failure.as_ref());
        }
    }
    writer.disconnect().await;
    // `close` waits for this.
    drop(end);
}
