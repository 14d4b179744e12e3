//! PgBouncer between the store and the server: parameters that it rejects, and statements that it
//! mixes up.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
};

use kippu::session::{RefreshStore, StoreErrorKind, store::InsertRequest};
use kippu_sqlx::PostgresStore;
use sqlx::{PgPool, postgres::PgPoolOptions};

use super::{
    LIMIT, kinds_of_all, patient,
    postgres_server::Postgres,
    records::{kind, session},
    servers::{self, Server, free_port, wait_until},
    store,
};

/// A pooler process, which ends when this value is dropped.
struct PgBouncer {
    port: u16,
    _server: Server,
}

fn program() -> PathBuf {
    servers::program(["pgbouncer", "/usr/sbin/pgbouncer"])
}

impl PgBouncer {
    fn start(program: &PathBuf, server: &Postgres, settings: &[&str]) -> Self {
        let port = free_port();
        let file = server.folder().join(format!("pgbouncer-{port}.ini"));
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\n{}\n",
            server.port(),
            settings.join("\n")
        );
        fs::write(&file, config).unwrap();
        let mut command = server.command(program);
        command.arg("--quiet").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server::start(&mut command);
        wait_until("the start of PgBouncer", LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self { port, _server: server }
    }

    /// Returns a URL of the server that goes through the pooler.
    fn url(&self, server: &Postgres, url: &str) -> String {
        url.replace(&server.port().to_string(), &self.port.to_string())
    }
}

fn pool_of(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(1).connect_lazy(url).unwrap()
}

const IGNORE: &str = "ignore_startup_parameters = extra_float_digits";

/// Returns the setting that turns prepared statements off, if this version supports them.
fn without_statements(program: &PathBuf) -> &'static str {
    let output = Command::new(program).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let version = text.split_whitespace().nth(1).unwrap();
    let minor: u32 = version.split('.').nth(1).unwrap().parse().unwrap();
    if minor < 21 { "" } else { "max_prepared_statements = 0" }
}

#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn names_the_setting_for_a_rejected_startup_parameter() {
    let (program, server) = (program(), super::server());
    let url = server.database();
    let pooler = PgBouncer::start(&program, &server, &[]);
    let error = PostgresStore::connect(&pooler.url(&server, &url)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("ignore_startup_parameters"), "{error}");

    // With the setting that the error names, all steps work.
    let pooler = PgBouncer::start(&program, &server, &[IGNORE, "pool_mode = session"]);
    let store = PostgresStore::connect(&pooler.url(&server, &url)).await.unwrap();
    store.create_schema().await.unwrap();
    for (step, error) in kinds_of_all(&store).await {
        assert!(error.is_none(), "{step}: {error:?}");
    }
}

/// Two clients have a statement of the same name on one connection to the server.
#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn detects_a_pooler_that_mixes_up_statements() {
    let (program, server) = (program(), super::server());
    let url = server.database();
    store(&url).await;
    let settings =
        [IGNORE, "pool_mode = transaction", "default_pool_size = 1", without_statements(&program)];
    let pooler = PgBouncer::start(&program, &server, &settings);
    let url = pooler.url(&server, &url);
    let (first, second) = (patient(pool_of(&url)), patient(pool_of(&url)));
    let id = session("alice").id;
    first.load(&id).await.unwrap();
    let error = second.load(&id).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("max_prepared_statements"), "{error}");
}

/// PgBouncer uses one code both for a permanent rejection and for a server that it cannot reach at
/// the moment.
#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn a_server_that_is_down_behind_the_pooler_is_unavailable() {
    let (program, mut server) = (program(), Postgres::start());
    let url = server.database();
    store(&url).await;
    let settings = [IGNORE, "pool_mode = session", "query_wait_timeout = 1"];
    let pooler = PgBouncer::start(&program, &server, &settings);
    let store = patient(pool_of(&pooler.url(&server, &url)));
    let id = session("alice").id;
    store.load(&id).await.unwrap();
    server.stop();
    for _ in 0..3 {
        assert_eq!(kind(store.load(&id).await), Some(StoreErrorKind::Unavailable));
    }
    server.restart();
    while let Err(error) = store.load(&id).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
}

/// PgBouncer keeps using its address, and does not check whether a primary is there.
#[tokio::test]
#[ignore = "needs PostgreSQL and PgBouncer"]
async fn an_old_primary_behind_the_pooler_answers_nothing() {
    let (program, server) = (program(), Postgres::start());
    let url = server.database();
    store(&url).await;
    let pooler = PgBouncer::start(&program, &server, &[IGNORE, "pool_mode = session"]);
    let store = patient(pool_of(&pooler.url(&server, &url)));
    store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
    let other = server.standby();
    other.promote();
    let mut server = server;
    server.follow(&other);
    let id = session("bob").id;
    // The first call may find a connection that has ended.
    let _ = store.load(&id).await;
    for (step, error) in kinds_of_all(&store).await {
        let error = error.unwrap_or_else(|| panic!("{step} did not fail"));
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{step}: {error}");
    }
    server.promote();
    while let Err(error) = store.load(&id).await {
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
    }
}
