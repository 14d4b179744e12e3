//! A user authenticates again within a session (RFC 9470).

use alloc::borrow::ToOwned;

use super::{
    Sessions, TokenResponse,
    access::AccessToken,
    error::SessionError,
    event::EventKind,
    key_of,
    refresh::{IntoRenewal, Renewal, granted},
    refresh_token,
    rotation::RotateOutcome,
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
    /// The client replaces its refresh token by that of the answer. A reauthentication uses the token up as a refresh does, and
    /// the client may present it again within the grace. Within the grace of the last rotation it uses no token up: the answer
    /// has the current one. So a refresh and a reauthentication at once, in two tabs of a browser that share the refresh token
    /// in a cookie, return the same refresh token, in either order. One case is left out: the refresh presents a token that was
    /// itself made within the grace, and the reauthentication overtakes it. Then the reauthentication returns the token
    /// that the refresh uses up.
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
        for _ in 0..TRIES {
            let mut record = self.live(&access.session_id, &access.subject, now).await?;
            // The token says which client it is, and not the store: a user may be able to write that.
            if record.client != access.client_id || !self.clients.contains(&record.client) {
                return Err(SessionError::InvalidToken);
            }
            let mut request = self.request(record.id, record.generation, kid.to_owned(), now);
            request.was_current = true;
            (request.auth_time, request.data) = (Some(now), data.clone());
            // For a token that this server cannot make nothing is stored.
            key_of(&granted(request.decide(&record).outcome)?, &keys)?;
            record.auth_time = now;
            let access_token = self.access_token(&record, now, &claims)?;
            request.waited = self.now().saturating_since(now);
            let outcome = self.store.rotate(&request).await?;
            if outcome != RotateOutcome::Overtaken {
                let successor = granted(outcome)?;
                self.tell(EventKind::Reauthenticated, Some(record.id), Some(&record.subject));
                return self.respond(&record, &successor, access_token, &keys, now);
            }
        }
        let message = "the session changed with every try";
        Err(StoreError::new(StoreErrorKind::Contention, message).into())
    }
}
