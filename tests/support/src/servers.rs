//! Servers for tests: started on a free loopback port in a temporary folder, ended by their own process id.

use std::{
    env,
    ffi::OsString,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A folder that goes when this does.
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

/// What a server takes for the time of day; not for how long something takes.
#[derive(Debug)]
pub struct FakeClock {
    /// What is loaded before all others.
    libraries: OsString,
    /// How many seconds it is ahead of the machine's, as the library reads it at each call.
    offset: PathBuf,
}

impl FakeClock {
    /// None where libfaketime is not installed.
    pub fn new(folder: &Path) -> Option<Self> {
        // The folder of this machine's architecture is the one that has it.
        let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
        let within = |folder: PathBuf| (folder.join("faketime/libfaketimeMT.so.1"), folder);
        let (library, beside) = folders.map(within).find(|(library, _)| library.exists())?;
        // jemalloc asks for the time before the library knows it. With libc's malloc in its place, nothing does.
        let mut libraries = library.into_os_string();
        libraries.push(" ");
        libraries.push(beside.join("libc.so.6"));
        let clock = Self { libraries, offset: folder.join("offset") };
        clock.set(0);
        Some(clock)
    }

    /// Sets it in one step, whenever the server looks.
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

/// A child process that ends when this does, if not before.
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

    /// As `kill -9` does it.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Asks it to stop, as `kill -s SIGNAL` does, and waits until it has.
    pub fn stop(&mut self, signal: &str) {
        self.signal(signal);
        self.0.wait().unwrap();
    }

    /// As `kill -s SIGNAL` does it.
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

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The first of these programs that is there: names are looked up in `PATH`, paths are not.
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

/// What to do where a server's program is not there: to say so in a line, or to fail where servers are required.
pub fn not_run(what: &str, missing: &str) {
    let line = format!("NOT RUN: {what}: there is no {missing} on this machine");
    assert!(env::var_os("KIPPU_REQUIRE_SERVERS").is_none_or(|value| value != "1"), "{line}");
    // Past the capture of the test's output.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

/// Tries until it comes true, for at most `limit`.
pub fn wait_until(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < limit, "{what} took longer than {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
