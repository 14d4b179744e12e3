//! Where and with what it is measured.

use std::{env, fs, thread};

use serde::Serialize;

/// As far as it bears on times.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) sha_extensions: bool,
    /// Programs that wanted a core in the last minute, this one among them.
    pub(crate) load: String,
    /// Names and versions of what is compared.
    pub(crate) crates: Vec<String>,
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
            crates: crates(),
        }
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

fn crates() -> Vec<String> {
    let lock = include_str!("../Cargo.lock");
    let mut names = vec![
        "kippu",
        "jsonwebtoken",
        "aws-lc-rs",
        "jwt",
        "jwt-compact",
        "jwt-simple",
        "sha2",
        "serde_json",
    ];
    if cfg!(feature = "josekit") {
        names.push("josekit");
    }
    let version = |name| {
        // Peers bring older versions of some; the newest is the one that kippu uses.
        let (_, rest) = lock.rsplit_once(&format!("name = \"{name}\"\nversion = \""))?;
        Some(format!("{name} {}", rest.split_once('"')?.0))
    };
    names.into_iter().filter_map(version).collect()
}
