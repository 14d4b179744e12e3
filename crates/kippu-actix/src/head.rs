//! A request of actix-web in, its head with the types of `http` 1 out, which kippu-web checks.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    ops::Deref,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request::Parts};

/// The head of a request with the types of `http` 1, for the functions of [`kippu_web`] that take
/// one: [`Guard::set_cookies`](crate::Guard::set_cookies),
/// [`Guard::check_origin`](crate::Guard::check_origin), [`login_from`](crate::login_from). It is an
/// extractor, and dereferences to [`Parts`].
///
/// ```
/// use actix_web::{HttpResponse, web::Data};
/// use kippu::session::{MemoryStore, NoClaims, Sessions};
/// use kippu_actix::{Guard, Head, Rejection, login_from, with_cookies};
///
/// async fn login(
///     head: Head,
///     guard: Data<Guard>,
///     sessions: Data<Sessions<MemoryStore>>,
/// ) -> Result<HttpResponse, Rejection> {
///     // … after the password was checked:
///     let login = sessions.login(login_from(&head.headers, "user-12345"), &NoClaims {});
///     let cookies = guard.set_cookies(&head, login).await?; // runs the login
///     Ok(with_cookies(HttpResponse::NoContent(), cookies))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Head(pub Parts);

impl Deref for Head {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<&HttpRequest> for Head {
    fn from(request: &HttpRequest) -> Self {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::from_bytes(request.method().as_str().as_bytes())
            .expect("http 1 accepts every method that http 0.2 accepts");
        // A target that http 1 does not accept becomes one that no route and no exempt path has.
        parts.uri = request.uri().to_string().parse().unwrap_or_else(|_| Uri::from_static("*"));
        parts.version = match request.version() {
            actix_web::http::Version::HTTP_10 => Version::HTTP_10,
            actix_web::http::Version::HTTP_2 => Version::HTTP_2,
            _ => Version::HTTP_11,
        };
        let mut headers = HeaderMap::with_capacity(request.headers().len());
        for (name, value) in request.headers() {
            let name = HeaderName::from_bytes(name.as_str().as_bytes());
            // Version 1 rejects a quotation mark in a name. kippu-web reads no header with such a
            // name.
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) else {
                continue;
            };
            headers.append(name, value);
        }
        parts.headers = headers;
        Self(parts)
    }
}

impl FromRequest for Head {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(request.into()))
    }
}
