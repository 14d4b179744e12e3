//! Key files that are missing, damaged, left half made by a crash, or made by several servers at
//! once.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    thread,
    time::{Duration, SystemTime},
};

use crate::support::{
    program::{self, Program},
    servers::Scratch,
};

/// Returns a shell command that runs `before` and then becomes the server.
fn after(before: &str, options: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{before} && exec \"$0\" --listen 127.0.0.1:0 {options}");
    command.args(["-c", &script]).arg(program::path());
    command
}

/// Returns the log of a server that does not start.
fn refused(folder: &Scratch, mut command: Command) -> String {
    let output = command.current_dir(folder.path()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{log}");
    assert!(!log.contains("\"k\""), "{log}");
    log
}

fn files(folder: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_a_crash_has_left_stops_no_start_and_is_removed() {
    let folder = Scratch::new("auth-drafts");
    // An earlier version named its drafts by the process id, which repeats at each start of a
    // container.
    let drafts = "for kind in access refresh; do echo half > keys.$kind.jwk.$$; done";
    let server = Program::spawn(&folder, &mut after(drafts, "--store memory --keys keys"));
    drop(server);
    let draft = |name: &str, age| {
        let file = File::create(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    };
    draft("keys.access.jwk.draft-aB3dE6", 100);
    draft("keys.refresh.jwk.draft-xyz", 100);
    draft("keys.refresh.jwk.draft-young", 0);
    draft("other.access.jwk.draft-aB3dE6", 100);
    let server = Program::start(&folder, "memory", &["--keys", "keys"]);
    server.wait_for_log("removed drafts that a crash had left");
    let names = files(&folder);
    let drafts: Vec<_> = names.iter().filter(|name| name.contains("draft")).collect();
    assert_eq!(drafts, ["keys.refresh.jwk.draft-young", "other.access.jwk.draft-aB3dE6"]);
}

#[test]
fn servers_that_start_at_once_have_the_same_keys() {
    let folder = Scratch::new("auth-at-once");
    let servers: Vec<Program> = thread::scope(|scope| {
        let start = || {
            scope.spawn(|| {
                Program::start(&folder, "sqlite:auth.db", &["--url", "http://auth.example"])
            })
        };
        let starting: Vec<_> = (0..4).map(|_| start()).collect();
        starting.into_iter().map(|server| server.join().unwrap()).collect()
    });
    servers[0].register("ada@example.com");
    let token = format!("Bearer {}", servers[0].log_in("ada@example.com"));
    for server in &servers {
        let answer = server.ask("GET", "/api/me", &[("authorization", &token)], "").unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.body);
    }
    assert!(files(&folder).iter().all(|name| !name.contains("draft")), "{:?}", files(&folder));
}

fn write_private(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_file_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let memory = || after("true", "--store memory --keys keys");
    for (what, words) in [
        ("empty", &["is empty", "remove it"][..]),
        ("half a key", &["keys.access.jwk", "JSON"]),
        ("another text", &["keys.access.jwk", "not a JWK"]),
        ("a folder", &["keys.access.jwk", "not a regular file"]),
        ("a broken link", &["keys.access.jwk", "No such file"]),
        ("readable by others", &["chmod 600"]),
    ] {
        let folder = Scratch::new("auth-key-file");
        let path = folder.path().join("keys.access.jwk");
        match what {
            "empty" => write_private(&path, "", 0o600),
            "half a key" => write_private(&path, "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDf", 0o600),
            "another text" => write_private(&path, "-----BEGIN", 0o600),
            "a folder" => fs::create_dir(&path).unwrap(),
            "a broken link" => symlink("nowhere", &path).unwrap(),
            _ => write_private(&path, "{}", 0o644),
        }
        let log = refused(&folder, memory());
        for word in words {
            assert!(log.contains(word), "{what}: {log}");
        }
    }
    let folder = Scratch::new("auth-key-folder");
    let log = refused(&folder, after("true", "--store memory --keys missing/keys"));
    assert!(log.contains("missing/keys.access.jwk") && log.contains("has to exist"), "{log}");
}

/// With a size limit of zero, writing fails as on a full disk. The shell ignores the signal that
/// the kernel sends besides.
#[test]
fn a_disk_that_is_full_leaves_no_half_of_a_key() {
    let folder = Scratch::new("auth-full-disk");
    let full = after("trap '' XFSZ && ulimit -f 0", "--store memory --keys keys");
    let log = refused(&folder, full);
    assert!(log.contains("keys.access.jwk") && log.contains("to have room"), "{log}");
    assert_eq!(files(&folder), [""; 0]);
    // It starts when there is room again.
    let server = Program::start(&folder, "memory", &["--keys", "keys"]);
    server.wait_for_log("made a new key");
    assert_eq!(files(&folder), ["keys.access.jwk", "keys.audit.jwk", "keys.refresh.jwk", "log"]);
}
