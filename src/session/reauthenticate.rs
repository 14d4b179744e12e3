//! A user authenticates again within a session (RFC 9470).

use alloc::borrow::ToOwned;

use super::{
    Sessions, TokenResponse,
    access::AccessToken,
    error::SessionError,
    event::EventKind,
    record::SessionRecord,
    refresh::{IntoRenewal, Renewal, granted},
    refresh_token,
    rotation::{RotateOutcome, Successor},
    store::{RefreshStore, StoreError, StoreErrorKind},
};

/// How often the session is read. Each time another request has rotated it meanwhile, of which one grace has few.
const TRIES: usize = 8;

impl<S: RefreshStore> Sessions<S> {
    /// Stores that the user of this session has authenticated again, with the password or a second factor that the
    /// application has just checked, and returns the next tokens of the same session. Their `auth_time` is the time of this
    /// call, so that [`AccessToken::require_recent`] accepts them.
    ///
    /// The application has to check that [`access.subject`](AccessToken::subject) is the user who authenticated. It passes the
    /// claims of the next access token; with a [`Renewal`], also the session's data, for example the methods of
    /// authentication.
    ///
    /// The refresh token that the client holds is used up as by a refresh: the client replaces it, and may present it
    /// again within the grace. A browser whose tabs share the refresh token in a cookie must not refresh in one tab while another
    /// one reauthenticates: the two answers have different tokens, and the cookie keeps the one that comes last.
    ///
    /// A user who can also write the store can prolong his own session by it: an access token does not say when its session has to
    /// end. It stays a session of its subject and its client.
    ///
    /// # Errors
    /// As [`Sessions::verify_live`] and [`Sessions::login`]. [`StoreErrorKind::Contention`] when other requests
    /// rotate the session each time.
    pub async fn reauthenticate<C>(
        &self,
        access: &AccessToken<C>,
        renewal: impl IntoRenewal,
    ) -> Result<TokenResponse, SessionError> {
        let Renewal { claims, data } = renewal.into_renewal();
        let keys = self.refresh_keys.load();
        let kid = refresh_token::check_key(keys.signing_key()?)?;
        let now = self.now();
        let mut overtaken = None;
        for _ in 0..TRIES {
            let mut record = self.live(&access.session_id, &access.subject, now).await?;
            // The token says which client it is, and not the store: a user may be able to write that.
            if record.client != access.client_id || !self.clients.contains(&record.client) {
                return Err(SessionError::InvalidToken);
            }
            // By this step itself, where the driver has sent it again: it is not repeated, so that the client's token stays the
            // one before the current one.
            let is_own = record.auth_time == now
                && overtaken.is_some_and(|generation: u64| generation + 1 == record.generation)
                && data.as_ref().is_none_or(|data| *data == record.data);
            if is_own {
                let access_token = self.access_token(&record, now, &claims)?;
                let SessionRecord { generation, ref kid, expires_at, .. } = record;
                let successor = Successor::new(generation, &**kid, expires_at);
                self.tell(EventKind::Reauthenticated, Some(record.id), Some(&record.subject));
                return self.respond(&record, &successor, access_token, &keys, now);
            }
            let mut request = self.request(record.id, record.generation, kid.to_owned(), now);
            (request.auth_time, request.data) = (Some(now), data.clone());
            record.auth_time = now;
            let access_token = self.access_token(&record, now, &claims)?;
            request.waited = self.now().saturating_since(now);
            match self.store.rotate(&request).await? {
                RotateOutcome::Rotated(successor) => {
                    self.tell(EventKind::Reauthenticated, Some(record.id), Some(&record.subject));
                    return self.respond(&record, &successor, access_token, &keys, now);
                }
                RotateOutcome::Overtaken => overtaken = Some(request.generation),
                outcome => {
                    granted(outcome)?;
                }
            }
        }
        let message = "the session changed with every try";
        Err(StoreError::new(StoreErrorKind::Contention, message).into())
    }
}
