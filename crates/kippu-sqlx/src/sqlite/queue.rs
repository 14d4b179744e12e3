//! The queue in front of the writer: steps that wait at the same time are committed together, and each caller is
//! answered after the commit.
//!
//! The [`Writer`] knows what a step is and how steps are committed. `tests/interleavings` tries every order of the
//! threads' steps, with channels of its own.

use kippu::session::StoreError;

use super::{
    fault::closed,
    sync::{mpsc, oneshot, watch},
};

/// Steps of one transaction at most, so that none waits for very many.
const BATCH: usize = 256;

/// Steps that wait for the writer; a caller that comes after them waits for room.
const WAITING: usize = 1024;

/// The side that takes the steps, and may wait for the disk.
pub(super) trait Writer: Send {
    type Step: Step + Send;

    /// Takes all steps of a batch durably, or none. Removes steps whose callers are gone before it takes the others.
    fn commit(
        &mut self,
        batch: &mut Vec<Self::Step>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    fn disconnect(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a batch was not committed, for each of its callers.
pub(super) type Failure = Box<dyn Fn() -> StoreError + Send + Sync>;

/// A step to take, with the answer that its caller waits for.
pub(super) trait Step {
    fn answer(&mut self) -> &mut dyn Answer;
}

/// The answer to a step, whatever its type.
pub(super) trait Answer {
    /// Whether the caller is gone: it ran into its deadline, or was dropped.
    fn is_abandoned(&self) -> bool;

    /// Sends the answer, once it is durable, or the failure. A step that was not answered counts as closed.
    fn send(&mut self, failure: Option<&Failure>);
}

/// An answer, and the caller that waits for it until the transaction is durable.
pub(super) struct Pending<T> {
    answer: Option<Result<T, StoreError>>,
    /// None after the answer.
    caller: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T> Pending<T> {
    /// An answer, and where it will arrive.
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
            // The caller may be gone by now.
            let _ = caller.send(answer);
        }
    }
}

enum Message<S> {
    Step(S),
    Close,
}

/// Where callers queue up.
pub(super) struct Queue<S> {
    messages: mpsc::Sender<Message<S>>,
    /// No value is ever sent: the other end belongs to the writer, and goes with it.
    ended: watch::Receiver<()>,
}

impl<S: Step + Send> Queue<S> {
    /// The queue, and the work of the writer, which ends when the queue is gone or closed. If it is dropped before
    /// that, each waiting caller is answered that the store is closed.
    pub(super) fn new<W: Writer<Step = S>>(writer: W) -> (Self, impl Future<Output = ()> + Send) {
        let (messages, waiting) = mpsc::channel(WAITING);
        let (end, ended) = watch::channel(());
        (Self { messages, ended }, write(writer, waiting, end))
    }

    /// Has the writer take a step.
    pub(super) async fn ask<T: Send>(
        &self,
        step: impl FnOnce(Pending<T>) -> S + Send,
    ) -> Result<T, StoreError> {
        let (pending, answer) = Pending::new();
        self.messages.send(Message::Step(step(pending))).await.map_err(|_| closed())?;
        answer.await
    }

    /// Ends the writer after the steps that wait, and returns when it has disconnected, whichever handle asked first.
    pub(super) async fn close(&self) {
        // Where it is closed already, the end is near.
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
                // The steps that wait are still taken; no others come.
                Message::Close => waiting.close(),
            }
        }
        let failure = writer.commit(&mut batch).await.err();
        for mut step in batch {
            step.answer().send(failure.as_ref());
        }
    }
    writer.disconnect().await;
    drop(end);
}
