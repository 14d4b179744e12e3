//! Hashes passwords with Argon2: `passwords` hands in a password, and gets a hash or a comparison.
//!
//! Separate threads do this work. Each of them reuses one piece of memory. The queue before them is
//! bounded: a caller that finds it full gets an error.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, Salt},
    },
};
use tokio::sync::oneshot;

/// The working memory of Argon2, 19 MiB for a hash with the default parameters.
///
/// Allocated for each hash, such blocks fragment glibc's heap: it keeps one for each thread that
/// ever hashed, and a server with many processors grew by hundreds of megabytes.
pub(crate) type Memory = Vec<Block>;

/// A handle on the hashing threads, which end when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Hashing(SyncSender<Job>);

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HashingError {
    #[error("too many logins at once: try again in a few seconds")]
    Busy,
    #[error("the hashing of a password was stopped")]
    Stopped,
}

/// The default limit for the number of threads. With three, the server stays under 100 MB however
/// many processors the machine has.
const MOST_BY_DEFAULT: usize = 3;

/// A hash takes about 30 ms, so that the last job in a full queue waits for about a second.
const WAITING_FOR_EACH: usize = 32;

impl Hashing {
    /// Starts `at_once` threads: by default one less than there are processors, but at least one
    /// and at most three. The processor that is left serves the other requests: a lower priority
    /// for these threads has the same effect on an idle machine, and starves logins on a busy one.
    pub(crate) fn new(at_once: Option<u16>) -> std::io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let by_default = processors.saturating_sub(1).clamp(1, MOST_BY_DEFAULT);
        let at_once = at_once.map_or(by_default, usize::from);
        let (jobs, queue) = sync_channel(at_once * WAITING_FOR_EACH);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..at_once {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("hash".to_owned()).spawn(move || work_off(&queue))?;
        }
        Ok(Self(jobs))
    }

    /// Runs `work` on a hashing thread. If the caller stops waiting before the thread gets to it,
    /// the work is skipped.
    ///
    /// # Errors
    /// [`HashingError::Busy`] when the queue is full, [`HashingError::Stopped`] when `work` panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, HashingError> {
        let (answer, answered) = oneshot::channel();
        let job = move |memory: &mut Memory| {
            if !answer.is_closed() {
                let _ = answer.send(work(memory));
            }
        };
        self.0.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) => HashingError::Busy,
            TrySendError::Disconnected(_) => HashingError::Stopped,
        })?;
        answered.await.map_err(|_| HashingError::Stopped)
    }
}

fn work_off(queue: &Mutex<Receiver<Job>>) {
    let mut memory = Memory::new();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The panic hook logs it, and the caller gets an error because `answer` was dropped.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| job(&mut memory)));
    }
}

/// Returns the PHC string of the password's hash under a new salt.
///
/// The parameters are the argon2 crate's defaults: Argon2id, 19 MiB, two passes, one lane. They are
/// the second choice of OWASP's password storage cheat sheet.
pub(crate) fn hash(memory: &mut Memory, password: &str) -> Result<String, password_hash::Error> {
    let argon2 = Argon2::default();
    let salt = Salt::new(&password_hash::try_generate_salt()?)?;
    let output = output(memory, &argon2, password, &salt)?;
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::default().into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

/// Returns whether the PHC string, of any variant of Argon2, is a hash of this password.
pub(crate) fn is_of(memory: &mut Memory, password: &str, hash: &str) -> bool {
    matches(memory, password, hash).unwrap_or(false)
}

fn matches(memory: &mut Memory, password: &str, hash: &str) -> Result<bool, password_hash::Error> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Ok(false) };
    let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
    let version = hash.version.map(Version::try_from).transpose()?.unwrap_or_default();
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&hash)?);
    // The comparison of two `Output`s takes constant time.
    Ok(output(memory, &argon2, password, salt)? == *expected)
}

fn output(
    memory: &mut Memory,
    argon2: &Argon2<'_>,
    password: &str,
    salt: &Salt,
) -> Result<Output, password_hash::Error> {
    let params = argon2.params();
    let mut larger = Memory::new();
    let memory = match params.block_count() {
        // A hash that was imported may need more. That memory is freed again.
        count if count > Params::DEFAULT.block_count() => &mut larger,
        _ => memory,
    };
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::new());
    }
    let mut bytes = [0; Output::MAX_LENGTH];
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let bytes = bytes.get_mut(..length).ok_or(password_hash::Error::OutputSize)?;
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, bytes, memory)?;
    Ok(Output::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn agrees_with_the_argon2_crate_that_allocates_for_each_hash() {
        let mut memory = Memory::new();
        let ours = hash(&mut memory, "correct horse").expect("a hash");
        assert!(Argon2::default().verify_password(b"correct horse", &*ours).is_ok());
        assert!(ours.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{ours}");
        // Less and more memory than the thread has, and another length.
        for (m, t, p, length) in [(64, 1, 1, None), (19_456, 2, 1, None), (32_768, 1, 4, Some(16))]
        {
            for algorithm in [Algorithm::Argon2id, Algorithm::Argon2i, Algorithm::Argon2d] {
                let params = Params::new(m, t, p, length).expect("parameters");
                let theirs = Argon2::new(algorithm, Version::default(), params)
                    .hash_password(b"correct horse")
                    .expect("a hash")
                    .to_string();
                assert!(is_of(&mut memory, "correct horse", &theirs), "{theirs}");
                assert!(!is_of(&mut memory, "incorrect horse", &theirs), "{theirs}");
            }
        }
        assert_ne!(ours, hash(&mut memory, "correct horse").expect("a hash"), "the salt is new");
        for other in ["", "no hash", "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IDEyMw"] {
            assert!(!is_of(&mut memory, "correct horse", other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_panic_stops_nothing() {
        let hashing = Hashing::new(Some(1)).expect("a thread");
        let (release, released) = std::sync::mpsc::channel();
        let (started, is_busy) = oneshot::channel();
        let spawn = |work: Box<dyn FnOnce(&mut Memory) -> usize + Send>| {
            let hashing = hashing.clone();
            tokio::spawn(async move { hashing.run(work).await })
        };
        let busy = spawn(Box::new(move |memory| {
            let _ = started.send(());
            memory.resize(7, Block::new());
            released.recv().map_or(0, |()| 1)
        }));
        is_busy.await.expect("it has started");
        let given_up = spawn(Box::new(|_| panic!("it should be skipped")));
        tokio::task::yield_now().await;
        given_up.abort();
        assert!(given_up.await.expect_err("it was aborted").is_cancelled());
        let panics = spawn(Box::new(|_| panic!("on purpose")));
        tokio::task::yield_now().await;
        let waiting: Vec<_> =
            (2..WAITING_FOR_EACH).map(|_| spawn(Box::new(|memory| memory.len()))).collect();
        tokio::task::yield_now().await;
        let refused = spawn(Box::new(|_| 0)).await.expect("a task");
        assert!(matches!(refused, Err(HashingError::Busy)));
        release.send(()).expect("it waits");
        assert_eq!(busy.await.expect("a task").expect("done"), 1);
        assert!(matches!(panics.await.expect("a task"), Err(HashingError::Stopped)));
        for done in waiting {
            assert_eq!(done.await.expect("a task").expect("done"), 7, "the memory is the same");
        }
    }
}
