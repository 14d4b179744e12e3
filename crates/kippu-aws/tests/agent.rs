//! The source over an agent, against a server that answers as the documents of the Secrets Manager
//! Agent and of the Lambda extension say: its path, its parameters, its header, its refusals.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use kippu::{Algorithm, Jwk, KeyFormat, KeySource};
use kippu_aws::SecretsManagerAgent;
use kippu_test_support::servers::Scratch;
use serde_json::{Value, json};

const TOKENS_LIVE: Duration = Duration::from_secs(900);
const TOKEN: &str = "ssrf-token-of-this-agent";
const NAME: &str = "api/access key";

/// An agent with one secret, whose labels a test sets.
struct Agent {
    port: u16,
    labels: Arc<Mutex<BTreeMap<&'static str, Value>>>,
    requests: Arc<Mutex<Vec<String>>>,
    token_file: Scratch,
}

impl Agent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let token_file = Scratch::new("agent");
        fs::write(token_file.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let agent = Self {
            port: listener.local_addr().unwrap().port(),
            labels: Arc::default(),
            requests: Arc::default(),
            token_file,
        };
        let (labels, requests) = (Arc::clone(&agent.labels), Arc::clone(&agent.requests));
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                answer(connection, &labels, &requests);
            }
        });
        agent
    }

    fn source(&self) -> SecretsManagerAgent {
        SecretsManagerAgent::new(NAME, TOKENS_LIVE)
            .port(self.port)
            .token_file(self.token_file.path().join("token"))
            .format(KeyFormat::Base64(Algorithm::Hs256))
    }

    fn set(&self, label: &'static str, version: &str, secret: &Value) {
        let mut answer = json!({
            "ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:api-AbCdEf",
            "Name": NAME,
            "VersionId": version,
            "VersionStages": [label],
            "CreatedDate": "1569534789.046",
        });
        answer.as_object_mut().unwrap().extend(secret.as_object().unwrap().clone());
        self.labels.lock().unwrap().insert(label, answer);
    }

    fn kids(&self) -> Vec<String> {
        self.source().load().unwrap().kids().map(Into::into).collect()
    }
}

/// The first line, then the headers that matter here.
fn request(connection: &TcpStream) -> (String, BTreeMap<String, String>) {
    let mut lines = BufReader::new(connection).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    (first, headers.collect())
}

fn answer(
    mut connection: TcpStream,
    labels: &Mutex<BTreeMap<&'static str, Value>>,
    requests: &Mutex<Vec<String>>,
) {
    let (first, headers) = request(&connection);
    requests.lock().unwrap().push(first.clone());
    let token = headers.get("x-aws-parameters-secrets-token").map(String::as_str);
    let label = first.split("versionStage=").nth(1).and_then(|rest| rest.split(['&', ' ']).next());
    let (status, body) = match (token, label) {
        (token, _) if token != Some(TOKEN) => ("403 Forbidden", "Bad Token".to_owned()),
        (_, Some(label))
            if first.starts_with("GET /secretsmanager/get?secretId=api%2Faccess%20key&") =>
        {
            match labels.lock().unwrap().get(label) {
                Some(Value::String(refusal)) => refusal
                    .split_once('|')
                    .map(|(status, body)| {
                        (
                            if status == "429" {
                                "429 Too Many Requests"
                            } else {
                                "400 Bad Request"
                            },
                            body.to_owned(),
                        )
                    })
                    .unwrap(),
                Some(value) => ("200 OK", value.to_string()),
                None => (
                    "400 Bad Request",
                    json!({ "__type": "ResourceNotFoundException", "message": "can't find" })
                        .to_string(),
                ),
            }
        }
        _ => ("404 Not Found", "Not found".to_owned()),
    };
    let _ = write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// As `openssl rand -base64 32` prints it.
fn base64_secret(byte: u8) -> Value {
    json!({ "SecretString": format!("{}\n", STANDARD.encode([byte; 32])) })
}

fn refused(source: &SecretsManagerAgent, words: &str) {
    let error = source.load().unwrap_err();
    let text = format!("{error} {error:?} {source:?}");
    assert!(text.contains(words), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains("AQEB"), "{text}");
}

#[test]
fn the_labels_of_a_rotation_are_the_roles_of_its_versions() {
    let agent = Agent::start();
    let source = agent.source();
    let kids = || source.load().unwrap().kids().map(str::to_owned).collect::<Vec<_>>();
    agent.set("AWSCURRENT", "v1", &base64_secret(1));
    assert_eq!(kids(), ["v1"]);
    agent.set("AWSPENDING", "v2", &base64_secret(2));
    assert_eq!(kids(), ["v1", "v2"]);
    agent.set("AWSCURRENT", "v2", &base64_secret(2));
    agent.set("AWSPREVIOUS", "v1", &base64_secret(1));
    assert_eq!(kids(), ["v2", "v1"]);
    let requests = agent.requests.lock().unwrap();
    let expected = |label| {
        format!("GET /secretsmanager/get?secretId=api%2Faccess%20key&versionStage={label} HTTP/1.1")
    };
    let labels = ["AWSPENDING", "AWSCURRENT", "AWSPREVIOUS"];
    assert_eq!(requests[..3], labels.map(expected));
}

#[test]
fn refresh_now_goes_with_each_request() {
    let agent = Agent::start();
    agent.set("AWSCURRENT", "v1", &base64_secret(1));
    agent.source().refresh_now().load().unwrap();
    let requests = agent.requests.lock().unwrap();
    assert!(requests.iter().all(|line| line.contains("&refreshNow=true ")), "{requests:?}");
    assert_eq!(requests.len(), 3);
}

#[test]
fn bytes_and_fields_are_read_as_over_the_sdk() {
    let agent = Agent::start();
    let bytes = json!({ "SecretString": null, "SecretBinary": STANDARD.encode([1; 32]) });
    agent.set("AWSCURRENT", "v1", &bytes);
    let raw = agent.source().format(KeyFormat::Raw(Algorithm::Hs256)).load().unwrap();
    assert_eq!(raw.signing_key().unwrap().kid(), Some("v1"));
    let jwk = Jwk::new(Algorithm::Hs256, [1; 32]).unwrap().with_kid("2026-11").expose_json();
    let field = json!({ "SecretString": json!({ "key": *jwk }).to_string() });
    agent.set("AWSCURRENT", "v2", &field);
    let keys = agent.source().format(KeyFormat::Jwk).field("key").load().unwrap();
    assert_eq!(keys.signing_key().unwrap().kid(), Some("2026-11"));
}

#[test]
fn each_refusal_is_an_error_that_says_what_to_do() {
    let agent = Agent::start();
    refused(&agent.source(), "has the label AWSCURRENT, or there is no such secret");
    fs::write(agent.token_file.path().join("token"), "of another agent").unwrap();
    refused(&agent.source(), "refuses the token");
    fs::write(agent.token_file.path().join("token"), TOKEN).unwrap();
    for (refusal, words) in [
        (
            r#"400|{"__type":"com.amazonaws#AccessDeniedException","message":"not yours"}"#,
            "is denied: not yours. Allow",
        ),
        ("429|Connection limit exceeded", "HTTP status 429 of the agent"),
        ("400|AQEB", "HTTP status 400 of the agent"),
        ("400|the extension says: ResourceNotFoundException", "has the label AWSCURRENT"),
    ] {
        agent.labels.lock().unwrap().insert("AWSCURRENT", refusal.into());
        refused(&agent.source(), words);
    }
    agent.set("AWSCURRENT", "v1", &json!({}));
    refused(&agent.source(), "has no SecretString or SecretBinary");
    agent.set("AWSCURRENT", "v1", &json!({ "SecretString": 1 }));
    refused(&agent.source(), "as GetSecretValue returns it");
    agent.set("AWSCURRENT", "v1", &json!({ "SecretString": "AQEB" }));
    refused(&agent.source(), "version v1 (AWSCURRENT)");

    refused(&agent.source().token_file("missing/token"), "\"missing/token\"");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    refused(&agent.source().port(free), "is the agent running on port");
}

#[test]
fn an_agent_that_hangs_is_an_error_after_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let agent = Agent::start();
    let source = agent
        .source()
        .port(listener.local_addr().unwrap().port())
        .deadline(Duration::from_millis(500));
    let start = Instant::now();
    refused(&source, "no answer about the secret \"api/access key\" within 500ms");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// A new token, as of an agent that was started again.
#[test]
fn the_token_is_read_at_each_load() {
    let agent = Agent::start();
    agent.set("AWSCURRENT", "v1", &base64_secret(1));
    let source = agent.source();
    fs::write(agent.token_file.path().join("token"), "old").unwrap();
    refused(&source, "refuses the token");
    fs::write(agent.token_file.path().join("token"), TOKEN).unwrap();
    source.load().unwrap();
    assert_eq!(agent.kids(), ["v1"]);
}

/// Runs the test below in a separate process, with these variables.
fn with_variables(agent: &Agent, variables: &[(&str, &str)]) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    for name in ["AWS_TOKEN", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
        child.env_remove(name);
    }
    child.args(["--exact", "in_a_process_with_variables", "--ignored"]);
    child.env("AGENT_PORT", agent.port.to_string()).envs(variables.iter().copied());
    // A proxy of the environment is not asked.
    child.env("http_proxy", "http://127.0.0.1:1").output().unwrap().status.success()
}

#[test]
fn the_token_comes_from_the_variables_of_the_agent_and_of_lambda() {
    let agent = Agent::start();
    agent.set("AWSCURRENT", "v1", &base64_secret(1));
    let file = format!("file://{}", agent.token_file.path().join("token").display());
    for variables in [
        &[("AWS_TOKEN", TOKEN)][..],
        &[("AWS_TOKEN", &*file), ("AWS_SESSION_TOKEN", "not this")],
        &[("AWS_SESSION_TOKEN", TOKEN)],
        &[("AWS_CONTAINER_AUTHORIZATION_TOKEN", TOKEN)],
    ] {
        assert!(with_variables(&agent, variables), "{variables:?}");
    }
    assert!(!with_variables(&agent, &[("AWS_TOKEN", "not this"), ("AWS_SESSION_TOKEN", TOKEN)]));
}

#[test]
#[ignore = "needs the variables of the test above"]
fn in_a_process_with_variables() {
    // scripts/test runs what is ignored, too.
    let Some(port) = std::env::var("AGENT_PORT").ok() else { return };
    let source = SecretsManagerAgent::new(NAME, TOKENS_LIVE).port(port.parse().unwrap());
    source.format(KeyFormat::Base64(Algorithm::Hs256)).load().unwrap();
}
