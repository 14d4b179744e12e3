//! Ends sessions: one, all of a subject, or all but one. A call returns after the store has
//! acknowledged the revocation.

use super::{
    Sessions,
    error::SessionError,
    event::EventKind,
    id::SessionId,
    record::{RevokeReason, is_name},
    refresh_token,
    store::RefreshStore,
};

impl<S: RefreshStore> Sessions<S> {
    /// Ends the session of a refresh token, of any generation. After the answer no refresh of the
    /// session succeeds. If the session has ended already, or is not in the store, the call does
    /// nothing and succeeds.
    ///
    /// Any known refresh key is accepted, including a retired one: the token still proves to which
    /// session it belongs.
    ///
    /// Access tokens that were issued earlier stay valid until they expire, except where the
    /// verifier follows the [ended sessions](super::EndedSessions) or calls
    /// [`Sessions::verify_live`].
    ///
    /// # Errors
    /// [`SessionError::InvalidToken`] for a text that none of the refresh keys made; no session was
    /// ended. [`SessionError::Store`].
    pub async fn logout(&self, refresh_token: &str) -> Result<(), SessionError> {
        let presented = refresh_token::verify(refresh_token, &self.refresh_keys.load(), None)
            .ok_or(SessionError::InvalidToken)?;
        self.revoke(&presented.id, None).await?;
        Ok(())
    }

    /// Ends a session, like [`Sessions::logout`], for a client that has only an access token of the
    /// session, expired or not. The signature proves for which session the token was issued.
    ///
    /// # Errors
    /// [`SessionError::AccessToken`] for a token that [`Sessions::verify`] refuses for a reason
    /// other than its age, and [`SessionError::InvalidToken`] for a token of another subject than
    /// the session's; no session was ended. [`SessionError::Store`].
    pub async fn logout_by_access_token(&self, access_token: &str) -> Result<(), SessionError> {
        let token = self.verifier.session_of(access_token)?;
        let record = self.store.load(&token.session_id).await?;
        if record.is_some_and(|record| record.subject != token.subject) {
            return Err(SessionError::InvalidToken);
        }
        // Also for a session that is not stored: the step writes its id into the log of ended
        // sessions (R19).
        self.revoke(&token.session_id, Some(&token.subject)).await?;
        Ok(())
    }

    /// Ends one session of `subject` by its id from [`Sessions::list`], for example that of a lost
    /// device. Returns whether there was one to end. A session of another subject is not ended.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn logout_session(
        &self,
        subject: &str,
        id: &SessionId,
    ) -> Result<bool, SessionError> {
        // The subject of a session never changes, so this check cannot be outdated by the
        // revocation.
        let is_own = self.store.load(id).await?.is_some_and(|record| record.subject == subject);
        Ok(is_own && self.revoke(id, Some(subject)).await?)
    }

    /// Ends all sessions of `subject`, for example after a lost device or a changed password. After
    /// the answer no refresh of any of them succeeds, whether it began before or after the call.
    /// Returns the number of sessions that were ended.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn logout_all(&self, subject: &str) -> Result<u64, SessionError> {
        self.revoke_all(subject, None).await
    }

    /// Ends all sessions of `subject` except `keep`, like [`Sessions::logout_all`]. `keep` is
    /// usually the session of the request,
    /// [`AccessToken::session_id`](super::AccessToken::session_id).
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn logout_others(
        &self,
        subject: &str,
        keep: &SessionId,
    ) -> Result<u64, SessionError> {
        self.revoke_all(subject, Some(keep)).await
    }

    /// Ends one session. Reports the event unless the session had ended before.
    async fn revoke(&self, id: &SessionId, subject: Option<&str>) -> Result<bool, SessionError> {
        let reason = RevokeReason::Logout;
        let is_first = self.store.revoke(id, reason, self.now()).await?;
        if is_first {
            self.tell(EventKind::Revoked { reason, sessions: 1 }, Some(*id), subject);
        }
        Ok(is_first)
    }

    async fn revoke_all(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
    ) -> Result<u64, SessionError> {
        // A session cannot have such a subject, and PostgreSQL refuses a text with NUL.
        if !is_name(subject) {
            return Ok(0);
        }
        let reason = RevokeReason::LogoutAll;
        let sessions = self.store.revoke_subject(subject, keep, reason, self.now()).await?;
        if sessions > 0 {
            self.tell(EventKind::Revoked { reason, sessions }, None, Some(subject));
        }
        Ok(sessions)
    }
}
