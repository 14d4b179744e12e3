//! The body of a request to a route of sessions: the parameters of a form, or the words for a
//! client that sent something else. A form with a repeated parameter, or one that is too long, is
//! refused.

use std::error::Error;

use http::{header::CONTENT_TYPE, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::answer::Refusal;

/// A form with a refresh token has a few hundred bytes.
const MAX_FORM_LEN: usize = 8 * 1024;

/// The parameters that are read of a form.
#[derive(Default)]
pub(super) struct Form {
    pub(super) grant_type: Option<String>,
    pub(super) refresh_token: Option<String>,
    pub(super) client_id: Option<String>,
    client_secret: Option<String>,
    pub(super) scope: Option<String>,
    /// The one to be revoked (RFC 7009 §2.1).
    token: Option<String>,
    /// The body is of another type, which is not read.
    is_another_type: bool,
}

impl Form {
    /// A form, or the empty one of a body of another type.
    pub(super) async fn read<B>(request: &Parts, body: B) -> Result<Self, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut form = Self::default();
        let Some(content_type) = request.headers.get(CONTENT_TYPE) else { return Ok(form) };
        let media_type = content_type.to_str().ok().and_then(|text| text.split(';').next());
        let media_type = media_type.unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            form.is_another_type = true;
            return Ok(form);
        }
        let body = Limited::new(body, MAX_FORM_LEN).collect().await;
        let bytes = body.map_err(|error| unread(&*error))?.to_bytes();
        // A parameter without a value is as if it were not there (RFC 6749 §3.2).
        for (name, value) in form_urlencoded::parse(&bytes).filter(|(_, value)| !value.is_empty()) {
            let (field, refusal) = match &*name {
                "grant_type" => (&mut form.grant_type, "grant_type is in the form twice"),
                "refresh_token" => (&mut form.refresh_token, "refresh_token is in the form twice"),
                "client_id" => (&mut form.client_id, "client_id is in the form twice"),
                "client_secret" => (&mut form.client_secret, "client_secret is in the form twice"),
                "scope" => (&mut form.scope, "scope is in the form twice"),
                "token" => (&mut form.token, "token is in the form twice"),
                // Unknown parameters are ignored.
                _ => continue,
            };
            // No parameter comes twice (RFC 6749 §3.2).
            if field.replace(value.into_owned()).is_some() {
                return Err(Refusal::invalid_request(refusal));
            }
        }
        Ok(form)
    }

    /// Returns the refresh token, if the form has one, and asks for the only grant that there is
    /// (RFC 6749 §6).
    pub(super) fn grant(&self) -> Result<Option<&str>, Refusal> {
        match (self.grant_type.as_deref(), self.refresh_token.as_deref()) {
            (Some("refresh_token"), token) => Ok(token),
            (Some(_), _) => Err(Refusal::BadRequest(
                "unsupported_grant_type",
                "the only grant_type here is refresh_token".into(),
            )),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Refusal::invalid_request(
                "grant_type is missing: the form needs grant_type=refresh_token",
            )),
        }
    }

    /// Rejects a client that authenticates with a secret, which no client has here.
    pub(super) fn check_client_is_public(&self) -> Result<(), Refusal> {
        match self.client_secret {
            None => Ok(()),
            Some(_) => Err(Refusal::BadRequest(
                "invalid_client",
                "clients have no client_secret here: send client_id alone, or neither".into(),
            )),
        }
    }

    /// Returns the token that is to be revoked (RFC 7009 §2.1).
    pub(super) fn revoked_token(&self) -> Result<&str, Refusal> {
        self.token.as_deref().ok_or_else(|| {
            Refusal::invalid_request(
                "token is missing: send it in a form, application/x-www-form-urlencoded",
            )
        })
    }

    /// Says how to send a refresh token, to a client that sent none; `or_cookie`, where a cookie
    /// would do, too.
    pub(super) fn missing_token(&self, or_cookie: bool) -> &'static str {
        match (self.is_another_type, or_cookie) {
            (true, _) => {
                "the body is not a form: send refresh_token as application/x-www-form-urlencoded"
            }
            (false, false) => {
                "refresh_token is missing: send it in a form, application/x-www-form-urlencoded"
            }
            (false, true) => {
                "refresh_token is missing: send it in a form, application/x-www-form-urlencoded, \
                 or the refresh cookie with the CSRF cookie of the same login"
            }
        }
    }
}

fn unread(error: &(dyn Error + Send + Sync + 'static)) -> Refusal {
    Refusal::invalid_request(if error.is::<LengthLimitError>() {
        "the form is longer than 8192 bytes"
    } else {
        "the form did not arrive"
    })
}
