//! SQLite, whose database is in the servers: they are killed. Another process locks the file, and
//! operators move it away, or put a backup in its place, while it is open.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use kippu::session::BoxStore;
use kippu_simulation::log::{Fault, FaultKind};
use kippu_sqlx::SqliteStore;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions,
};

use super::{Open, Scene, SmallDisk, Store, size};

pub(super) struct Sqlite {
    folder: PathBuf,
    file: PathBuf,
}

/// In the servers' working directory.
const NAME: &str = "sessions.db";

impl Sqlite {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: folder.join(NAME) }
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
        scene.servers.end(true);
        let gone = scene.now();
        scene.wait(0.0..2.0);
        let still = Some((gone, scene.now()));
        scene.servers.start();
        scene.fault(FaultKind::Kill, "the servers were killed", from, still, None)
    }

    /// Another process writes, for a long time.
    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let mut connection = scene.runtime.block_on(async {
            let mut connection = self.connect().await;
            Self::run(&mut connection, "BEGIN IMMEDIATE".to_owned()).await;
            connection
        });
        let still = scene.wait_out_the_grace();
        scene.runtime.block_on(async {
            Self::run(&mut connection, "ROLLBACK".to_owned()).await;
            connection.close().await.expect("the database can be closed");
        });
        scene.fault(FaultKind::Stall, "another process wrote for long", from, Some(still), None)
    }

    fn fill(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        scene.servers.end(true);
        let disk = SmallDisk::under(&self.folder);
        scene.servers.start();
        disk.fill();
        scene.wait_out_the_grace();
        disk.free();
        scene.servers.end(true);
        drop(disk);
        scene.servers.start();
        scene.fault(FaultKind::Full, "the disk was full", from, None, None)
    }

    /// The file is not the one that the server has opened, until the server is started again: it is
    /// moved away and put back, or it is a copy of a moment ago from then on.
    fn replace(&self, scene: &mut Scene<'_>) -> Fault {
        let (away, copy) = (self.beside(".away"), self.beside(".copy"));
        let is_copy = scene.rng.bool();
        let accounts = scene.accounts.clone();
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
        scene.wait(if scene.is_short { 1.0..2.0 } else { 2.0..5.0 });
        let still = Some((gone, scene.now()));
        let is_kill = scene.rng.bool();
        scene.servers.end(is_kill);
        if !is_copy {
            fs::rename(away, &self.file).expect("the file can be put back");
        }
        scene.servers.start();
        drop(accounts);
        let (what, lost) = if is_copy {
            ("a backup was moved over the file", Some((copied, gone)))
        } else {
            ("the file was moved away", None)
        };
        scene.fault(FaultKind::Replacement, what, from, still, lost)
    }
}

impl Store for Sqlite {
    fn url(&self, _server: u32) -> String {
        format!("sqlite:{}", self.file.display())
    }

    fn open(&self) -> Open {
        |url| {
            Box::pin(async move {
                let file = url.trim_start_matches("sqlite:");
                let opened = SqliteStore::open(file).await;
                BoxStore::new(opened.expect("the file can be opened"))
            })
        }
    }

    fn files(&self) -> u64 {
        ["", "-wal", "-shm"].iter().map(|end| size(&self.beside(end))).sum()
    }

    fn kinds(&self) -> Vec<FaultKind> {
        use FaultKind::{Kill, Replacement, Stall};
        [Stall, Kill, Replacement].into_iter().chain(SmallDisk::fault()).collect()
    }

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        match kind {
            FaultKind::Kill => Self::kill(scene),
            FaultKind::Stall => self.stall(scene),
            FaultKind::Full => self.fill(scene),
            _ => self.replace(scene),
        }
    }
}
