//! Directs a run: takes a sample every second, and brings about the faults of the store and of the
//! servers.

use std::{
    thread,
    time::{Duration, Instant},
};

use kippu_simulation::log::{Line, Micros, Sample};

use crate::stores::{Scene, Store};

pub(crate) fn direct(store: &mut dyn Store, mut scene: Scene<'_>, until: Micros) {
    let gap = Duration::from_secs(if scene.is_short { 4 } else { 12 });
    let next = |scene: &mut Scene<'_>| Instant::now() + gap.mul_f64(0.5 + scene.rng.f64());
    // Each kind once, and then any.
    let kinds = store.kinds();
    let mut first = kinds.iter().copied();
    // A short run has time for two.
    let mut fault_at = Instant::now() + gap / 2;
    let mut mishap_at = Instant::now() + gap;
    while scene.now() < until {
        if let Some(memory) = scene.servers.memory() {
            let sample = Sample { at: scene.now(), memory, files: store.files() };
            scene.recorder.note(Line::Sample(sample));
        }
        if Instant::now() >= fault_at {
            let kind = first.next().unwrap_or_else(|| kinds[scene.rng.usize(..kinds.len())]);
            let fault = store.suffer(kind, &mut scene);
            scene.recorder.note(Line::Fault(fault));
            fault_at = next(&mut scene);
        }
        if Instant::now() >= mishap_at {
            scene.servers.suffer(&mut scene.rng, scene.time, scene.recorder);
            mishap_at = next(&mut scene);
        }
        thread::sleep(Duration::from_secs(1));
    }
}
