//! Keys from a secret manager, read again while the server runs: a `KeySource` of ten lines over
//! HTTP, and a rotation in which no token is refused. `cargo run --example secret_manager`.
//!
//! The secret manager is a stub that this program starts itself, on a free port. A real one is
//! asked over TLS, with a credential in the request.

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use kippu::{
    Algorithm, Jwk, JwkSet, KeySet, KeySource, KeySourceError, NumericDate, ReloadedKeys,
    Validation, decode, encode,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The secret under this address is a JWK Set.
struct SecretManager {
    agent: ureq::Agent,
    url: String,
}

impl KeySource for SecretManager {
    fn load(&self) -> Result<KeySet, KeySourceError> {
        let mut answer = self.agent.get(&self.url).call().map_err(KeySourceError::other)?;
        let text = answer.body_mut().read_to_string().map_err(KeySourceError::other)?;
        Ok(KeySet::from_jwk_set(&JwkSet::from_json(&Zeroizing::new(text))?)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let generate = |kid| Jwk::generate(Algorithm::Hs256).map(|jwk| jwk.with_kid(kid).expose_json());
    let (october, november) = (generate("2026-10")?, generate("2026-11")?);
    let october = || Jwk::from_json(&october);
    let stub = Stub::start(&JwkSet::new([october()?])?)?;

    // Without a time limit a manager that hangs would hold up every reload after it.
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5)));
    let source = SecretManager { agent: config.build().into(), url: stub.url.clone() };
    let reloaded = ReloadedKeys::load(source)?.watch(|reload| match reload {
        Ok(keys) => println!("new keys: {:?}", keys.kids().collect::<Vec<_>>()),
        Err(error) => eprintln!("the keys are still the old ones: {error}"),
    })?;
    let keys = reloaded.keys(); // for `decode` and `encode`, or for `Sessions`

    let claims = || json!({ "sub": "user-12345", "exp": NumericDate::in_seconds(900) });
    let old_token = encode(&claims(), keys.load().signing_key()?)?;
    println!("signed with {:?}", keys.load().signing_key()?.kid());

    // Somebody rotates the key at the manager. The thread that watches sees it within 30 seconds;
    // here, at once.
    stub.set(&JwkSet::new([october()?.verify_only(), Jwk::from_json(&november)?])?);
    println!("the keys have changed: {}", reloaded.reload()?);
    let new_token = encode(&claims(), keys.load().signing_key()?)?;
    println!("signed with {:?}", keys.load().signing_key()?.kid());
    for token in [&old_token, &new_token] {
        decode::<Value>(token, &keys.load(), &Validation::new())?;
    }
    println!("both tokens are accepted");

    // The secret is replaced by an invalid one. The last good keys stay, and the error is reported.
    stub.set(&JwkSet::new([])?);
    match reloaded.reload() {
        Err(error) => println!("the keys are still the old ones: {error}"),
        Ok(_) => return Err("a set without keys should have been refused".into()),
    }
    for token in [&old_token, &new_token] {
        decode::<Value>(token, &keys.load(), &Validation::new())?;
    }
    println!("both tokens are accepted");
    Ok(())
}

/// Answers every request with one JWK Set, for as long as the program runs.
struct Stub {
    url: String,
    answer: Arc<Mutex<Zeroizing<String>>>,
}

impl Stub {
    fn start(keys: &JwkSet) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/secrets/access-keys", listener.local_addr()?);
        let answer = Arc::new(Mutex::new(keys.expose_json()));
        let stub = Self { url, answer: Arc::clone(&answer) };
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if let Ok(body) = answer.lock() {
                    let _ = respond(connection, &body);
                }
            }
        });
        Ok(stub)
    }

    fn set(&self, keys: &JwkSet) {
        if let Ok(mut answer) = self.answer.lock() {
            *answer = keys.expose_json();
        }
    }
}

/// Whatever was asked for.
fn respond(mut connection: TcpStream, body: &str) -> io::Result<()> {
    let mut request = BufReader::new(connection.try_clone()?).lines();
    while request.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let length = body.len();
    write!(
        connection,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
