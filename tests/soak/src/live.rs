//! Time, randomness and tasks of this machine: the clock that never steps, a seed, tokio.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use kippu_simulation::{
    executor::micros,
    log::{Fault, FaultKind, Line, Micros},
    time::{Scope, Time},
    workload::{Ask, Recorder, Reply, World},
};
use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle, time};

/// A clone is another handle.
#[derive(Clone)]
pub(crate) struct Live(Arc<Shared>);

struct Shared {
    runtime: Handle,
    begin: Instant,
    began: SystemTime,
    rng: Mutex<Rng>,
    last_scope: AtomicU64,
    /// The tasks that may be ended.
    tasks: Mutex<HashMap<Scope, Vec<AbortHandle>>>,
}

impl Live {
    pub(crate) fn new(runtime: Handle, rng: Rng) -> Self {
        Self(Arc::new(Shared {
            runtime,
            begin: Instant::now(),
            began: SystemTime::now(),
            rng: Mutex::new(rng),
            last_scope: AtomicU64::new(0),
            tasks: Mutex::default(),
        }))
    }
}

impl Time for Live {
    fn now(&self) -> Micros {
        micros(self.0.begin.elapsed())
    }

    fn began(&self) -> Micros {
        micros(self.0.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    async fn sleep(&self, micros: Micros) {
        time::sleep(Duration::from_micros(micros)).await;
    }

    fn random(&self, end: u64) -> u64 {
        self.0.rng.lock().u64(..end.max(1))
    }

    fn scope(&self) -> Scope {
        Scope(self.0.last_scope.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn spawn_as(&self, _label: u32, scope: Scope, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.0.runtime.spawn(task).abort_handle();
        if scope != Self::FOREVER {
            let mut tasks = self.0.tasks.lock();
            let of_scope = tasks.entry(scope).or_default();
            of_scope.retain(|task| !task.is_finished());
            of_scope.push(handle);
        }
    }

    fn end(&self, scope: Scope) {
        self.0.tasks.lock().remove(&scope).iter().flatten().for_each(AbortHandle::abort);
    }
}

/// How often the heart beats, and how late a beat is a fault.
const BEAT: Duration = Duration::from_millis(50);
const LATE: Micros = 300_000;

/// Writes a byte to the disk again and again, in a thread without tokio. A beat that is late is a
/// line of the history: the machine was busy, or its disk, so that an answer that was late then
/// says nothing of the servers. Ends when the sender is dropped.
pub(crate) fn beat(time: &Live, recorder: &Recorder, file: File) -> Sender<()> {
    let (alive, ended) = mpsc::channel();
    let (time, recorder) = (time.clone(), recorder.clone());
    thread::spawn(move || {
        let mut last = time.now();
        while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            file.write_all_at(b"x", 0).and_then(|()| file.sync_data()).expect("a byte is written");
            let span = (last, time.now());
            if span.1 - span.0 > LATE {
                let fault = Fault::new(FaultKind::Busy, "the machine was busy", span);
                recorder.note(Line::Fault(fault));
            }
            last = span.1;
        }
    });
    alive
}

/// A world that ends: from a moment on, no request is sent any more.
#[derive(Clone)]
pub(crate) struct Ending<W> {
    world: W,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    has_ended: AtomicBool,
    in_flight: AtomicUsize,
}

impl<W: World> Ending<W> {
    pub(crate) fn new(world: W) -> Self {
        Self { world, state: Arc::default() }
    }

    /// Lets no further request be sent, and waits for the answers to all that were.
    pub(crate) async fn end(&self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
        let answered = async {
            while self.state.in_flight.load(Ordering::SeqCst) > 0 {
                time::sleep(Duration::from_millis(50)).await;
            }
            // A client writes the last answer into the history.
            time::sleep(Duration::from_millis(200)).await;
        };
        let answered = time::timeout(Duration::from_secs(90), answered).await;
        answered.expect("each client gives up at some time");
    }
}

impl<W: World> World for Ending<W> {
    type Time = W::Time;

    fn time(&self) -> &W::Time {
        self.world.time()
    }

    fn servers(&self) -> Vec<u32> {
        self.world.servers()
    }

    async fn ask(&self, ask: Ask) -> Reply {
        self.state.in_flight.fetch_add(1, Ordering::SeqCst);
        if self.state.has_ended.load(Ordering::SeqCst) {
            self.state.in_flight.fetch_sub(1, Ordering::SeqCst);
            return std::future::pending().await;
        }
        let reply = self.world.ask(ask).await;
        self.state.in_flight.fetch_sub(1, Ordering::SeqCst);
        reply
    }
}
