//! The allocations of an extractor beside those of the verification that it makes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::extract::FromRequestParts;
use kippu::session::{
    NoClaims,
    testing::{TestSessions, TestToken},
};
use kippu_web::{Access, Cookies, Guard, testing::TestClient};

#[test]
fn an_extractor_allocates_the_shared_token_and_nothing_else() {
    let test = TestSessions::new();
    let guard =
        Guard::for_sessions(test.sessions()).cookies(Cookies::new("/auth").unwrap()).unwrap();
    let tokens = test.login("alice", &NoClaims {});
    let verification = allocation_counter::measure(|| {
        test.sessions().verify::<NoClaims>(&tokens.access_token).unwrap();
    });
    let bearer = TestClient::bearer(&test.token(&TestToken::new("alice")));
    for client in [bearer, TestClient::cookies(&guard, &tokens)] {
        let mut parts = client.post("/orders").body(()).unwrap().into_parts().0;
        let extraction = allocation_counter::measure(|| {
            let access = pin!(Access::<NoClaims>::from_request_parts(&mut parts, &guard));
            let access = access.poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(access, Poll::Ready(Ok(_))));
        });
        assert_eq!(extraction.count_total, verification.count_total + 1, "{client:?}");
    }
}
