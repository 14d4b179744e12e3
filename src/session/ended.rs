//! The sessions that have ended. Each verifier reads them continuously, so that it refuses a token
//! soon after a logout, without a read of the store for each request.

mod set;
pub(super) mod waiting;

use alloc::sync::Arc;
use core::{
    fmt,
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use self::{
    set::IdSet,
    waiting::{Waiters, first_of},
};
use super::{
    id::SessionId,
    store::{BoxStore, EndedCursor, RefreshStore, StoreError},
};
use crate::{debug::debug_by_message, error::DecodeError, validation::Validation};

/// The sessions that have ended, as a store reports them. An
/// [`AccessVerifier`](super::AccessVerifier) with them refuses their access tokens, without reading
/// the store for each request.
///
/// A task reads the store's log of ended sessions about ten times in each
/// [`max_lag`](EndedOptions::max_lag), and keeps the ids in memory. A clone is another handle to
/// the same ids.
///
/// ```
/// use kippu::{Algorithm, Key, session::{AccessVerifier, EndedOptions, EndedSessions, MemoryStore, NoClaims, Sessions}};
/// # use std::sync::Arc;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let key = || Key::hs256([0x5a; 32]);
/// # let store = Arc::new(MemoryStore::new(10));
/// # let sessions = Sessions::builder(store.clone())
/// #     .issuer("https://auth.example").audience("api").client("web")
/// #     .access_key(key()?).refresh_key(Key::hs256([0x5b; 32])?.with_kid("1"))
/// #     .build()?;
/// // On the API's server, which only reads the store of the login server.
/// let ended = EndedSessions::follow(store, EndedOptions::new());
/// tokio::spawn(ended.clone().run(tokio::time::sleep));
/// let verifier = AccessVerifier::new(key()?, "https://auth.example", "api").ended_sessions(ended);
///
/// // On the login server.
/// let tokens = sessions.login("user-12345", &NoClaims {}).await?;
/// # tokio::time::sleep(std::time::Duration::from_millis(10)).await;
/// assert!(verifier.verify::<NoClaims>(&tokens.access_token).is_ok());
/// sessions.logout(&tokens.refresh_token).await?;
/// tokio::time::sleep(std::time::Duration::from_secs(1)).await; // at most
/// assert!(verifier.verify::<NoClaims>(&tokens.access_token).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # What it promises
/// Once a logout has been answered, no verification that begins `max_lag` or more later accepts a
/// token of that session. The same holds for every other step that ends a session. It needs no
/// agreement of clocks: the task counts by the monotonic clock of its host, from the moment at
/// which it asked the store.
///
/// A verifier is [fresh](Self::is_fresh) while the last complete reading began at most `max_lag`
/// ago. A verifier is not fresh if the store is unavailable or slow, or if the task does not run.
/// It then refuses every token ([`DecodeError::EndedUnknown`]). With
/// [`EndedOptions::accept_when_stale`] it accepts them, and the promise holds only while it is
/// fresh.
///
/// Two cases are not promised: a logout that the store has lost in a failover to a replica that had
/// not received it; and a host that is suspended together with its clock, for up to `max_lag` after
/// it resumes.
#[derive(Clone)]
pub struct EndedSessions {
    inner: Arc<Inner>,
}

struct Inner {
    store: BoxStore,
    options: EndedOptions,
    ids: IdSet,
    /// The end of the freshness, in nanoseconds by the `elapsed` of the options. It is 0 before the
    /// first reading.
    fresh_until: AtomicU64,
    reading: Mutex<Reading>,
    waiters: Waiters,
}

/// The part of the log that has been read.
struct Reading {
    cursor: EndedCursor,
    /// The time at which the older half of the ids is dropped.
    turn_at: Duration,
}

/// The options of [`EndedSessions`].
#[derive(Clone, Debug)]
pub struct EndedOptions {
    max_lag: Duration,
    access_lifetime: Duration,
    capacity: usize,
    accepts_when_stale: bool,
    elapsed: Elapsed,
}

/// The time since a fixed moment.
#[derive(Clone)]
enum Elapsed {
    Since(Instant),
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// Why [`EndedSessions::poll`] has not read the whole log.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EndedError {
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More sessions have ended than [`EndedOptions::capacity`] allows to keep.
    #[error("more than {capacity} sessions have ended: raise EndedOptions::capacity")]
    Full {
        /// The maximum number of ids.
        capacity: usize,
    },
}

debug_by_message!(EndedError);

impl Default for EndedOptions {
    fn default() -> Self {
        Self {
            max_lag: Duration::from_secs(1),
            access_lifetime: Duration::from_secs(15 * 60),
            capacity: 1_000_000,
            accepts_when_stale: false,
            elapsed: Elapsed::Since(Instant::now()),
        }
    }
}

impl EndedOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long after a logout a token may be accepted, 1 second by default. The store is read
    /// about ten times in this time. A verifier is not fresh while a reading takes longer than
    /// this.
    #[must_use]
    pub fn max_lag(self, max_lag: Duration) -> Self {
        Self { max_lag, ..self }
    }

    /// Sets the lifetime of the access tokens, 15 minutes by default. Give the same value to
    /// [`SessionsBuilder::access_lifetime`](super::SessionsBuilder::access_lifetime) of the issuer.
    /// An id is kept for this time plus twice the longest leeway. After that, no token of the
    /// session can be valid. A token that lives longer is refused ([`DecodeError::EndedUnknown`]).
    #[must_use]
    pub fn access_lifetime(self, access_lifetime: Duration) -> Self {
        Self { access_lifetime, ..self }
    }

    /// Sets how many ids are kept, 1,000,000 by default, which take up to 67 MB. While more
    /// sessions have ended, the verifier is not fresh. No id is dropped to make room.
    #[must_use]
    pub fn capacity(self, ids: usize) -> Self {
        Self { capacity: ids, ..self }
    }

    /// Accepts tokens while the verifier does not know whether their sessions have ended. The API
    /// then works without the store, and a logout may have no effect until the store is back.
    #[must_use]
    pub fn accept_when_stale(self) -> Self {
        Self { accepts_when_stale: true, ..self }
    }

    /// Reads the time from `elapsed`, which returns the time since a fixed moment. The default is
    /// the host's monotonic clock. A runtime with virtual time has such a clock for its timer,
    /// which [`EndedSessions::run`] gets. With a clock that steps back, tokens of ended sessions
    /// may be accepted.
    ///
    /// ```
    /// use kippu::session::EndedOptions;
    /// use tokio::time::Instant;
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # let _entered = runtime.enter();
    /// // In a test that pauses tokio's time, and moves it on.
    /// let start = Instant::now();
    /// let options = EndedOptions::new().monotonic_clock(move || start.elapsed());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn monotonic_clock(self, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { elapsed: Elapsed::Given(Arc::new(elapsed)), ..self }
    }

    /// Returns the minimum time for which an id is kept.
    fn kept_for(&self) -> Duration {
        // `iat` may be one leeway in the future, and `exp` one leeway in the past.
        self.access_lifetime.saturating_add(2 * Validation::MAX_LEEWAY)
    }
}

impl Elapsed {
    fn now(&self) -> Duration {
        match self {
            Self::Since(start) => start.elapsed(),
            Self::Given(elapsed) => elapsed(),
        }
    }
}

impl fmt::Debug for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Elapsed").field(&self.now()).finish()
    }
}

impl EndedSessions {
    /// Follows the sessions that end in `store`, beginning when [`run`](Self::run) runs. It only
    /// reads the store.
    pub fn follow(store: impl RefreshStore, options: EndedOptions) -> Self {
        let turn_at = options.elapsed.now().saturating_add(options.kept_for());
        let reading = Reading { cursor: EndedCursor::default(), turn_at };
        let inner = Inner {
            store: BoxStore::new(store),
            ids: IdSet::new(options.capacity),
            options,
            fresh_until: AtomicU64::new(0),
            reading: Mutex::new(reading),
            waiters: Waiters::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Reads the log forever. Spawn the future once, and drop or abort it at the end. `sleep` is
    /// the timer of the runtime. After an error the task tries again within a second. It logs when
    /// the verifier is no longer fresh, and when it is fresh again.
    pub async fn run<F>(self, mut sleep: impl FnMut(Duration) -> F + Send)
    where
        F: Future<Output = ()> + Send,
    {
        let mut was_fresh = false;
        loop {
            let polled = self.poll_and_watch(&mut sleep).await;
            let is_fresh = self.is_fresh();
            if is_fresh && !was_fresh {
                tracing::info!(target: "kippu::session", "it is known which sessions have ended");
            }
            if let (Err(error), true) = (&polled, was_fresh && !is_fresh) {
                let error = tracing::field::display(error);
                tracing::warn!(target: "kippu::session", error, "it is not known which sessions have ended");
            }
            was_fresh = is_fresh;
            // Up to ten readings in each `max_lag`: the verifier stays fresh although some of them
            // are slow or fail.
            let pause = self.inner.options.max_lag / 10;
            let pause = if polled.is_err() { pause.min(AGAIN) } else { pause };
            // No pause lasts beyond the freshness: `poll_and_watch` wakes the sockets at its end.
            let pause = self.fresh_for().map_or(pause, |left| left.min(pause));
            self.inner.waiters.nap(sleep(pause)).await;
        }
    }

    /// Reads the log, like [`poll`](Self::poll). Wakes the waiting sockets when the verifier is no
    /// longer fresh, even if the store has not answered yet.
    async fn poll_and_watch<F>(
        &self,
        sleep: &mut (impl FnMut(Duration) -> F + Send),
    ) -> Result<(), EndedError>
    where
        F: Future<Output = ()> + Send,
    {
        let mut polling = pin!(self.poll());
        while let Some(left) = self.fresh_for() {
            if let Some(polled) = first_of(polling.as_mut(), pin!(sleep(left))).await {
                return polled;
            }
        }
        // With `accept_when_stale`, the end of the freshness changes nothing for the sockets.
        if !self.inner.options.accepts_when_stale {
            self.inner.waiters.wake_all();
        }
        polling.await
    }

    /// Makes [`run`](Self::run) read the log at once. Call it when the log may have grown, for
    /// example after a message of the database, or of the server that has ended a session. The call
    /// only shortens the lag: the log is read without it, too.
    pub fn wake(&self) {
        self.inner.waiters.want_a_reading();
    }

    /// Reads the log to its end, once. [`run`](Self::run) repeats this.
    ///
    /// # Errors
    /// [`EndedError`]. The ids that were read are kept, and the next call continues after them.
    pub async fn poll(&self) -> Result<(), EndedError> {
        let Inner { store, options, ids, fresh_until, waiters, .. } = &*self.inner;
        // Before the store is asked: this reading may not contain a session that ends from now on.
        let began = options.elapsed.now();
        {
            let mut reading = self.reading();
            if reading.turn_at <= began {
                reading.turn_at = began.saturating_add(options.kept_for());
                // Only ids that have been in the set for a whole period are dropped.
                ids.turn();
            }
        }
        loop {
            // A copy: a future that holds the guard across an `await` is not `Send`.
            let cursor = self.reading().cursor.clone();
            let page = store.ended_after(&cursor).await?;
            let extended = ids.extend(&page.ids);
            // Before an error is returned: the ids that had room have ended.
            waiters.wake(&page.ids);
            extended.map_err(|_| EndedError::Full { capacity: options.capacity })?;
            // After each page: after an error the next call reads only the rest.
            self.reading().cursor = page.next;
            if page.is_last {
                break;
            }
        }
        // The maximum, because two readings may overlap and the older one may end last. `Release`
        // pairs with `Acquire` in `fresh_for`: a thread that sees this time also sees the ids.
        fresh_until.fetch_max(nanos(began.saturating_add(options.max_lag)), Ordering::Release);
        Ok(())
    }

    /// Returns whether the last complete reading began at most [`max_lag`](EndedOptions::max_lag)
    /// ago.
    pub fn is_fresh(&self) -> bool {
        self.fresh_for().is_some()
    }

    /// Returns how long the verifier stays fresh without another reading.
    fn fresh_for(&self) -> Option<Duration> {
        let Inner { fresh_until, options, .. } = &*self.inner;
        let until = fresh_until.load(Ordering::Acquire);
        if until == 0 {
            // Nothing has been read yet, so the verifier is not fresh even at the first moment.
            return None;
        }
        let left = until.checked_sub(nanos(options.elapsed.now()))?;
        // One more, because the verifier is still fresh in the last nanosecond.
        Some(Duration::from_nanos(left.saturating_add(1)))
    }

    /// Returns whether the session is known to have ended.
    pub fn contains(&self, id: &SessionId) -> bool {
        self.inner.ids.contains(id)
    }

    /// Waits until [`check`](Self::check) refuses the session of a token with this lifetime.
    ///
    /// A task is woken when its session ends and, by [`run`](Self::run), when the verifier is no
    /// longer fresh. If `run` has been dropped, the caller polls again.
    pub(super) async fn wait(&self, session: &SessionId, lifetime: Duration) -> DecodeError {
        self.inner.waiters.wait(session, || self.check(session, lifetime).err()).await
    }

    /// Checks the session of a token with this lifetime.
    pub(super) fn check(&self, session: &SessionId, lifetime: Duration) -> Result<(), DecodeError> {
        let options = &self.inner.options;
        // Read before the ids: a reading adds all of its ids before it makes the verifier fresh.
        let is_fresh = self.is_fresh();
        if self.contains(session) {
            return Err(DecodeError::SessionEnded);
        }
        let reason = match () {
            () if options.accepts_when_stale => return Ok(()),
            () if !is_fresh => {
                "it is not known whether the session has ended: the store was not read lately"
            }
            // The id of its session may have been dropped already.
            () if lifetime > options.access_lifetime => {
                "the token lives longer than it is known of its session that it has ended"
            }
            () => return Ok(()),
        };
        Err(DecodeError::EndedUnknown { reason })
    }

    pub(super) fn access_lifetime(&self) -> Duration {
        self.inner.options.access_lifetime
    }

    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.inner.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for EndedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndedSessions")
            .field("options", &self.inner.options)
            .field("is_fresh", &self.is_fresh())
            .finish_non_exhaustive()
    }
}

/// The longest pause after a reading that has failed. A verifier that is not fresh refuses every
/// token until a reading succeeds.
const AGAIN: Duration = Duration::from_secs(1);

/// Returns the nanoseconds of a time, at most 585 years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use core::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;
    use crate::session::store::MemoryStore;

    #[test]
    fn is_fresh_for_max_lag_by_the_given_clock() {
        let millis = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&millis);
        let elapsed = move || Duration::from_millis(clock.load(Ordering::Relaxed));
        let options = EndedOptions::new().max_lag(Duration::from_millis(50));
        let ended = EndedSessions::follow(MemoryStore::new(1), options.monotonic_clock(elapsed));
        assert!(!ended.is_fresh(), "nothing was read");
        millis.store(7, Ordering::Relaxed);
        let polled = pin!(ended.poll()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready());
        for (now, is_fresh) in [(7, true), (57, true), (58, false), (7, true)] {
            millis.store(now, Ordering::Relaxed);
            assert_eq!(ended.is_fresh(), is_fresh, "{now}");
        }
    }
}
