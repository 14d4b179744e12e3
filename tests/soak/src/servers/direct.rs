//! Servers of this process: the same as in the simulation, each with a handle on a real store.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use kippu::session::BoxStore;
use kippu_simulation::{
    hosts::HostClock,
    server::{Accounts, Policy, Server},
    workload::Recorder,
};
use tokio::runtime::Handle;

use super::Servers;
use crate::{live::Live, stores::Opener};

pub(crate) struct Direct {
    pub(crate) servers: Vec<Arc<Server<Live>>>,
    stores: Vec<Arc<Mutex<Arc<BoxStore>>>>,
    opener: Opener,
    runtime: Handle,
}

impl Direct {
    /// They run.
    pub(crate) fn start(
        count: u32,
        time: &Live,
        opener: Opener,
        runtime: &Handle,
        recorder: &Recorder,
        policy: &Policy,
    ) -> Self {
        let accounts = Accounts::default();
        let open = |number| Arc::new(runtime.block_on(opener(number)));
        let stores: Vec<_> = (0..count).map(|number| Arc::new(Mutex::new(open(number)))).collect();
        let servers = (0..count).zip(&stores).map(|(number, store)| {
            let (clock, store) = (HostClock::new(time, number, 0), Arc::clone(store));
            let connect = move || {
                BoxStore::new(Arc::clone(&store.lock().unwrap_or_else(PoisonError::into_inner)))
            };
            let server = Server::new(number, time, clock, connect, recorder, &accounts, policy);
            assert!(server.start(), "the policy is safe");
            Arc::new(server)
        });
        let servers = servers.collect();
        Self { servers, stores, opener, runtime: runtime.clone() }
    }
}

impl Servers for Direct {
    /// Each way is the same here.
    fn end(&mut self, _is_kill: bool) {
        self.servers.iter().for_each(|server| server.crash());
        let memory = || Arc::new(BoxStore::new(kippu::session::MemoryStore::new(1)));
        for store in &self.stores {
            *store.lock().unwrap_or_else(PoisonError::into_inner) = memory();
        }
        // Their tasks end, and with them what the stores are at.
        thread::sleep(Duration::from_millis(500));
    }

    fn start(&mut self) {
        for (server, store) in self.servers.iter().zip(&self.stores) {
            let opened = self.runtime.block_on((self.opener)(server.number));
            *store.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(opened);
            assert!(server.start(), "the policy is safe");
        }
    }
}
