//! Servers of this process: the same as in the simulation, each with a handle on a real store.

use std::{sync::Arc, thread, time::Duration};

use kippu::session::BoxStore;
use kippu_simulation::{
    hosts::HostClock,
    server::{Accounts, Policy, Server},
    workload::Recorder,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::Servers;
use crate::{live::Live, stores::Open};

pub(crate) struct Direct {
    pub(crate) servers: Vec<Arc<Server<Live>>>,
    stores: Vec<Arc<Mutex<Arc<BoxStore>>>>,
    urls: Vec<String>,
    open: Open,
    runtime: Handle,
}

impl Direct {
    /// One for each URL of a store. They run.
    pub(crate) fn start(
        urls: Vec<String>,
        open: Open,
        time: &Live,
        runtime: &Handle,
        recorder: &Recorder,
        policy: &Policy,
    ) -> Self {
        let accounts = Accounts::default();
        let opened = |url: &String| Arc::new(runtime.block_on(open(url.clone())));
        let stores: Vec<_> = urls.iter().map(|url| Arc::new(Mutex::new(opened(url)))).collect();
        let servers = (0..).zip(&stores).map(|(number, store)| {
            let (clock, store) = (HostClock::new(time, number, 0), Arc::clone(store));
            let connect = move || BoxStore::new(Arc::clone(&store.lock()));
            let server = Server::new(number, time, clock, connect, recorder, &accounts, policy);
            assert!(server.start(), "the policy is safe");
            Arc::new(server)
        });
        let servers = servers.collect();
        Self { servers, stores, urls, open, runtime: runtime.clone() }
    }
}

impl Servers for Direct {
    /// Each way is the same here.
    fn end(&mut self, _is_kill: bool) {
        self.servers.iter().for_each(|server| server.crash());
        let memory = || Arc::new(BoxStore::new(kippu::session::MemoryStore::new(1)));
        for store in &self.stores {
            *store.lock() = memory();
        }
        // Their tasks end, and with them what the stores are at.
        thread::sleep(Duration::from_millis(500));
    }

    fn start(&mut self) {
        for ((server, store), url) in self.servers.iter().zip(&self.stores).zip(&self.urls) {
            let opened = self.runtime.block_on((self.open)(url.clone()));
            *store.lock() = Arc::new(opened);
            assert!(server.start(), "the policy is safe");
        }
    }
}
