//! Ends sessions: one, all of a subject, or all but one.

use super::{
    Sessions, error::SessionError, event::EventKind, id::SessionId, login::is_name,
    record::RevokeReason, refresh_token, store::RefreshStore,
};

impl<S: RefreshStore> Sessions<S> {
    /// Ends the session of a refresh token, whichever generation of it: once this has answered, no refresh
    /// succeeds. For a session that has ended already, or that the store no longer has, it does nothing and succeeds.
    ///
    /// Any refresh key that is known will do, one among them that has retired: its token still proves which session it
    /// belongs to.
    ///
    /// Access tokens that were given out are accepted until they expire, except by
    /// [`Sessions::verify_live`].
    ///
    /// # Errors
    /// [`SessionError::InvalidToken`] for a text that none of the refresh keys made: no session was ended.
    /// [`SessionError::Store`].
    pub async fn logout(&self, refresh_token: &str) -> Result<(), SessionError> {
        let presented = refresh_token::verify(refresh_token, &self.refresh_keys.load(), None)
            .ok_or(SessionError::InvalidToken)?;
        self.revoke(&presented.id, None).await?;
        Ok(())
    }

    /// As [`Sessions::logout`], for a client that has only an access token of the session, expired or not: its signature
    /// proves which session it was issued for.
    ///
    /// # Errors
    /// [`SessionError::AccessToken`] for a token that [`Sessions::verify`] rejects for anything but its age, and
    /// [`SessionError::InvalidToken`] for one of another subject than the session's: no session was ended.
    /// [`SessionError::Store`].
    pub async fn logout_by_access_token(&self, access_token: &str) -> Result<(), SessionError> {
        let token = self.verifier.session_of(access_token)?;
        let record = self.store.load(&token.session_id).await?;
        if record.is_some_and(|record| record.subject != token.subject) {
            return Err(SessionError::InvalidToken);
        }
        self.revoke(&token.session_id, Some(&token.subject)).await?;
        Ok(())
    }

    /// Ends one session of `subject` by its id, which it has from [`Sessions::list`]: a device that is not at
    /// hand. Says whether there was one to end: another subject's is left alone.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn logout_session(
        &self,
        subject: &str,
        id: &SessionId,
    ) -> Result<bool, SessionError> {
        // The subject of a session never changes.
        let is_own = self.store.load(id).await?.is_some_and(|record| record.subject == subject);
        Ok(is_own && self.revoke(id, Some(subject)).await?)
    }

    /// Ends all sessions of `subject`: a lost device, a changed password. Once this has answered no refresh of
    /// any of them succeeds, whether it began before or after. Says how many there were to end.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn logout_all(&self, subject: &str) -> Result<u64, SessionError> {
        self.revoke_all(subject, None).await
    }

    /// As [`Sessions::logout_all`], for all sessions but `keep`: mostly the one that asks for it,
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

    /// Ends one session, and reports the event where it had not ended before.
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
        // No session can have such a subject, and PostgreSQL refuses a text that holds NUL.
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
