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
        let matches = self.matches(password, hash.unwrap_or(&self.decoy)).await?;
        Ok(hash.is_some() && matches)
    }

    async fn matches(&self, password: String, hash: &str) -> Result<bool, PasswordError> {
        let hash = hash.to_owned();
        self.run(move || {
            // No registered password is longer.
            password.len() <= 128
                && Argon2::default().verify_password(password.as_bytes(), &*hash).is_ok()
        })
        .await
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

    /// Time is no measure on a machine that does other things too: what is compared costs what an account's hash does.
    #[tokio::test]
    async fn that_there_is_no_account_takes_as_long_to_find_out() {
        let passwords = Passwords::new().expect("a decoy");
        assert!(
            passwords.matches("of nobody".to_owned(), &passwords.decoy).await.expect("an answer")
        );
        let known = passwords.hash("correct horse".to_owned()).await.expect("a hash");
        // $argon2id$v=19$m=19456,t=2,p=1$salt$hash
        let cost = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cost(&passwords.decoy), cost(&known));
        assert_eq!(cost(&known).get(1).map(String::as_str), Some("argon2id"));
        // While nobody can compare there is no answer for either.
        let all = u32::try_from(passwords.at_once.available_permits()).expect("a few");
        let busy = passwords.at_once.acquire_many(all).await.expect("it is never closed");
        for hash in [Some(&*known), None] {
            tokio::select! {
                biased;
                _ = passwords.is("incorrect".to_owned(), hash) => panic!("nothing was compared"),
                () = std::future::ready(()) => {}
            }
        }
        drop(busy);
    }
}
