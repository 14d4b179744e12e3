//! The file of an open store is removed, renamed, replaced or truncated; and its permissions.

use std::{io::Read, os::unix::fs::PermissionsExt, process::Output};

use super::*;

/// A store with three sessions, whose file is in a folder within the scratch folder.
struct Opened {
    scratch: Scratch,
    store: SqliteStore,
    acknowledged: Vec<SessionRecord>,
}

impl Opened {
    async fn new() -> Self {
        let scratch = Scratch::new("sqlite");
        fs::create_dir(scratch.path().join("folder")).unwrap();
        let opened = Self::at(&scratch.path().join("folder/sessions.db")).await;
        Self { scratch, ..opened }
    }

    /// Opens the store at this path.
    async fn at(path: &Path) -> Self {
        let store = open(path).await;
        let acknowledged = add_three(&store).await;
        Self { scratch: Scratch::new("unused"), store, acknowledged }
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("folder")
    }

    fn path(&self) -> PathBuf {
        self.folder().join("sessions.db")
    }

    /// Returns a path outside of the folder.
    fn aside(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Makes a backup as the documentation recommends.
    async fn backup(&self) -> PathBuf {
        let backup = self.aside("backup.db");
        let mut connection = raw(&self.path()).await;
        let statement = format!("VACUUM INTO '{}'", backup.display());
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        private(&backup);
        backup
    }

    /// Checks that each step fails, and that the error names the file.
    async fn refuses(&self, culprit: &str) {
        let (store, first) = (&self.store, &self.acknowledged[0]);
        // Twice, because the first step may have changed how the others fail.
        for _ in 0..2 {
            for (step, error) in [
                ("insert", store.insert(&InsertRequest::new(session("late"))).await.unwrap_err()),
                ("load", store.load(&first.id).await.unwrap_err()),
                ("list", store.list(&ListRequest::new("alice", LOGIN)).await.unwrap_err()),
                ("rotate", store.rotate(&request(first, 0, LOGIN)).await.unwrap_err()),
                ("revoke", store.revoke(&first.id, RevokeReason::Logout, LOGIN).await.unwrap_err()),
                (
                    "revoke_subject",
                    store
                        .revoke_subject("alice", None, RevokeReason::LogoutAll, LOGIN)
                        .await
                        .unwrap_err(),
                ),
                ("purge", store.purge_expired(UnixMillis::MAX, 10).await.unwrap_err()),
            ] {
                let kind = error.kind();
                assert_eq!(kind, StoreErrorKind::Misconfigured, "{culprit}: {step}: {error}");
                let message = error.to_string();
                assert!(message.contains(&format!("{culprit} ")), "{culprit}: {step}: {message}");
                assert!(message.contains("Stop all processes"), "{culprit}: {step}: {message}");
            }
        }
    }

    /// Checks that the file at this path has exactly the acknowledged sessions, unchanged.
    async fn is_whole(&self, path: &Path) {
        holds(path, &self.acknowledged).await;
    }
}

async fn add_three(store: &SqliteStore) -> Vec<SessionRecord> {
    let sessions: Vec<_> = (0..3).map(|_| session("alice")).collect();
    for session in &sessions {
        assert_eq!(
            store.insert(&InsertRequest::new(session.clone())).await.unwrap(),
            InsertOutcome::INSERTED
        );
    }
    sessions
}

/// Checks that a store at this path has these sessions, and that its file is intact.
async fn holds(path: &Path, sessions: &[SessionRecord]) {
    let store = open(path).await;
    let mut wanted = sessions.to_vec();
    wanted.sort_by_key(|session| session.id);
    assert_eq!(
        store.list(&ListRequest::new("alice", LOGIN)).await.unwrap(),
        wanted,
        "{}",
        path.display()
    );
    store.close().await;
    let mut connection = raw(path).await;
    let check: String =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(check, "ok", "{}", path.display());
    let others: i64 =
        sqlx::query_scalar("SELECT count(*) FROM kippu_sessions WHERE subject <> 'alice'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(others, 0, "{}", path.display());
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn a_removed_file_is_noticed() {
    run(async {
        for ends in [&[""][..], &["", "-wal", "-shm"]] {
            let opened = Opened::new().await;
            let path = opened.path();
            for end in ends {
                fs::remove_file(with_end(&path, end)).unwrap();
            }
            opened.refuses("sessions.db").await;
            opened.store.close().await;
            assert!(!path.exists(), "the store must not create a file in its place");
            holds(&path, &[]).await;
        }
    });
}

#[test]
fn a_renamed_file_is_noticed_and_complete() {
    run(async {
        let opened = Opened::new().await;
        let (path, aside) = (opened.path(), opened.aside("aside.db"));
        fs::rename(&path, &aside).unwrap();
        opened.refuses("sessions.db").await;
        // Without its log, which is still at the old place.
        opened.is_whole(&aside).await;
        // The file is back: the steps work again.
        fs::rename(&aside, &path).unwrap();
        let more = session("alice");
        opened.store.insert(&InsertRequest::new(more.clone())).await.unwrap();
        assert_eq!(opened.store.load(&more.id).await.unwrap(), Some(more.clone()));
        opened.store.close().await;
        holds(&path, &[opened.acknowledged, vec![more]].concat()).await;
    });
}

/// Neither the steps on the old file nor its log change the new file.
#[test]
fn a_backup_moved_over_the_file_stays_unchanged() {
    run(async {
        for is_used in [true, false] {
            let opened = Opened::new().await;
            let backup = opened.backup().await;
            let before = fs::read(&backup).unwrap();
            // Acknowledged after the backup, and stored in the log.
            add_three(&opened.store).await;
            fs::rename(&backup, opened.path()).unwrap();
            if is_used {
                opened.refuses("sessions.db").await;
            }
            // A store that was not used meanwhile leaves no log either.
            opened.store.close().await;
            assert_eq!(fs::read(opened.path()).unwrap(), before);
            opened.is_whole(&opened.path()).await;
        }
    });
}

#[test]
fn a_file_in_the_place_of_the_old_one_stays_unchanged() {
    run(async {
        for kind in ["copy", "application", "text", "empty"] {
            let opened = Opened::new().await;
            let other = opened.aside("other");
            match kind {
                "copy" => drop(fs::copy(opened.path(), &other).unwrap()),
                "application" => {
                    let mut connection = raw(&other).await;
                    execute(&mut connection, "CREATE TABLE notes (text)").await;
                    connection.close().await.unwrap();
                }
                "text" => fs::write(&other, "This is not a database. ".repeat(1000)).unwrap(),
                _ => fs::write(&other, "").unwrap(),
            }
            let before = fs::read(&other).unwrap();
            fs::rename(&other, opened.path()).unwrap();
            opened.refuses("sessions.db").await;
            opened.store.close().await;
            assert_eq!(fs::read(opened.path()).unwrap(), before, "{kind}");
        }
    });
}

#[test]
fn a_link_that_leads_elsewhere_is_noticed() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let at = |name: &str| scratch.path().join(name);
        let retarget = |to: &str| {
            std::os::unix::fs::symlink(at(to), at("new-link")).unwrap();
            fs::rename(at("new-link"), at("link")).unwrap();
        };
        retarget("first.db");
        // The link has no target before the store creates the file.
        let opened = Opened::at(&at("link")).await;
        assert!(at("first.db").is_file());
        assert_eq!(mode(&at("first.db")), 0o600);
        open(at("second.db")).await.close().await;
        retarget("second.db");
        opened.refuses("link").await;
        retarget("first.db");
        opened.store.insert(&InsertRequest::new(session("bob"))).await.unwrap();
        retarget("second.db");
        opened.store.close().await;
        holds(&at("second.db"), &[]).await;
    });
}

#[test]
fn a_folder_that_is_renamed_or_replaced_is_noticed() {
    run(async {
        let opened = Opened::new().await;
        let (folder, aside) = (opened.folder(), opened.aside("aside"));
        fs::rename(&folder, &aside).unwrap();
        opened.refuses("sessions.db").await;
        opened.is_whole(&aside.join("sessions.db")).await;
        // Another database, which another store has open, is at the old path.
        fs::create_dir(&folder).unwrap();
        let other = Opened::at(&opened.path()).await;
        opened.refuses("sessions.db").await;
        opened.store.close().await;
        assert_eq!(other.store.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(), 3);
        other.store.close().await;
        other.is_whole(&opened.path()).await;
        opened.is_whole(&aside.join("sessions.db")).await;
    });
}

/// No acknowledged session was only in the file.
#[test]
fn a_log_that_was_removed_or_replaced_is_noticed_and_loses_nothing() {
    run(async {
        for ends in [&["-wal"][..], &["-shm"], &["-wal", "-shm"]] {
            for is_replaced in [false, true] {
                let opened = Opened::new().await;
                let path = opened.path();
                for end in ends {
                    let file = with_end(&path, end);
                    fs::remove_file(&file).unwrap();
                    // Another process may have created another index, whose locks the store cannot
                    // see: so the log stays.
                    if is_replaced && *end == "-wal" {
                        fs::write(&file, "").unwrap();
                    }
                }
                opened.refuses(&format!("sessions.db{}", ends[0])).await;
                opened.store.close().await;
                opened.is_whole(&path).await;
            }
        }
    });
}

#[test]
fn a_truncated_file_is_noticed() {
    run(async {
        for (end, part) in [("", 0), ("", 1), ("-wal", 0), ("-wal", 1)] {
            let opened = Opened::new().await;
            // Moves the log into the file, so that there is something to truncate.
            let mut connection = raw(&opened.path()).await;
            execute(&mut connection, "PRAGMA wal_checkpoint").await;
            connection.close().await.unwrap();
            add_three(&opened.store).await;
            let file = with_end(&opened.path(), end);
            let len = fs::metadata(&file).unwrap().len();
            cut(&file, len * part / 2);
            let (store, late) = (&opened.store, session("late"));
            for error in [
                store.insert(&InsertRequest::new(late.clone())).await.unwrap_err(),
                store.rotate(&request(&opened.acknowledged[0], 0, LOGIN)).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{end} {part} {error}");
                assert!(error.to_string().contains("was truncated"), "{end} {part} {error}");
            }
            store.close().await;
        }
    });
}

/// These make files smaller and lose nothing.
#[test]
fn a_vacuum_or_an_emptied_log_is_accepted() {
    run(async {
        let opened = Opened::new().await;
        let mut expired = Vec::new();
        for _ in 0..500 {
            let session = session("bob");
            opened.store.insert(&InsertRequest::new(session.clone())).await.unwrap();
            expired.push(session);
        }
        let mut connection = raw(&opened.path()).await;
        execute(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        opened.store.insert(&InsertRequest::new(session("carol"))).await.unwrap();
        execute(&mut connection, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        let before = fs::metadata(opened.path()).unwrap().len();
        execute(&mut connection, "DELETE FROM kippu_sessions WHERE subject <> 'alice'").await;
        execute(&mut connection, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").await;
        assert!(fs::metadata(opened.path()).unwrap().len() < before);
        let more = session("alice");
        opened.store.insert(&InsertRequest::new(more.clone())).await.unwrap();
        opened.store.close().await;
        connection.close().await.unwrap();
        holds(&opened.path(), &[opened.acknowledged, vec![more]].concat()).await;
    });
}

/// The step waits for a lock. When it gets the lock, the file is no longer at its path.
#[test]
fn a_file_renamed_while_a_step_waits_stays_unchanged() {
    run(async {
        let opened = Opened::new().await;
        let mut connection = raw(&opened.path()).await;
        execute(&mut connection, "BEGIN IMMEDIATE").await;
        let waiting = tokio::spawn({
            let store = opened.store.clone();
            async move { store.insert(&InsertRequest::new(session("late"))).await }
        });
        sleep(Duration::from_millis(300)).await;
        fs::rename(opened.path(), opened.aside("aside.db")).unwrap();
        execute(&mut connection, "COMMIT").await;
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        connection.close().await.unwrap();
        opened.store.close().await;
        opened.is_whole(&opened.aside("aside.db")).await;
    });
}

/// A process is stopped in the middle of a step, usually in the commit, and its file is renamed
/// meanwhile.
#[test]
fn a_file_that_is_renamed_during_a_commit_is_noticed() {
    let mut acknowledged = 0;
    for round in 0..20 {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        let (mut child, mut output) = spawn("files::adds_until_refused", &[path.to_str().unwrap()]);
        waiting::read_until(&mut output, "adding");
        thread::sleep(Duration::from_millis(20 + 3 * round));
        waiting::signal(&child, "STOP");
        fs::rename(&path, scratch.path().join("aside.db")).unwrap();
        waiting::signal(&child, "CONT");
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        assert!(rest.contains("refused"), "{rest}");
        acknowledged += rest.matches("acknowledged").count();
    }
    // The process may be stopped between its last check of the file and the answer, which takes
    // longer on a busy machine. Without that check, 17 or 18 of 20 rounds acknowledge the step.
    assert!(acknowledged <= 10, "{acknowledged}");
}

/// The test above runs this in a separate process.
#[test]
fn adds_until_refused() {
    let Some(words) = words() else { return };
    let path = Path::new(&words[0]);
    run(async {
        let store = open(path).await;
        println!("\nadding");
        loop {
            match store.insert(&InsertRequest::new(session("alice"))).await {
                Ok(_) if path.exists() => {}
                Ok(_) => println!("\nacknowledged"),
                Err(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
                    println!("\nrefused");
                    break;
                }
            }
        }
    });
}

/// While requests are in flight: what was acknowledged is in the renamed file, and no request that
/// began after the renaming was acknowledged.
#[test]
fn nothing_is_acknowledged_after_a_renaming() {
    run(async {
        for _ in 0..10 {
            let opened = Opened::new().await;
            let (path, aside) = (opened.path(), opened.aside("aside.db"));
            let mut tasks = JoinSet::new();
            for _ in 0..8 {
                let (store, path) = (opened.store.clone(), path.clone());
                tasks.spawn(async move {
                    let mut acknowledged = Vec::new();
                    loop {
                        let session = session("alice");
                        let was_there = path.exists();
                        match store.insert(&InsertRequest::new(session.clone())).await {
                            Ok(_) => {
                                assert!(was_there, "acknowledged, and not in the file at the path");
                                acknowledged.push(session);
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
                                break acknowledged;
                            }
                        }
                    }
                });
            }
            sleep(Duration::from_millis(30)).await;
            fs::rename(&path, &aside).unwrap();
            let acknowledged = tasks.join_all().await.concat();
            opened.store.close().await;
            let store = open(&aside).await;
            for session in opened.acknowledged.iter().chain(&acknowledged) {
                assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(session));
            }
            store.close().await;
        }
    });
}

/// Runs a test of this file in a separate process, from a copy of the program that every user may
/// run.
fn in_child(scratch: &Scratch, test: &str, before: &[&str]) {
    let program = scratch.path().join("program");
    // Another process writes the copy. A child that another test starts meanwhile would hold the
    // file open for writing until its `exec`, and a program that is open for writing cannot be run
    // (ETXTBSY).
    let mut install = Command::new("install");
    install.args(["-m", "755"]).arg(env::current_exe().unwrap()).arg(&program);
    assert!(install.status().unwrap().success());
    let mut words = before.iter().map(|word| (*word).to_owned()).chain([
        program.to_str().unwrap().to_owned(),
        "--exact".to_owned(),
        format!("files::{test}"),
        "--nocapture".to_owned(),
    ]);
    let Output { status, stdout, stderr } = Command::new(words.next().unwrap())
        .args(words)
        .env(CHILD, scratch.path())
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&stdout);
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stdout.contains("1 passed"), "{before:?} {stdout}{stderr}");
}

#[test]
fn a_relative_path_stays_the_same_file() {
    let scratch = Scratch::new("sqlite");
    in_child(&scratch, "in_another_working_directory", &[]);
}

/// The test above runs this in a separate process, because the working directory belongs to the
/// process.
#[test]
fn in_another_working_directory() {
    let Some(words) = words() else { return };
    run(async {
        let store = open("sessions.db").await;
        let options = SqliteConnectOptions::new().filename("sessions.db");
        let other = SqliteStore::with_options(options).await.unwrap();
        fs::create_dir("elsewhere").unwrap();
        env::set_current_dir("elsewhere").unwrap();
        let session = session("alice");
        store.insert(&InsertRequest::new(session.clone())).await.unwrap();
        for store in [store, other] {
            // With a connection that is opened only now.
            assert_eq!(store.load(&session.id).await.unwrap().as_ref(), Some(&session));
            store.close().await;
        }
        assert_eq!(fs::read_dir(".").unwrap().count(), 0);
        assert!(Path::new(&words[0]).join("sessions.db").is_file());
    });
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_file_belongs_to_its_owner_alone() {
    for umask in ["000", "022", "077"] {
        let scratch = Scratch::new("sqlite");
        let shell = format!("umask {umask}; exec \"$@\"");
        in_child(&scratch, "with_any_umask", &["sh", "-c", &shell, "sh"]);
    }
}

/// The test above runs this in a separate process, because the umask belongs to the process.
#[test]
fn with_any_umask() {
    if words().is_none() {
        return;
    }
    run(async {
        let options = SqliteConnectOptions::new().filename("options.db").create_if_missing(true);
        for (name, store) in [
            ("open.db", open("open.db").await),
            ("options.db", SqliteStore::with_options(options).await.unwrap()),
        ] {
            store.insert(&InsertRequest::new(session("alice"))).await.unwrap();
            store.load(&session("alice").id).await.unwrap();
            for end in ["", "-wal", "-shm"] {
                let file = with_end(Path::new(name), end);
                assert_eq!(mode(&file), 0o600, "{}", file.display());
            }
            store.close().await;
        }
    });
}

#[test]
fn a_file_that_others_may_open_is_rejected() {
    run(async {
        let scratch = Scratch::new("sqlite");
        let path = file(&scratch);
        open(&path).await.close().await;
        let before = fs::read(&path).unwrap();
        let set = |file: &Path, mode| {
            fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
        };
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o666, 0o777] {
            set(&path, mode);
            let options = SqliteConnectOptions::new().filename(&path);
            for opened in [SqliteStore::open(&path).await, SqliteStore::with_options(options).await]
            {
                let error = opened.unwrap_err();
                assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
                let command = format!("`chmod 600 {}`", path.display());
                assert!(error.to_string().contains(&command), "{error}");
                assert!(error.to_string().contains(&format!("(mode 0{mode:o})")), "{error}");
            }
            assert_eq!(fs::read(&path).unwrap(), before);
        }
        set(&path, 0o600);
        for end in ["-wal", "-shm"] {
            let beside = with_end(&path, end);
            fs::write(&beside, "").unwrap();
            set(&beside, 0o644);
            let error = SqliteStore::open(&path).await.unwrap_err();
            assert!(error.to_string().contains(&format!("`chmod 600 {}`", beside.display())));
            fs::remove_file(beside).unwrap();
        }
        // A link does not change that.
        set(&path, 0o644);
        std::os::unix::fs::symlink(&path, scratch.path().join("link")).unwrap();
        let error = SqliteStore::open(scratch.path().join("link")).await.unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        set(&path, 0o600);
        open(&path).await.close().await;
    });
}

/// Root may write everywhere, so that this runs as another user if it is root.
#[test]
fn a_read_only_file_or_folder_is_rejected() {
    let scratch = Scratch::new("sqlite");
    let is_root = fs::metadata(scratch.path()).is_ok_and(|found| {
        use std::os::unix::fs::MetadataExt;
        found.uid() == 0
    });
    if is_root {
        std::os::unix::fs::chown(scratch.path(), Some(65_534), Some(65_534)).unwrap();
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        in_child(&scratch, "without_the_right_to_write", &user);
    } else {
        in_child(&scratch, "without_the_right_to_write", &[]);
    }
}

/// The test above runs this in a separate process.
#[test]
fn without_the_right_to_write() {
    let Some(words) = words() else { return };
    let folder = Path::new(&words[0]).join("folder");
    let path = folder.join("sessions.db");
    let set =
        |file: &Path, mode| fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
    run(async {
        let refused = async |reason: &str| {
            let error = SqliteStore::open(&path).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        };
        fs::create_dir(&folder).unwrap();
        // A folder in which no file can be created.
        set(&folder, 0o500);
        refused("create its folder, and allow the process to access both").await;
        set(&folder, 0o700);

        let store = open(&path).await;
        let (first, second) = (session("alice"), session("alice"));
        store.insert(&InsertRequest::new(first.clone())).await.unwrap();
        // An open file that becomes read-only can still be written: no acknowledged change is lost.
        set(&path, 0o400);
        store.insert(&InsertRequest::new(second.clone())).await.unwrap();
        assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(), 2);
        store.close().await;
        refused("allow the process to write to it and to its folder").await;
        set(&path, 0o600);
        // The rejected start may have left a log and an index with the same mode.
        for end in ["-wal", "-shm"] {
            let left = folder.join(format!("sessions.db{end}"));
            if left.exists() {
                set(&left, 0o600);
            }
        }
        // The driver closes the rejected connection in the background. Until then, other
        // connections share its read-only index.
        let store = async {
            loop {
                match SqliteStore::open(&path).await {
                    Ok(store) => return store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let store = tokio::time::timeout(Duration::from_secs(10), store).await.unwrap();
        assert_eq!(store.list(&ListRequest::new("alice", LOGIN)).await.unwrap().len(), 2);
        store.close().await;
        // A folder in which no log can be created.
        set(&folder, 0o500);
        refused("folder").await;
        set(&folder, 0o700);
    });
}
