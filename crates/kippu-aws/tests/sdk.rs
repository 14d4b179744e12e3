//! The SDK against a server that fails as AWS does and moto does not: it throttles, it hangs, it is
//! away.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use aws_smithy_http_client::Builder;
use kippu::KeySource;
use kippu_aws::{
    SecretsManager,
    aws_sdk_secretsmanager::{
        Client,
        config::{BehaviorVersion, Config, Credentials, Region},
    },
};

const TOKENS_LIVE: Duration = Duration::from_secs(900);

fn client(port: u16) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("AKIA", "wJalr", Some("IQoJ".into()), None, "test"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .http_client(Builder::new().build_http());
    Client::from_conf(config.build())
}

/// Answers every request with this status and body, and sends a message for each.
fn stub(status: &'static str, body: &'static str) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, requests) = mpsc::channel();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            answer(connection, status, body);
            if tell.send(()).is_err() {
                break;
            }
        }
    });
    (port, requests)
}

fn answer(mut connection: TcpStream, status: &str, body: &str) {
    let mut request = BufReader::new(connection.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    while request.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        line.clear();
    }
    request.read_exact(&mut vec![0; length]).unwrap();
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

fn refused(source: &SecretsManager, words: &str) {
    let error = source.load().unwrap_err();
    let text = format!("{error} {error:?} {source:?}");
    assert!(text.contains(words), "{text}");
    for secret in ["wJalr", "IQoJ", "hunter2"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn the_sdk_retries_a_throttled_request_and_then_it_is_an_error() {
    let (port, requests) = stub("400 Bad Request", r#"{"__type":"ThrottlingException"}"#);
    let source = SecretsManager::new(client(port), "keys", TOKENS_LIVE);
    refused(&source, "too many requests to Secrets Manager (ThrottlingException)");
    assert_eq!(requests.try_iter().count(), 3);
}

#[test]
fn a_refusal_is_told_by_its_code() {
    for (body, words) in [
        (
            r#"{"__type":"AccessDeniedException","Message":"User: arn:aws:iam::1:user/x is not authorized"}"#,
            "user/x is not authorized. Allow secretsmanager:GetSecretValue",
        ),
        (
            r#"{"__type":"InvalidSignatureException","message":"x-amz-security-token:IQoJ"}"#,
            "was refused (InvalidSignatureException)",
        ),
        (r#"{"__type":"DecryptionFailure","Message":"no key"}"#, "kms:Decrypt"),
        (r#"{"__type":"ResourceNotFoundException"}"#, "Check the name, the region"),
    ] {
        let (port, _requests) = stub("400 Bad Request", body);
        refused(&SecretsManager::new(client(port), "keys", TOKENS_LIVE), words);
    }
}

/// The cause of a broken answer may quote it, and is not shown.
#[test]
fn an_answer_that_is_none_shows_nothing_of_itself() {
    for (body, words) in [
        (r#"{"SecretString":"hunter2","VersionId":"#, "its response could not be read"),
        (r#"{"VersionId":"1"}"#, "has no SecretString or SecretBinary"),
        (r#"{"SecretString":"hunter2"}"#, "has no VersionId"),
    ] {
        let (port, _requests) = stub("200 OK", body);
        refused(&SecretsManager::new(client(port), "keys", TOKENS_LIVE), words);
    }
}

/// Nothing is ever answered, and the SDK has no time limit for that.
#[test]
fn a_service_that_hangs_is_an_error_after_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let source =
        SecretsManager::new(client(port), "keys", TOKENS_LIVE).deadline(Duration::from_millis(500));
    let start = Instant::now();
    refused(&source, "no answer about the secret \"keys\" within 500ms");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_service_that_is_away_is_an_error_with_the_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    refused(&SecretsManager::new(client(port), "keys", TOKENS_LIVE), "Connection refused");
}

#[test]
fn a_client_without_region_or_credentials_is_an_error_that_says_so() {
    let config = || {
        let config = Config::builder().behavior_version(BehaviorVersion::latest());
        config.http_client(Builder::new().build_http())
    };
    let source = |config| SecretsManager::new(Client::from_conf(config), "keys", TOKENS_LIVE);
    let credentials = Credentials::new("AKIA", "wJalr", None, None, "test");
    refused(&source(config().credentials_provider(credentials).build()), "Missing Region");
    let region = Region::from_static("us-east-1");
    refused(&source(config().region(region).build()), "such as credentials");
}
