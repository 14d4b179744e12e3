//! The audit log: who tried to register, to log in, to change a password or to unregister, from
//! which address, and with which outcome. Its lines have the target `auth_server::audit`.
//!
//! A line names the account by a keyed digest of the address, so that an operator can count the
//! tries at one account. The typed text itself is never logged, because people type passwords into
//! the wrong field. The digest is keyed, so that a reader of the log cannot find the address by
//! trying.

use std::net::IpAddr;

use kippu::KeySet;
use serde::Serialize;

use crate::email;

pub(crate) struct Audit {
    keys: KeySet,
}

/// An action that needs a password.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    Registration,
    Login,
    PasswordChange,
    Reauthentication,
    Unregistration,
}

/// One attempt at an action. Its outcome is still to be logged.
pub(crate) struct Attempt {
    action: Action,
    address: IpAddr,
    /// The digest of the account.
    pub(crate) account: String,
}

/// The symbols of 132 bits: enough that two accounts never share a digest by chance.
const DIGEST_LEN: usize = 22;

impl Audit {
    pub(crate) fn new(keys: KeySet) -> Self {
        Self { keys }
    }

    /// Begins an attempt from a network address at the account with this email address.
    pub(crate) fn attempt(&self, action: Action, address: IpAddr, account: &str) -> Attempt {
        Attempt { action, address: address.to_canonical(), account: self.digest(account) }
    }

    /// Computes the digest: the signature of a token that contains the account's name.
    fn digest(&self, account: &str) -> String {
        #[derive(Serialize)]
        struct Named<'n> {
            account: &'n str,
        }
        let name = email::account_named(account);
        let named = Named { account: name.as_deref().unwrap_or(account) };
        let key = self.keys.signing_key().expect("no verify-only set is loaded");
        let token = kippu::encode(&named, key).expect("an object of one text");
        let signature = token.rsplit('.').next().unwrap_or_default();
        signature.chars().take(DIGEST_LEN).collect()
    }
}

impl Attempt {
    /// Logs that the action was done, and the subject of the account.
    pub(crate) fn accepted(&self, subject: &str) {
        let Self { action, address, account } = self;
        tracing::info!(target: TARGET, %address, account, subject, "{} accepted", action.name());
    }

    /// Logs why the action was refused, and the subject of the account if there is one.
    pub(crate) fn refused(&self, reason: &str, subject: Option<&str>) {
        let Self { action, address, account } = self;
        tracing::warn!(target: TARGET, %address, account, subject, reason, "{} refused", action.name());
    }
}

const TARGET: &str = "auth_server::audit";

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Registration => "registration",
            Self::Login => "login",
            Self::PasswordChange => "password change",
            Self::Reauthentication => "reauthentication",
            Self::Unregistration => "unregistration",
        }
    }
}

#[cfg(test)]
mod tests {
    use kippu::{Algorithm, Jwk, JwkSet};

    use super::*;

    fn audit() -> Audit {
        let jwk = Jwk::generate(Algorithm::Hs256).expect("a key").with_kid("1");
        let set = JwkSet::new([jwk]).expect("a set");
        Audit::new(KeySet::from_jwk_set(&set).expect("a key set"))
    }

    #[test]
    fn a_digest_is_that_of_an_account_under_a_key() {
        let (one, other) = (audit(), audit());
        let digest = |audit: &Audit, text| audit.digest(text);
        let ada = digest(&one, "ada@example.com");
        assert_eq!(ada.len(), DIGEST_LEN);
        assert_eq!(digest(&one, " Ada@EXAMPLE.com "), ada);
        assert_ne!(digest(&one, "eve@example.com"), ada);
        assert_ne!(digest(&other, "ada@example.com"), ada);
        // Any text has a digest.
        for text in ["", "correct horse", "\0\u{202e}", &"x".repeat(10_000)] {
            assert_ne!(digest(&one, text), ada, "{text:?}");
        }
    }
}
