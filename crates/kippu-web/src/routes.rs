//! The routes that every application with sessions needs, ready to be mounted: a form or cookies
//! in, the answers of RFC 6749 out. No cache may store an answer (`Cache-Control: no-store`).

mod list;
mod within;

use std::{
    borrow::Cow,
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, SET_COOKIE},
    request::Parts,
};
use http_body::Body;
use kippu::session::{
    IntoRenewal, REFRESH_TOKEN_PREFIX, RefreshStore, Session, SessionError, Sessions, TokenResponse,
};
use tower_service::Service;

use super::{
    Guard,
    answer::{Refusal, empty, json},
    asked::{Asked, Misfit},
    bearer,
    bodies::{Ended, Granted, Renewed},
    cookie::{Cookies, SetCookies},
    form::Form,
    live::Boxed,
    rejection::Rejection,
};

/// The routes of sessions, as a [tower service](tower_service::Service) that an application mounts
/// with `nest_service`. The application implements the login itself. A server without tower calls
/// [`SessionRoutes::answer`].
///
/// | route | credential | answer |
/// |---|---|---|
/// | `POST /refresh` | a refresh token | 200 with the next tokens (RFC 6749 §5.1); with cookies `Set-Cookie`, and `expires_in` alone |
/// | `POST /revoke` | a form with `token`: a refresh token, or an access token, expired ones too | 200: its session has ended, or the token is not valid (RFC 7009) |
/// | `POST /logout` | refresh tokens or access tokens, expired ones too | 204: the session of each valid one has ended, now or before |
/// | | none that is valid | 400: no session was ended |
/// | `POST /logout_others` | an access token of a live session | 200 `{"ended": 2}`: all other sessions of the subject |
/// | `POST /logout_all` | an access token of a live session | 200 `{"ended": 3}` |
/// | `GET /sessions` | an access token of a live session | 200 `{"sessions": […]}`: `id`, `label`, `client`, times in seconds, `remembered`, and `current`; if there are more, also `next`, for `GET /sessions?after=…` |
/// | `DELETE /sessions/{id}` | an access token of a live session | 204, or 404 if there was none to end: the subject has no such session, or it was ended before |
///
/// A refresh token comes in a form (RFC 6749 §6: `grant_type=refresh_token&refresh_token=…`) or in
/// its [cookie](Cookies). If the form has a token, the cookies that the browser adds are ignored. A
/// refresh that is refused clears no cookie, because another tab may have logged in meanwhile.
///
/// At `/refresh`, a `client_id` has to be the client of the session. Each `scope` that the client
/// asks for has to be in the claim `scope` that `authorize` returns. The answer then has the
/// `scope` of the new token, which may be wider. After `invalid_scope`, or `invalid_grant` for
/// another client, the refresh token is not used up. All clients are public (RFC 6749 §2.1): a
/// `client_secret` is an `invalid_client`. `Authorization: Basic` is not read, because it may be
/// for a proxy in front.
///
/// `/revoke` reads only the form. The token is the only proof: `client_id` is not needed, and
/// `token_type_hint` may be wrong. Unlike a logout, it answers 200 for an invalid token (RFC 7009
/// §2.2).
///
/// A logout ends the session of the refresh token in a form, of the access token in
/// `Authorization`, and of both tokens in cookies, whatever the refresh cookie is bound to. Unlike
/// RFC 7009 §2.2, it answers with success only if one of these tokens is valid. It clears the
/// cookies if the request comes from a page of this site, even if no session was ended. While the
/// store is unavailable it clears nothing, and the client tries again. A request of another site
/// with cookies alone gets a 403.
///
/// Errors are those of RFC 6749 §5.2; the description says what the request lacks. While the store
/// is unavailable, the answer is 503 with `Retry-After`, and a client keeps its token.
///
/// ```
/// use std::sync::Arc;
///
/// use axum::Router;
/// use kippu::session::{MemoryStore, NoClaims, Session, Sessions};
/// use kippu_web::{Cookies, Guard, SessionRoutes};
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
/// let app: Router = Router::new().nest_service("/auth", SessionRoutes::new(sessions, guard, authorize));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
pub struct SessionRoutes<S, A>(Arc<Inner<S, A>>);

impl<S: RefreshStore, A> SessionRoutes<S, A> {
    /// Returns routes over these sessions. `guard` knows where requests have their tokens.
    /// `authorize` decides whether the user of a session may continue, and with which claims: see
    /// [`Sessions::refresh`]. It is cloned for each refresh, with everything that it has captured,
    /// for example a pool of connections.
    ///
    /// If the guard has cookies and another verifier than that of `sessions`, the access tokens of
    /// `sessions` may be too long for a cookie. A refresh by cookie then answers 500, and logs
    /// [`CookieError::Limit`](super::CookieError::Limit), before the token is used up. To prevent
    /// this, build the sessions with
    /// [`max_access_token_len`](kippu::session::SessionsBuilder::max_access_token_len) and
    /// [`Cookies::MAX_ACCESS_TOKEN_LEN`].
    pub fn new<F, C, E>(sessions: Arc<Sessions<S>>, guard: Guard, authorize: A) -> Self
    where
        A: FnOnce(Session) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Option<C>, E>> + Send,
        C: IntoRenewal<Claims: Send> + Send,
        E: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        Self(Arc::new(Inner { sessions, guard, authorize }))
    }

    /// Answers a request. Its path is the part behind the mount, for example `/refresh`. The
    /// service does the same; this method is for a server without tower, or a body that is not
    /// `Send`. A route that takes a form reads up to 8 KiB of the body; other routes read nothing.
    pub async fn answer<F, C, E, B>(&self, request: Request<B>) -> Response<String>
    where
        A: FnOnce(Session) -> F + Clone,
        F: Future<Output = Result<Option<C>, E>>,
        C: IntoRenewal,
        E: Into<Box<dyn Error + Send + Sync>>,
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        self.0.answer(&parts, body).await.unwrap_or_else(Refusal::into_http)
    }
}

impl<S, A> Clone for SessionRoutes<S, A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S, A> fmt::Debug for SessionRoutes<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRoutes")
            .field("sessions", &self.0.sessions)
            .field("guard", &self.0.guard)
            .finish_non_exhaustive()
    }
}

impl<S, A, F, C, E, B> Service<Request<B>> for SessionRoutes<S, A>
where
    S: RefreshStore,
    A: FnOnce(Session) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Option<C>, E>> + Send,
    C: IntoRenewal<Claims: Send> + Send,
    E: Into<Box<dyn Error + Send + Sync>> + Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Boxed<'static, Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.answer(request).await) })
    }
}

struct Inner<S, A> {
    sessions: Arc<Sessions<S>>,
    guard: Guard,
    authorize: A,
}

impl<S, A, F, C, E> Inner<S, A>
where
    S: RefreshStore,
    A: FnOnce(Session) -> F + Clone,
    F: Future<Output = Result<Option<C>, E>>,
    C: IntoRenewal,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    async fn answer<B>(&self, request: &Parts, body: B) -> Result<Response<String>, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let path = request.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (route, id) =
            path.split_once('/').map_or((path, None), |(route, id)| (route, Some(id)));
        let allowed = match (route, id) {
            ("refresh" | "revoke" | "logout" | "logout_others" | "logout_all", None) => {
                Method::POST
            }
            ("sessions", None) => Method::GET,
            ("sessions", Some(id)) if !id.is_empty() && !id.contains('/') => Method::DELETE,
            _ => return Ok(empty(StatusCode::NOT_FOUND)),
        };
        // RFC 9110 §9.3.2: HEAD is answered like GET, and the server leaves the body out.
        let is_head = request.method == Method::HEAD && allowed == Method::GET;
        if request.method != allowed && !is_head {
            // RFC 9110 §15.5.6: a 405 has `Allow`.
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::try_from(allowed.as_str()).expect("a name of letters");
            response.headers_mut().insert(ALLOW, allowed);
            return Ok(response);
        }
        match (route, id) {
            ("refresh", _) => self.refresh(request, &Form::read(request, body).await?).await,
            ("revoke", _) => self.revoke(&Form::read(request, body).await?).await,
            ("logout", _) => self.logout(request, &Form::read(request, body).await?).await,
            ("logout_others", _) => {
                let (token, _) = self.live(request).await?;
                let ended = self.sessions.logout_others(&token.subject, &token.session_id).await?;
                Ok(json(StatusCode::OK, &Ended { ended }))
            }
            ("logout_all", _) => {
                let (token, cookies) = self.live(request).await?;
                let ended = self.sessions.logout_all(&token.subject).await?;
                Ok(cleared(json(StatusCode::OK, &Ended { ended }), cookies))
            }
            (_, None) => self.list(request).await,
            (_, Some(id)) => self.end(request, id).await,
        }
    }

    async fn refresh(&self, request: &Parts, form: &Form) -> Result<Response<String>, Refusal> {
        form.check_client_is_public()?;
        if let Some(token) = form.grant()? {
            let (tokens, scope) = self.exchange(token, Asked::of(form)).await?;
            return Ok(json(StatusCode::OK, &Granted { tokens: &tokens, scope }));
        }
        let Some(cookies) = self.cookies() else {
            return Err(Refusal::invalid_request(form.missing_token(false)));
        };
        let presented = cookies.refresh(&request.headers).map_err(Rejection::from)?;
        let Some((token, csrf)) = presented else {
            self.warn_of_path(request);
            return Err(Refusal::invalid_request(form.missing_token(true)));
        };
        self.guard.check_origin(request)?;
        // Checked first, because nothing may fail after the token has been used up (R17).
        Cookies::check_limit(self.sessions.max_access_token_len()).map_err(Rejection::from)?;
        let (tokens, _) = self.exchange(token, Asked::of(form)).await?;
        let set = cookies.renew(&request.headers, &tokens, csrf);
        let body = Renewed { expires_in: set.expires_in().as_secs() };
        Ok(with(json(StatusCode::OK, &body), set))
    }

    /// Uses a refresh token up, for a client that may send its id and a scope.
    async fn exchange(
        &self,
        token: &str,
        asked: Asked<'_>,
    ) -> Result<(TokenResponse, Option<String>), Refusal> {
        let authorize = self.authorize.clone();
        let mut scope = None;
        let granted = &mut scope;
        // Within `authorize`: the session has been read, and an error uses nothing up (R9).
        let judged = |session: Session| async move {
            asked.check_client(&session)?;
            let authorized = authorize(session).await.map_err(Into::into)?;
            let Some(renewal) = authorized.map(IntoRenewal::into_renewal) else {
                return Ok(None);
            };
            *granted = asked.check_scope(renewal.claims())?;
            Ok::<_, Box<dyn Error + Send + Sync>>(Some(renewal))
        };
        match self.sessions.refresh(token, judged).await {
            Ok(tokens) => Ok((tokens, scope)),
            // A misfit is the client's fault. Every other error of `authorize` is that of the
            // application.
            Err(SessionError::Authorize(error)) => match error.downcast_ref::<Misfit>() {
                Some(misfit) => Err(misfit.into()),
                None => Err(SessionError::Authorize(error).into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the session of a token. For a client, an invalid token is one that has been revoked
    /// (RFC 7009 §2.2).
    async fn revoke(&self, form: &Form) -> Result<Response<String>, Refusal> {
        form.check_client_is_public()?;
        let token = form.revoked_token()?;
        let logout = if token.starts_with(REFRESH_TOKEN_PREFIX) {
            self.sessions.logout(token).await
        } else {
            self.sessions.logout_by_access_token(token).await
        };
        is_ended(logout)?;
        Ok(empty(StatusCode::OK))
    }

    /// Ends the session of each valid token that the request has, wherever it is.
    async fn logout(&self, request: &Parts, form: &Form) -> Result<Response<String>, Refusal> {
        let mut refresh_tokens: Vec<&str> = form.refresh_token.as_deref().into_iter().collect();
        let in_header = bearer::token(&request.headers)?;
        if in_header.is_some_and(|token| !bearer::is_token(token)) {
            return Err(bearer::MALFORMED.into());
        }
        let mut access_tokens: Vec<&str> = in_header.into_iter().collect();
        let is_explicit = !refresh_tokens.is_empty() || !access_tokens.is_empty();
        // Cookies are read and cleared only for a page of this site.
        let mut cookies = None;
        if let Some(known) = self.cookies() {
            let (refresh, access) =
                (known.refresh_tokens(&request.headers), known.access_tokens(&request.headers));
            let has_cookies = !refresh.is_empty() || !access.is_empty();
            match self.guard.check_origin(request) {
                Ok(()) => {
                    self.warn_of_path(request);
                    refresh_tokens.extend(refresh);
                    access_tokens.extend(access);
                    cookies = Some(known);
                }
                Err(_) if is_explicit => {}
                Err(Rejection::UnknownOrigin) if !has_cookies => {}
                Err(rejection) => return Err(rejection.into()),
            }
        }
        let is_without = refresh_tokens.is_empty() && access_tokens.is_empty();
        // A browser may send one token in several places, and each costs a step of the store.
        for tokens in [&mut refresh_tokens, &mut access_tokens] {
            tokens.sort_unstable();
            tokens.dedup();
        }
        let mut ended = false;
        // If the store fails, the cookies stay, and the client can repeat the logout (R21).
        for token in refresh_tokens {
            ended |= is_ended(self.sessions.logout(token).await)?;
        }
        for token in access_tokens {
            ended |= is_ended(self.sessions.logout_by_access_token(token).await)?;
        }
        let response = if ended {
            empty(StatusCode::NO_CONTENT)
        } else if is_without {
            let missing = form.missing_token(self.cookies().is_some());
            Refusal::invalid_request(format!("no session was ended: {missing}")).into_http()
        } else {
            let reason = "no session was ended: the request has no valid token";
            Refusal::BadRequest("invalid_grant", Cow::Borrowed(reason)).into_http()
        };
        Ok(cleared(response, cookies))
    }

    /// Warns about a browser that is logged in and sends no refresh cookie to this path, because
    /// the cookie has another path.
    fn warn_of_path(&self, request: &Parts) {
        if self.cookies().is_some_and(|cookies| cookies.are_without_refresh(&request.headers)) {
            tracing::warn!(
                target: "kippu_web",
                "a browser with cookies sent no refresh cookie: is Cookies::new given the path at \
                 which it sees the session routes?"
            );
        }
    }
}

impl<S, A> Inner<S, A> {
    fn cookies(&self) -> Option<&Cookies> {
        self.guard.0.cookies.as_ref()
    }
}

/// Returns whether a logout has ended the session of its token. An invalid token has no session.
fn is_ended(logout: Result<(), SessionError>) -> Result<bool, SessionError> {
    match logout {
        Ok(()) => Ok(true),
        Err(SessionError::InvalidToken | SessionError::AccessToken(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a response take the cookies out of the browser.
fn cleared(response: Response<String>, cookies: Option<&Cookies>) -> Response<String> {
    match cookies {
        Some(cookies) => with(response, cookies.clear()),
        None => response,
    }
}

fn with(mut response: Response<String>, cookies: SetCookies) -> Response<String> {
    for value in cookies.into_values() {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// The bounds of `authorize` are checked at `new`, mounted or not: here the future is not `Send`.
///
/// ```compile_fail
/// use std::{convert::Infallible, rc::Rc, sync::Arc};
/// use kippu::session::{MemoryStore, NoClaims, Sessions};
/// use kippu_web::{Guard, SessionRoutes};
///
/// fn routes(sessions: Arc<Sessions<MemoryStore>>, guard: Guard) {
///     let _ = SessionRoutes::new(sessions, guard, async |_| {
///         let held = Rc::new(());
///         std::future::ready(()).await;
///         drop(held);
///         Ok::<_, Infallible>(Some(NoClaims {}))
///     });
/// }
/// ```
#[cfg(doctest)]
struct BoundsOfNew;
