//! The metadata by which OAuth clients find the session routes (RFC 8414).

use http::{Response, StatusCode};
use serde::Serialize;

use super::answer::json;

#[derive(Serialize)]
struct Metadata<'u> {
    issuer: &'u str,
    token_endpoint: String,
    revocation_endpoint: String,
    grant_types_supported: [&'static str; 1],
    /// Required, and empty: there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
}

/// Returns the response to `GET /.well-known/oauth-authorization-server` (RFC 8414 §3), so that an
/// OAuth client that knows `issuer` finds `/refresh` and `/revoke`. `routes` is the URL of the
/// [`SessionRoutes`](super::SessionRoutes). Clients are public, and have no secret.
///
/// Clients require that `issuer` is exactly the URL that they know. It has the scheme https and is
/// the `issuer` of the sessions. If it has a path, the path goes behind the well-known one:
/// `/.well-known/oauth-authorization-server/tenant` for `https://auth.example/tenant`.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use kippu_web::server_metadata;
///
/// const ISSUER: &str = "https://auth.example";
///
/// let metadata = async || server_metadata::<Body>(ISSUER, &format!("{ISSUER}/auth"));
/// let app: Router = Router::new().route("/.well-known/oauth-authorization-server", get(metadata));
/// # let _ = app;
/// ```
pub fn server_metadata<B: From<String>>(issuer: &str, routes: &str) -> Response<B> {
    let metadata = Metadata {
        issuer,
        token_endpoint: format!("{routes}/refresh"),
        revocation_endpoint: format!("{routes}/revoke"),
        grant_types_supported: ["refresh_token"],
        response_types_supported: [],
        token_endpoint_auth_methods_supported: ["none"],
        revocation_endpoint_auth_methods_supported: ["none"],
    };
    json(StatusCode::OK, &metadata)
}
