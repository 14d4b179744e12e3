//! Removes the sessions that have ended from the store: once, or as a task that the application spawns.
//!
//! A session ends by its times and not by being removed, so that a late purge changes nothing but the size of the
//! store. Without any purge the store grows for ever.

use alloc::sync::Arc;
use core::{future::Future, time::Duration};

use super::{Sessions, error::SessionError, store::RefreshStore};
use crate::validation::Validation;

/// The most sessions that the task removes in one step, so that no other step waits long.
const PORTION: u32 = 1000;

/// How much longer than needed an ended session stays in the log.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);

impl<S: RefreshStore> Sessions<S> {
    /// Removes up to `limit` sessions that have ended from the store, and returns how many. Fewer than `limit` means that
    /// none is left, or that the store is so large that its deadline came first; the next call goes on from there. Any
    /// number of servers may call it at any time.
    ///
    /// A call that leaves none also trims the store's log of ended sessions: what was in it for longer than any access token of
    /// its session can be valid, and an hour more for clocks that differ.
    ///
    /// A session is removed once it has ended by the clock of this server and by the store's: a server whose clock is
    /// ahead removes no live session.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn purge_expired(&self, limit: u32) -> Result<u64, SessionError> {
        let removed = self.store.purge_expired(self.now(), limit).await?;
        if removed < u64::from(limit) {
            let valid_for = self.lifetimes.access.saturating_add(Validation::MAX_LEEWAY);
            self.store.trim_ended(valid_for.saturating_add(CLOCKS_DIFFER)).await?;
        }
        Ok(removed)
    }

    /// A future that removes the sessions that have ended about once in each `pause`, for ever: to be spawned once by each
    /// server, and dropped or aborted at its end. Five minutes suit most stores; where many servers share a Redis, which reads
    /// through all sessions, use hours.
    ///
    /// A round calls [`purge_expired`](Self::purge_expired) until a call removes less than it may. An error ends the round: the
    /// task logs it as a warning, and the number of sessions that the round has removed as information. The next round goes on
    /// behind what has failed.
    ///
    /// Each wait is between one half and three halves of `pause`, at random, so that the servers of one store do not meet.
    /// `sleep` is the timer of the runtime.
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

    /// Removes, portion by portion, all sessions that have ended. Returns how many, and the error that came before the end.
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

/// Between one half and three halves of `pause`.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness the servers of a store may meet, which costs time and nothing else.
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
