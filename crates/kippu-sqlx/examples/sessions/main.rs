//! Shows what happens to a login, with sessions in an SQLite file: log in, call an API, refresh,
//! log out, and detect a stolen token.
//!
//! `cargo run -p kippu-sqlx --example sessions`

use std::{env, error::Error, fs, process, time::Duration};

use kippu::{
    Algorithm, Key, base64url,
    session::{EventKind, Login, Session, SessionError, Sessions},
};
use kippu_sqlx::SqliteStore;
use serde::{Deserialize, Serialize};

/// The claims about a user that the application adds to its access tokens.
#[derive(Debug, Serialize, Deserialize)]
struct Profile {
    role: String,
}

/// Stands for the user table. Returns `None` when the account is closed.
async fn load_profile(session: Session) -> Result<Option<Profile>, std::io::Error> {
    Ok((session.subject == "user-12345").then(|| Profile { role: "admin".into() }))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("kippu-sessions-{}", process::id()));
    fs::create_dir(&folder)?;
    let outcome = run(&folder.join("sessions.db")).await;
    fs::remove_dir_all(&folder)?;
    outcome
}

async fn run(file: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let sessions = Sessions::builder(SqliteStore::open(file).await?)
        .issuer("https://auth.example")
        .audience("api")
        .client("web")
        .access_key(Key::generate(Algorithm::Hs256)?) // in production: from the secret manager
        .refresh_key(Key::generate(Algorithm::Hs256)?.with_kid("2026-11"))
        .grace(Duration::ZERO) // without a grace period, reuse is detected at once
        .on_event(|event| {
            if event.kind == EventKind::ReuseDetected {
                println!("   event: reuse detected, session {:?}", event.session_id);
            }
        })
        .build()?;

    println!("1. log in, after the password was checked");
    let login = Login::new("user-12345").label("Firefox on Linux");
    let tokens = sessions.login(login, &Profile { role: "admin".into() }).await?;
    println!("   an access token of {} s, a refresh token", tokens.expires_in.as_secs());

    println!("2. call an API: no database query");
    let user = sessions.verify::<Profile>(&tokens.access_token)?;
    println!("   {} is {}", user.subject, user.claims.role);
    let forged = edit(&tokens.access_token)?;
    match sessions.verify::<Profile>(&forged) {
        Err(error) => println!("   with an edited payload: {error}"),
        Ok(_) => return Err("a forged token was accepted".into()),
    }

    println!("3. refresh");
    let next = sessions.refresh(&tokens.refresh_token, load_profile).await?;
    for session in sessions.list("user-12345").await?.sessions {
        let label = session.label.unwrap_or_default();
        println!("   {label}, last used {}, until {}", session.last_used_at, session.expires_at);
    }

    println!("4. log out: effective at once");
    sessions.logout(&next.refresh_token).await?;
    rejected(sessions.refresh(&next.refresh_token, load_profile).await)?;
    match sessions.verify_live::<Profile>(&next.access_token).await {
        Err(error) => println!("   the access token, checked against the store: {error}"),
        Ok(_) => return Err("a revoked session is live".into()),
    }

    println!("5. a stolen token");
    let owner = sessions.login("user-12345", &Profile { role: "admin".into() }).await?;
    let thief = sessions.refresh(&owner.refresh_token, load_profile).await?;
    rejected(sessions.refresh(&owner.refresh_token, load_profile).await)?;
    rejected(sessions.refresh(&thief.refresh_token, load_profile).await)?;
    Ok(())
}

fn rejected<T>(answer: Result<T, SessionError>) -> Result<(), Box<dyn Error>> {
    match answer {
        Err(error) => {
            println!("   rejected: {error} (the client receives: {})", error.oauth_error());
            Ok(())
        }
        Ok(_) => Err("a revoked token was accepted".into()),
    }
}

/// Replaces the user in a token, as an attacker without the key would.
fn edit(token: &str) -> Result<String, Box<dyn Error>> {
    let (front, signature) = token.rsplit_once('.').ok_or("no signature")?;
    let (header, payload) = front.split_once('.').ok_or("no payload")?;
    let claims = String::from_utf8(base64url::decode(payload)?)?.replace("user-12345", "root");
    Ok(format!("{header}.{}.{signature}", base64url::encode(claims.as_bytes())))
}
