//! Keys that are read again while a server runs: a source in, a [`SharedKeySet`] out that always
//! has the last usable keys.

use alloc::{boxed::Box, string::String, sync::Arc};
use core::{
    fmt,
    hash::{BuildHasher, Hasher},
    time::Duration,
};
use std::{
    collections::hash_map::RandomState,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Instant,
};

use super::{KeySource, KeySourceError};
use crate::key_set::{KeySet, SharedKeySet};

/// The keys of a source that is read again while a server runs.
///
/// An application with a timer or a signal calls [`ReloadedKeys::reload`]. Any other application
/// calls [`ReloadedKeys::watch`].
///
/// ```
/// use kippu::{Jwk, JwkSet, KeySet, ReloadedKeys};
/// # fn stored() -> zeroize::Zeroizing<String> {
/// #     let jwk = Jwk::generate(kippu::Algorithm::Hs256).unwrap().with_kid("2026-11");
/// #     JwkSet::new([jwk]).unwrap().expose_json()
/// # }
///
/// let source = || Ok(KeySet::from_jwk_set(&JwkSet::from_json(&stored())?)?);
/// let keys = ReloadedKeys::load(source)?; // or an EnvKeys, a KeyFile, a KeyDirectory
/// let keys = keys.watch(|reload| match reload {
///     Ok(keys) => println!("new keys: {:?}", keys.kids().collect::<Vec<_>>()),
///     Err(error) => eprintln!("the keys are still the old ones: {error}"),
/// })?;
/// let shared = keys.keys(); // for `decode`, or for `Sessions`
/// assert_eq!(shared.load().signing_key()?.kid(), Some("2026-11"));
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
pub struct ReloadedKeys {
    reloaded: Arc<Reloaded>,
    /// The thread that watches ends when this is dropped.
    _watch: Option<mpsc::Sender<()>>,
}

/// The state that the thread and its owner share.
struct Reloaded {
    source: Box<dyn KeySource + Send + Sync>,
    keys: SharedKeySet,
    /// One reload at a time: a slow one does not put older keys in the place of newer ones.
    turn: Mutex<()>,
    // Not under `turn`: `age` and `last_error` answer while a source hangs.
    last: Mutex<Last>,
}

struct Last {
    /// When the source last returned keys.
    success: Instant,
    /// The error of the last reload, if it failed.
    error: Option<Arc<KeySourceError>>,
}

impl ReloadedKeys {
    /// How often [`ReloadedKeys::watch`] reads the source: every 30 seconds.
    pub const INTERVAL: Duration = Duration::from_secs(30);

    /// The shortest interval. With a shorter one, the thread would keep a processor busy.
    const SHORTEST: Duration = Duration::from_millis(10);

    /// Reads the source for the first time.
    ///
    /// # Errors
    /// The same as those of [`KeySource::load`], because a server does not start without keys.
    pub fn load(source: impl KeySource + Send + Sync + 'static) -> Result<Self, KeySourceError> {
        let success = Instant::now();
        let keys = SharedKeySet::new(source.load()?);
        let last = Mutex::new(Last { success, error: None });
        let reloaded = Reloaded { source: Box::new(source), keys, turn: Mutex::new(()), last };
        Ok(Self { reloaded: Arc::new(reloaded), _watch: None })
    }

    /// Returns a handle to the keys, which a reload replaces.
    pub fn keys(&self) -> SharedKeySet {
        self.reloaded.keys.clone()
    }

    /// Reads the source again. Replaces the set if the keys have changed, and returns whether they
    /// have.
    ///
    /// # Errors
    /// The same as those of [`KeySource::load`]. The set then keeps its keys.
    pub fn reload(&self) -> Result<bool, Arc<KeySourceError>> {
        Ok(self.reloaded.reload()?.is_some())
    }

    /// Returns the error of the last reload, or `None` if it succeeded.
    pub fn last_error(&self) -> Option<Arc<KeySourceError>> {
        self.reloaded.last().error.clone()
    }

    /// Returns the time since the source last returned keys, whether or not they had changed. It is
    /// the maximum age of the keys. It exceeds the interval of the reloads if they fail, or if the
    /// source hangs.
    pub fn age(&self) -> Duration {
        self.reloaded.last().success.elapsed()
    }

    /// Reads the source again every 30 seconds, on a separate thread, until the returned value is
    /// dropped. The thread then ends, at the latest after a reload in flight. The keys stay.
    ///
    /// After a reload that changed the keys, the thread calls `on_reload` with the new set, whose
    /// [`KeySet::kids`] can be logged. After a reload that failed, it calls `on_reload` with the
    /// error, and the old keys stay.
    ///
    /// # Errors
    /// [`KeySourceError::Thread`] if the operating system does not start the thread.
    #[must_use = "the keys are no longer re-read when this is dropped"]
    pub fn watch(
        self,
        on_reload: impl FnMut(Result<&KeySet, &KeySourceError>) + Send + 'static,
    ) -> Result<Self, KeySourceError> {
        self.watch_every(Self::INTERVAL, on_reload)
    }

    /// Reads the source again, like [`ReloadedKeys::watch`], with another interval between the end
    /// of one reload and the start of the next: at least 10 milliseconds. Each wait is shorter by a
    /// random part of up to a tenth, so that servers that were started together do not ask a secret
    /// manager at the same time. A thread of an earlier call ends.
    ///
    /// # Errors
    /// The same as those of [`ReloadedKeys::watch`].
    #[must_use = "the keys are no longer re-read when this is dropped"]
    pub fn watch_every(
        self,
        interval: Duration,
        mut on_reload: impl FnMut(Result<&KeySet, &KeySourceError>) + Send + 'static,
    ) -> Result<Self, KeySourceError> {
        let interval = interval.max(Self::SHORTEST);
        let (stop, stopped) = mpsc::channel();
        let watched = Arc::clone(&self.reloaded);
        // Nothing is ever sent: the wait ends early when the owner drops its end.
        let watch = move || {
            while stopped.recv_timeout(shortened(interval)) == Err(RecvTimeoutError::Timeout) {
                let reload = watched.reload();
                let reload = match &reload {
                    Ok(None) => continue,
                    Ok(Some(keys)) => Ok(&**keys),
                    Err(error) => Err(&**error),
                };
                // A panic has been printed by its hook. The next reload runs all the same.
                let _ = catch_unwind(AssertUnwindSafe(|| on_reload(reload)));
            }
        };
        // A thread and not a task: a source may block, and this crate has no runtime.
        thread::Builder::new()
            .name(String::from("kippu-keys"))
            .spawn(watch)
            .map_err(KeySourceError::Thread)?;
        Ok(Self { _watch: Some(stop), ..self })
    }
}

impl Reloaded {
    /// Returns the new keys if they have changed.
    fn reload(&self) -> Result<Option<Arc<KeySet>>, Arc<KeySourceError>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // The source may have read its keys at any time after this.
        let start = Instant::now();
        // A panic of the source must not end the thread that reads it again.
        let loaded = catch_unwind(AssertUnwindSafe(|| self.source.load()))
            .unwrap_or(Err(KeySourceError::Panicked))
            .map_err(Arc::new);
        let mut last = self.last();
        last.error = loaded.as_ref().err().cloned();
        if loaded.is_ok() {
            last.success = start;
        }
        drop(last);
        let loaded = loaded?;
        // An unchanged set is not replaced, so that `on_reload` is called only for a change.
        if loaded.is_same_as(&self.keys.load()) {
            return Ok(None);
        }
        self.keys.replace(loaded);
        Ok(Some(self.keys.load()))
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the interval minus a random part of up to a tenth. The keys of a new hasher are random,
/// so that no further crate is needed.
fn shortened(interval: Duration) -> Duration {
    const STEPS: u32 = 1024;
    let random = RandomState::new().build_hasher().finish() % u64::from(STEPS);
    interval.saturating_sub(interval / 10 / STEPS * u32::try_from(random).unwrap_or_default())
}

impl fmt::Debug for ReloadedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadedKeys")
            .field("keys", &self.reloaded.keys)
            .field("age", &self.age())
            .field("last_error", &self.last_error())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn waits_are_shorter_than_the_interval_by_up_to_a_tenth_at_random() {
        let waits: BTreeSet<_> = (0..200).map(|_| shortened(ReloadedKeys::INTERVAL)).collect();
        let within = Duration::from_secs(27)..=ReloadedKeys::INTERVAL;
        assert!(waits.iter().all(|wait| within.contains(wait)), "{waits:?}");
        let spread = waits.last().unwrap().abs_diff(*waits.first().unwrap());
        assert!(spread > Duration::from_secs(2), "{waits:?}");
    }
}
