//! Keys in AWS Secrets Manager, which moto is here: the server reads them with its own credentials,
//! and a rotation by staging labels refuses no token.

use std::{process::Command, time::Duration};

use aws_smithy_http_client::Builder;
use kippu::{Algorithm, Jwk};
use kippu_aws::aws_sdk_secretsmanager::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{
    moto::{AwsUser, Moto},
    program::{self, Program},
    servers::{Scratch, wait_until},
};

struct Operator {
    client: Client,
    runtime: Runtime,
}

impl Operator {
    fn new(moto: &Moto, user: &AwsUser) -> Self {
        let credentials =
            Credentials::new(&user.access_key_id, &user.secret_access_key, None, None, "test");
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(credentials)
            .endpoint_url(moto.url())
            .http_client(Builder::new().build_http());
        Self { client: Client::from_conf(config.build()), runtime: Runtime::new().unwrap() }
    }

    /// Returns the version. A JWK without a kid: the version is its kid.
    fn create(&self, name: &str) -> String {
        let jwk = Jwk::generate(Algorithm::Hs256).unwrap().expose_json();
        let request = self.client.create_secret().name(name).secret_string(&*jwk);
        self.runtime.block_on(request.send()).unwrap().version_id.unwrap()
    }

    fn put_pending(&self, name: &str) -> String {
        let jwk = Jwk::generate(Algorithm::Hs256).unwrap().expose_json();
        let request = self.client.put_secret_value().secret_id(name).secret_string(&*jwk);
        let request = request.version_stages("AWSPENDING");
        self.runtime.block_on(request.send()).unwrap().version_id.unwrap()
    }

    fn promote(&self, name: &str, from: &str, to: &str) {
        let request = self.client.update_secret_version_stage().secret_id(name);
        let request = request.version_stage("AWSCURRENT").remove_from_version_id(from);
        self.runtime.block_on(request.move_to_version_id(to).send()).unwrap();
    }
}

/// The server, as a user of AWS. No other place for credentials is looked at.
fn server(moto: &Moto, user: &AwsUser, options: &[&str]) -> Command {
    let mut command = Command::new(program::path());
    command
        .args(["--listen", "127.0.0.1:0", "--store", "memory", "--keys", "aws:auth"])
        .args(options)
        .env("AWS_ENDPOINT_URL", moto.url())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", &user.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", &user.secret_access_key)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_SESSION_TOKEN");
    command
}

fn wait_for_kids(server: &Program, kind: &str, kids: &[&str]) {
    wait_until(&format!("{kind}: {kids:?}"), Duration::from_secs(30), || {
        let keys = server.get("/readyz").json()["keys"][kind].take();
        assert_eq!(keys["failing"], json!(false));
        keys["kids"] == json!(kids)
    });
}

fn is_accepted(server: &Program, token: &str) -> bool {
    let header = format!("Bearer {token}");
    server.ask("GET", "/api/me", &[("authorization", &header)], "").unwrap().status() == 200
}

#[test]
#[ignore = "needs moto"]
fn keys_in_secrets_manager_are_rotated_while_the_server_runs() {
    let moto = Moto::start();
    let admin = moto.user("operator", &["secretsmanager:*"]);
    let user = moto.user("server", &["secretsmanager:GetSecretValue"]);
    moto.check_signatures();
    let operator = Operator::new(&moto, &admin);
    let [access, refresh, _] =
        ["access", "refresh", "audit"].map(|kind| operator.create(&format!("auth/{kind}")));
    let folder = Scratch::new("auth-aws");
    let options = ["--reload-keys-every", "1", "--access-lifetime", "600"];
    let server = Program::spawn(&folder, &mut server(&moto, &user, &options));
    wait_for_kids(&server, "access", &[&access]);
    wait_for_kids(&server, "refresh", &[&refresh]);
    server.register("ada@example.com");
    let credentials = program::credentials("ada@example.com", program::PASSWORD);
    let tokens: Value = server.post("/login", &credentials).json();
    let old = tokens["access_token"].as_str().unwrap();

    let rotated = ["access", "refresh"].map(|kind| {
        let (name, current) =
            (format!("auth/{kind}"), if kind == "access" { &access } else { &refresh });
        let next = operator.put_pending(&name);
        wait_for_kids(&server, kind, &[current, &next]);
        operator.promote(&name, current, &next);
        wait_for_kids(&server, kind, &[&next, current]);
        next
    });
    assert!(is_accepted(&server, old));
    // A refresh token of before the rotation.
    let form = format!(
        "grant_type=refresh_token&client_id=page&refresh_token={}",
        tokens["refresh_token"].as_str().unwrap()
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.ask("POST", "/auth/refresh", &headers, &form).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.body);
    let new = answer.json()["access_token"].as_str().unwrap().to_owned();
    let kid = kippu::unverified_header(&new, new.len()).unwrap().kid.unwrap();
    assert_eq!(kid, rotated[0]);
    assert!(is_accepted(&server, &new));

    // After another rotation the first key is gone, and so are its tokens.
    let third = operator.put_pending("auth/access");
    operator.promote("auth/access", &rotated[0], &third);
    wait_for_kids(&server, "access", &[&third, &rotated[0]]);
    assert!(!is_accepted(&server, old) && is_accepted(&server, &new));
    assert!(!server.log().contains(&user.secret_access_key) && !server.log().contains("\"k\""));
}

#[test]
#[ignore = "needs moto"]
fn a_server_that_may_not_read_its_keys_does_not_start_and_says_why() {
    let moto = Moto::start();
    let user = moto.user("server", &["secretsmanager:DescribeSecret"]);
    moto.check_signatures();
    let folder = Scratch::new("auth-aws-refused");
    let output = server(&moto, &user, &[]).current_dir(folder.path()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{log}");
    assert!(
        log.contains("auth/access") && log.contains("allow them secretsmanager:GetSecretValue")
    );
}
