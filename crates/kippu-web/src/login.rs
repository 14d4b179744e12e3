//! A login with what its request says about the client.

use http::{HeaderMap, header::USER_AGENT};
use kippu::session::Login;

/// Returns a login of `subject` that has the `User-Agent` of its request as its label, for the
/// user's list of sessions. A request without one has a login without a label.
///
/// ```
/// # use std::sync::Arc;
/// # use axum::{extract::State, http::HeaderMap};
/// # use kippu::session::{MemoryStore, NoClaims, Sessions};
/// # use kippu_web::{GrantError, Tokens};
/// async fn login(
///     State(sessions): State<Arc<Sessions<MemoryStore>>>,
///     headers: HeaderMap,
/// ) -> Result<Tokens, GrantError> {
///     // … after the password was checked:
///     let login = kippu_web::login_from(&headers, "user-12345").remember(false);
///     Ok(Tokens(sessions.login(login, &NoClaims {}).await?))
/// }
/// ```
pub fn login_from(headers: &HeaderMap, subject: impl Into<String>) -> Login {
    let login = Login::new(subject);
    match headers.get(USER_AGENT).map(|value| value.as_bytes().trim_ascii()) {
        None | Some(b"") => login,
        // Login::label replaces what would disturb a list.
        Some(agent) => login.label(String::from_utf8_lossy(agent)),
    }
}
