//! Accounts as a client and an operator see them, over each database: registrations, passwords,
//! imports, the log.

use std::{
    fs,
    process::{Command, Output},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool, pool::PoolConnection};
use tokio::runtime::Runtime;

use crate::support::{
    auth_server::{Answer, AuthServer, PASSWORD, email},
    mysql::MySql,
    postgres::Postgres,
    redis::Redis,
    servers::{Scratch, wait_until},
};

const NEW: &str = "a new password of mine";

/// Runs a test on a server over each database.
fn on_each(test: impl Fn(&AuthServer, &Scratch, &str)) {
    let run = |store: &str| {
        let folder = Scratch::new("auth-accounts");
        let server = AuthServer::start(&folder, store, &[]);
        test(&server, &folder, store);
    };
    run("sqlite:auth.db");
    run(&Postgres::start().url());
    let mysql = MySql::start();
    run(&mysql.url_of(&mysql.database()));
    run(&Redis::start().url());
}

fn log_in_with(server: &AuthServer, name: &str, password: &str) -> Answer {
    server.post("/login", &json!({ "email": email(name), "password": password }))
}

fn change(server: &AuthServer, access: &str, password: &str, new: &str) -> Answer {
    let headers =
        [("content-type", "application/json"), ("authorization", &*format!("Bearer {access}"))];
    let body = json!({ "password": password, "new_password": new });
    server.send("POST", "/password", &headers, &body.to_string())
}

fn unregister(server: &AuthServer, name: &str) -> Answer {
    server.post("/unregister", &json!({ "email": email(name), "password": PASSWORD }))
}

#[test]
#[ignore = "needs PostgreSQL, MariaDB and Redis"]
fn a_changed_password_ends_the_other_sessions() {
    on_each(|server, _, _| {
        server.register("eve");
        let eve = server.log_in("eve").access;
        assert_eq!(change(server, &eve, "wrong", NEW).error(), (403, "invalid_credentials"));
        server.register("ada");
        let (here, there) = (server.log_in("ada"), server.log_in("ada"));
        for bad in ["short", "password1", "ada@example.com", "tab\there!"] {
            let refused = change(server, &here.access, PASSWORD, bad);
            assert_eq!(refused.error(), (400, "invalid_request"), "{bad}");
        }
        assert_eq!(change(server, "e30.e30.e30", PASSWORD, NEW).error(), (401, "invalid_token"));
        let there = server.refresh(&there).tokens();

        assert_eq!(change(server, &here.access, PASSWORD, NEW).status(), 204);
        assert_eq!(server.get("/api/live", &there.access).error(), (401, "invalid_token"));
        assert_eq!(server.refresh(&there).error(), (400, "invalid_grant"));
        let here = server.refresh(&here).tokens();
        assert_eq!(server.get("/api/live", &here.access).status(), 200);
        assert_eq!(log_in_with(server, "ada", PASSWORD).error(), (401, "invalid_credentials"));
        log_in_with(server, "ada", NEW).tokens();
        // A session that ended changes nothing.
        assert_eq!(change(server, &there.access, NEW, PASSWORD).error(), (401, "invalid_token"));
    });
}

#[test]
#[ignore = "needs PostgreSQL, MariaDB and Redis"]
fn an_account_that_is_removed_takes_its_sessions_along() {
    on_each(|server, _, _| {
        server.register("bob");
        let (here, there) = (server.log_in("bob"), server.log_in("bob"));
        assert_eq!(unregister(server, "bob").status(), 204);
        // At once, and not with the next refresh.
        for tokens in [&here, &there] {
            assert_eq!(server.get("/api/live", &tokens.access).error(), (401, "invalid_token"));
            assert_eq!(server.refresh(tokens).error(), (400, "invalid_grant"));
        }
        assert_eq!(unregister(server, "bob").error(), (401, "invalid_credentials"));
        // The address has another owner.
        server.register("bob");
        let next = server.log_in("bob");
        assert_eq!(server.refresh(&there).error(), (400, "invalid_grant"));
        let sessions = server.get("/auth/sessions", &next.access);
        assert_eq!(sessions.body["sessions"].as_array().unwrap().len(), 1);
    });
}

#[test]
#[ignore = "needs PostgreSQL, MariaDB and Redis"]
fn of_registrations_at_once_one_is_done() {
    on_each(|server, _, _| {
        let register = |text: &str| {
            server.post("/register", &json!({ "email": text, "password": PASSWORD })).status()
        };
        let spellings =
            ["eve@example.com", "EVE@example.com", " eve@EXAMPLE.COM", "ｅve@example.com"];
        let mut statuses: Vec<u16> = thread::scope(|scope| {
            let tasks = spellings.map(|text| scope.spawn(move || register(text)));
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409, 409, 409]);
        log_in_with(server, "Eve", PASSWORD).tokens();
    });
}

/// PostgreSQL, and SQL for it.
struct Database {
    postgres: Postgres,
    pool: PgPool,
    runtime: Runtime,
}

impl Database {
    fn start() -> Self {
        let postgres = Postgres::start();
        let runtime = Runtime::new().unwrap();
        let pool = runtime.block_on(PgPool::connect(&postgres.url())).unwrap();
        Self { postgres, pool, runtime }
    }

    fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        self.runtime.block_on(sqlx::raw_sql(sql).execute(&self.pool)).unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        self.runtime.block_on(sqlx::query_scalar(sql).fetch_one(&self.pool)).unwrap()
    }

    /// Holds back every session that is to be stored, which comes after its login was checked.
    fn hold_sessions(&self) -> PoolConnection<sqlx::Postgres> {
        self.execute(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$; \
             CREATE TRIGGER hold BEFORE INSERT ON kippu_sessions FOR EACH ROW EXECUTE FUNCTION hold()",
        );
        self.runtime.block_on(async {
            let mut connection = self.pool.acquire().await.unwrap();
            let lock = sqlx::query("SELECT pg_advisory_lock(1)");
            lock.execute(&mut *connection).await.unwrap();
            connection
        })
    }

    fn wait_for_a_login_in_flight(&self) {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'";
        wait_until("a login", Duration::from_secs(60), || self.number(count) == 1);
    }

    fn release(&self, connection: PoolConnection<sqlx::Postgres>) {
        self.runtime.block_on(async { connection.close().await.unwrap() });
    }

    fn live_sessions(&self) -> i64 {
        self.number("SELECT count(*) FROM kippu_sessions WHERE revoked_at IS NULL")
    }
}

/// Logs in, and does something else between the check of the password and the session.
fn log_in_around(
    server: &AuthServer,
    database: &Database,
    name: &str,
    meanwhile: impl FnOnce(),
) -> Answer {
    let held = database.hold_sessions();
    thread::scope(|scope| {
        let login = scope.spawn(|| log_in_with(server, name, PASSWORD));
        database.wait_for_a_login_in_flight();
        meanwhile();
        database.release(held);
        login.join().unwrap()
    })
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_login_in_flight_with_the_old_password_leaves_no_session() {
    let database = Database::start();
    let folder = Scratch::new("auth-in-flight");
    let server = AuthServer::start(&folder, &database.postgres.url(), &[]);
    server.register("ada");
    let here = server.log_in("ada");
    let login = log_in_around(&server, &database, "ada", || {
        assert_eq!(change(&server, &here.access, PASSWORD, NEW).status(), 204);
    });
    // 503 where the machine is so slow that the store's deadline passed.
    if login.status() != 503 {
        assert_eq!(login.error(), (401, "invalid_credentials"));
        assert_eq!(database.live_sessions(), 1, "that of the change");
    }
    server.refresh(&here).tokens();
}

#[test]
#[ignore = "needs PostgreSQL"]
fn a_login_in_flight_to_a_removed_account_leaves_no_session() {
    let database = Database::start();
    let folder = Scratch::new("auth-in-flight");
    let server = AuthServer::start(&folder, &database.postgres.url(), &[]);
    server.register("bob");
    let login = log_in_around(&server, &database, "bob", || {
        assert_eq!(unregister(&server, "bob").status(), 204);
        server.register("bob");
    });
    if login.status() != 503 {
        assert_eq!(login.error(), (401, "invalid_credentials"));
        assert_eq!(database.live_sessions(), 0);
    }
}

/// By a logout everywhere that waited for the store, or with what a failover lost.
#[test]
#[ignore = "needs PostgreSQL"]
fn a_login_whose_session_ends_in_flight_is_to_be_tried_again() {
    let database = Database::start();
    let folder = Scratch::new("auth-in-flight");
    let server = AuthServer::start(&folder, &database.postgres.url(), &[]);
    server.register("eve");
    for change in [
        "UPDATE kippu_sessions SET revoked_at = created_at, revoked_reason = 'logout_all'",
        "DELETE FROM kippu_sessions",
    ] {
        database.execute(&format!(
            "CREATE OR REPLACE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN {change}; RETURN NULL; END $$; \
             CREATE OR REPLACE TRIGGER change AFTER INSERT ON kippu_sessions EXECUTE FUNCTION change()",
        ));
        let login = log_in_with(&server, "eve", PASSWORD);
        assert_eq!(login.error(), (503, "temporarily_unavailable"), "{change}");
    }
    database.execute("DROP TRIGGER change ON kippu_sessions");
    server.log_in("eve");
}

/// Made by libxcrypt 4.4.33, of `PASSWORD`.
const BCRYPT: &str = "$2b$06$abcdefghijklmnopqrstuu10cNU3mXRamSUZYs8I8M/Szu..qXq5K";

/// Runs the command that imports a file.
fn import(folder: &Scratch, store: &str, csv: &[u8], options: &[&str]) -> Output {
    fs::write(folder.path().join("users.csv"), csv).unwrap();
    Command::new(env!("CARGO_BIN_EXE_auth_server"))
        .current_dir(folder.path())
        .args(["import", "users.csv", "--store", store])
        .args(options)
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (bool, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// The hash of an account, as it is stored.
fn stored_hash(folder: &Scratch, store: &str, name: &str) -> String {
    let runtime = Runtime::new().unwrap();
    let sql = "SELECT hash FROM auth_server_accounts WHERE name = $1";
    runtime.block_on(async {
        if let Some(file) = store.strip_prefix("sqlite:") {
            let url = format!("sqlite:{}", folder.path().join(file).display());
            let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
            let hash = sqlx::query_scalar(sql).bind(email(name)).fetch_one(&pool).await.unwrap();
            pool.close().await;
            hash
        } else if store.starts_with("postgres:") {
            let pool = PgPool::connect(store).await.unwrap();
            let hash = sqlx::query_scalar(sql).bind(email(name)).fetch_one(&pool).await.unwrap();
            pool.close().await;
            hash
        } else if store.starts_with("mysql:") {
            let pool = sqlx::MySqlPool::connect(store).await.unwrap();
            let sql = "SELECT hash FROM auth_server_accounts WHERE name = ?";
            let hash = sqlx::query_scalar(sql).bind(email(name)).fetch_one(&pool).await.unwrap();
            pool.close().await;
            hash
        } else {
            let client = ::redis::Client::open(store).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let text: String = ::redis::cmd("HGET")
                .arg(&["auth_server:accounts", &email(name)])
                .query_async(&mut connection)
                .await
                .unwrap();
            let account: Value = serde_json::from_str(&text).unwrap();
            account["hash"].as_str().unwrap().to_owned()
        }
    })
}

#[test]
#[ignore = "needs PostgreSQL, MariaDB and Redis"]
fn a_table_of_users_is_imported_and_its_hashes_are_replaced() {
    on_each(|server, folder, store| {
        server.register("ada");
        let csv = format!(
            "id,email,password_hash,role\n\
             1,Grace@Example.com,{BCRYPT},admin\n\
             2,ada@example.com,{BCRYPT},admin\n\
             3,\"joan@example.com\",\"{BCRYPT}\",\n"
        );
        let dry = import(folder, store, csv.as_bytes(), &["--dry-run"]);
        let report = "line 3: ada@example.com has an account already\n\
                      2 would be imported, 1 left as they were\n";
        assert_eq!(texts(&dry), (true, report, ""));
        assert_eq!(log_in_with(server, "grace", PASSWORD).status(), 401);

        let done = import(folder, store, csv.as_bytes(), &[]);
        let report = report.replace("would be imported", "imported");
        assert_eq!(texts(&done), (true, &*report, ""));
        assert_eq!(stored_hash(folder, store, "grace"), BCRYPT);

        assert_eq!(log_in_with(server, "grace", "wrong").error(), (401, "invalid_credentials"));
        assert_eq!(stored_hash(folder, store, "grace"), BCRYPT);
        let tokens = log_in_with(server, "grace", PASSWORD).tokens();
        let me = server.get("/api/live", &tokens.access);
        assert_eq!(
            (&me.body["email"], &me.body["role"]),
            (&json!("Grace@example.com"), &json!("admin"))
        );
        assert!(stored_hash(folder, store, "grace").starts_with("$argon2id$"));
        log_in_with(server, "grace", PASSWORD).tokens();
        server.refresh(&tokens).tokens();
        // The one that was there before is what it was.
        let tokens = server.log_in("ada");
        assert_eq!(server.get("/api/me", &tokens.access).body["role"], "member");

        // Both replace the hash, and one of them finds it replaced.
        thread::scope(|scope| {
            let logins = [(); 2].map(|()| scope.spawn(|| log_in_with(server, "joan", PASSWORD)));
            for login in logins {
                login.join().unwrap().tokens();
            }
        });

        let again = import(folder, store, csv.as_bytes(), &[]);
        let (is_done, report, _) = texts(&again);
        assert!(is_done && report.ends_with("\n0 imported, 3 left as they were\n"), "{report}");
        assert!(stored_hash(folder, store, "grace").starts_with("$argon2id$"));
    });
}

#[test]
fn a_file_with_faults_is_not_imported_and_they_are_named_by_line() {
    let folder = Scratch::new("auth-import");
    let head = "email,password_hash,role\n";
    let good = format!("ada@example.com,{BCRYPT},member\n");
    for (csv, expected) in [
        (String::new(), "line 1: the column email is missing"),
        (
            format!("email,hash\nada@example.com,{BCRYPT}\n"),
            "line 1: the column password_hash is missing",
        ),
        (
            format!("email,email,password_hash\na@b.c,a@b.c,{BCRYPT}\n"),
            "line 1: the column email is there twice",
        ),
        (format!("{head}{good}ada,{BCRYPT},\n"), "line 3: \"ada\" is not an email address"),
        (format!("{head}{good}eve@example.com,secret,\n"), "line 3: the hash is neither bcrypt's"),
        (
            format!("{head}{good}eve@example.com,$2b$31${},\n", &BCRYPT[7..]),
            "line 3: the hash is neither",
        ),
        (
            format!("{head}{good}eve@example.com,{BCRYPT},the boss\n"),
            "line 3: \"the boss\" is not a role",
        ),
        (
            format!("{head}{good}\neve@example.com,{BCRYPT}\n"),
            "line 4: there are 2 fields, and 3 columns",
        ),
        (
            format!("{head}{good}\n\nADA@example.com,{BCRYPT},\n"),
            "line 5: ADA@example.com is in line 2 too",
        ),
        (format!("{head}{good}{}", "x,y,z\n".repeat(30)), "\nand 10 more"),
    ] {
        let output = import(&folder, "sqlite:auth.db", csv.as_bytes(), &[]);
        let (is_done, report, log) = texts(&output);
        assert!(
            !is_done && report.is_empty() && log.contains("nothing was imported"),
            "{csv}: {log}"
        );
        assert!(log.contains(expected), "{expected}: {log}");
        assert!(!log.contains("secret") && !log.contains("$2b$06"), "{log}");
    }
    let output =
        import(&folder, "sqlite:auth.db", b"email,password_hash\n\xff@example.com,x\n", &[]);
    assert!(texts(&output).2.contains("line 2: this is not UTF-8"), "{output:?}");
    let output = import(&folder, "memory", b"email,password_hash\n", &[]);
    assert!(texts(&output).2.contains("cannot be imported into memory"), "{output:?}");
    let output = Command::new(env!("CARGO_BIN_EXE_auth_server"))
        .current_dir(folder.path())
        .args(["import", "none.csv", "--store", "sqlite:auth.db"])
        .output()
        .unwrap();
    assert!(texts(&output).2.contains("none.csv cannot be read"), "{output:?}");
    // As other programs write it, with a byte order mark and their ends of lines.
    let csv = format!("\u{feff}email , password_hash\r\nada@example.com , {BCRYPT}\r\n");
    let output = import(&folder, "sqlite:auth.db", csv.as_bytes(), &[]);
    assert_eq!(texts(&output), (true, "1 imported, 0 left as they were\n", ""));
    // The server takes the file that the command has made.
    AuthServer::start(&folder, "sqlite:auth.db", &[]).log_in("ada");
}

/// The database takes no other hash; the login goes on.
#[test]
#[ignore = "needs PostgreSQL"]
fn a_login_does_not_fail_because_its_hash_is_not_replaced() {
    let database = Database::start();
    let folder = Scratch::new("auth-not-replaced");
    let store = database.postgres.url();
    let server = AuthServer::start(&folder, &store, &[]);
    let csv = format!("email,password_hash\nada@example.com,{BCRYPT}\n");
    assert!(import(&folder, &store, csv.as_bytes(), &[]).status.success());
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'not today'; END $$; \
         CREATE TRIGGER refuse BEFORE UPDATE ON auth_server_accounts FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    server.log_in("ada");
    assert_eq!(stored_hash(&folder, &store, "ada"), BCRYPT);
    assert!(server.log().contains("the hash of a password was not replaced"));
    database.execute("DROP TRIGGER refuse ON auth_server_accounts");
    server.log_in("ada");
    assert!(stored_hash(&folder, &store, "ada").starts_with("$argon2id$"));
}

#[test]
fn every_error_has_one_shape() {
    let folder = Scratch::new("auth-errors");
    let server = AuthServer::start(&folder, "memory", &[]);
    let json = ("content-type", "application/json");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let large = format!("{{\"email\": \"{}\"}}", "a".repeat(40_000));
    let deep = "[".repeat(30_000);
    for (method, path, header, body, status, error, words) in [
        ("GET", "/nothing", json, "", 404, "not_found", "there is nothing at this path"),
        ("POST", "/", json, "{}", 405, "method_not_allowed", "Allow"),
        ("GET", "/login", json, "", 405, "method_not_allowed", "Allow"),
        ("DELETE", "/auth/refresh", json, "", 405, "method_not_allowed", "Allow"),
        ("GET", "/auth/nothing", json, "", 404, "not_found", "there is nothing"),
        ("GET", "/api/me", json, "", 401, "missing_token", "the request has no access token"),
        ("POST", "/password", json, "{}", 401, "missing_token", "no access token"),
        ("POST", "/login", form, "email=ada", 415, "invalid_request", "application/json"),
        ("POST", "/login", ("x-nothing", "1"), "{}", 415, "invalid_request", "application/json"),
        ("POST", "/login", json, "", 400, "invalid_request", "the body is not valid JSON"),
        ("POST", "/login", json, "{", 400, "invalid_request", "the body is not valid JSON"),
        ("POST", "/login", json, &deep, 400, "invalid_request", "the body is not valid JSON"),
        ("POST", "/login", json, "[]", 400, "invalid_request", "the body is not a JSON object"),
        ("POST", "/login", json, "{}", 400, "invalid_request", "the member \"email\" is missing"),
        (
            "POST",
            "/login",
            json,
            r#"{"email": 7}"#,
            400,
            "invalid_request",
            "the member \"email\" is not a string",
        ),
        (
            "POST",
            "/login",
            json,
            r#"{"email": "a@b.c", "password": "\ud800"}"#,
            400,
            "invalid_request",
            "the body is not valid JSON",
        ),
        (
            "POST",
            "/login",
            json,
            r#"{"email": "a@b.c", "password": "x", "cookies": "yes"}"#,
            400,
            "invalid_request",
            "the member \"cookies\" is not true or false",
        ),
        ("POST", "/register", json, &large, 413, "invalid_request", "up to 32 KiB"),
        (
            "POST",
            "/register",
            json,
            r#"{"email": "ada"}"#,
            400,
            "invalid_request",
            "\"password\" is missing",
        ),
        ("POST", "/unregister", json, "7", 400, "invalid_request", "not a JSON object"),
        ("POST", "/explain", json, "{}", 400, "invalid_request", "the member \"token\" is missing"),
    ] {
        let answer = server.send(method, path, &[header], body);
        let case = format!("{method} {path} {header:?} {:.50}: {}", body, answer.body);
        assert_eq!(answer.error(), (status, error), "{case}");
        let description = answer.body["error_description"].as_str().unwrap();
        assert!(description.contains(words), "{case}");
        for word in ["line ", "column", "expected", "serde", "invalid type", "EOF"] {
            assert!(!description.contains(word), "{case}");
        }
        assert_eq!(answer.body.as_object().unwrap().len(), 2, "{case}");
        assert_eq!(answer.header("content-type"), "application/json", "{case}");
        assert_eq!(answer.header("cache-control"), "no-store", "{case}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{case}");
        assert_eq!(status == 405, !answer.header("allow").is_empty(), "{case}");
    }
}

/// Names, passwords and devices of all sorts.
const STRANGE: [&str; 16] = [
    "",
    " ",
    "\0",
    "a\0b@example.com",
    "line\nbreak@example.com",
    "\u{7f}\u{80}\u{9f}",
    "\u{202e}moc.elpmaxe@ada",
    "\u{200b}\u{feff}\u{2028}\u{2029}",
    "👩\u{200d}👩\u{200d}👧@example.com",
    "🥷🥰🫠 emoji of today",
    "\u{e000}\u{fffd}\u{fffe}\u{10ffff}",
    "a\u{301}\u{301}\u{301}\u{301}",
    "'; DROP TABLE auth_server_accounts; --",
    "\"quoted\"@example.com",
    "ada@xn--a.example",
    "$argon2id$v=19$m=4294967295,t=4294967295,p=1$YQ$YQ",
];

#[test]
fn nothing_that_a_user_types_is_a_fault_of_the_server() {
    let long = "x".repeat(10_000);
    let dense = "\u{1f511}\u{202e}\u{301}".repeat(1000);
    let texts: Vec<&str> = STRANGE.into_iter().chain([&*long, &dense]).collect();
    on_each(|server, folder, store| {
        server.register("ada");
        for group in texts.chunks(6) {
            // An address is let in twenty times at once.
            let server = AuthServer::start(folder, store, &[]);
            for text in group {
                let good = |answer: Answer, expected: &[u16]| {
                    assert!(expected.contains(&answer.status()), "{text:?}: {}", answer.body);
                };
                let credentials = json!({ "email": text, "password": PASSWORD });
                good(server.post("/register", &credentials), &[400]);
                good(server.post("/login", &credentials), &[401]);
                let credentials = json!({ "email": "eve@example.com", "password": text });
                good(server.post("/login", &credentials), &[401, 429]);
            }
        }
        // A device is called as near to it as can be shown.
        for group in texts.chunks(5) {
            let server = AuthServer::start(folder, store, &[]);
            for text in group {
                let body =
                    json!({ "email": "ada@example.com", "password": PASSWORD, "device": text });
                server.post("/login", &body).tokens();
            }
        }
        let server = AuthServer::start(folder, store, &[]);
        let tokens = server.log_in("ada");
        let sessions = server.get("/auth/sessions", &tokens.access);
        let sessions = sessions.body["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), texts.len() + 1);
        for session in sessions {
            let label = session["label"].as_str().unwrap_or_default();
            assert!(label.len() <= 128 && !label.contains(char::is_control), "{label:?}");
        }
    });
}

#[test]
fn passwords_of_all_sorts_are_taken_or_refused_in_words() {
    let folder = Scratch::new("auth-passwords");
    let server = AuthServer::start(&folder, "memory", &[]);
    for (count, (password, words)) in [
        ("1234567", "at least 8 characters"),
        ("パスワード", "at least 8 characters"),
        (&*"é".repeat(257), "up to 256 characters"),
        (&"x".repeat(20_000), "up to 256 characters"),
        ("password123", "choose another"),
        ("user5@example.com", "choose another"),
        ("correct\0horse", "control character"),
        ("🥷🥰🫠🥷🥰🫠🥷🥰", ""),
        (&"漢".repeat(256), ""),
        ("  spaces count  ", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let address = email(&format!("user{count}"));
        let body = json!({ "email": address, "password": password });
        let answer = server.post("/register", &body);
        if words.is_empty() {
            assert_eq!(answer.status(), 201, "{password}: {}", answer.body);
            server.post("/login", &body).tokens();
        } else {
            assert_eq!(answer.error(), (400, "invalid_request"), "{password}");
            let description = answer.body["error_description"].as_str().unwrap();
            assert!(description.contains(words), "{password}: {description}");
        }
    }
}

/// Typed on a Mac and on a phone.
#[test]
fn a_password_is_the_same_from_every_keyboard() {
    let folder = Scratch::new("auth-keyboards");
    let server = AuthServer::start(&folder, "memory", &[]);
    let body = |email: &str, password: &str| json!({ "email": email, "password": password });
    let register = server
        .post("/register", &body("jose\u{301}@example.com", "cre\u{300}me bru\u{302}le\u{301}e"));
    assert_eq!(register.status(), 201);
    let login = server.post("/login", &body("José@EXAMPLE.com", "crème\u{a0}brûlée"));
    login.tokens();
}

/// The lines of an audit.
fn audit(server: &AuthServer) -> Vec<Value> {
    let log = server.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"] == "auth_server::audit").collect()
}

#[test]
fn what_is_tried_with_a_password_is_audited() {
    let folder = Scratch::new("auth-audit");
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    server.register("ada");
    assert_eq!(
        server
            .post("/register", &json!({ "email": "Ada@example.com", "password": PASSWORD }))
            .status(),
        409
    );
    let tokens = server.log_in("ada");
    log_in_with(&server, "ADA", "wrong password");
    // As people do.
    let secret = "my secret password";
    server.post("/login", &json!({ "email": secret, "password": "ada" }));
    log_in_with(&server, "eve", "wrong password");
    change(&server, &tokens.access, "wrong password", NEW);
    assert_eq!(change(&server, &tokens.access, PASSWORD, NEW).status(), 204);
    unregister(&server, "ada");
    for _ in 0..5 {
        log_in_with(&server, "eve", "wrong password");
    }
    server.post("/unregister", &json!({ "email": "carol@example.com", "password": NEW }));

    let lines = audit(&server);
    let of = |name: &str| -> Vec<(String, String)> {
        let text = |line: &Value, member: &str| line[member].as_str().unwrap_or("-").to_owned();
        let digest = &lines.iter().find(|line| line["message"] == name).unwrap()["account"];
        let same = lines.iter().filter(|line| line["account"] == *digest);
        same.map(|line| (text(line, "message"), text(line, "reason"))).collect()
    };
    let pair = |message: &str, reason: &str| (message.to_owned(), reason.to_owned());
    assert_eq!(
        of("registration accepted"),
        [
            pair("registration accepted", "-"),
            pair("registration refused", "the address has an account"),
            pair("login accepted", "-"),
            pair("login refused", "wrong password"),
            pair("password change refused", "wrong password"),
            pair("password change accepted", "-"),
            pair("unregistration refused", "wrong password"),
        ]
    );
    let subjects: Vec<&Value> =
        lines.iter().map(|line| &line["subject"]).filter(|it| it.is_string()).collect();
    assert!(subjects.len() == 6 && subjects.iter().all(|subject| *subject == subjects[0]));
    let reasons: Vec<&str> = lines.iter().filter_map(|line| line["reason"].as_str()).collect();
    for (reason, count) in
        [("not an address", 1), ("no such account", 6), ("too many tries at the account", 1)]
    {
        assert_eq!(
            reasons.iter().filter(|it| **it == reason).count(),
            count,
            "{reason}: {reasons:?}"
        );
    }
    for line in &lines {
        assert_eq!(line["address"], "127.0.0.1");
        assert_eq!(line["account"].as_str().unwrap().len(), 22);
        let is_refusal = line["message"].as_str().unwrap().ends_with("refused");
        assert_eq!(line["level"], if is_refusal { "WARN" } else { "INFO" });
    }
    let log = server.log();
    for typed in [secret, "ada@", "eve@", "example.com", PASSWORD, NEW] {
        assert!(!log.contains(typed), "{typed} is in the log");
    }

    // The digest of an address is another elsewhere, and the same here after a restart.
    let digest = lines[0]["account"].clone();
    assert!(server.stop().success());
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    log_in_with(&server, "ada", PASSWORD);
    assert_eq!(audit(&server).last().unwrap()["account"], digest);
    let folder = Scratch::new("auth-audit");
    let server = AuthServer::start(&folder, "memory", &[]);
    log_in_with(&server, "ada", PASSWORD);
    assert_ne!(audit(&server).last().unwrap()["account"], digest);
}

#[test]
fn an_address_that_tries_too_often_is_audited() {
    let folder = Scratch::new("auth-audit");
    let server = AuthServer::start(&folder, "memory", &[]);
    for count in 0..21 {
        server
            .post("/register", &json!({ "email": format!("no address {count}"), "password": "" }));
    }
    let lines = audit(&server);
    assert_eq!(lines.last().unwrap()["reason"], "too many tries from the address");
}

/// Names that were given before there were addresses.
#[test]
fn accounts_of_earlier_versions_log_in() {
    let folder = Scratch::new("auth-earlier");
    let hash = {
        let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
        server.register("ada");
        let hash = stored_hash(&folder, "sqlite:auth.db", "ada");
        assert!(server.stop().success());
        hash
    };
    let url = format!("sqlite:{}", folder.path().join("auth.db").display());
    Runtime::new().unwrap().block_on(async {
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        let sql = "DROP TABLE auth_server_accounts; \
            CREATE TABLE auth_server_accounts (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, \
            hash TEXT NOT NULL, role TEXT NOT NULL)";
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        let insert = "INSERT INTO auth_server_accounts VALUES ('1', 'ada', $1, 'admin')";
        sqlx::query(insert).bind(hash).execute(&pool).await.unwrap();
        pool.close().await;
    });
    let server = AuthServer::start(&folder, "sqlite:auth.db", &[]);
    let body = json!({ "email": "Ada", "password": PASSWORD });
    let tokens = server.post("/login", &body).tokens();
    let me = server.get("/api/me", &tokens.access);
    assert_eq!((&me.body["email"], &me.body["subject"]), (&json!("ada"), &json!("1")));
    assert_eq!(change(&server, &tokens.access, PASSWORD, NEW).status(), 204);
    server.refresh(&tokens).tokens();
}
