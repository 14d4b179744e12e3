//! The page: plain files, in the program.

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    routing::{MethodRouter, get},
};

/// Part of the repository's clients, for pages of other servers too.
const KIPPU_JS: &str = include_str!("../../../clients/browser/kippu.js");

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../assets/index.html")))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("../assets/style.css")))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("../assets/app.js")))
        .route("/kippu.js", file("text/javascript; charset=utf-8", KIPPU_JS))
        .route("/icon.svg", file("image/svg+xml", include_str!("../assets/icon.svg")))
}

/// Serves a file. A browser asks for it again each time, because the next version of the program
/// may have another.
fn file(content_type: &'static str, text: &'static str) -> MethodRouter {
    get(async move || ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")], text))
}
