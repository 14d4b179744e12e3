//! The address at which each server finds the primary: a proxy that moves to another server, and
//! that holds data back or closes connections.

use kippu_simulation::log::{Fault, FaultKind};
use tokio::runtime::Runtime;

use super::Scene;
use crate::proxy::Proxy;

pub(super) struct Addresses(Vec<Proxy>);

impl Addresses {
    pub(super) fn start(runtime: &Runtime, target: u16, servers: usize) -> Self {
        Self((0..servers).map(|_| runtime.block_on(Proxy::to(target))).collect())
    }

    pub(super) fn port(&self, server: u32) -> u16 {
        usize::try_from(server).ok().and_then(|server| self.0.get(server)).map_or(0, Proxy::port)
    }

    /// Leads one server after the other to another port. The connections that there are stay.
    pub(super) fn switch(&self, target: u16, scene: &mut Scene<'_>) {
        for proxy in &self.0 {
            proxy.switch(target);
            scene.wait(0.0..0.3);
        }
    }

    /// The network between a server and the store holds everything back for a time, or closes all
    /// connections some times.
    pub(super) fn suffer(&self, scene: &mut Scene<'_>) -> Fault {
        let from = scene.now();
        let proxy = &self.0[scene.rng.usize(..self.0.len())];
        let what = if scene.rng.bool() {
            proxy.set_silent(true);
            scene.wait_out_the_grace();
            proxy.set_silent(false);
            "a server's way to the store was held up"
        } else {
            for _ in 0..scene.rng.u8(1..6) {
                proxy.cut();
                scene.wait(0.0..0.5);
            }
            "a server's connections to the store were cut"
        };
        scene.fault(FaultKind::Network, what, from, None, None)
    }
}
