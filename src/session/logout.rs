//! Ends sessions, and tells a user which there are.

use alloc::vec::Vec;

use super::{
    Sessions, error::SessionError, event::EventKind, id::SessionId, login::Session,
    record::RevokeReason, refresh_token, store::RefreshStore,
};

impl<S: RefreshStore> Sessions<S> {
    /// Ends the session of a refresh token, whichever generation of it: once this has answered, no refresh
    /// succeeds. Again, or when the session is over or gone, it does nothing and succeeds.
    ///
    /// Access tokens that were given out are accepted until they expire, but for
    /// [`Sessions::verify_live`].
    ///
    /// # Errors
    /// [`SessionError::InvalidToken`] for a text that no refresh key made, [`SessionError::Store`].
    pub async fn logout(&self, refresh_token: &str) -> Result<(), SessionError> {
        let now = self.now();
        let presented = refresh_token::verify(refresh_token, &self.refresh_keys.load(), now)
            .ok_or(SessionError::InvalidToken)?;
        let reason = RevokeReason::Logout;
        if self.store.revoke(&presented.id, reason, now.into()).await? {
            let kind = EventKind::Revoked { reason, sessions: 1 };
            self.tell(kind, Some(presented.id), None);
        }
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
        let reason = RevokeReason::Logout;
        // Whose a session is never changes.
        let is_own = self.store.load(id).await?.is_some_and(|record| record.subject == subject);
        if !is_own || !self.store.revoke(id, reason, self.now().into()).await? {
            return Ok(false);
        }
        self.tell(EventKind::Revoked { reason, sessions: 1 }, Some(*id), Some(subject));
        Ok(true)
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

    /// The sessions of `subject` that can be refreshed, by the time of their login.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn list(&self, subject: &str) -> Result<Vec<Session>, SessionError> {
        let records = self.store.list(subject, self.now().into()).await?;
        Ok(records.into_iter().map(Session::from).collect())
    }

    /// Removes up to `limit` sessions that are over from the store, and says how many. To be called now and then,
    /// on any number of servers; that it is late changes nothing but the size of the store.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn purge_expired(&self, limit: u32) -> Result<u64, SessionError> {
        Ok(self.store.purge_expired(self.now().into(), limit).await?)
    }

    async fn revoke_all(
        &self,
        subject: &str,
        keep: Option<&SessionId>,
    ) -> Result<u64, SessionError> {
        let reason = RevokeReason::LogoutAll;
        let sessions = self.store.revoke_subject(subject, keep, reason, self.now().into()).await?;
        if sessions > 0 {
            self.tell(EventKind::Revoked { reason, sessions }, None, Some(subject));
        }
        Ok(sessions)
    }
}
