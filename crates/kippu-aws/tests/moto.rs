//! The SDK against moto, which checks signatures and permissions here: the labels of a rotation,
//! the forms of a secret, what is refused, and two servers under load.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{sync::Arc, time::Duration};

use aws_smithy_http_client::Builder;
use kippu::{
    Algorithm, DecodeError, Jwk, KeyFormat, KeySet, KeySource, NumericDate, ReloadedKeys,
    Validation, decode, encode,
};
use kippu_aws::{
    SecretsManager, SecretsManagerError,
    aws_sdk_secretsmanager::{
        Client,
        config::{BehaviorVersion, Config, Credentials, Region},
        primitives::Blob,
    },
};
use kippu_test_support::moto::{AwsUser, Moto};
use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};

#[path = "moto/rotation.rs"]
mod rotation;

const TOKENS_LIVE: Duration = Duration::from_secs(900);

/// AWS with an operator, who may do everything with secrets, and a server, which may read them.
struct Aws {
    _moto: Moto,
    runtime: Runtime,
    operator: Client,
    server: Client,
}

impl Aws {
    fn start() -> Self {
        let moto = Moto::start();
        let operator = moto.user("operator", &["secretsmanager:*"]);
        let server = moto.user("server", &["secretsmanager:GetSecretValue"]);
        moto.check_signatures();
        let (operator, server) = (client(&moto, &operator), client(&moto, &server));
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { _moto: moto, runtime, operator, server }
    }

    fn source(&self, name: &str) -> SecretsManager {
        SecretsManager::new(self.server.clone(), name, TOKENS_LIVE)
            .format(KeyFormat::Base64(Algorithm::Hs256))
    }

    /// Returns the version.
    fn create(&self, name: &str, value: &str) -> String {
        let request = self.operator.create_secret().name(name).secret_string(value);
        self.runtime.block_on(request.send()).unwrap().version_id.unwrap()
    }

    fn create_binary(&self, name: &str, value: &[u8]) {
        let request = self.operator.create_secret().name(name).secret_binary(Blob::new(value));
        self.runtime.block_on(request.send()).unwrap();
    }

    /// The first step of a rotation.
    fn put_pending(&self, name: &str, value: &str) -> String {
        let request = self.operator.put_secret_value().secret_id(name).secret_string(value);
        let request = request.version_stages("AWSPENDING");
        self.runtime.block_on(request.send()).unwrap().version_id.unwrap()
    }

    /// Moves a label, as the last step of a rotation does.
    fn move_label(&self, name: &str, label: &str, from: Option<&str>, to: Option<&str>) {
        let request = self
            .operator
            .update_secret_version_stage()
            .secret_id(name)
            .version_stage(label)
            .set_remove_from_version_id(from.map(Into::into))
            .set_move_to_version_id(to.map(Into::into));
        self.runtime.block_on(request.send()).unwrap();
    }
}

fn client(moto: &Moto, user: &AwsUser) -> Client {
    let credentials =
        Credentials::new(&user.access_key_id, &user.secret_access_key, None, None, "test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(credentials)
        .endpoint_url(moto.url())
        .http_client(Builder::new().build_http());
    Client::from_conf(config.build())
}

/// As `openssl rand -base64 32` prints it.
fn base64_secret(byte: u8) -> String {
    let jwk = Jwk::new(Algorithm::Hs256, [byte; 32]).unwrap().expose_json();
    let json: Value = serde_json::from_str(&jwk).unwrap();
    json["k"].as_str().unwrap().replace('-', "+").replace('_', "/") + "="
}

fn kids(keys: &KeySet) -> Vec<&str> {
    keys.kids().collect()
}

fn token(keys: &KeySet) -> String {
    let claims = json!({ "sub": "user-12345", "exp": NumericDate::in_seconds(100_000) });
    encode(&claims, keys.signing_key().unwrap()).unwrap()
}

fn verified(token: &str, keys: &KeySet) -> Result<(), DecodeError> {
    decode::<Value>(token, keys, &Validation::new()).map(|_| ())
}

/// The error of the service in one of a source. It shows no secret and no credential.
fn refused(source: &SecretsManager, words: &str) {
    let error = source.load().unwrap_err();
    let text = format!("{error} {error:?} {source:?}");
    assert!(text.contains(words), "{text}");
    for secret in ["wJalr", "AQEB", "AgIC", "wrong-secret"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
#[ignore = "needs moto"]
fn the_labels_of_a_rotation_are_the_roles_of_its_versions() {
    let aws = Aws::start();
    let name = "api/access-key";
    let first = aws.create(name, &base64_secret(1));
    let source = aws.source(name);
    let keys = source.load().unwrap();
    assert_eq!(kids(&keys), [&first]);
    let by_first = token(&keys);

    let second = aws.put_pending(name, &base64_secret(2));
    let keys = source.load().unwrap();
    assert_eq!(kids(&keys), [&first, &second]);
    assert_eq!(keys.signing_key().unwrap().kid(), Some(&*first));

    aws.move_label(name, "AWSCURRENT", Some(&first), Some(&second));
    let before = NumericDate::now();
    let keys = source.load().unwrap();
    assert_eq!(kids(&keys), [&second, &first]);
    let by_second = token(&keys);
    verified(&by_first, &keys).unwrap();
    // Its end does not move with the reloads: it is that of the tokens, and ten minutes more.
    std::thread::sleep(Duration::from_secs(2));
    let keys = source.load().unwrap();
    let end = before.saturating_add(TOKENS_LIVE).saturating_add(Duration::from_secs(600));
    let at = |time| decode::<Value>(&by_first, &keys, &Validation::new().at(time));
    at(end.saturating_sub(Duration::from_secs(1))).unwrap();
    let over = at(end.saturating_add(Duration::from_secs(2))).unwrap_err();
    assert!(matches!(over, DecodeError::KeyRetired { .. }), "{over}");
    assert!(aws.source(name).verify_only().load().unwrap().signing_key().is_err());

    // After another rotation the first version has no label, and is refused.
    let third = aws.put_pending(name, &base64_secret(3));
    verified(&by_second, &source.load().unwrap()).unwrap();
    aws.move_label(name, "AWSCURRENT", Some(&second), Some(&third));
    let keys = source.load().unwrap();
    assert_eq!(kids(&keys), [&third, &second]);
    verified(&by_second, &keys).unwrap();
    let error = verified(&by_first, &keys).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownKid { .. }), "{error}");

    // An operator takes a leaked version away.
    aws.move_label(name, "AWSPREVIOUS", Some(&second), None);
    let keys = source.load().unwrap();
    assert_eq!(kids(&keys), [&third]);
    assert!(verified(&by_second, &keys).is_err());
    // One that goes back by a command is believed: the newer version is the previous one.
    aws.move_label(name, "AWSCURRENT", Some(&third), Some(&second));
    assert_eq!(kids(&source.load().unwrap()), [&second, &third]);
}

#[test]
#[ignore = "needs moto"]
fn an_older_version_after_a_newer_one_is_refused_and_the_last_good_keys_stay() {
    let aws = Aws::start();
    let name = "api/access-key";
    let first = aws.create(name, &base64_secret(1));
    let keys = ReloadedKeys::load(aws.source(name)).unwrap();
    let second = aws.put_pending(name, &base64_secret(2));
    aws.move_label(name, "AWSCURRENT", Some(&first), Some(&second));
    assert!(keys.reload().unwrap());
    // As a cache of the time before the rotation would answer.
    aws.move_label(name, "AWSCURRENT", Some(&second), Some(&first));
    aws.move_label(name, "AWSPREVIOUS", Some(&second), None);
    aws.move_label(name, "AWSPENDING", Some(&second), None);
    let error = keys.reload().unwrap_err().to_string();
    assert!(error.contains("stale") && error.contains(&first) && error.contains(&second));
    assert_eq!(kids(&keys.keys().load()), [&second, &first]);
}

#[test]
#[ignore = "needs moto"]
fn a_version_that_makes_no_keys_stops_no_server_until_it_is_the_current_one() {
    let aws = Aws::start();
    let name = "api/access-key";
    let first = aws.create(name, "to be replaced");
    let source = aws.source(name);
    refused(&source, "the secret \"api/access-key\", version");
    let second = aws.put_pending(name, &base64_secret(2));
    aws.move_label(name, "AWSCURRENT", Some(&first), Some(&second));
    assert_eq!(kids(&source.load().unwrap()), [&second]);
    aws.put_pending(name, "half a k");
    assert_eq!(kids(&source.load().unwrap()), [&second]);
}

#[test]
#[ignore = "needs moto"]
fn each_form_of_a_secret_is_read() {
    let aws = Aws::start();
    let hs256 = Algorithm::Hs256;
    let jwk = |byte| Jwk::new(hs256, [byte; 32]).unwrap();
    let by = |secret: &str| aws.source(secret);
    aws.create("jwk", &jwk(1).with_kid("2026-11").expose_json());
    assert_eq!(kids(&by("jwk").format(KeyFormat::Jwk).load().unwrap()), ["2026-11"]);
    let set = [jwk(1).with_kid("new"), jwk(2).with_kid("old").verify_only()];
    aws.create("set", &kippu::JwkSet::new(set).unwrap().expose_json());
    assert_eq!(kids(&by("set").format(KeyFormat::Jwk).load().unwrap()), ["new", "old"]);
    aws.create("fields", &json!({ "user": "x", "SECRET_KEY": base64_secret(1) }).to_string());
    let expected = by("fields").field("SECRET_KEY").load().unwrap();
    refused(&by("fields"), "take the secret out of its member");
    refused(&by("fields").field("OTHER"), "has no field \"OTHER\"");
    let fields = token(&expected);
    let is_same = |name: &str, format: KeyFormat| {
        let keys = by(name).format(format).try_all_without_kid().load().unwrap();
        // Under another kid, the version: only the secret is compared.
        let bare =
            encode(&json!({ "exp": 4_000_000_000_u32 }), &kippu::Key::hs256([1; 32]).unwrap());
        decode::<Value>(&bare.unwrap(), &keys, &Validation::new()).is_ok()
    };
    aws.create("base64", &base64_secret(1));
    aws.create("hex", &"01".repeat(32));
    aws.create_binary("raw", &[1; 32]);
    aws.create("text", &"\u{1}".repeat(32));
    assert!(is_same("base64", KeyFormat::Base64(hs256)));
    assert!(is_same("hex", KeyFormat::Hex(hs256)));
    assert!(is_same("raw", KeyFormat::Raw(hs256)));
    assert!(!fields.is_empty());
    aws.create("words", "correct horse battery staple and so on");
    by("words").format(KeyFormat::Text(hs256)).load().unwrap();
}

/// Signatures are really checked: a wrong one, a user who may not, and one who may, of the same
/// secret.
#[test]
#[ignore = "needs moto"]
fn wrong_credentials_and_missing_permissions_are_refused() {
    let moto = Moto::start();
    let operator = moto.user("operator", &["secretsmanager:*"]);
    let stranger = moto.user("stranger", &["secretsmanager:DescribeSecret"]);
    moto.check_signatures();
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let by = |user: &AwsUser| client(&moto, user);
    let source = |user: &AwsUser| SecretsManager::new(by(user), "key", TOKENS_LIVE);
    let jwk = Jwk::new(Algorithm::Hs256, [1; 32]).unwrap().expose_json();
    let create = by(&operator).create_secret().name("key").secret_string(&*jwk);
    runtime.block_on(create.send()).unwrap();

    let wrong = AwsUser { secret_access_key: "wrong-secret".into(), ..operator.clone() };
    let unknown = AwsUser { access_key_id: "AKIAIOSFODNN7EXAMPLE".into(), ..operator.clone() };
    for user in [wrong, unknown, stranger] {
        refused(&source(&user), "was refused (HTTP status 403). Renew the credentials");
    }
    source(&operator).load().unwrap();
}

#[test]
#[ignore = "needs moto"]
fn a_missing_or_deleted_secret_is_an_error_that_says_what_to_do() {
    let aws = Aws::start();
    refused(&aws.source("missing"), "Check the name, the region and the account");
    aws.create("key", &base64_secret(1));
    let keys = ReloadedKeys::load(aws.source("key")).unwrap();
    let delete = aws.operator.delete_secret().secret_id("key").recovery_window_in_days(7);
    aws.runtime.block_on(delete.send()).unwrap();
    refused(&aws.source("key"), "restore-secret");
    let kid = keys.keys().load().kids().next().unwrap().to_owned();
    keys.reload().unwrap_err();
    assert_eq!(kids(&keys.keys().load()), [&kid]);
    aws.runtime.block_on(aws.operator.restore_secret().secret_id("key").send()).unwrap();
    assert!(!keys.reload().unwrap());

    // The operator takes the label away from every version.
    aws.move_label("key", "AWSCURRENT", Some(&kid), None);
    refused(&aws.source("key"), "has the label AWSCURRENT");
}

/// And it is dropped there, which a runtime within another may not be.
#[test]
#[ignore = "needs moto"]
fn a_source_loads_within_every_kind_of_runtime_and_without_one() {
    let aws = Aws::start();
    aws.create("key", &base64_secret(1));
    let current = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let several = runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    for runtime in [current, several] {
        runtime.block_on(async {
            let source = aws.source("key");
            source.load().unwrap();
            source.load().unwrap();
        });
    }
    let source = aws.source("key");
    source.load().unwrap();
    // Several threads may share it.
    let shared: Arc<SecretsManager> = Arc::new(source);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| shared.load().unwrap());
        }
    });
}

/// An error of the crate is found in the error of the source.
#[test]
#[ignore = "needs moto"]
fn the_kind_of_an_error_can_be_asked_for() {
    let aws = Aws::start();
    let error = aws.source("missing").load().unwrap_err();
    let kippu::KeySourceError::Other(error) = error else { panic!("{error}") };
    let error = error.downcast_ref::<SecretsManagerError>();
    assert!(matches!(error, Some(SecretsManagerError::NotFound { secret }) if secret == "missing"));
}

/// The real Secrets Manager Agent in front of moto: `cargo install aws_secretsmanager_agent`, and
/// its path in `KIPPU_SECRETS_MANAGER_AGENT`.
#[cfg(feature = "agent")]
#[test]
#[ignore = "needs moto and the Secrets Manager Agent"]
fn the_real_agent_answers_as_its_documents_say() {
    use std::{fs, process::Command};

    use kippu_aws::SecretsManagerAgent;
    use kippu_test_support::servers::{Scratch, Server, free_port, wait_until};

    let agent = std::env::var("KIPPU_SECRETS_MANAGER_AGENT").expect("the path of the agent");
    let moto = Moto::start();
    let operator = moto.user("operator", &["secretsmanager:*"]);
    let user = moto.user(
        "agent",
        &[
            "secretsmanager:GetSecretValue",
            "secretsmanager:DescribeSecret",
            "sts:GetCallerIdentity",
        ],
    );
    moto.check_signatures();
    let url = moto.url();
    let (operator, server) = (client(&moto, &operator), client(&moto, &user));
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let aws = Aws { _moto: moto, runtime, operator, server };
    let (folder, port) = (Scratch::new("real-agent"), free_port());
    let token = folder.path().join("token");
    fs::write(&token, "token-of-this-agent\n").unwrap();
    let config = folder.path().join("config.toml");
    let text = format!("http_port = {port}\nregion = \"us-east-1\"\nlog_to_file = false\n");
    fs::write(&config, text).unwrap();
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let _agent = Server::start(
        Command::new(agent)
            .arg("--config")
            .arg(config)
            .current_dir(folder.path())
            .env("AWS_TOKEN", format!("file://{}", token.display()))
            .env("AWS_ACCESS_KEY_ID", user.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", user.secret_access_key)
            .env("AWS_ENDPOINT_URL", url)
            .stdout(log.try_clone().unwrap())
            .stderr(log),
    );
    wait_until("the agent", Duration::from_secs(20), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });

    let source = || {
        SecretsManagerAgent::new("api/access key", TOKENS_LIVE)
            .port(port)
            .token_file(&token)
            .format(KeyFormat::Base64(Algorithm::Hs256))
    };
    let message = |source: SecretsManagerAgent| source.load().unwrap_err().to_string();
    assert!(message(source()).contains("has the label AWSCURRENT"), "{}", message(source()));
    let first = aws.create("api/access key", &base64_secret(1));
    let (cached, fresh) = (source(), source().refresh_now());
    assert_eq!(kids(&cached.load().unwrap()), [&first]);
    let second = aws.put_pending("api/access key", &base64_secret(2));
    assert_eq!(kids(&cached.load().unwrap()), [&first, &second]);
    aws.move_label("api/access key", "AWSCURRENT", Some(&first), Some(&second));
    // Each label is cached for itself: this is a mixture, from which no version is missing.
    assert_eq!(kids(&cached.load().unwrap()), [&first, &second]);
    assert_eq!(kids(&fresh.load().unwrap()), [&second, &first]);
    let wrong = folder.path().join("wrong");
    fs::write(&wrong, "another token").unwrap();
    assert!(message(source().token_file(wrong)).contains("refuses the token"));
    aws.create_binary("bytes", &[1; 32]);
    let bytes = SecretsManagerAgent::new("bytes", TOKENS_LIVE).port(port).token_file(&token);
    bytes.format(KeyFormat::Raw(Algorithm::Hs256)).load().unwrap();
}
