//! Servers for tests: started on a free loopback port in a temporary folder, ended by their own
//! process id.

use std::{
    env,
    ffi::OsString,
    fs,
    hash::{BuildHasher, RandomState},
    iter,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{self, Child, Command},
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A folder that is removed when this value is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("kippu-{name}-{}-{count}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The time of day of a server. It does not change how the server measures durations.
#[derive(Debug)]
pub struct FakeClock {
    /// The libraries that are loaded before all others.
    libraries: OsString,
    /// A file with the offset from the machine's clock in seconds, which the library reads at each
    /// call.
    offset: PathBuf,
}

impl FakeClock {
    /// Sets the clock with libfaketime, which has to be installed.
    pub fn new(folder: &Path) -> Self {
        // The folder of this machine's architecture contains the library.
        let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
        let within = |folder: PathBuf| (folder.join("faketime/libfaketimeMT.so.1"), folder);
        let (library, beside) = folders
            .map(within)
            .find(|(library, _)| library.exists())
            .expect("libfaketime is installed: scripts/test installs it");
        // jemalloc reads the time before libfaketime is initialized. libc's malloc does not.
        let mut libraries = library.into_os_string();
        libraries.push(" ");
        libraries.push(beside.join("libc.so.6"));
        let clock = Self { libraries, offset: folder.join("offset") };
        clock.set(0);
        clock
    }

    /// Sets the clock in one step, even if the server reads it at the same moment.
    pub fn set(&self, offset: i64) {
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{offset:+}")).expect("the offset can be written");
        fs::rename(new, &self.offset).expect("the offset can be replaced");
    }

    pub fn show_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .env("LD_PRELOAD", &self.libraries)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")])
    }
}

/// A child process, which is killed when this value is dropped.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends a signal to stop it, as `kill -s SIGNAL` does, and waits until it has ended.
    pub fn stop(&mut self, signal: &str) {
        self.signal(signal);
        self.0.wait().unwrap();
    }

    /// Sends a signal as `kill -s SIGNAL` does.
    pub fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port that no server uses, another one at each call. The port 10,000 above it, where a
/// node of a Redis Cluster has its bus, is also unused.
///
/// Both are below the ports that systems give to outgoing connections. Such a connection of another
/// test could otherwise take the port before its server starts, or between two starts.
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 10_000;
    // Several processes may look for ports concurrently.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let [low, high, ..] = RandomState::new().hash_one(process::id()).to_le_bytes();
        AtomicU16::new(u16::from_le_bytes([low, high]))
    });
    // A port is free for the server, which uses TCP. The claim uses UDP, and lasts until this
    // process ends: another one cannot take the port before its server starts, or between two
    // starts.
    static CLAIMS: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let claim = |port: u16| {
        let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        [port, port + COUNT]
            .iter()
            .all(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
            .then(|| CLAIMS.lock().unwrap().push(claim))?;
        Some(port)
    };
    let port = || FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
    iter::repeat_with(port).take(COUNT.into()).find_map(claim).expect("a port is free")
}

/// Returns the first of these programs that is installed. Panics if none is.
pub fn program<'p>(candidates: impl IntoIterator<Item = &'p str> + Clone) -> PathBuf {
    let names = candidates.clone().into_iter().collect::<Vec<_>>().join(" or ");
    find_program(candidates).unwrap_or_else(|| {
        panic!("{names} is not installed: scripts/test installs what the tests of servers need")
    })
}

/// Returns the first of these programs that is installed. Names are looked up in `PATH`, paths are
/// not.
pub fn find_program<'p>(candidates: impl IntoIterator<Item = &'p str>) -> Option<PathBuf> {
    let folders: Vec<PathBuf> =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    candidates.into_iter().find_map(|candidate| {
        let paths: Vec<PathBuf> = if candidate.contains('/') {
            vec![candidate.into()]
        } else {
            folders.iter().map(|folder| folder.join(candidate)).collect()
        };
        paths.into_iter().find(|path| path.is_file())
    })
}

/// Repeats a check until it succeeds. Panics after `limit`.
pub fn wait_until(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < limit, "{what} took longer than {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_stays_claimed_until_the_process_ends() {
        let port = free_port();
        assert!(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_err());
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    }
}
