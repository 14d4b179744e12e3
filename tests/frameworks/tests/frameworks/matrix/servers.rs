//! One application on each framework. Its handlers are written as users of the framework write
//! them; that on plain hyper uses the functions that an integration of another framework uses.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use axum::extract::FromRef;
use bytes::Bytes;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use kippu::session::{Login, Session, SessionLimit};
use kippu_web::Guard;

use super::{App, Claims};

const RECENT: Duration = Duration::from_secs(300);

impl App {
    /// A login beyond two sessions is refused.
    fn limited(subject: &str) -> Login {
        Login::new(subject).limit(SessionLimit::refuse(2))
    }

    fn claims() -> Claims {
        Claims { scope: "read".into() }
    }
}

impl FromRef<App> for Guard {
    fn from_ref(app: &App) -> Self {
        app.guard.clone()
    }
}

pub(super) fn axum(listener: TcpListener, app: App) {
    use axum::{
        Extension, Router,
        extract::State,
        http::{HeaderMap, StatusCode, request::Parts},
        response::IntoResponse,
        routing::{get, post},
    };
    use kippu_web::{Access, GrantError, Live, Rejection, SessionRoutes, Tokens};

    async fn me(token: Access<Claims>) -> String {
        token.subject.clone()
    }

    async fn maybe(token: Option<Access<Claims>>) -> String {
        token.map_or_else(|| "nobody".into(), |token| token.subject.clone())
    }

    async fn live(token: Live<Claims>) -> String {
        token.subject.clone()
    }

    async fn maybe_live(token: Option<Live<Claims>>) -> String {
        token.map_or_else(|| "nobody".into(), |token| token.subject.clone())
    }

    async fn write(token: Access<Claims>) -> Result<StatusCode, Rejection> {
        token.require_scope("write")?;
        Ok(StatusCode::NO_CONTENT)
    }

    async fn close(token: Access<Claims>) -> Result<StatusCode, Rejection> {
        token.require_recent(RECENT)?;
        Ok(StatusCode::NO_CONTENT)
    }

    async fn login(State(app): State<App>, head: Parts) -> Result<impl IntoResponse, Rejection> {
        let claims = App::claims();
        let login = app.sessions.login(kippu_web::login_from(&head.headers, "alice"), &claims);
        Ok((app.guard.set_cookies(&head, login).await?, StatusCode::NO_CONTENT))
    }

    async fn tokens(State(app): State<App>, headers: HeaderMap) -> Result<Tokens, GrantError> {
        let subject = headers.get("x-user").map_or("", |user| user.to_str().unwrap());
        Ok(Tokens(app.sessions.login(App::limited(subject), &App::claims()).await?))
    }

    async fn within(Extension(token): Extension<Access<Claims>>, again: Access<Claims>) -> String {
        assert_eq!(token.subject, again.subject);
        token.subject.clone()
    }

    let users = Arc::clone(&app.users);
    let authorize = async move |session: Session| {
        Ok::<_, io::Error>(users.contains(&session.subject).then(App::claims))
    };
    let auth = SessionRoutes::new(Arc::clone(&app.sessions), app.guard.clone(), authorize);
    let layer = app.guard.layer::<Claims>();
    let open = Router::new().route("/plain", get(within)).route("/open", get(async || "open"));
    let layered = open
        .layer(layer.clone().exempt("/open"))
        .merge(Router::new().route("/live", get(within)).layer(layer.clone().live()))
        .merge(
            Router::new().route("/scoped", get(within)).layer(layer.clone().require_scope("write")),
        )
        .merge(Router::new().route("/recent", get(within)).layer(layer.require_recent(RECENT)));
    let router = Router::new()
        .route("/me", get(me).post(me))
        .route("/maybe", get(maybe))
        .route("/live", get(live))
        .route("/maybe_live", get(maybe_live))
        .route("/write", post(write))
        .route("/close", post(close))
        .route("/login", post(login))
        .route("/tokens", post(tokens))
        .nest("/layer", layered)
        .nest_service("/auth", auth)
        .with_state(app);
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
}

pub(super) fn actix(listener: TcpListener, app: App) {
    use kippu_actix::{
        Access, GrantError, GuardMiddleware, Head, Live, Optional, Rejection, SessionRoutes,
        Tokens,
        actix_web::{
            App as ActixApp, HttpRequest, HttpResponse, HttpServer,
            rt::System,
            web::{self, Data, ReqData},
        },
        login_from, session_routes, with_cookies,
    };

    async fn me(token: Access<Claims>) -> String {
        token.subject.clone()
    }

    async fn maybe(Optional(token): Optional<Access<Claims>>) -> String {
        token.map_or_else(|| "nobody".into(), |token| token.subject.clone())
    }

    async fn live(token: Live<Claims>) -> String {
        token.subject.clone()
    }

    async fn maybe_live(Optional(token): Optional<Live<Claims>>) -> String {
        token.map_or_else(|| "nobody".into(), |token| token.subject.clone())
    }

    async fn write(token: Access<Claims>) -> Result<HttpResponse, Rejection> {
        token.require_scope("write")?;
        Ok(HttpResponse::NoContent().finish())
    }

    /// With the error type that handlers of actix-web have by default.
    async fn close(token: Access<Claims>) -> kippu_actix::actix_web::Result<HttpResponse> {
        token.require_recent(RECENT)?;
        Ok(HttpResponse::NoContent().finish())
    }

    async fn login(
        app: Data<App>,
        guard: Data<Guard>,
        head: Head,
    ) -> Result<HttpResponse, Rejection> {
        let claims = App::claims();
        let login = app.sessions.login(login_from(&head.headers, "alice"), &claims);
        let cookies = guard.set_cookies(&head, login).await?;
        Ok(with_cookies(HttpResponse::NoContent(), cookies))
    }

    async fn tokens(app: Data<App>, request: HttpRequest) -> Result<Tokens, GrantError> {
        let subject = request.headers().get("x-user").map_or("", |user| user.to_str().unwrap());
        Ok(Tokens(app.sessions.login(App::limited(subject), &App::claims()).await?))
    }

    async fn within(token: ReqData<Access<Claims>>, again: Access<Claims>) -> String {
        assert_eq!(token.subject, again.subject);
        token.subject.clone()
    }

    let users = Arc::clone(&app.users);
    let authorize = async move |session: Session| {
        Ok::<_, io::Error>(users.contains(&session.subject).then(App::claims))
    };
    let routes = SessionRoutes::new(Arc::clone(&app.sessions), app.guard.clone(), authorize);
    let factory = move || {
        let layer = app.guard.layer::<Claims>();
        let at = |path: &str| web::resource(path).get(within);
        ActixApp::new()
            .app_data(Data::new(app.guard.clone()))
            .app_data(Data::new(app.clone()))
            .service(web::resource("/me").get(me).post(me))
            .route("/maybe", web::get().to(maybe))
            .route("/live", web::get().to(live))
            .route("/maybe_live", web::get().to(maybe_live))
            .route("/write", web::post().to(write))
            .route("/close", web::post().to(close))
            .route("/login", web::post().to(login))
            .route("/tokens", web::post().to(tokens))
            .service(at("/layer/live").wrap(GuardMiddleware(layer.clone().live())))
            .service(
                at("/layer/scoped").wrap(GuardMiddleware(layer.clone().require_scope("write"))),
            )
            .service(
                at("/layer/recent").wrap(GuardMiddleware(layer.clone().require_recent(RECENT))),
            )
            .service(
                web::scope("/layer")
                    .service(at("/plain"))
                    .route("/open", web::get().to(async || "open"))
                    .wrap(GuardMiddleware(layer.exempt("/layer/open"))),
            )
            .service(session_routes("/auth", routes.clone()))
    };
    std::thread::spawn(|| {
        let server = HttpServer::new(factory).workers(1).disable_signals();
        System::new().block_on(server.listen(listener).unwrap().run())
    });
}

#[expect(clippy::too_many_lines, reason = "as the other applications, in one place")]
pub(super) fn hyper(listener: TcpListener, app: App) {
    use http::{Request, Response, StatusCode, request::Parts};
    use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
    use kippu_web::{Access, GrantError, Rejection, SessionRoutes, Tokens};
    use tower::{Layer, ServiceExt, service_fn};

    type Body = BoxBody<Bytes, Infallible>;

    fn text(text: impl Into<Bytes>) -> Response<Body> {
        Response::new(Full::new(text.into()).boxed())
    }

    fn empty(status: StatusCode) -> Response<Body> {
        let mut response = Response::new(Empty::new().boxed());
        *response.status_mut() = status;
        response
    }

    fn whole(response: Response<String>) -> Response<Body> {
        response.map(|text| Full::from(text).boxed())
    }

    /// The token of a request without one is `None`.
    fn or_none<T>(found: Result<T, Rejection>) -> Result<Option<T>, Rejection> {
        match found {
            Err(Rejection::MissingToken) => Ok(None),
            found => found.map(Some),
        }
    }

    async fn handle(app: &App, head: &Parts) -> Result<Response<Body>, Rejection> {
        let access = || app.guard.authenticate::<Claims>(head);
        let name = |token: &Access<Claims>| text(token.subject.clone());
        let nobody = || text("nobody");
        let live = async || {
            let token = access()?;
            app.guard.check_live(&token).await?;
            Ok(token)
        };
        Ok(match (head.method.as_str(), head.uri.path()) {
            ("GET" | "POST", "/me") => name(&access()?),
            ("GET", "/maybe") => or_none(access())?.as_ref().map_or_else(nobody, name),
            ("GET", "/live") => name(&live().await?),
            ("GET", "/maybe_live") => or_none(live().await)?.as_ref().map_or_else(nobody, name),
            ("POST", "/write") => {
                access()?.require_scope("write")?;
                empty(StatusCode::NO_CONTENT)
            }
            ("POST", "/close") => {
                access()?.require_recent(RECENT)?;
                empty(StatusCode::NO_CONTENT)
            }
            ("POST", "/login") => {
                let claims = App::claims();
                let login = kippu_web::login_from(&head.headers, "alice");
                let login = app.sessions.login(login, &claims);
                let cookies = app.guard.set_cookies(head, login).await?;
                let mut response = empty(StatusCode::NO_CONTENT);
                response.headers_mut().insert("cache-control", "no-store".parse().unwrap());
                for value in cookies.into_values() {
                    response.headers_mut().append("set-cookie", value);
                }
                response
            }
            ("POST", "/tokens") => {
                let subject = head.headers.get("x-user").map_or("", |user| user.to_str().unwrap());
                match app.sessions.login(App::limited(subject), &App::claims()).await {
                    Ok(tokens) => whole(Tokens(tokens).into_http()),
                    Err(error) => whole(GrantError(error).into_http()),
                }
            }
            _ => empty(StatusCode::NOT_FOUND),
        })
    }

    async fn within<B>(request: Request<B>) -> Result<Response<Body>, Infallible> {
        if request.uri().path() == "/layer/open" {
            return Ok(text("open"));
        }
        let token = request.extensions().get::<Access<Claims>>().unwrap();
        Ok(text(token.subject.clone()))
    }

    let users = Arc::clone(&app.users);
    let authorize = async move |session: Session| {
        Ok::<_, io::Error>(users.contains(&session.subject).then(App::claims))
    };
    let routes = SessionRoutes::new(Arc::clone(&app.sessions), app.guard.clone(), authorize);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let (app, routes) = (app.clone(), routes.clone());
        async move {
            let path = request.uri().path_and_query().unwrap().as_str().to_owned();
            if let Some(below) = path.strip_prefix("/auth") {
                *request.uri_mut() = below.parse().unwrap_or_default();
                return Ok::<_, Infallible>(whole(routes.answer(request).await));
            }
            if path.starts_with("/layer/") {
                let layer = app.guard.layer::<Claims>().exempt("/layer/open");
                let layer = match &*path {
                    "/layer/live" => layer.live(),
                    "/layer/scoped" => layer.require_scope("write"),
                    "/layer/recent" => layer.require_recent(RECENT),
                    _ => layer,
                };
                let response = layer.layer(service_fn(within)).oneshot(request).await?;
                return Ok(response.map(BodyExt::boxed));
            }
            let (head, _) = request.into_parts();
            Ok(handle(&app, &head).await.unwrap_or_else(|rejection| whole(rejection.into_http())))
        }
    });
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
        }
    });
}
