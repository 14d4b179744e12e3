//! The routes of sessions, mounted into an application of actix-web.

use std::{error::Error, future::Future, mem};

use actix_web::{HttpRequest, Scope, web};
use futures_util::TryStreamExt;
use http::{Uri, request::Parts};
use http_body::Frame;
use http_body_util::StreamBody;
use kippu::session::{IntoRenewal, RefreshStore, Session};
use kippu_web::SessionRoutes;

use super::{answer::response, head::Head};

/// Mounts [`SessionRoutes`] at `path`, which is also the path of
/// [`Cookies::new`](crate::Cookies::new). It returns a scope, which middleware can wrap. The scope
/// answers every path below `path`. To add a route there, for example `/auth/login`, register it
/// before the scope.
///
/// The crate does not refresh within requests: `RefreshLayer` of kippu-web is a layer of tower.
///
/// ```
/// use std::sync::Arc;
///
/// use actix_web::{App, HttpServer, web::Data};
/// use kippu::session::{MemoryStore, NoClaims, Session, Sessions};
/// use kippu_actix::{Cookies, Guard, SessionRoutes, session_routes};
/// # use kippu::{Algorithm, Key};
/// # #[derive(Clone)]
/// # struct Pool;
///
/// async fn load(pool: &Pool, session: Session) -> Result<Option<NoClaims>, std::io::Error> {
///     // … from the database; none, when the user is no longer welcome.
///     # let _ = (pool, session);
///     Ok(Some(NoClaims {}))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool;
/// # let sessions = Sessions::builder(MemoryStore::new(100_000))
/// #     .issuer("https://auth.example").audience("api").client("web")
/// #     .access_key(Key::generate(Algorithm::Hs256)?)
/// #     .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
/// #     .max_access_token_len(Cookies::MAX_ACCESS_TOKEN_LEN)?
/// #     .build()?;
/// let sessions = Arc::new(sessions);
/// let guard = Guard::for_sessions(&sessions).cookies(Cookies::new("/auth")?)?;
/// let authorize = async move |session| load(&pool, session).await;
/// let routes = SessionRoutes::new(sessions, guard.clone(), authorize);
/// let server = HttpServer::new(move || {
///     App::new()
///         .app_data(Data::new(guard.clone()))
///         .service(session_routes("/auth", routes.clone()))
/// });
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
pub fn session_routes<S, A, F, C, E>(path: &str, routes: SessionRoutes<S, A>) -> Scope
where
    S: RefreshStore,
    A: FnOnce(Session) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Option<C>, E>> + Send,
    C: IntoRenewal<Claims: Send> + Send,
    E: Into<Box<dyn Error + Send + Sync>> + Send,
{
    let answer = move |request: HttpRequest, body: web::Payload| {
        let routes = routes.clone();
        async move {
            let body = StreamBody::new(body.map_ok(Frame::data));
            response(routes.answer(http::Request::from_parts(below_mount(&request), body)).await)
        }
    };
    web::scope(path.trim_end_matches('/')).default_service(web::to(answer))
}

/// Returns the head of a request. Its path is the part after that of the scope, as the client has
/// written it, because actix-web decodes the path for its routing.
fn below_mount(request: &HttpRequest) -> Parts {
    let Head(mut head) = request.into();
    let segments = request.match_info().unprocessed().matches('/').count();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let mut slashes = head.uri.path().rmatch_indices('/').map(|(at, _)| at);
    let below = segments.checked_sub(1).and_then(|rest| slashes.nth(rest));
    let below = below.and_then(|at| target.get(at..)).unwrap_or("/");
    let below = below.parse().ok();
    // HTTP/2 has the host in the URI, and `Origin` is compared with it.
    let mut uri = mem::take(&mut head.uri).into_parts();
    uri.path_and_query = below;
    head.uri = Uri::from_parts(uri).unwrap_or_default();
    head
}
