//! Directs a run: takes a sample every second, brings about the faults of the store, and in the
//! second half sets the server's clock back and forth.

use std::{
    thread,
    time::{Duration, Instant},
};

use kippu_simulation::log::{Line, Sample, Stepped};

use crate::stores::{Scene, Store};

/// The settings of the server's clock, in seconds ahead of the machine's: back an hour, forward by
/// ten years, back and back.
const OFFSETS: [i64; 5] = [-3600, 315_360_000, 3, -3, 0];

pub(crate) fn direct(store: &mut dyn Store, mut scene: Scene<'_>, until: Instant, seconds: u64) {
    let start = Instant::now();
    let gap = if scene.pace.is_short { 4 } else { 12 };
    let next = |scene: &mut Scene<'_>| {
        Instant::now() + Duration::from_secs(gap).mul_f64(0.5 + scene.rng.f64())
    };
    // Each kind once, and then any.
    let kinds = store.kinds();
    let mut first = kinds.into_iter();
    // A short run has time for two.
    let mut fault_at = start + Duration::from_secs(gap) / 2;
    let mut step_at = start + Duration::from_secs(seconds) / 2;
    let mut offsets = OFFSETS.into_iter().cycle();
    while Instant::now() < until {
        if let Some(memory) = scene.server.memory() {
            let sample = Sample { at: scene.recorder.now(), memory, files: store.files() };
            scene.recorder.write(&Line::Sample(sample));
        }
        if Instant::now() >= fault_at {
            let kind = first.next().unwrap_or_else(|| kinds[scene.rng.usize(..kinds.len())]);
            let fault = store.suffer(kind, &mut scene);
            scene.recorder.write(&Line::Fault(fault));
            fault_at = next(&mut scene);
        }
        if Instant::now() >= step_at {
            let from = scene.recorder.now();
            let offset = offsets.next().expect("it never ends");
            scene.server.set_clock(offset);
            let to = scene.recorder.now();
            scene.recorder.write(&Line::Stepped(Stepped { host: 0, from, to, offset }));
            step_at = next(&mut scene);
        }
        thread::sleep(Duration::from_secs(1));
    }
}
