//! AWS for tests: moto, a server that answers as AWS does, and refuses a wrong signature or a
//! missing permission.

use std::{
    env,
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::servers::{Scratch, Server, free_port, wait_until};

/// A `moto_server`, which knows no secret and no user yet. It ends when this does.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    _server: Server,
    _folder: Scratch,
}

/// The credentials of a user.
#[derive(Clone, Debug)]
pub struct AwsUser {
    pub access_key_id: String,
    pub secret_access_key: String,
}

impl Moto {
    pub fn start() -> Self {
        let (port, folder) = (free_port(), Scratch::new("moto"));
        let log = File::create(folder.path().join("log")).unwrap();
        let server = Server::start(
            Command::new(program())
                .args(["-H", "127.0.0.1", "-p", &port.to_string()])
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        );
        wait_until("moto", Duration::from_secs(60), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        Self { port, _server: server, _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a user who may do these actions, such as `secretsmanager:GetSecretValue`. Before
    /// [`Self::check_signatures`].
    pub fn user(&self, name: &str, actions: &[&str]) -> AwsUser {
        self.iam(&format!("Action=CreateUser&UserName={name}"));
        let actions: Vec<_> = actions.iter().map(|action| format!("\"{action}\"")).collect();
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":[{}],"Resource":"*"}}]}}"#,
            actions.join(",")
        );
        self.iam(&format!(
            "Action=PutUserPolicy&UserName={name}&PolicyName=test&PolicyDocument={policy}"
        ));
        let answer = self.iam(&format!("Action=CreateAccessKey&UserName={name}"));
        let element = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>")).expect("an access key");
            rest.split('<').next().expect("its text").to_owned()
        };
        AwsUser {
            access_key_id: element("AccessKeyId"),
            secret_access_key: element("SecretAccessKey"),
        }
    }

    /// From here on each request has to be signed by a user who may make it.
    pub fn check_signatures(&self) {
        let answer = self.post("/moto-api/reset-auth", "application/octet-stream", "0");
        assert!(answer.contains("\"ok\""), "{answer}");
    }

    fn iam(&self, form: &str) -> String {
        let form = format!("{form}&Version=2010-05-08");
        let answer = self.post("/", "application/x-www-form-urlencoded", &form);
        assert!(answer.starts_with("HTTP/1.1 200"), "{form}: {answer}");
        answer
    }

    /// The header says which service is meant.
    fn post(&self, path: &str, content_type: &str, body: &str) -> String {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let length = body.len();
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nHost: iam.amazonaws.com\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0\r\n\
             Content-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// In the virtual environment that `KIPPU_MOTO` names, or the one that scripts/test makes.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/moto");
    let program = env::var_os("KIPPU_MOTO").map_or(root, PathBuf::from).join("bin/moto_server");
    assert!(
        program.is_file(),
        "{} is missing: scripts/test installs moto; KIPPU_MOTO names another virtual environment",
        program.display()
    );
    program
}
