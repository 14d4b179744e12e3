//! PostgreSQL: a primary and a synchronous standby, behind addresses that move from one to the
//! other. The old primary comes back as a standby, at its old port.

use std::{mem, time::Duration};

use kippu::session::BoxStore;
use kippu_simulation::log::{Fault, FaultKind, Span};
use kippu_sqlx::PostgresStore;
use sqlx::{Connection, PgConnection, postgres::PgPoolOptions};
use tokio::runtime::Runtime;

use super::{DEADLINE, Open, Scene, SmallDisk, Store, address::Addresses, size};
use crate::{postgres::Postgres, support::wait_until};

pub(super) struct PostgresPair {
    primary: Postgres,
    standby: Postgres,
    addresses: Addresses,
}

/// Against writes, or against reads too.
const LOCKS: [&str; 2] = [
    "LOCK TABLE kippu_sessions IN EXCLUSIVE MODE",
    "LOCK TABLE kippu_sessions IN ACCESS EXCLUSIVE MODE",
];

impl PostgresPair {
    pub(super) fn start(runtime: &Runtime, servers: usize) -> Self {
        let mut primary = Postgres::start();
        primary.stop();
        // A run of minutes must not wait a minute for what removes dead rows, nor long for a
        // standby.
        primary.set(&["autovacuum_naptime=5s", "wal_retrieve_retry_interval=200ms"]);
        primary.restart();
        let standby = primary.standby();
        let addresses = Addresses::start(runtime, primary.port(), servers);
        let pair = Self { primary, standby, addresses };
        pair.wait_for_standby(runtime);
        pair
    }

    /// Has the primary wait for its standby with each commit, so that a failover loses nothing.
    fn wait_for_standby(&self, runtime: &Runtime) {
        runtime.block_on(async {
            let mut connection = connect(&self.primary).await;
            run(&mut connection, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
            run(&mut connection, "SELECT pg_reload_conf()").await;
        });
        wait_until("a synchronous standby", Duration::from_secs(30), || {
            let state = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";
            runtime.block_on(async {
                let mut connection = connect(&self.primary).await;
                sqlx::query_scalar(state).fetch_one(&mut connection).await.unwrap_or(false)
            })
        });
    }

    fn kill(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        self.primary.kill();
        scene.wait(0.0..2.0);
        self.primary.restart();
        self.wait_for_standby(scene.runtime);
        // Its other processes find out by themselves, and may end what they are at.
        scene.fault(FaultKind::Kill, "PostgreSQL was killed", from, None, None)
    }

    /// The primary stands still, or the standby, without which no commit ends; or another session
    /// has locked the table.
    fn stall(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let (what, still) = match scene.rng.usize(..LOCKS.len() + 2) {
            0 => ("the primary was stopped", Self::pause(&self.primary, scene)),
            1 => ("the standby was stopped", Self::pause(&self.standby, scene)),
            chosen => (LOCKS[chosen - 2], self.lock(LOCKS[chosen - 2], scene)),
        };
        scene.fault(FaultKind::Stall, what, from, Some(still), None)
    }

    fn lock(&self, statement: &'static str, scene: &mut Scene<'_>) -> Span {
        let mut connection = scene.runtime.block_on(connect(&self.primary));
        scene.runtime.block_on(run(&mut connection, "BEGIN"));
        scene.runtime.block_on(run(&mut connection, statement));
        let still = scene.wait_out_the_grace();
        scene.runtime.block_on(run(&mut connection, "ROLLBACK"));
        still
    }

    fn pause(postgres: &Postgres, scene: &mut Scene<'_>) -> Span {
        postgres.pause();
        let still = scene.wait_out_the_grace();
        postgres.resume();
        still
    }

    /// The tables cannot grow; or the log cannot, without which the server ends.
    fn fill(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        self.primary.stop();
        let disk = SmallDisk::under(&self.primary.folder());
        self.primary.restart();
        self.wait_for_standby(scene.runtime);
        disk.fill();
        let is_log = scene.rng.bool();
        if is_log {
            let more = "SELECT count(pg_logical_emit_message(false, '', repeat('x', 1 << 20))) \
                        FROM generate_series(1, 200)";
            let _ = scene.runtime.block_on(async {
                sqlx::raw_sql(more).execute(&mut connect(&self.primary).await).await
            });
        }
        scene.wait_out_the_grace();
        disk.free();
        self.primary.crash();
        drop(disk);
        self.primary.restart();
        self.wait_for_standby(scene.runtime);
        let what = if is_log { "the disk was full, with the log" } else { "the disk was full" };
        scene.fault(FaultKind::Full, what, from, None, None)
    }

    /// While the address leads to the old server still, that one is there again, as a standby, and
    /// does not get on with what it is sent. When the address moves, the connections to it stay.
    fn fail_over(&mut self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        if scene.rng.bool() {
            self.primary.kill();
        } else {
            self.primary.stop();
        }
        self.standby.promote();
        mem::swap(&mut self.primary, &mut self.standby);
        self.standby.follow(&self.primary);
        scene.runtime.block_on(async {
            let mut connection = connect(&self.standby).await;
            run(&mut connection, "SELECT pg_wal_replay_pause()").await;
        });
        self.wait_for_standby(scene.runtime);
        scene.wait(0.0..3.0);
        self.addresses.switch(self.primary.port(), scene);
        let fault = scene.fault(FaultKind::Failover, "the standby took over", from, None, None);
        scene.wait(0.5..2.0);
        scene.runtime.block_on(async {
            let mut connection = connect(&self.standby).await;
            run(&mut connection, "SELECT pg_wal_replay_resume()").await;
        });
        fault
    }
}

async fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::connect(&postgres.url()).await.expect("PostgreSQL can be reached")
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.expect("PostgreSQL does what it is asked");
}

fn url(port: u16) -> String {
    // Without sslmode, the driver would first ask for TLS.
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
}

impl Store for PostgresPair {
    fn url(&self, server: u32) -> String {
        url(self.addresses.port(server))
    }

    fn open(&self) -> Open {
        |url| {
            Box::pin(async move {
                let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(DEADLINE));
                let pool = options.connect(&url).await.expect("PostgreSQL can be reached");
                let store = PostgresStore::new(pool);
                store.create_schema().await.expect("the schema can be made");
                BoxStore::new(store)
            })
        }
    }

    /// Its log is recycled, and grows up to what the server is set to.
    fn files(&self) -> u64 {
        size(&self.primary.folder().join("base"))
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
