//! Keys that are read again while a server runs: a source in, a [`SharedKeySet`] out that always
//! holds the last keys that were good.

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

/// The keys of a source, and the source, to read them again.
///
/// An application with a timer or a signal calls [`ReloadedKeys::reload`]. One with neither calls
/// [`ReloadedKeys::watch`].
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
    /// Ends the thread that watches, when it is dropped.
    _watch: Option<mpsc::Sender<()>>,
}

/// The state that the thread and its owner share.
struct Reloaded {
    source: Box<dyn KeySource + Send + Sync>,
    keys: SharedKeySet,
    /// One reload at a time: a slow one does not put older keys in the place of newer ones.
    turn: Mutex<()>,
    last: Mutex<Last>,
}

struct Last {
    /// When the source last gave keys.
    success: Instant,
    /// Why it has not, the last time.
    error: Option<Arc<KeySourceError>>,
}

impl ReloadedKeys {
    /// How often [`ReloadedKeys::watch`] reads the source: every 30 seconds.
    pub const INTERVAL: Duration = Duration::from_secs(30);

    /// The shortest interval: below, the thread would do nothing else.
    const SHORTEST: Duration = Duration::from_millis(10);

    /// Reads the source for the first time.
    ///
    /// # Errors
    /// As [`KeySource::load`]: a server does not start without keys.
    pub fn load(source: impl KeySource + Send + Sync + 'static) -> Result<Self, KeySourceError> {
        let success = Instant::now();
        let keys = SharedKeySet::new(source.load()?);
        let last = Mutex::new(Last { success, error: None });
        let reloaded = Reloaded { source: Box::new(source), keys, turn: Mutex::new(()), last };
        Ok(Self { reloaded: Arc::new(reloaded), _watch: None })
    }

    /// Returns a handle of the keys, which a reload replaces.
    pub fn keys(&self) -> SharedKeySet {
        self.reloaded.keys.clone()
    }

    /// Reads the source again, and returns whether its keys are others than before. The set is
    /// replaced only then.
    ///
    /// # Errors
    /// Why there are no new keys. The ones that were good stay.
    pub fn reload(&self) -> Result<bool, Arc<KeySourceError>> {
        Ok(self.reloaded.reload()?.is_some())
    }

    /// Returns why the last reload failed; nothing, when it did not.
    pub fn last_error(&self) -> Option<Arc<KeySourceError>> {
        self.reloaded.last().error.clone()
    }

    /// Returns the time since the source last gave keys, whether they had changed or not: how old
    /// the keys may be. It grows beyond the interval of the reloads while these fail or the source
    /// hangs.
    pub fn age(&self) -> Duration {
        self.reloaded.last().success.elapsed()
    }

    /// Reads the source again every 30 seconds, on a separate thread, until the value that is
    /// returned is dropped. The thread ends then, at once or after the reload that is under way;
    /// the keys stay as they are.
    ///
    /// Calls `on_reload` for each of its reloads that changed the keys, with the new set, whose
    /// [`KeySet::kids`] a log can show; and for each that failed, with the error. After an error
    /// the old keys stay, until the operator acts.
    ///
    /// # Errors
    /// [`KeySourceError::Thread`] when the operating system gives no thread.
    #[must_use = "the keys are no longer re-read when this is dropped"]
    pub fn watch(
        self,
        on_reload: impl FnMut(Result<&KeySet, &KeySourceError>) + Send + 'static,
    ) -> Result<Self, KeySourceError> {
        self.watch_every(Self::INTERVAL, on_reload)
    }

    /// As [`ReloadedKeys::watch`], with another interval, counted from the end of one reload to the
    /// start of the next; less than 10 milliseconds are taken as 10. Each wait is shorter by up to
    /// a tenth, at random: servers that were started together do not ask a secret manager together.
    /// A thread that watched before ends.
    ///
    /// # Errors
    /// As [`ReloadedKeys::watch`].
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

/// Returns the interval, less up to a tenth. The keys of a new hasher are random, and need no
/// further crate.
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
