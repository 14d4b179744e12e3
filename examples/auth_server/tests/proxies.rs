//! The server behind proxies: it tells clients apart, and ignores the headers that they invent.

use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::{Command, Stdio},
};

use kippu_test_support::nginx;

use crate::support::{
    client::{Connection, fresh_source},
    program::{self, PASSWORD, Program, credentials},
    servers::{Scratch, Server, free_port, program},
};

/// More attempts than one address has, which gets another one every three seconds.
const TRIES: u32 = 30;

/// The body of a registration that is refused without the work of a hash, after the rate limits.
const NO_ADDRESS: &str = r#"{"email": "no address", "password": "correct horse battery staple"}"#;

/// Returns the status of a registration: 400 within the limits of the address, and 429 beyond.
fn try_from(server: &Program, source: Ipv4Addr, header: &str, value: &str) -> u16 {
    let headers = [("content-type", "application/json"), (header, value)];
    let mut connection = Connection::from(source, server.address).unwrap();
    connection.ask("POST", "/register", &headers, NO_ADDRESS).unwrap().status()
}

#[test]
fn clients_behind_a_trusted_proxy_are_known_apart() {
    let folder = Scratch::new("auth-proxy");
    let proxy = fresh_source();
    let options = ["--trusted-proxy", &format!("10.0.0.0/8,{proxy}")];
    let server = Program::start(&folder, "memory", &options);
    let from = |clients: &str| try_from(&server, proxy, "X-Forwarded-For", clients);
    assert!((0..TRIES).any(|_| from("192.0.2.1") == 429));
    assert_eq!(from("192.0.2.2"), 400);
    // The client sends an address, and comes through two proxies.
    assert_eq!(from("192.0.2.77, 192.0.2.1"), 429);
    assert_eq!(from("192.0.2.77, 192.0.2.1, 10.0.0.7"), 429);
    // One IPv6 network of 64 bits counts as one client.
    assert!((0..TRIES).any(|number| from(&format!("2001:db8:1:1::{number:x}")) == 429));
    assert_eq!(from("2001:db8:1:2::1"), 400);
    // The header of a peer that is not a trusted proxy is ignored.
    let stranger = fresh_source();
    let claim =
        |number| try_from(&server, stranger, "X-Forwarded-For", &format!("192.0.3.{number}"));
    assert!((0..TRIES).any(|number| claim(number) == 429));
    assert_eq!(from("192.0.3.200"), 400);
    server.wait_for_log("--trusted-proxy");
}

#[test]
fn the_header_of_rfc_7239_is_an_option() {
    let folder = Scratch::new("auth-forwarded");
    let proxy = fresh_source();
    let options = ["--trusted-proxy", &proxy.to_string(), "--proxy-header", "forwarded"];
    let server = Program::start(&folder, "memory", &options);
    let from = |client: &str| try_from(&server, proxy, "Forwarded", &format!("for=\"{client}\""));
    assert!((0..TRIES).any(|_| from("[2001:db8::1]:4711") == 429));
    assert_eq!(from("192.0.2.1"), 400);
    // The other header is ignored.
    let spoof = |number| try_from(&server, proxy, "X-Forwarded-For", &format!("192.0.2.{number}"));
    assert!((0..TRIES).any(|number| spoof(number) == 429));
}

#[test]
fn trusting_every_address_is_an_error() {
    for (address, words) in [("0.0.0.0/0", "any client"), ("proxy.example", "127.0.0.1")] {
        let mut command = Command::new(program::path());
        command.args(["--store", "memory", "--listen", "127.0.0.1:0", "--trusted-proxy", address]);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(words), "{text}");
    }
}

#[test]
fn connections_of_a_trusted_proxy_are_not_counted() {
    let folder = Scratch::new("auth-proxy-connections");
    let proxy = fresh_source();
    let options = ["--max-connections-per-address", "2", "--trusted-proxy", &proxy.to_string()];
    let server = Program::start(&folder, "memory", &options);
    let mut open: Vec<_> =
        (0..5).map(|_| Connection::from(proxy, server.address).unwrap()).collect();
    for connection in &mut open {
        assert_eq!(connection.ask("GET", "/healthz", &[], "").unwrap().status(), 200);
    }
}

#[test]
fn browsers_insist_on_tls_where_users_have_it() {
    for (url, expected) in [
        ("https://auth.example", Some("max-age=31536000")),
        ("HTTPS://auth.example", Some("max-age=31536000")),
        ("http://auth.example", None),
    ] {
        let folder = Scratch::new("auth-hsts");
        let server = Program::start(&folder, "memory", &["--url", url]);
        for path in ["/", "/api/me", "/healthz", "/no/such/path"] {
            let answer = server.get(path);
            assert_eq!(answer.header("strict-transport-security"), expected, "{url} {path}");
        }
    }
}

/// nginx, with the documented configuration.
struct Nginx {
    _server: Server,
    folder: Scratch,
    port: u16,
    plain_port: u16,
}

impl Nginx {
    fn start(auth_server: &Program) -> Self {
        let find = |name: &str| program([name, &format!("/usr/sbin/{name}")]);
        let (openssl, _curl) = (find("openssl"), find("curl"));
        let folder = Scratch::new("nginx");
        let (port, plain_port) = (free_port(), free_port());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut make = Command::new(openssl);
        make.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-subj", "/CN=auth.example", "-addext", "subjectAltName=DNS:auth.example"])
        .args(["-days", "2", "-keyout", &path("key"), "-out", &path("certificate")]);
        assert!(make.stderr(Stdio::null()).status().unwrap().success(), "{make:?}");

        let documented = concat!(env!("CARGO_MANIFEST_DIR"), "/nginx.conf");
        let site = nginx::adapted(
            &fs::read_to_string(documented).unwrap(),
            &[
                ("server 127.0.0.1:8080;", &format!("server {};", auth_server.address)),
                ("listen 80;", &format!("listen 127.0.0.1:{plain_port};")),
                ("listen 443 ssl", &format!("listen 127.0.0.1:{port} ssl")),
                ("/etc/ssl/certs/auth.example.pem", &path("certificate")),
                ("/etc/ssl/private/auth.example.key", &path("key")),
            ],
        );
        let server = nginx::start(folder.path(), &site, port);
        Self { _server: server, folder, port, plain_port }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the head and the body that curl gets from nginx, in lower case. It connects from
    /// `source`.
    fn ask(&self, source: Ipv4Addr, scheme: &str, path: &str, arguments: &[&str]) -> String {
        let port = if scheme == "https" { self.port } else { self.plain_port };
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "60", "--cacert"])
            .arg(self.file("certificate"))
            .args(["--interface", &source.to_string()])
            .args(["--resolve", &format!("auth.example:{port}:127.0.0.1")])
            .args(arguments)
            .arg(format!("{scheme}://auth.example:{port}{path}"));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{curl:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().to_ascii_lowercase()
    }
}

#[test]
#[ignore = "needs nginx"]
fn it_is_reached_by_tls_through_nginx() {
    let folder = Scratch::new("auth-nginx");
    let options = ["--url", "https://auth.example", "--trusted-proxy", "127.0.0.1"];
    let server = Program::start(&folder, "memory", &options);
    let nginx = Nginx::start(&server);
    let (first, second) = (fresh_source(), fresh_source());
    let status = |answer: &str| -> u16 { answer.split(' ').nth(1).unwrap().parse().unwrap() };

    let page = nginx.ask(first, "https", "/", &[]);
    assert!(page.starts_with("http/2 200") && page.contains("<!doctype html>"), "{page}");
    assert!(page.contains("strict-transport-security: max-age=31536000"), "{page}");
    let plain = nginx.ask(first, "http", "/x?y=z", &[]);
    assert!(
        status(&plain) == 308 && plain.contains("location: https://auth.example/x?y=z"),
        "{plain}"
    );
    assert_eq!(status(&nginx.ask(first, "https", "/readyz", &[])), 404);

    // A login with cookies works for the own origin, and for no other.
    server.register("ada@example.com");
    let body = credentials("ada@example.com", PASSWORD).replace('{', "{\"cookies\":true,");
    let cookies = nginx.file("cookies");
    let jar = ["--cookie-jar", cookies.to_str().unwrap(), "--cookie", cookies.to_str().unwrap()];
    let own = format!("origin: https://auth.example:{}", nginx.port);
    let login = |origin: &str| {
        let arguments = [&jar[..], &["--json", &body, "--header", origin]].concat();
        nginx.ask(first, "https", "/login", &arguments)
    };
    assert_eq!(status(&login("origin: https://evil.example")), 403);
    let answer = login(&own);
    assert!(status(&answer) == 200 && answer.contains("; secure"), "{answer}");
    let me = nginx.ask(first, "https", "/api/me", &jar);
    assert!(status(&me) == 200 && me.contains("\"ada@example.com\""), "{me}");
    let refresh = [&jar[..], &["--request", "POST", "--header", &own]].concat();
    assert_eq!(status(&nginx.ask(first, "https", "/auth/refresh", &refresh)), 200);

    // The limit of one client is not another's, whatever it sends.
    let try_from = |source, number: u32| {
        let spoofed = format!("X-Forwarded-For: 192.0.2.{number}");
        let arguments = ["--json", NO_ADDRESS, "--header", &spoofed];
        status(&nginx.ask(source, "https", "/register", &arguments))
    };
    assert!((0..TRIES).any(|number| try_from(first, number) == 429));
    assert_eq!(try_from(second, 0), 400);
}
