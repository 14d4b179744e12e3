//! The `client_id` and the `scope` that a client sends with a refresh (RFC 6749 §6). Both are
//! checked before the refresh token is used up.

use kippu::session::Session;
use serde::{Deserialize, Serialize};

use super::{answer::Refusal, form::Form};

/// The optional parameters of a refresh.
#[derive(Clone, Copy)]
pub(super) struct Asked<'f> {
    client_id: Option<&'f str>,
    scope: Option<&'f str>,
}

/// Why a client does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misfit {
    #[error("the refresh token was issued to another client than client_id")]
    Client,
    #[error("the session does not have every scope that is asked for: leave scope out")]
    Scope,
}

impl From<&Misfit> for Refusal {
    fn from(misfit: &Misfit) -> Self {
        let error = match misfit {
            Misfit::Client => "invalid_grant",
            Misfit::Scope => "invalid_scope",
        };
        Self::BadRequest(error, misfit.to_string().into())
    }
}

impl<'f> Asked<'f> {
    pub(super) fn of(form: &'f Form) -> Self {
        Self { client_id: form.client_id.as_deref(), scope: form.scope.as_deref() }
    }

    pub(super) fn check_client(self, session: &Session) -> Result<(), Misfit> {
        match self.client_id {
            Some(client) if client != session.client => Err(Misfit::Client),
            _ => Ok(()),
        }
    }

    /// Returns the scope of the next access token to a client that asks for one (RFC 6749 §3.3):
    /// the claim `scope`, which has to have every scope that is asked for.
    pub(super) fn check_scope(self, claims: &impl Serialize) -> Result<Option<String>, Misfit> {
        #[derive(Default, Deserialize)]
        struct Granted {
            #[serde(default)]
            scope: String,
        }
        let Some(asked) = self.scope else { return Ok(None) };
        // By way of its text: the claims are any type that serialises.
        let claims = serde_json::to_string(claims).ok();
        let granted = claims.and_then(|text| serde_json::from_str::<Granted>(&text).ok());
        let Granted { scope } = granted.unwrap_or_default();
        let is_granted = |asked: &str| scope.split(' ').any(|granted| granted == asked);
        let mut asked = asked.split(' ').filter(|asked| !asked.is_empty());
        if asked.all(is_granted) { Ok(Some(scope)) } else { Err(Misfit::Scope) }
    }
}
