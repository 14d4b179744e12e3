//! Keys that are read again while a server runs: a source in, a [`SharedKeySet`] out that always holds the last keys
//! that were good.

use alloc::{boxed::Box, string::String, sync::Arc};
use core::{fmt, ops::Deref, time::Duration};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
};

use super::{KeySource, KeySourceError};
use crate::key_set::SharedKeySet;

/// The keys of a source, and the source, to read them again.
///
/// With a timer or a signal of one's own: [`ReloadedKeys::reload`]. With neither: [`ReloadedKeys::watch`].
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
/// let watcher = keys.watch(|error| eprintln!("the keys are still the old ones: {error}"))?;
/// let keys = watcher.keys(); // for `decode`, or for `Sessions`
/// assert_eq!(keys.load().signing_key().kid(), Some("2026-11"));
/// # Ok::<(), kippu::KeySourceError>(())
/// ```
pub struct ReloadedKeys {
    source: Box<dyn KeySource + Send + Sync>,
    keys: Arc<SharedKeySet>,
    /// One reload at a time: a slow one does not put older keys in the place of newer ones.
    turn: Mutex<()>,
    last_error: Mutex<Option<Arc<KeySourceError>>>,
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
        let keys = Arc::new(SharedKeySet::new(source.load()?));
        let (turn, last_error) = (Mutex::new(()), Mutex::new(None));
        Ok(Self { source: Box::new(source), keys, turn, last_error })
    }

    /// The keys, which a reload replaces.
    pub fn keys(&self) -> Arc<SharedKeySet> {
        Arc::clone(&self.keys)
    }

    /// Reads the source again, and says whether its keys are others than before. The set is replaced only then.
    ///
    /// # Errors
    /// Why there are no new keys. The ones that were good stay.
    pub fn reload(&self) -> Result<bool, Arc<KeySourceError>> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = catch_unwind(AssertUnwindSafe(|| self.source.load()))
            .unwrap_or(Err(KeySourceError::Panicked))
            .map_err(Arc::new);
        let mut last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        *last_error = loaded.as_ref().err().cloned();
        drop(last_error);
        let loaded = loaded?;
        let changed = !loaded.is_same_as(&self.keys.load());
        if changed {
            self.keys.replace(loaded);
        }
        Ok(changed)
    }

    /// Why the last reload failed; nothing, when it did not.
    pub fn last_error(&self) -> Option<Arc<KeySourceError>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the source again every 30 seconds, on a thread of its own, for as long as the watcher lives.
    /// `on_error` is told of each reload that fails: log it, since the keys stay the old ones until somebody acts.
    ///
    /// # Errors
    /// [`KeySourceError::Thread`] when the operating system gives no thread.
    pub fn watch(
        self,
        on_error: impl FnMut(&KeySourceError) + Send + 'static,
    ) -> Result<KeyWatcher, KeySourceError> {
        self.watch_every(Self::INTERVAL, on_error)
    }

    /// As [`ReloadedKeys::watch`], with an interval of one's own, counted from the end of one reload to the start of
    /// the next; less than 10 milliseconds are taken as 10.
    ///
    /// # Errors
    /// As [`ReloadedKeys::watch`].
    pub fn watch_every(
        self,
        interval: Duration,
        mut on_error: impl FnMut(&KeySourceError) + Send + 'static,
    ) -> Result<KeyWatcher, KeySourceError> {
        let interval = interval.max(Self::SHORTEST);
        let reloaded = Arc::new(self);
        let (stop, stopped) = mpsc::channel();
        let watched = Arc::clone(&reloaded);
        // Nothing is ever sent: the wait ends early when the watcher drops its end.
        let watch = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = watched.reload() {
                    // Its panic has been printed; the next reload is no less wanted.
                    let _ = catch_unwind(AssertUnwindSafe(|| on_error(&error)));
                }
            }
        };
        thread::Builder::new()
            .name(String::from("kippu-keys"))
            .spawn(watch)
            .map_err(KeySourceError::Thread)?;
        Ok(KeyWatcher { reloaded, _stop: stop })
    }
}

impl fmt::Debug for ReloadedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadedKeys")
            .field("keys", &self.keys)
            .field("last_error", &self.last_error())
            .finish_non_exhaustive()
    }
}

/// [`ReloadedKeys`] that a thread reads again from time to time.
///
/// Keep it for as long as the server runs. When it is dropped the thread ends, at once or after the reload that is
/// under way; the keys stay as they are.
#[derive(Debug)]
#[must_use = "the keys are no longer re-read when the watcher is dropped"]
pub struct KeyWatcher {
    reloaded: Arc<ReloadedKeys>,
    _stop: mpsc::Sender<()>,
}

impl Deref for KeyWatcher {
    type Target = ReloadedKeys;

    fn deref(&self) -> &ReloadedKeys {
        &self.reloaded
    }
}
