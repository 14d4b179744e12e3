//! Why a session does not begin or go on.

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

/// Why a session does not begin or go on.
///
/// For the operator. None shows a token or a key; what the client may be told is
/// [`SessionError::oauth_error`], which is the same for all that is wrong with a refresh token.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// This is no refresh token that one of the keys made, or its session is not known (any more), or is another
    /// client's. Which of these is not told.
    #[error("the refresh token is not valid")]
    InvalidToken,
    /// The session is over: it was not used for too long, or has reached its end. Log in again.
    #[error("the session has expired: log in again")]
    Expired,
    /// The session was ended before.
    #[error("the session was ended before: {0}")]
    Revoked(RevokeReason),
    /// The refresh token had been used up, too long ago for a retry: somebody else holds a token of this session.
    /// It has been revoked.
    #[error("the refresh token was used before; the session has been revoked")]
    Reused,
    /// The refresh token is newer than what the store knows of its session
    /// ([`AheadPolicy::Refuse`](super::rotation::AheadPolicy::Refuse)). Look into why the store has lost commits.
    #[error("the refresh token is {lost} generations ahead of the store")]
    Ahead {
        /// How many generations the store has lost.
        lost: u64,
    },
    /// The application no longer wants the user. The session has been revoked.
    #[error("the application refused the user; the session has been revoked")]
    Denied,
    /// The application could not say whether it still wants the user. Nothing was used up: try again.
    #[error("the application could not authorize the session")]
    Authorize(#[source] Box<dyn Error + Send + Sync>),
    /// The store is at fault. When it is for a moment only ([`SessionError::is_transient`]), try again
    /// within the grace, with the same token.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store holds as many sessions as it may.
    #[error("the store is full: make it larger, or purge it")]
    Full,
    /// The claims cannot go into an access token: they are no object, or have one of the session's own members.
    #[error("the application's claims: {0}")]
    Claims(EncodeError),
    /// The access token is not valid.
    #[error(transparent)]
    AccessToken(#[from] DecodeError),
    /// The subject is empty, longer than 512 bytes, or contains a control character. Where a subject comes from a
    /// form, the request is at fault.
    #[error("a subject has 1 to 512 bytes and no control characters")]
    Subject,
    /// The login names a client that the builder does not.
    #[error("the login is to a client that SessionsBuilder::client does not name")]
    Client,
    /// The lifetimes or the limit of a login cannot be.
    #[error(transparent)]
    Login(#[from] ConfigError),
    /// The subject has as many sessions as it may ([`SessionLimit::refuse`](super::SessionLimit::refuse)): one of them has to
    /// be logged out first. Where a user asks for this login, show the list of them.
    #[error("the subject has as many sessions as it may: log one of them out first")]
    TooManySessions,
    /// The access token would be longer than the verifier accepts
    /// ([`SessionsBuilder::max_access_token_len`](super::SessionsBuilder::max_access_token_len)). Nothing was stored or
    /// used up.
    #[error(
        "the access token would have {length} bytes, and {limit} are accepted: put fewer claims into it, or raise \
         SessionsBuilder::max_access_token_len"
    )]
    TooLong {
        /// The bytes of the token.
        length: usize,
        /// The most that the verifier accepts.
        limit: usize,
    },
    /// The refresh keys were replaced by one that cannot make refresh tokens.
    #[error(transparent)]
    RefreshKey(#[from] RefreshKeyError),
    /// The keys were replaced by a verify-only set ([`KeySet::verify_only`](crate::KeySet::verify_only)).
    #[error(transparent)]
    SigningKey(#[from] KeySetError),
    /// Another server has rotated the session with a refresh key that this one has not got (yet), or has no more.
    /// Nothing was used up here. Give every server a key before the first one signs with it
    /// ([`KeySet::accept`](crate::KeySet::accept)), and leave it until its tokens are over.
    #[error(
        "no refresh key has the kid {kid:?}, with which another server signs: give it to all of them first"
    )]
    MissingRefreshKey {
        /// The id of the key.
        kid: String,
    },
    /// The operating system gave no random bytes, or the same again.
    #[error("no random bytes from the operating system")]
    NoRandomness,
}

debug_by_message!(SessionError);

impl SessionError {
    /// The `error` of RFC 6749 §5.2: `invalid_grant` for whatever is wrong with the session or its refresh token,
    /// so that the client asks its user to log in again; `invalid_token` (RFC 6750 §3.1) for an access token;
    /// `invalid_request` for a subject that cannot be one (RFC 6749 §5.2); `access_denied` (RFC 6749 §4.1.2.1) for a user who
    /// has as many sessions as he may; `temporarily_unavailable` where the same call
    /// may succeed a moment later, and `server_error` for the rest (RFC 6749 §4.1.2.1), upon which a client keeps its
    /// token.
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

    /// Whether the same call may succeed a moment later. A refresh token has not been used up then, or gets the same
    /// successor when it is presented again within the grace.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.kind().is_transient(),
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
