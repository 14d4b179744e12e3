//! Keys that are read again while a server runs: a source in, a [`SharedKeySet`] out that always holds the last keys
//! that were good.

use alloc::{boxed::Box, string::String, sync::Arc};
use core::{fmt, time::Duration};
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
/// An application with a timer or a signal calls [`ReloadedKeys::reload`]. One with neither calls [`ReloadedKeys::watch`].
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
/// let keys = keys.watch(|error| eprintln!("the keys are still the old ones: {error}"))?;
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
        let keys = SharedKeySet::new(source.load()?);
        let (turn, last_error) = (Mutex::new(()), Mutex::new(None));
        let reloaded = Reloaded { source: Box::new(source), keys, turn, last_error };
        Ok(Self { reloaded: Arc::new(reloaded), _watch: None })
    }

    /// Returns a handle of the keys, which a reload replaces.
    pub fn keys(&self) -> SharedKeySet {
        self.reloaded.keys.clone()
    }

    /// Reads the source again, and returns whether its keys are others than before. The set is replaced only then.
    ///
    /// # Errors
    /// Why there are no new keys. The ones that were good stay.
    pub fn reload(&self) -> Result<bool, Arc<KeySourceError>> {
        self.reloaded.reload()
    }

    /// Returns why the last reload failed; nothing, when it did not.
    pub fn last_error(&self) -> Option<Arc<KeySourceError>> {
        self.reloaded.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the source again every 30 seconds, on a separate thread, until the value that is returned is dropped. The
    /// thread ends then, at once or after the reload that is under way; the keys stay as they are. `on_error` is called
    /// for each reload that fails: log it, since the keys stay the old ones until somebody acts.
    ///
    /// # Errors
    /// [`KeySourceError::Thread`] when the operating system gives no thread.
    #[must_use = "the keys are no longer re-read when this is dropped"]
    pub fn watch(
        self,
        on_error: impl FnMut(&KeySourceError) + Send + 'static,
    ) -> Result<Self, KeySourceError> {
        self.watch_every(Self::INTERVAL, on_error)
    }

    /// As [`ReloadedKeys::watch`], with another interval, counted from the end of one reload to the start of the next;
    /// less than 10 milliseconds are taken as 10. A thread that watched before ends.
    ///
    /// # Errors
    /// As [`ReloadedKeys::watch`].
    #[must_use = "the keys are no longer re-read when this is dropped"]
    pub fn watch_every(
        self,
        interval: Duration,
        mut on_error: impl FnMut(&KeySourceError) + Send + 'static,
    ) -> Result<Self, KeySourceError> {
        let interval = interval.max(Self::SHORTEST);
        let (stop, stopped) = mpsc::channel();
        let watched = Arc::clone(&self.reloaded);
        // Nothing is ever sent: the wait ends early when the owner drops its end.
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
        Ok(Self { _watch: Some(stop), ..self })
    }
}

impl Reloaded {
    fn reload(&self) -> Result<bool, Arc<KeySourceError>> {
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
}

impl fmt::Debug for ReloadedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadedKeys")
            .field("keys", &self.reloaded.keys)
            .field("last_error", &self.last_error())
            .finish_non_exhaustive()
    }
}
