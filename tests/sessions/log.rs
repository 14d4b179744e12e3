//! The log of sessions: each event appears once, at its level, without a token or a key.

use std::{io, time::Duration};

use kippu::{
    Key,
    session::{MemoryStore, NoClaims, Session, Sessions},
};
use kippu_test_support::log;
use tracing::Level;

use log::Log;

#[tokio::test]
async fn each_event_is_a_line_without_a_secret() {
    log::prepare();
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let (access, refresh) = ([0x61; 32], [0x62; 32]);
    let sessions = Sessions::builder(MemoryStore::new(100))
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::hs256(access).unwrap())
        .refresh_key(Key::hs256(refresh).unwrap().with_kid("2026-11"))
        .grace(Duration::ZERO)
        .build()
        .unwrap();
    let welcome = async |_: Session| Ok::<_, io::Error>(Some(NoClaims {}));
    let closed = async |_: Session| Ok::<Option<NoClaims>, io::Error>(None);

    let mut given = Vec::new();
    let first = sessions.login("al\u{202e}ice", &NoClaims {}).await.unwrap();
    let second = sessions.refresh(&first.refresh_token, welcome).await.unwrap();
    assert!(sessions.refresh(&first.refresh_token, welcome).await.is_err());
    assert!(sessions.refresh(&second.refresh_token, welcome).await.is_err());
    assert!(sessions.refresh("kippu_rt_forged-and-worth-nothing", welcome).await.is_err());
    let third = sessions.login("bob", &NoClaims {}).await.unwrap();
    assert!(sessions.refresh(&third.refresh_token, closed).await.is_err());
    let fourth = sessions.login("carol", &NoClaims {}).await.unwrap();
    sessions.logout(&fourth.refresh_token).await.unwrap();
    sessions.logout(&fourth.refresh_token).await.unwrap();
    given.extend([first, second, third, fourth]);
    drop(guard);

    let text = log.text();
    let told: Vec<&str> = text
        .lines()
        .map(|line| line.split("message=").nth(1).unwrap().split(" session=").next().unwrap())
        .collect();
    let expected =
        ["logged in", "rotated", "reuse detected", "logged in", "denied", "logged in", "revoked"];
    assert_eq!(told, expected, "{text}");
    for line in text.lines() {
        let is_alarm = line.contains("reuse detected");
        let level = if is_alarm { Level::WARN } else { Level::INFO };
        assert!(line.starts_with(&format!("{level} kippu::session ")), "{line}");
    }
    // Escaped, so that a user name cannot change what a reader sees.
    assert!(text.contains(r"al\u{202e}ice"), "{text}");
    for tokens in &given {
        assert!(text.contains(&tokens.session_id.to_string()));
        let refresh_token = tokens.refresh_token.strip_prefix("kippu_rt_").unwrap();
        for part in tokens.access_token.split('.').chain([refresh_token]) {
            assert!(!text.contains(&part[part.len() - 20..]), "{part} in {text}");
        }
    }
    assert!(
        !text.contains("kippu_rt_") && !text.contains("aaaaaaaa") && !text.contains("bbbbbbbb")
    );
}
