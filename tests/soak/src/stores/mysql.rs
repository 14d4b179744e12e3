//! MariaDB: a primary and a semi-synchronous replica, behind addresses that move from one to the
//! other. The primary commits what the replica has received, so that a failover loses nothing that
//! was answered.

use std::{mem, time::Duration};

use kippu::session::BoxStore;
use kippu_simulation::log::{Fault, FaultKind, Span};
use kippu_sqlx::MySqlStore;
use sqlx::{Connection, MySqlConnection, mysql::MySqlPoolOptions};
use tokio::runtime::Runtime;

use super::{DEADLINE, Open, Scene, SmallDisk, Store, address::Addresses, size};
use crate::{mysql::MySql, support::wait_until};

pub(super) struct MySqlPair {
    primary: MySql,
    replica: MySql,
    database: String,
    addresses: Addresses,
}

/// Against writes, reads too, or every commit.
const LOCKS: [&str; 3] = [
    "LOCK TABLES kippu_sessions READ",
    "LOCK TABLES kippu_sessions WRITE",
    "FLUSH TABLES WITH READ LOCK",
];

const READ_ONLY: &[&str] = &["--read-only=1"];

impl MySqlPair {
    pub(super) fn start(runtime: &Runtime, servers: usize) -> Self {
        let primary = MySql::start();
        let replica = primary.replica();
        let addresses = Addresses::start(runtime, primary.port(), servers);
        let database = primary.database();
        let pair = Self { primary, replica, database, addresses };
        pair.wait_for_replica();
        pair
    }

    /// Has the primary wait for its replica before each commit.
    fn wait_for_replica(&self) {
        self.replica.sql("STOP SLAVE; SET GLOBAL rpl_semi_sync_slave_enabled = 1; START SLAVE");
        self.replica.catch_up(&self.primary);
        self.primary.sql(
            "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC; \
             SET GLOBAL rpl_semi_sync_master_timeout = 600000; SET GLOBAL rpl_semi_sync_master_enabled = 1",
        );
        wait_until("a semi-synchronous replica", Duration::from_secs(30), || {
            let state = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'";
            self.primary.sql(state).split_whitespace().last() == Some("1")
        });
    }

    fn kill(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        self.primary.kill();
        let gone = scene.now();
        scene.wait(0.0..2.0);
        let still = Some((gone, scene.now()));
        self.primary.restart();
        self.wait_for_replica();
        scene.fault(FaultKind::Kill, "MariaDB was killed", from, still, None)
    }

    /// The primary stands still, or the replica, without which no commit ends; or another session
    /// holds a lock.
    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let (what, still) = match scene.rng.usize(..LOCKS.len() + 2) {
            0 => ("the primary was stopped", Self::pause(&self.primary, scene)),
            1 => ("the replica was stopped", Self::pause(&self.replica, scene)),
            chosen => (LOCKS[chosen - 2], self.lock(LOCKS[chosen - 2], scene)),
        };
        scene.fault(FaultKind::Stall, what, from, Some(still), None)
    }

    fn lock(&self, statement: &'static str, scene: &mut Scene<'_>) -> Span {
        let url = self.primary.url_for("root", None, &self.database);
        let mut connection = scene.runtime.block_on(async {
            let mut connection =
                MySqlConnection::connect(&url).await.expect("MariaDB can be reached");
            run(&mut connection, statement).await;
            connection
        });
        let still = scene.wait_out_the_grace();
        scene.runtime.block_on(run(&mut connection, "UNLOCK TABLES"));
        still
    }

    fn pause(server: &MySql, scene: &mut Scene<'_>) -> Span {
        server.pause();
        let still = scene.wait_out_the_grace();
        server.resume();
        still
    }

    /// The server waits for room with each commit, and begins no new table space.
    fn fill(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        self.primary.stop();
        let disk = SmallDisk::under(self.primary.folder());
        self.primary.restart();
        self.wait_for_replica();
        disk.fill();
        scene.wait_out_the_grace();
        disk.free();
        // It would look for room once a minute.
        self.primary.kill();
        drop(disk);
        self.primary.restart();
        self.wait_for_replica();
        scene.fault(FaultKind::Full, "the disk was full", from, None, None)
    }

    /// While the address leads to the old server still, that one takes no writes, and does not get
    /// what the new one has. It was killed and is there again, or it was demoted and keeps the
    /// connections that it has.
    fn fail_over(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let is_crash = scene.rng.bool();
        self.primary.set(READ_ONLY);
        if is_crash {
            self.primary.kill();
            self.replica.apply_all();
        } else {
            self.primary.sql("SET GLOBAL read_only = 1");
            self.replica.catch_up(&self.primary);
            // It will have no replica that it could wait for.
            self.primary.sql("SET GLOBAL rpl_semi_sync_master_enabled = 0");
        }
        self.replica.promote();
        self.replica.set(&[]);
        mem::swap(&mut self.primary, &mut self.replica);
        self.replica.restart();
        scene.wait(0.0..3.0);
        self.addresses.switch(self.primary.port(), scene);
        let what = if is_crash { "the primary was lost" } else { "the primary was demoted" };
        let fault = scene.fault(FaultKind::Failover, what, from, None, None);
        scene.wait(0.5..2.0);
        if is_crash {
            // It may have changes that the other one never received.
            self.replica = self.primary.replica();
        } else {
            self.replica.follow(&self.primary);
        }
        self.wait_for_replica();
        fault
    }
}

async fn run(connection: &mut MySqlConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.expect("MariaDB does what it is asked");
}

impl Store for MySqlPair {
    fn url(&self, server: u32) -> String {
        let (old, new) = (self.primary.port(), self.addresses.port(server));
        self.primary.url_of(&self.database).replace(&format!(":{old}/"), &format!(":{new}/"))
    }

    fn open(&self) -> Open {
        |url| {
            Box::pin(async move {
                let options =
                    MySqlPoolOptions::new().acquire_timeout(Duration::from_secs(DEADLINE));
                let pool = options.connect(&url).await.expect("MariaDB can be reached");
                let store = MySqlStore::new(pool);
                store.create_schema().await.expect("the schema can be made");
                BoxStore::new(store)
            })
        }
    }

    /// Its binary log is kept.
    fn files(&self) -> u64 {
        size(&self.primary.folder().join("data").join(&self.database))
    }

    fn kinds(&self) -> Vec<FaultKind> {
        use FaultKind::{Failover, Kill, Network, Stall};
        [Stall, Kill, Failover, Network].into_iter().chain(SmallDisk::fault()).collect()
    }

    fn suffer(&mut self, kind: FaultKind, scene: &mut Scene<'_>) -> Fault {
        match kind {
            FaultKind::Kill => self.kill(scene),
            FaultKind::Stall => self.stall(scene),
            FaultKind::Network => self.addresses.suffer(scene),
            FaultKind::Full => self.fill(scene),
            _ => self.fail_over(scene),
        }
    }
}
