//! The guard and the session routes where others meet them: between the layers of a stack, on other
//! servers than axum, and under OAuth clients that know nothing of kippu.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod clients;
mod grpc;
mod matrix;
mod proxies;
mod reqwest_client;
mod sockets;
mod stacks;

use std::sync::Arc;

use kippu::{
    Key,
    session::{MemoryStore, Sessions, TokenResponse},
};
use kippu_web::Scoped;
use serde::{Deserialize, Serialize};

const ISSUER: &str = "https://auth.example";
const ACCESS_SECRET: [u8; 32] = [1; 32];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    scope: String,
}

impl Scoped for Claims {
    fn scope(&self) -> &str {
        &self.scope
    }
}

fn access_key() -> Key {
    Key::hs256(ACCESS_SECRET).unwrap()
}

fn refresh_key() -> Key {
    Key::hs256([2; 32]).unwrap().with_kid("2026-11")
}

fn sessions(store: Arc<MemoryStore>) -> Arc<Sessions<Arc<MemoryStore>>> {
    let sessions = Sessions::builder(store)
        .issuer(ISSUER)
        .audience("api")
        .client("web")
        .access_key(access_key())
        .refresh_key(refresh_key())
        .build()
        .unwrap();
    Arc::new(sessions)
}

async fn login(sessions: &Sessions<Arc<MemoryStore>>, scope: &str) -> TokenResponse {
    sessions.login("alice", &Claims { scope: scope.into() }).await.unwrap()
}
