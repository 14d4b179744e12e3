//! Reauthentication: a user authenticates again within a session (RFC 9470).

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

/// How often the session is read. Another read is needed each time that other requests have rotated
/// the session meanwhile, which is rare within one grace.
const TRIES: usize = 8;

impl<S: RefreshStore> Sessions<S> {
    /// Records that the user of this session has authenticated again, with the password or a second
    /// factor that the application has just checked. Returns the next tokens of the same session.
    /// Their `auth_time` is the time of this call, so that [`AccessToken::require_recent`] accepts
    /// them.
    ///
    /// The application has to check that [`access.subject`](AccessToken::subject) is the user who
    /// authenticated. It passes the claims of the next access token; with a [`Renewal`], also the
    /// session's data, for example the methods of authentication.
    ///
    /// The client replaces its refresh token by the one in the response. A reauthentication uses
    /// the token up like a refresh, and the client may present it again within the grace. Within
    /// the grace of the last rotation the call uses no token up: the response has the current one.
    /// A refresh and a reauthentication at the same time, in two tabs of a browser that share the
    /// refresh token in a cookie, therefore return the same refresh token, in either order. There
    /// is one exception: the refresh presents a token that was itself made within the grace, and
    /// the reauthentication overtakes it. The reauthentication then returns the token that the
    /// refresh uses up.
    ///
    /// A user who can also write to the store can prolong the session with this call, because an
    /// access token does not contain the absolute end of its session. The session keeps its subject
    /// and its client.
    ///
    /// # Errors
    /// Those of [`Sessions::verify_live`] and [`Sessions::login`], and
    /// [`StoreErrorKind::Contention`] if other requests rotate the session each time.
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
            // The client is that of the access token, not of the store, which the user may be able
            // to write.
            if record.client != access.client_id || !self.clients.contains(&record.client) {
                return Err(SessionError::InvalidToken);
            }
            let mut request = self.request(record.id, record.generation, kid.to_owned(), now);
            request.was_current = true;
            (request.auth_time, request.data) = (Some(now), data.clone());
            // If this server cannot make the token, nothing is stored.
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
