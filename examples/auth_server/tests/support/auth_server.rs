//! The server for tests: started on a free port, asked over HTTP, and told to stop.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use ureq::{
    Agent,
    http::{Request, Response},
};

pub(crate) use super::program::PASSWORD;
use super::{program::Program, servers::Scratch};

/// A running server, and a client. The server ends when this is dropped.
pub(crate) struct AuthServer {
    program: Program,
    pub(crate) url: String,
    pub(crate) log: PathBuf,
    agent: Agent,
}

impl AuthServer {
    pub(crate) fn start(folder: &Scratch, store: &str, options: &[&str]) -> Self {
        let options = [&["--log", "debug,sqlx=warn"], options].concat();
        let program = Program::start(folder, store, &options);
        let url = format!("http://{}", program.address);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The server ends a connection when it has not read a request to its end.
            .max_idle_connections(0)
            .build()
            .into();
        Self { program, url, log: folder.path().join("log"), agent }
    }

    /// The log of everything that was answered, which is written after the answer.
    pub(crate) fn log(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = format!("/end-of-log/{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.send("GET", &path, &[], "");
        // Lines are in the order of their events.
        self.program.wait_for_log(&path);
        self.program.log()
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = self.agent.run(request.body(body.to_owned()).unwrap()).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer { response: response.map(|_| ()), body }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], &body.to_string())
    }

    pub(crate) fn get(&self, path: &str, access_token: &str) -> Answer {
        self.bearing("GET", path, access_token)
    }

    pub(crate) fn bearing(&self, method: &str, path: &str, access_token: &str) -> Answer {
        self.send(method, path, &[("authorization", &format!("Bearer {access_token}"))], "")
    }

    pub(crate) fn form(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], body)
    }

    pub(crate) fn refresh(&self, tokens: &Tokens) -> Answer {
        let form = format!("grant_type=refresh_token&refresh_token={}", tokens.refresh);
        self.form("/auth/refresh", &form)
    }

    pub(crate) fn register(&self, name: &str) {
        let answer = self.post("/register", &json!({ "email": email(name), "password": PASSWORD }));
        assert_eq!(answer.status(), 201, "{}", answer.body);
    }

    pub(crate) fn log_in(&self, name: &str) -> Tokens {
        self.post(
            "/login",
            &json!({ "email": email(name), "password": PASSWORD, "device": "A test" }),
        )
        .tokens()
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.program.signal("TERM");
        self.program.end(Duration::from_secs(60))
    }
}

pub(crate) struct Answer {
    pub(crate) response: Response<()>,
    pub(crate) body: Value,
}

pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status(), self.body["error"].as_str().unwrap_or_default())
    }

    pub(crate) fn tokens(&self) -> Tokens {
        assert_eq!(self.status(), 200, "{}", self.body);
        assert_eq!(self.header("cache-control"), "no-store");
        let text = |name: &str| self.body[name].as_str().unwrap().to_owned();
        Tokens { access: text("access_token"), refresh: text("refresh_token") }
    }
}

pub(crate) fn read(path: &PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

/// The log of a server that does not start.
pub(crate) fn refused(folder: &Scratch, store: &str) -> String {
    let log = folder.path().join("refused");
    let mut child = Command::new(env!("CARGO_BIN_EXE_auth_server"))
        .current_dir(folder.path())
        .args(["--listen", "127.0.0.1:0"])
        .env("AUTH_SERVER_STORE", store)
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
    // It has ended, if all is well.
    let _ = child.kill();
    let status = child.wait().unwrap();
    assert!(url.is_empty() && status.code() == Some(1), "{store}: {status}: {}", read(&log));
    read(&log)
}

/// The address of a user.
pub(crate) fn email(name: &str) -> String {
    format!("{name}@example.com")
}
