//! SQLite, whose database is in the server: it is the server that is killed. Another process locks
//! the file, and operators move it away, or put a backup in its place, while it is open.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use kippu_simulation::log::{Fault, FaultKind};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions,
};

use super::{Scene, Store, size};

pub(super) struct Sqlite {
    file: PathBuf,
}

/// In the server's working directory.
const NAME: &str = "sessions.db";

impl Sqlite {
    pub(super) fn new(folder: &Path) -> Self {
        Self { file: folder.join(NAME) }
    }

    fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.file.clone().into_os_string();
        path.push(end);
        path.into()
    }

    async fn connect(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&self.file);
        let connected = options.busy_timeout(Duration::from_secs(30)).connect().await;
        connected.expect("the database can be opened")
    }

    async fn run(connection: &mut SqliteConnection, statement: String) {
        let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
        done.expect("the database does what it is asked");
    }

    fn kill(scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        scene.server.kill();
        let gone = scene.now();
        scene.wait(0.0..2.0);
        let still = Some((gone, scene.now()));
        scene.server.start();
        let what = "the server was killed".to_owned();
        Fault { kind: FaultKind::Kill, what, span: (from, scene.now()), still, lost: None }
    }

    /// Another process writes, for a long time.
    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let mut connection = scene.runtime.block_on(async {
            let mut connection = self.connect().await;
            Self::run(&mut connection, "BEGIN IMMEDIATE".to_owned()).await;
            connection
        });
        let locked = scene.now();
        scene.wait_out_the_grace();
        let still = Some((locked, scene.now()));
        scene.runtime.block_on(async {
            Self::run(&mut connection, "ROLLBACK".to_owned()).await;
            connection.close().await.expect("the database can be closed");
        });
        let what = "another process held the write lock".to_owned();
        Fault { kind: FaultKind::Stall, what, span: (from, scene.now()), still, lost: None }
    }

    /// The file is not the one that the server has opened, until the server is started again: it is
    /// moved away and put back, or it is a copy of a moment ago from then on.
    fn replace(&self, scene: &mut Scene<'_>) -> Fault {
        let (away, copy) = (self.beside(".away"), self.beside(".copy"));
        let accounts = scene.accounts.clone();
        let is_copy = scene.rng.bool();
        let accounts = is_copy.then(|| scene.runtime.block_on(accounts.write_owned()));
        let copied = scene.now();
        if is_copy {
            scene.runtime.block_on(async {
                let mut connection = self.connect().await;
                Self::run(&mut connection, format!("VACUUM INTO '{}'", copy.display())).await;
                connection.close().await.expect("the database can be closed");
            });
            let only_mine = Permissions::from_mode(0o600);
            fs::set_permissions(&copy, only_mine).expect("the copy can be hidden");
            scene.wait(0.0..0.7);
        }
        let from = scene.now();
        let (old, new) = if is_copy { (&copy, &self.file) } else { (&self.file, &away) };
        fs::rename(old, new).expect("the file can be renamed");
        let gone = scene.now();
        scene.wait(if scene.pace.is_short { 1.0..2.0 } else { 2.0..5.0 });
        let still = Some((gone, scene.now()));
        if scene.rng.bool() {
            scene.server.stop();
        } else {
            scene.server.kill();
        }
        if !is_copy {
            fs::rename(away, &self.file).expect("the file can be put back");
        }
        scene.server.start();
        drop(accounts);
        let (what, lost) = if is_copy {
            ("a backup was moved over the file", Some((copied, gone)))
        } else {
            ("the file was moved away", None)
        };
        let span = (from, scene.now());
        Fault { kind: FaultKind::Replacement, what: what.to_owned(), span, still, lost }
    }
}

impl Store for Sqlite {
    fn url(&self) -> String {
        format!("sqlite:{NAME}")
    }

    fn files(&self) -> u64 {
        ["", "-wal", "-shm"].iter().map(|end| size(&self.beside(end))).sum()
    }

    fn kinds(&self) -> [FaultKind; 3] {
        [FaultKind::Stall, FaultKind::Kill, FaultKind::Replacement]
    }

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        match kind {
            FaultKind::Kill => Self::kill(scene),
            FaultKind::Stall => self.stall(scene),
            FaultKind::Replacement | FaultKind::Failover | FaultKind::Network => {
                self.replace(scene)
            }
        }
    }
}
