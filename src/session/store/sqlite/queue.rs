//! The queue before the one who writes: what waits at the same time is committed together, and each caller is answered
//! after that.
//!
//! What a step is, and how steps are committed, is the [`Writer`]'s. `tests/interleavings` tries every order of the
//! threads' steps, with channels of its own.

use alloc::{boxed::Box, vec::Vec};

use super::{
    fault::closed,
    sync::{mpsc, oneshot, watch},
};
use crate::session::store::StoreError;

/// Steps of one transaction at most, so that none waits for very many.
const BATCH: usize = 256;

/// Steps that wait for the writer; who comes after them waits to be one of them.
const WAITING: usize = 1024;

/// Who does the steps, and may wait for the disk.
pub(super) trait Writer: Send {
    type Step: Step + Send;

    /// Does all of a batch or nothing, durably.
    fn commit(
        &mut self,
        batch: &mut [Self::Step],
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    fn disconnect(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why a batch was not done, for each of its callers.
pub(super) type Failure = Box<dyn Fn() -> StoreError + Send + Sync>;

/// Something to be done, with the [`Pending`] answer.
pub(super) trait Step {
    /// Answers, once it is durable or has failed.
    fn tell(self, failure: Option<&Failure>);
}

/// An answer, and who waits for it until the transaction is durable.
pub(super) struct Pending<T> {
    answer: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T> Pending<T> {
    pub(super) fn settle(&mut self, answer: Result<T, StoreError>) {
        self.answer = Some(answer);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.answer.is_some()
    }

    /// Nobody may be there any more, which is all right. What has no answer counts as closed.
    pub(super) fn tell(self, failure: Option<&Failure>) {
        let answer = match failure {
            Some(failure) => Some(Err(failure())),
            None => self.answer,
        };
        if let Some(answer) = answer {
            let _ = self.caller.send(answer);
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
    /// Nothing is ever sent: it is the writer's, and ends with it.
    ended: watch::Receiver<()>,
}

impl<S: Step + Send> Queue<S> {
    /// The queue, and the work of the writer, which ends when the queue is gone or closed. Dropped before, it answers
    /// whoever waits that the store is closed.
    pub(super) fn new<W: Writer<Step = S>>(writer: W) -> (Self, impl Future<Output = ()> + Send) {
        let (messages, waiting) = mpsc::channel(WAITING);
        let (end, ended) = watch::channel(());
        (Self { messages, ended }, write(writer, waiting, end))
    }

    /// Has a step done by the writer.
    pub(super) async fn ask<T: Send>(
        &self,
        step: impl FnOnce(Pending<T>) -> S + Send,
    ) -> Result<T, StoreError> {
        let (caller, answer) = oneshot::channel();
        let step = step(Pending { answer: None, caller });
        self.messages.send(Message::Step(step)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends what is under way, whoever else does too: the writer has disconnected when it returns.
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
                // What waits is still done; nothing more comes.
                Message::Close => waiting.close(),
            }
        }
        if !batch.is_empty() {
            let failure = writer.commit(&mut batch).await.err();
            for step in batch {
                step.tell(failure.as_ref());
            }
        }
    }
    writer.disconnect().await;
    drop(end);
}
