//! Describes the machine of a measurement.
//!
//! Shared by `sessions.rs` and the package `peers`.

use std::{env, fs, thread};

use serde::Serialize;

/// The properties of the machine that affect times.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) sha_extensions: bool,
    /// The number of programs that wanted a core in the last minute, including this one.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let cpu = read("/proc/cpuinfo").lines().find_map(|line| {
            let (_, name) = line.strip_prefix("model name")?.split_once(':')?;
            Some(name.trim().to_owned())
        });
        Self {
            cpu: cpu.unwrap_or_else(|| format!("unknown ({})", env::consts::ARCH)),
            cores: thread::available_parallelism().map_or(1, usize::from),
            sha_extensions: sha_extensions(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn sentence(&self) -> String {
        let sha = if self.sha_extensions { "with" } else { "without" };
        let Self { cpu, cores, load, .. } = self;
        format!("{cpu}, {cores} cores, {sha} SHA instructions; load {load}.")
    }
}

#[cfg(target_arch = "x86_64")]
fn sha_extensions() -> bool {
    std::arch::is_x86_feature_detected!("sha")
}

#[cfg(target_arch = "aarch64")]
fn sha_extensions() -> bool {
    std::arch::is_aarch64_feature_detected!("sha2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn sha_extensions() -> bool {
    false
}
