//! A guard for a whole application or a scope. Requests with a valid token, and those of exempt
//! paths, go on to the services behind it. The guard answers all others.

use std::{
    future::{Ready, ready},
    rc::Rc,
};

use actix_web::{
    Error, HttpMessage, ResponseError,
    body::{EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready},
};
use futures_util::future::LocalBoxFuture;
use kippu_web::GuardLayer;
use serde::de::DeserializeOwned;

use super::{answer::Rejection, extract::Access, head::Head};

/// A middleware with the rules of a [`GuardLayer`]: a valid access token, and if set a scope, a
/// live session or a recent authentication. It wraps an application, a scope or a resource.
///
/// ```
/// use actix_web::{App, web};
/// use kippu::session::NoClaims;
/// use kippu_actix::{Access, Guard, GuardMiddleware};
///
/// async fn hello(token: web::ReqData<Access<NoClaims>>) -> String {
///     format!("Hello {}!", token.subject)
/// }
///
/// fn api(guard: &Guard) -> actix_web::Scope<
///     impl actix_web::dev::ServiceFactory<
///         actix_web::dev::ServiceRequest,
///         Config = (),
///         Response = actix_web::dev::ServiceResponse<impl actix_web::body::MessageBody>,
///         Error = actix_web::Error,
///         InitError = (),
///     >,
/// > {
///     let live = guard.layer::<NoClaims>().live().exempt("/api/health");
///     web::scope("/api").route("/hello", web::get().to(hello)).wrap(GuardMiddleware(live))
/// }
/// ```
///
/// The [`Access`] is in the extensions of the request. The extractors take it from there if the
/// guard of the application has the same verifier.
///
/// # Order
/// The last middleware that is added with `wrap` runs first. CORS is added after this one: the
/// guard rejects the preflight of a browser, which never has a token, and a page can read a
/// rejection only with the headers of CORS.
///
/// # Exempt paths
/// [`GuardLayer::exempt`] compares the whole path of the request, with the prefix of its scopes.
#[derive(Debug)]
pub struct GuardMiddleware<C>(pub GuardLayer<C>);

impl<C> Clone for GuardMiddleware<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, C, B> Transform<S, ServiceRequest> for GuardMiddleware<C>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    C: DeserializeOwned + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Transform = Guarded<S, C>;
    type InitError = ();
    type Future = Ready<Result<Guarded<S, C>, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(Guarded { layer: self.0.clone(), service: Rc::new(service) }))
    }
}

/// A service with a [`GuardMiddleware`] before it.
#[derive(Debug)]
pub struct Guarded<S, C> {
    layer: GuardLayer<C>,
    service: Rc<S>,
}

impl<S, C, B> Service<ServiceRequest> for Guarded<S, C>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    C: DeserializeOwned + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (layer, service) = (self.layer.clone(), Rc::clone(&self.service));
        Box::pin(async move {
            match layer.admit(&Head::from(request.request())).await {
                Ok(access) => {
                    if let Some(access) = access {
                        request.extensions_mut().insert(Access(access));
                    }
                    Ok(service.call(request).await?.map_into_left_body())
                }
                // A response and not an error, so that the middleware in front adds its headers.
                Err(rejection) => {
                    let response = Rejection(rejection).error_response();
                    Ok(request.into_response(response).map_into_right_body())
                }
            }
        })
    }
}
