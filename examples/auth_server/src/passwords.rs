//! Passwords: hashed with Argon2id, compared in the same time whether there is such a user or not. They are never logged,
//! and hashing never keeps a request of another user waiting on its thread.

use std::{sync::Arc, thread};

use argon2::{
    Argon2,
    password_hash::{self, PasswordHasher, PasswordVerifier},
};
use tokio::{
    sync::Semaphore,
    task::{self, JoinError},
};

/// Argon2id with the crate's defaults: 19 MiB, two passes, one lane, the second choice of OWASP's cheat sheet.
#[derive(Clone)]
pub(crate) struct Passwords {
    /// What a password is compared with where there is no account.
    decoy: Arc<str>,
    /// More at once would not be faster, and each takes its memory.
    at_once: Arc<Semaphore>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("a password has 8 to 128 bytes")]
    Length,
    #[error("a password cannot be hashed: {0}")]
    Hash(password_hash::Error),
    #[error("the hashing of a password was stopped")]
    Stopped(#[from] JoinError),
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { decoy: hash("of nobody")?.into(), at_once: Arc::new(Semaphore::new(at_once)) })
    }

    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        if !(8..=128).contains(&password.len()) {
            return Err(PasswordError::Length);
        }
        self.run(move || hash(&password)).await?
    }

    /// Whether this is the password of a hash; of none it never is, which takes as long to find out.
    pub(crate) async fn is(
        &self,
        password: String,
        hash: Option<&str>,
    ) -> Result<bool, PasswordError> {
        let (known, hash) = (hash.is_some(), hash.unwrap_or(&self.decoy).to_owned());
        let matches = self
            .run(move || {
                // No registered password is longer.
                password.len() <= 128
                    && Argon2::default().verify_password(password.as_bytes(), &*hash).is_ok()
            })
            .await?;
        Ok(known && matches)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        // Held until the work is done, even if its request is given up.
        let permit = Arc::clone(&self.at_once).acquire_owned().await;
        Ok(task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        })
        .await?)
    }
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn nobody_has_a_password() {
        let passwords = Passwords::new().expect("a decoy");
        let is = async |password: &str, hash| {
            passwords.is(password.to_owned(), hash).await.expect("an answer")
        };
        assert!(!is("of nobody", None).await);
        assert!(is("of nobody", Some(&*passwords.decoy)).await);
        assert!(!is("of somebody", Some(&*passwords.decoy)).await);
        assert!(!is("of nobody", Some("no hash")).await);
    }

    #[tokio::test]
    async fn that_there_is_no_account_takes_as_long_to_find_out() {
        let passwords = Passwords::new().expect("a decoy");
        let known = passwords.hash("correct horse".to_owned()).await.expect("a hash");
        let quickest = async |hash: Option<&str>| {
            let mut quickest = Duration::MAX;
            for _ in 0..5 {
                let begin = Instant::now();
                passwords.is("incorrect".to_owned(), hash).await.expect("an answer");
                quickest = quickest.min(begin.elapsed());
            }
            quickest
        };
        let (there, not_there) = (quickest(Some(&*known)).await, quickest(None).await);
        assert!(not_there * 2 > there && there * 2 > not_there, "{there:?}, {not_there:?}");
    }
}
