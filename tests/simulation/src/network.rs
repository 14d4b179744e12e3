//! The network between the clients and the servers of this process: requests and answers take time,
//! and get lost. The world of the simulation, and that of real stores.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    executor::{Machine, unless},
    log::{Answer, Micros},
    server::Server,
    time::Time,
    workload::{Ask, PATIENT, Reply, World},
};

const SECOND: Micros = 1_000_000;

/// A clone is the same network.
#[derive(Clone, Debug)]
pub struct Network<T = Machine> {
    pub time: T,
    pub servers: Arc<Vec<Arc<Server<T>>>>,
}

impl<T: Time> World for Network<T> {
    type Time = T;

    fn time(&self) -> &T {
        &self.time
    }

    fn servers(&self) -> Vec<u32> {
        self.servers.iter().map(|server| server.number).collect()
    }

    async fn ask(&self, ask: Ask) -> Reply {
        let (server, what) = (ask.server, ask.what);
        self.time.mark(u32::MAX, || format!("{server} {what:?}"));
        let reply = self.answered(ask).await;
        self.time.mark(u32::MAX, || format!("{server} {what:?} {:?}", reply.answer));
        reply
    }
}

impl<T: Time> Network<T> {
    async fn answered(&self, ask: Ask) -> Reply {
        self.way().await;
        if self.loses() {
            self.time.sleep(ask.patience.min(2 * SECOND)).await;
            return Reply::of(Answer::Lost);
        }
        let mut servers = self.servers.iter();
        let Some(server) = servers.find(|server| server.number == ask.server) else {
            return Reply::of(Answer::Odd);
        };
        let Some(running) = server.up() else { return Reply::of(Answer::Unsent) };
        let (giver, answer) = oneshot::channel();
        // Some servers drop a request whose client has gone, at whatever step it is.
        let is_dropped = self.time.happens(50);
        let (connection, is_gone) = oneshot::channel::<()>();
        let patience = ask.patience;
        self.time.spawn_as(server.number, running.scope, async move {
            let reply = if is_dropped {
                unless(running.answer(&ask), async {
                    let _ = is_gone.await;
                })
                .await
            } else {
                Some(running.answer(&ask).await)
            };
            if let Some(reply) = reply {
                let _ = giver.send(reply);
            }
        });
        let answered = async {
            let Ok(reply) = answer.await else { return Reply::of(Answer::Broken) };
            self.way().await;
            if self.loses() {
                self.time.sleep(2 * SECOND).await;
                return Reply::of(Answer::Lost);
            }
            reply
        };
        let reply = unless(answered, self.time.sleep(patience)).await;
        drop(connection);
        // A client that waits for long enough says that the server did not answer.
        let none = if patience < PATIENT { Answer::Lost } else { Answer::Broken };
        reply.unwrap_or_else(|| Reply::of(none))
    }

    async fn way(&self) {
        self.time.pass(self.time.between(100, 20_000)).await;
    }

    fn loses(&self) -> bool {
        !self.time.is_scripted() && self.time.random(200) == 0
    }
}
