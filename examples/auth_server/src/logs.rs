//! The log: one JSON object a line, to the standard error. What goes in are names, ids, statuses and errors, none of
//! which hold a token, a key or a password: the path of a request is logged, its query, headers and body are not.

use std::{error::Error, fmt::Write, time::Instant};

use axum::{extract::Request, middleware::Next, response::Response};
pub(crate) use tracing_subscriber::filter::Targets as Filter;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

pub(crate) fn start(filter: &Filter) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter.clone()).with(lines).init();
}

/// A line for each request.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), begin.elapsed());
    tracing::info!(%method, path, status, ms = took.as_secs_f64() * 1e3, "answered");
    response
}

/// An error and what caused it.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // A string takes all that is written.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}
