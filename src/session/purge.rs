//! Removes the sessions that have ended from the store: once, or as a task that the application
//! spawns.
//!
//! A session ends by its times, not by its removal. A late purge therefore changes only the size of
//! the store. Without a purge the store grows without limit.

use alloc::sync::Arc;
use core::{future::Future, time::Duration};

use super::{Sessions, error::SessionError, store::RefreshStore};
use crate::validation::Validation;

/// The maximum number of sessions that the task removes in one step, so that no other step waits
/// long.
const PORTION: u32 = 1000;

/// How much longer than necessary an ended session stays in the log, for servers whose clocks
/// differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);

impl<S: RefreshStore> Sessions<S> {
    /// Removes up to `limit` sessions that have ended from the store, and returns their number. A
    /// result below `limit` means that no such session is left, or that the deadline passed before
    /// the end of a large store; the next call continues there. Any number of servers may call it
    /// at any time.
    ///
    /// A call whose result is below `limit` also trims the store's log of ended sessions. It
    /// removes the ids that have been in the log for longer than an access token of their session
    /// can be valid, plus an hour for clocks that differ.
    ///
    /// A session is removed only after it has ended by the clock of this server and by that of the
    /// store. A server whose clock is ahead therefore removes no live session.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn purge_expired(&self, limit: u32) -> Result<u64, SessionError> {
        let removed = self.store.purge_expired(self.now(), limit).await?;
        // Only after the last portion: one trim is enough for all of them.
        if removed < u64::from(limit) {
            // A verifier accepts a token for its lifetime, and at most the longest leeway after it.
            let valid_for = self.lifetimes.access.saturating_add(Validation::MAX_LEEWAY);
            self.store.trim_ended(valid_for.saturating_add(CLOCKS_DIFFER)).await?;
        }
        Ok(removed)
    }

    /// Returns a future that removes ended sessions forever, about once in each `pause`. Each
    /// server spawns it once, and drops or aborts it at its end. A pause of five minutes suits most
    /// stores. Use hours if many servers share a Redis, because a purge reads all sessions there.
    ///
    /// A round calls [`purge_expired`](Self::purge_expired) until a call removes fewer sessions
    /// than it may. An error ends the round. The task logs it as a warning, and the number of
    /// removed sessions as information. The next round continues after the part that failed.
    ///
    /// Each wait is random, between one half and three halves of `pause`, so that the servers of
    /// one store do not purge at the same time. `sleep` is the timer of the runtime.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use kippu::session::{RefreshStore, Sessions};
    /// # fn example<S: RefreshStore>(sessions: &Arc<Sessions<S>>) {
    /// let purge = Arc::clone(sessions).purge_task(Duration::from_secs(300), tokio::time::sleep);
    /// let task = tokio::spawn(purge);
    /// # }
    /// ```
    pub async fn purge_task<F>(
        self: Arc<Self>,
        pause: Duration,
        mut sleep: impl FnMut(Duration) -> F + Send,
    ) where
        F: Future<Output = ()> + Send,
    {
        loop {
            sleep(jittered(pause)).await;
            let (removed, error) = self.purge_all().await;
            if removed > 0 {
                tracing::info!(target: "kippu::session", removed, "removed sessions that have ended");
            }
            if let Some(error) = error {
                let error = tracing::field::display(error);
                tracing::warn!(target: "kippu::session", error, "not all sessions that have ended were removed");
            }
        }
    }

    /// Removes all sessions that have ended, in portions. Returns their number, and the error that
    /// stopped the removal, if there was one.
    async fn purge_all(&self) -> (u64, Option<SessionError>) {
        let mut removed = 0;
        loop {
            let portion = match self.purge_expired(PORTION).await {
                Ok(portion) => portion,
                Err(error) => return (removed, Some(error)),
            };
            removed += portion;
            if portion < u64::from(PORTION) {
                return (removed, None);
            }
        }
    }
}

/// Returns a random duration between one half and three halves of `pause`.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness the servers of a store may purge at the same time, which only costs time.
    let _ = getrandom::fill(&mut random);
    let part = u32::from(u16::from_le_bytes(random));
    (pause / 2).saturating_add(pause / (1 << 16) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_one_half_and_three_halves() {
        for pause in [Duration::from_secs(300), Duration::from_millis(1), Duration::MAX] {
            let waits = core::array::from_fn::<_, 64, _>(|_| jittered(pause));
            let ends = (pause / 2, pause.saturating_add(pause / 2));
            assert!(waits.iter().all(|wait| (ends.0..=ends.1).contains(wait)), "{waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
        }
        assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
    }
}
