//! Why a session cannot begin or continue.

use alloc::{boxed::Box, string::String};
use core::error::Error;

use super::{
    access::IssueError, builder::ConfigError, record::RevokeReason, refresh_token::RefreshKeyError,
    store::StoreError,
};
use crate::{
    debug::debug_by_message,
    error::{DecodeError, EncodeError},
    key_set::KeySetError,
};

/// Why a session cannot begin or continue.
///
/// The messages are for the operator. They contain no token and no key.
/// [`SessionError::oauth_error`] is the error for the client; it is the same for every fault of a
/// refresh token.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The text is not a refresh token of one of the keys, or its session is not in the store, or
    /// belongs to another client. The error does not say which.
    #[error("the refresh token is not valid")]
    InvalidToken,
    /// The session was not refreshed for too long, or has reached its absolute end. The user has to
    /// log in again.
    #[error("the session has expired: log in again")]
    Expired,
    /// The session was ended earlier.
    #[error("the session was ended earlier: {0}")]
    Revoked(RevokeReason),
    /// The refresh token was used up, too long ago for a retry, so that another party also has a
    /// token of this session. The session has been revoked.
    #[error("the refresh token was used before; the session has been revoked")]
    Reused,
    /// The refresh token is newer than the record of its session in the store
    /// ([`AheadPolicy::Refuse`](super::rotation::AheadPolicy::Refuse)). Find out why the store has
    /// lost commits.
    #[error("the refresh token is {lost} generations ahead of the store")]
    Ahead {
        /// The number of generations that the store has lost.
        lost: u64,
    },
    /// The application denied the user. The session has been revoked.
    #[error("the application refused the user; the session has been revoked")]
    Denied,
    /// The application could not decide about the user, because `authorize` failed. Nothing was
    /// used up: try again.
    #[error("the application could not authorize the session")]
    Authorize(#[source] Box<dyn Error + Send + Sync>),
    /// The store failed. If the failure is transient ([`SessionError::is_transient`]), try again
    /// with the same token, within the grace.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has reached its maximum number of sessions.
    #[error("the store is full: raise its capacity, or purge it")]
    Full,
    /// The claims cannot become part of an access token: they are not an object, or have a member
    /// that the session sets.
    #[error("the application's claims: {0}")]
    Claims(EncodeError),
    /// The access token is not valid.
    #[error(transparent)]
    AccessToken(#[from] DecodeError),
    /// The subject is empty, longer than 512 bytes, or contains a control character. If the subject
    /// comes from a form, the request is invalid.
    #[error("a subject has 1 to 512 bytes and no control characters")]
    Subject,
    /// The login names a client that the builder does not have.
    #[error("the client of the login is not one of SessionsBuilder::client")]
    Client,
    /// The lifetimes or the limit of a login are invalid.
    #[error(transparent)]
    Login(#[from] ConfigError),
    /// The subject has reached its limit of sessions
    /// ([`SessionLimit::refuse`](super::SessionLimit::refuse)), and one of them has to be logged
    /// out first. If a user asked for this login, show the list of sessions.
    #[error("the subject has reached its limit of sessions: log one of them out first")]
    TooManySessions,
    /// The access token would be longer than the verifier accepts
    /// ([`SessionsBuilder::max_access_token_len`](super::SessionsBuilder::max_access_token_len)).
    /// Nothing was stored or used up.
    #[error(
        "the access token would have {length} bytes, and {limit} are accepted: put fewer claims into it, or raise \
         SessionsBuilder::max_access_token_len"
    )]
    TooLong {
        /// The length of the token, in bytes.
        length: usize,
        /// The maximum that the verifier accepts.
        limit: usize,
    },
    /// The refresh keys were replaced by a set whose signing key cannot make refresh tokens.
    #[error(transparent)]
    RefreshKey(#[from] RefreshKeyError),
    /// The keys were replaced by a verify-only set
    /// ([`KeySet::verify_only`](crate::KeySet::verify_only)).
    #[error(transparent)]
    SigningKey(#[from] KeySetError),
    /// Another server has rotated the session with a refresh key that this server does not have
    /// yet, or no longer has. Nothing was used up here. Give every server a key before the first
    /// one signs with it ([`KeySet::accept`](crate::KeySet::accept)), and keep it until its tokens
    /// have expired.
    #[error(
        "no refresh key has the kid {kid:?}, with which another server signs: give it to every server before one signs with it"
    )]
    MissingRefreshKey {
        /// The id of the key.
        kid: String,
    },
    /// The operating system returned no random bytes, or the same bytes again.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

debug_by_message!(SessionError);

impl SessionError {
    /// Returns the `error` of the OAuth response:
    /// - `invalid_grant` (RFC 6749 §5.2) for every fault of the session or its refresh token; the
    ///   client asks its user to log in again;
    /// - `invalid_token` (RFC 6750 §3.1) for an access token;
    /// - `invalid_request` (RFC 6749 §5.2) for an invalid subject;
    /// - `access_denied` (RFC 6749 §4.1.2.1) for a user who has reached the limit of sessions;
    /// - `temporarily_unavailable` (RFC 6749 §4.1.2.1) if the same call may succeed a moment later,
    ///   and `server_error` for the rest. For these two a client keeps its token.
    pub fn oauth_error(&self) -> &'static str {
        match self {
            Self::InvalidToken
            | Self::Expired
            | Self::Revoked(_)
            | Self::Reused
            | Self::Ahead { .. }
            | Self::Denied => "invalid_grant",
            Self::AccessToken(error) if !matches!(error, DecodeError::EndedUnknown { .. }) => {
                "invalid_token"
            }
            Self::Subject => "invalid_request",
            Self::TooManySessions => "access_denied",
            error if error.is_transient() => "temporarily_unavailable",
            _ => "server_error",
        }
    }

    /// Returns whether the same call may succeed a moment later. In that case the refresh token has
    /// not been used up, or it gets the same successor if it is presented again within the grace.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.kind().is_transient(),
            // The next reading of the log, the application's database, a purge or a reload of the
            // keys helps.
            Self::AccessToken(DecodeError::EndedUnknown { .. })
            | Self::Authorize(_)
            | Self::Full
            | Self::MissingRefreshKey { .. }
            | Self::NoRandomness => true,
            _ => false,
        }
    }
}

impl From<EncodeError> for SessionError {
    fn from(error: EncodeError) -> Self {
        Self::Claims(error)
    }
}

impl From<IssueError> for SessionError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Claims(error) => Self::Claims(error),
            IssueError::Randomness(_) => Self::NoRandomness,
            IssueError::TooLong { length, limit } => Self::TooLong { length, limit },
        }
    }
}
