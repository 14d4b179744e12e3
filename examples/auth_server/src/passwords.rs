//! Hashes passwords with Argon2id, and compares passwords with those hashes and with bcrypt hashes
//! of imported accounts. A wrong password takes the same work whether the account exists or not.
//! Passwords are never logged, and hashing never blocks the threads that serve requests.

mod bcrypt;
mod rules;

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use argon2::{
    Params,
    password_hash::{self, phc::PasswordHash},
};

pub(crate) use self::rules::{BadPassword, check};
use crate::hashing::{self, Hashing, HashingError, Memory};

/// Makes and compares hashes.
#[derive(Clone)]
pub(crate) struct Passwords {
    /// The hash that a password is compared with when there is no account.
    decoy: Arc<str>,
    /// The highest bcrypt cost of any account, or 0 when no account has a bcrypt hash.
    bcrypt_cost: Arc<AtomicU32>,
    hashing: Hashing,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("a password cannot be hashed: {0}")]
    Hash(password_hash::Error),
    #[error(transparent)]
    Hashing(#[from] HashingError),
}

/// A hash that an imported account cannot have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the hash is neither bcrypt's ($2a$, $2b$ or $2y$, of a cost from 4 to {max}) nor Argon2's as this server makes \
     it ({argon2}…)",
    max = bcrypt::MAX_COST,
    argon2 = prefix()
)]
pub(crate) struct BadHash;

impl Passwords {
    pub(crate) async fn new(hashing: Hashing) -> Result<Self, PasswordError> {
        let decoy = hash(&hashing, "a decoy".to_owned()).await?;
        Ok(Self { decoy: decoy.into(), bcrypt_cost: Arc::default(), hashing })
    }

    /// Makes every wrong password take the work of a bcrypt hash of this cost besides that of
    /// Argon2, so that its duration does not reveal which accounts have a bcrypt hash.
    pub(crate) fn expect_bcrypt(&self, cost: u32) {
        self.bcrypt_cost.fetch_max(cost, Ordering::Relaxed);
    }

    /// Hashes a password that was [checked](check).
    pub(crate) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        hash(&self.hashing, password).await
    }

    /// Hashes the right password of an account if this server would not make its hash today.
    pub(crate) async fn replacement(
        &self,
        password: &str,
        hash: &str,
    ) -> Result<Option<String>, PasswordError> {
        if hash.starts_with(&prefix()) {
            return Ok(None);
        }
        // The rules for new passwords do not apply: the account has had this one.
        let Some(password) = rules::normalise(password) else { return Ok(None) };
        self.hash(password).await.map(Some)
    }

    /// Returns whether a hash is that of this password. Without a hash the answer is false, after
    /// the same work.
    pub(crate) async fn is(
        &self,
        password: &str,
        hash: Option<&str>,
    ) -> Result<bool, PasswordError> {
        if let Some(cost) = hash.and_then(bcrypt::cost) {
            self.expect_bcrypt(cost);
        }
        let candidates = rules::candidates(password);
        let (decoy, hash) = (Arc::clone(&self.decoy), hash.map(str::to_owned));
        let bcrypt_cost = self.bcrypt_cost.load(Ordering::Relaxed);
        let compare = move |memory: &mut Memory| {
            let work = Work::new(hash.as_deref(), &decoy, bcrypt_cost);
            candidates.iter().any(|password| work.is_of(memory, password))
        };
        Ok(self.hashing.run(compare).await?)
    }
}

async fn hash(hashing: &Hashing, password: String) -> Result<String, PasswordError> {
    let hash = hashing.run(move |memory| hashing::hash(memory, &password)).await?;
    hash.map_err(PasswordError::Hash)
}

/// The work of one comparison. A wrong password takes one Argon2 hash, and as many rounds of bcrypt
/// as the highest cost of any account.
struct Work<'h> {
    account: Option<AccountHash<'h>>,
    decoy: &'h str,
    bcrypt_cost: u32,
}

enum AccountHash<'h> {
    Argon2(&'h str),
    Bcrypt { hash: &'h str, cost: u32 },
}

impl<'h> Work<'h> {
    fn new(hash: Option<&'h str>, decoy: &'h str, bcrypt_cost: u32) -> Self {
        let account = hash.and_then(|hash| match bcrypt::cost(hash) {
            Some(cost) => Some(AccountHash::Bcrypt { hash, cost }),
            // A hash of another kind, written into the database by hand, matches no password.
            None => hash.starts_with("$argon2").then_some(AccountHash::Argon2(hash)),
        });
        Self { account, decoy, bcrypt_cost }
    }

    fn is_of(&self, memory: &mut Memory, password: &str) -> bool {
        let is_right = match self.account {
            Some(AccountHash::Argon2(hash)) => hashing::is_of(memory, password, hash),
            Some(AccountHash::Bcrypt { hash, .. }) => bcrypt::is_of(password, hash),
            None => false,
        };
        // A right password needs no padding: the answer shows that it is right.
        if !is_right {
            let (decoy, costs) = self.rest();
            if decoy {
                hashing::is_of(memory, password, self.decoy);
            }
            costs.for_each(|cost| bcrypt::spend(password, cost));
        }
        is_right
    }

    /// Returns the work that is left after a wrong password was compared with the account's hash:
    /// whether to hash it with the decoy's parameters, and bcrypt costs.
    fn rest(&self) -> (bool, Range<u32>) {
        let (decoy, done) = match self.account {
            Some(AccountHash::Argon2(_)) => (false, None),
            Some(AccountHash::Bcrypt { cost, .. }) => (true, Some(cost)),
            None => (true, None),
        };
        match self.bcrypt_cost {
            0 => (decoy, 0..0),
            highest => (decoy, bcrypt::rest(done, highest)),
        }
    }
}

/// Checks that an account with this hash can log in.
pub(crate) fn check_hash(hash: &str) -> Result<Option<u32>, BadHash> {
    if let Some(cost) = bcrypt::cost(hash) {
        return Ok(Some(cost));
    }
    // With other parameters a wrong password would take another time.
    let is_ours = hash.starts_with(&prefix())
        && PasswordHash::new(hash).is_ok_and(|hash| hash.salt.is_some() && hash.hash.is_some());
    if is_ours { Ok(None) } else { Err(BadHash) }
}

/// Returns the beginning of the hashes that this server makes.
fn prefix() -> String {
    format!(
        "$argon2id$v=19$m={},t={},p={}$",
        Params::DEFAULT_M_COST,
        Params::DEFAULT_T_COST,
        Params::DEFAULT_P_COST
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCRYPT: &str = "$2b$06$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K";
    const PASSWORD: &str = "correct horse battery staple";

    async fn passwords() -> Passwords {
        Passwords::new(Hashing::new(Some(1)).expect("a thread")).await.expect("a hash")
    }

    fn hash(password: &str) -> String {
        hashing::hash(&mut Memory::new(), password).expect("a hash")
    }

    async fn is(passwords: &Passwords, password: &str, hash: Option<&str>) -> bool {
        passwords.is(password, hash).await.expect("an answer")
    }

    #[tokio::test]
    async fn an_unknown_account_has_no_password() {
        let passwords = passwords().await;
        assert!(!is(&passwords, "a decoy", None).await);
        assert!(is(&passwords, "a decoy", Some(&*passwords.decoy)).await);
        assert!(!is(&passwords, "another", Some(&*passwords.decoy)).await);
        assert!(!is(&passwords, "a decoy", Some("no hash")).await);
        assert!(!is(&passwords, "", Some("")).await);
    }

    #[tokio::test]
    async fn a_password_is_compared_as_it_is_stored_and_as_it_was_typed() {
        let passwords = passwords().await;
        let composed = passwords.hash("p\u{e4}sswort".to_owned()).await.expect("a hash");
        let decomposed = passwords.hash("pa\u{308}sswort".to_owned()).await.expect("a hash");
        for (typed, hash, expected) in [
            ("p\u{e4}sswort", &composed, true),
            ("pa\u{308}sswort", &composed, true),
            // A hash of an earlier version, which did not normalise.
            ("pa\u{308}sswort", &decomposed, true),
            ("p\u{e4}sswort", &decomposed, false),
        ] {
            assert_eq!(is(&passwords, typed, Some(hash)).await, expected, "{typed:?} {hash}");
        }
    }

    #[tokio::test]
    async fn a_hash_of_bcrypt_is_verified_and_replaced() {
        let passwords = passwords().await;
        assert!(is(&passwords, PASSWORD, Some(BCRYPT)).await);
        assert!(!is(&passwords, "correct horse", Some(BCRYPT)).await);
        let new = passwords.replacement(PASSWORD, BCRYPT).await.expect("a hash");
        let new = new.expect("a replacement");
        assert!(is(&passwords, PASSWORD, Some(&new)).await);
        assert_eq!(passwords.replacement(PASSWORD, &new).await.expect("no fault"), None);
        // One that is too short for a new password, and one that cannot be normalised.
        assert!(passwords.replacement("short", BCRYPT).await.expect("a hash").is_some());
        assert_eq!(passwords.replacement("tab\there", BCRYPT).await.expect("no fault"), None);
    }

    #[test]
    fn hashes_that_can_be_imported() {
        let ours = hash(PASSWORD);
        assert_eq!((check_hash(BCRYPT), check_hash(&ours)), (Ok(Some(6)), Ok(None)));
        for other in [
            "",
            PASSWORD,
            "5f4dcc3b5aa765d61d8327deb882cf99",
            "$2b$31$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K",
            "$argon2id$v=19$m=19456,t=2,p=1$",
            "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaQasDmlzDVFtrYOgA",
            &ours.replace("argon2id", "argon2i"),
        ] {
            assert_eq!(check_hash(other), Err(BadHash), "{other}");
        }
        let text = BadHash.to_string();
        assert!(text.contains("4 to 14") && text.contains("$argon2id$v=19$m=19456,t=2,p=1$…"));
    }

    /// Counts the work: a clock would measure the other programs on the machine too.
    #[test]
    fn a_wrong_password_takes_the_same_work_whatever_the_account() {
        let ours = hash(PASSWORD);
        // The number of Argon2 hashes, and of rounds of bcrypt.
        let work = |hash: Option<&str>, highest| {
            let work = Work::new(hash, &ours, highest);
            let (argon2, bcrypt) = match work.account {
                Some(AccountHash::Argon2(_)) => (1, 0),
                Some(AccountHash::Bcrypt { cost, .. }) => (0, 1 << cost),
                None => (0, 0),
            };
            let (decoy, costs) = work.rest();
            (argon2 + u32::from(decoy), bcrypt + costs.map(|cost| 1_u64 << cost).sum::<u64>())
        };
        assert_eq!((work(None, 0), work(Some(&ours), 0)), ((1, 0), (1, 0)));
        assert_eq!(work(Some("no hash"), 0), (1, 0));
        for highest in 6..=14 {
            for hash in [None, Some(&*ours), Some(BCRYPT), Some("no hash")] {
                assert_eq!(work(hash, highest), (1, 1 << highest), "{hash:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_hash_of_bcrypt_that_comes_later_is_reckoned_with() {
        let passwords = passwords().await;
        let cost = || passwords.bcrypt_cost.load(Ordering::Relaxed);
        assert_eq!(cost(), 0);
        assert!(!is(&passwords, "wrong", Some(BCRYPT)).await);
        assert_eq!(cost(), 6);
        passwords.expect_bcrypt(4);
        assert_eq!(cost(), 6);
    }

    /// While all threads are busy, no comparison is answered, with an account or without.
    #[tokio::test]
    async fn an_unknown_account_is_not_answered_without_work() {
        let passwords = passwords().await;
        let known = passwords.hash(PASSWORD.to_owned()).await.expect("a hash");
        let (release, released) = std::sync::mpsc::channel::<()>();
        let hashing = passwords.hashing.clone();
        let busy = tokio::spawn(async move { hashing.run(move |_| released.recv()).await });
        tokio::task::yield_now().await;
        for hash in [Some(&*known), Some(BCRYPT), None] {
            tokio::select! {
                biased;
                _ = passwords.is("incorrect", hash) => panic!("nothing was compared"),
                () = std::future::ready(()) => {}
            }
        }
        drop(release);
        assert!(busy.await.expect("a task").is_ok());
    }
}
