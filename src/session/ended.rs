//! The sessions that have ended, followed by each verifier, so that a token is refused soon after a
//! logout without a read of the store for each request.

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

/// The sessions that have ended, as a store reports them: an
/// [`AccessVerifier`](super::AccessVerifier) that has it refuses their access tokens, and reads no
/// store for that.
///
/// A task reads the store's log of ended sessions on, ten times within each
/// [`max_lag`](EndedOptions::max_lag), and keeps their ids in memory. A clone is another handle on
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
/// // On the API's server. `store` is the one that the login server writes: it only has to be read here.
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
/// A verifier is [fresh](Self::is_fresh) while the last reading that it has applied wholly began at
/// most `max_lag` ago. When it is not, because the store is away or slow, or the task does not run,
/// it refuses every token ([`DecodeError::EndedUnknown`]). With [`EndedOptions::accept_when_stale`]
/// it accepts them, and then the promise holds only while it is fresh.
///
/// Not promised: a logout that the store itself has lost, when a replica takes over that had not
/// received it; and a clock that stands still with its host, for up to `max_lag` after the host
/// goes on.
#[derive(Clone)]
pub struct EndedSessions {
    inner: Arc<Inner>,
}

struct Inner {
    store: BoxStore,
    options: EndedOptions,
    ids: IdSet,
    /// Until when it is fresh, in nanoseconds by the `elapsed` of its options.
    fresh_until: AtomicU64,
    reading: Mutex<Reading>,
    waiters: Waiters,
}

/// How far the log has been read.
struct Reading {
    cursor: EndedCursor,
    /// When the older half of the ids is dropped.
    turn_at: Duration,
}

/// How [`EndedSessions`] are followed.
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

/// Why [`EndedSessions::poll`] has read nothing, or not all.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EndedError {
    /// The store's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are more ended sessions than fit into the memory that they may take.
    #[error("more than {capacity} sessions have ended: raise EndedOptions::capacity")]
    Full {
        /// How many fit.
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
    /// The options as they are unless a method changes them.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long after a logout a token may still be accepted: 1 second unless this is called. The
    /// store is read ten times as often. A verifier is not fresh while a reading takes longer than
    /// this.
    #[must_use]
    pub fn max_lag(self, max_lag: Duration) -> Self {
        Self { max_lag, ..self }
    }

    /// The lifetime of the access tokens: 15 minutes unless this is called. It has to be what the
    /// issuer gives to
    /// [`SessionsBuilder::access_lifetime`](super::SessionsBuilder::access_lifetime). An id is kept
    /// for that long and twice the greatest leeway, when no token of the session can be valid any
    /// more. A token that lives longer is refused ([`DecodeError::EndedUnknown`]).
    #[must_use]
    pub fn access_lifetime(self, access_lifetime: Duration) -> Self {
        Self { access_lifetime, ..self }
    }

    /// How many ids are kept: 1,000,000 unless this is called, which take up to 67 MB. While more
    /// sessions have ended, the verifier is not fresh; none is forgotten to make room.
    #[must_use]
    pub fn capacity(self, ids: usize) -> Self {
        Self { capacity: ids, ..self }
    }

    /// Accepts tokens while it is not known whether their sessions have ended: the store can stop,
    /// and the API goes on, for a logout that may be overlooked until the store is back.
    #[must_use]
    pub fn accept_when_stale(self) -> Self {
        Self { accepts_when_stale: true, ..self }
    }

    /// Reads the time from `elapsed`: how much has passed since a fixed moment. Unless this is
    /// called it is the host's monotonic clock. It belongs to the timer that [`EndedSessions::run`]
    /// gets: a runtime whose time is virtual has both. A clock that steps back lets tokens of ended
    /// sessions through.
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

    /// For how long an id is kept at least.
    fn kept_for(&self) -> Duration {
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
    /// The sessions that end in `store`, of which nothing is known before [`run`](Self::run) runs.
    /// The store only has to be read.
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

    /// A future that reads the log on, for ever: to be spawned once, and dropped or aborted at the
    /// end. `sleep` is the timer of the runtime. After an error the task tries again, a second
    /// later at most. It logs when the verifier is no longer fresh, and when it is fresh again.
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
            let pause = self.inner.options.max_lag / 10;
            let pause = if polled.is_err() { pause.min(AGAIN) } else { pause };
            let pause = self.fresh_for().map_or(pause, |left| left.min(pause));
            self.inner.waiters.nap(sleep(pause)).await;
        }
    }

    /// As [`poll`](Self::poll), and has the waiting sockets look again when the verifier is no
    /// longer fresh, however long the store takes.
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
        // Where stale state is accepted, nothing has changed for them.
        if !self.inner.options.accepts_when_stale {
            self.inner.waiters.wake_all();
        }
        polling.await
    }

    /// Has [`run`](Self::run) read the log at once, when something tells that it has grown: a
    /// message of the database, or of the server that has ended a session. It only makes the lag
    /// shorter: the log is read without it, too.
    pub fn wake(&self) {
        self.inner.waiters.want_a_reading();
    }

    /// Reads the log on to its end, once: what [`run`](Self::run) repeats.
    ///
    /// # Errors
    /// [`EndedError`]; nothing that was read is lost, and the next call goes on from there.
    pub async fn poll(&self) -> Result<(), EndedError> {
        let Inner { store, options, ids, fresh_until, waiters, .. } = &*self.inner;
        // Before the store is asked: what ends from now on may be overlooked by this reading.
        let began = options.elapsed.now();
        {
            let mut reading = self.reading();
            if reading.turn_at <= began {
                reading.turn_at = began.saturating_add(options.kept_for());
                ids.turn();
            }
        }
        loop {
            let cursor = self.reading().cursor.clone();
            let page = store.ended_after(&cursor).await?;
            let extended = ids.extend(&page.ids);
            waiters.wake(&page.ids);
            extended.map_err(|_| EndedError::Full { capacity: options.capacity })?;
            self.reading().cursor = page.next;
            if page.is_last {
                break;
            }
        }
        fresh_until.fetch_max(nanos(began.saturating_add(options.max_lag)), Ordering::Release);
        Ok(())
    }

    /// Whether the last reading that was applied wholly began at most
    /// [`max_lag`](EndedOptions::max_lag) ago.
    pub fn is_fresh(&self) -> bool {
        self.fresh_for().is_some()
    }

    /// Returns how long it takes until the verifier is not fresh, without a further reading.
    fn fresh_for(&self) -> Option<Duration> {
        let Inner { fresh_until, options, .. } = &*self.inner;
        let until = fresh_until.load(Ordering::Acquire);
        if until == 0 {
            // Nothing was read yet, however little time has passed.
            return None;
        }
        let left = until.checked_sub(nanos(options.elapsed.now()))?;
        Some(Duration::from_nanos(left.saturating_add(1)))
    }

    /// Whether the session is known to have ended.
    pub fn contains(&self, id: &SessionId) -> bool {
        self.inner.ids.contains(id)
    }

    /// Waits until [`check`](Self::check) refuses the session of a token that lives so long.
    ///
    /// A task is woken when its session ends and, by [`run`](Self::run), when the verifier is no
    /// longer fresh. If `run` has been dropped, the caller polls again.
    pub(super) async fn wait(&self, session: &SessionId, lifetime: Duration) -> DecodeError {
        self.inner.waiters.wait(session, || self.check(session, lifetime).err()).await
    }

    /// Checks the session of a token that lives so long.
    pub(super) fn check(&self, session: &SessionId, lifetime: Duration) -> Result<(), DecodeError> {
        let options = &self.inner.options;
        // Before the ids: they are complete up to a reading by the time it makes them fresh.
        let is_fresh = self.is_fresh();
        if self.contains(session) {
            return Err(DecodeError::SessionEnded);
        }
        let reason = match () {
            () if options.accepts_when_stale => return Ok(()),
            () if !is_fresh => {
                "it is not known whether the session has ended: the store was not read lately"
            }
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
/// token until one succeeds.
const AGAIN: Duration = Duration::from_secs(1);

/// 585 years are the most.
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
