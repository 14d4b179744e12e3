//! The refresh: exchanges a refresh token for the next one, after the application has authorized
//! it.

use alloc::{borrow::ToOwned, boxed::Box};
use core::{error::Error, future::Future};

use serde::Serialize;

use super::{
    Sessions, TokenResponse,
    data::SessionData,
    error::SessionError,
    event::EventKind,
    key_of,
    list::Session,
    record::SessionRecord,
    refresh_token,
    rotation::{RotateOutcome, Successor},
    store::{RefreshStore, StoreError, StoreErrorKind},
};

/// The result of `authorize` at a refresh: the claims of the next access token, and new data of the
/// session.
///
/// If the data does not change, return the claims alone, as any type that serialises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal<C> {
    pub(super) claims: C,
    pub(super) data: Option<SessionData>,
}

impl<C: Serialize> Renewal<C> {
    /// Returns a renewal with these claims that leaves the data of the session unchanged.
    pub const fn new(claims: C) -> Self {
        Self { claims, data: None }
    }

    /// Returns the claims.
    pub const fn claims(&self) -> &C {
        &self.claims
    }

    /// Replaces the data of the session, in the step that stores the rotation. A retry that gets
    /// the same refresh token again replaces nothing.
    #[must_use]
    pub fn data(self, data: SessionData) -> Self {
        Self { data: Some(data), ..self }
    }
}

/// Claims, or a [`Renewal`] that contains them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a type of claims that serialises nor a `Renewal` of one",
    note = "derive `serde::Serialize` for the claims"
)]
pub trait IntoRenewal {
    /// The claims.
    type Claims: Serialize;

    /// Returns the renewal.
    fn into_renewal(self) -> Renewal<Self::Claims>;
}

impl<C: Serialize> IntoRenewal for C {
    type Claims = C;

    fn into_renewal(self) -> Renewal<C> {
        Renewal::new(self)
    }
}

impl<C: Serialize> IntoRenewal for Renewal<C> {
    type Claims = C;

    fn into_renewal(self) -> Self {
        self
    }
}

impl<S: RefreshStore> Sessions<S> {
    /// Uses a refresh token up and returns the next one, with a new access token.
    ///
    /// `authorize` decides whether the session's user may continue, and with which claims.
    /// `Ok(Some(claims))` continues the session. `Ok(None)` ends it. An error changes nothing, so
    /// that the client can try again. A [`Renewal`] instead of the claims also replaces the
    /// session's data.
    ///
    /// A token that was used up less than the grace ago gets the same successor again, with a new
    /// access token. After the grace it ends the session, because another party has a token of it
    /// (RFC 9700 §4.14.2).
    ///
    /// The order is fixed: the token's form, its tag, the store, `authorize`, the new access token,
    /// the store again. Everything that can fail comes before the step that uses the token up. If
    /// another request has used it up meanwhile, the session is read once more, and the access
    /// token shows whether that was a [reauthentication](Self::reauthenticate).
    ///
    /// # Errors
    /// [`SessionError`]. [`SessionError::oauth_error`] is the error for the client.
    pub async fn refresh<R, E, F>(
        &self,
        refresh_token: &str,
        authorize: impl FnOnce(Session) -> F,
    ) -> Result<TokenResponse, SessionError>
    where
        R: IntoRenewal,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Option<R>, E>>,
    {
        let now = self.now();
        let keys = self.refresh_keys.load();
        let kid = refresh_token::check_key(keys.signing_key()?)?.to_owned();
        let presented = refresh_token::verify(refresh_token, &keys, Some(now.into()))
            .ok_or(SessionError::InvalidToken)?;
        let mut record = self.load(&presented.id).await?.ok_or(SessionError::InvalidToken)?;
        // A record whose subject, client, start or end was rewritten no longer matches the token.
        if !self.clients.contains(&record.client) || record.origin() != presented.origin {
            return Err(SessionError::InvalidToken);
        }
        let mut request = self.request(presented.id, presented.generation, kid, now);
        request.was_current = record.generation == presented.generation;
        let foreseen = request.decide(&record);
        let successor = match (granted(foreseen.outcome.clone()), foreseen.change) {
            // The application is not asked about a user who is refused anyway. The session ends
            // before the client gets the response.
            (Err(_), Some(_)) => {
                let outcome = self.store.rotate(&request).await?;
                // The store may have corrected the time of a rotation since the record was read.
                // Then this is not a reuse, and the second `rotate` reports the replay.
                if !matches!(outcome, RotateOutcome::Replayed(_)) {
                    self.tell_outcome(&record, &outcome);
                }
                granted(outcome)?
            }
            (Err(error), None) => {
                self.tell_outcome(&record, &foreseen.outcome);
                return Err(error);
            }
            (Ok(successor), _) => successor,
        };
        // If this server cannot make the token, the application is not asked and nothing is used
        // up.
        key_of(&successor, &keys)?;
        let Renewal { claims, data } =
            self.authorized(&record, now, authorize).await?.into_renewal();
        request.data = data;
        let mut access_token = self.access_token(&record, now, &claims)?;
        // The time that `authorize` took is not part of the grace (R2).
        request.waited = self.now().saturating_since(now);
        let outcome = self.store.rotate(&request).await?;
        self.tell_outcome(&record, &outcome);
        // Another request has overtaken this one, perhaps a reauthentication. This request has used
        // nothing up, so it may still fail.
        if request.was_current && matches!(outcome, RotateOutcome::Replayed(_)) {
            let overtaking = self.load(&record.id).await?.ok_or(SessionError::InvalidToken)?;
            record.auth_time = overtaking.auth_time;
            access_token = self.access_token(&record, now, &claims)?;
        }
        self.respond(&record, &granted(outcome)?, access_token, &keys, now)
    }

    fn tell_outcome(&self, record: &SessionRecord, outcome: &RotateOutcome) {
        let kind = match *outcome {
            RotateOutcome::Rotated(_) => EventKind::Rotated,
            RotateOutcome::Replayed(_) => EventKind::Replayed,
            RotateOutcome::Healed { lost, .. } => EventKind::Healed { lost },
            RotateOutcome::Ahead { lost } => EventKind::Ahead { lost },
            RotateOutcome::Reused => EventKind::ReuseDetected,
            // Nothing happened, or a reauthentication, which reports its own event.
            RotateOutcome::Reauthenticated(_)
            | RotateOutcome::Overtaken
            | RotateOutcome::Revoked(_)
            | RotateOutcome::Expired
            | RotateOutcome::Unknown => return,
        };
        self.tell(kind, Some(record.id), Some(&record.subject));
    }
}

/// Returns the token that an outcome grants, or the error.
pub(super) fn granted(outcome: RotateOutcome) -> Result<Successor, SessionError> {
    match outcome {
        RotateOutcome::Rotated(successor)
        | RotateOutcome::Replayed(successor)
        | RotateOutcome::Reauthenticated(successor)
        | RotateOutcome::Healed { successor, .. } => Ok(successor),
        RotateOutcome::Ahead { lost } => Err(SessionError::Ahead { lost }),
        RotateOutcome::Reused => Err(SessionError::Reused),
        RotateOutcome::Revoked(reason) => Err(SessionError::Revoked(reason)),
        RotateOutcome::Expired => Err(SessionError::Expired),
        RotateOutcome::Unknown => Err(SessionError::InvalidToken),
        // Only a reauthentication can be overtaken, and it reads the session again.
        RotateOutcome::Overtaken => {
            Err(StoreError::new(StoreErrorKind::Contention, "the session changed with every try")
                .into())
        }
    }
}
