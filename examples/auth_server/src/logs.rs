//! Writes the log: one JSON object a line, to the standard error. The lines have names, ids,
//! statuses and errors, none of which contain a token, a key or a password. The path of a request
//! is logged; its query, headers and body are not.
//!
//! No request waits for the log. A thread takes the lines from a queue and writes them. While it
//! cannot write, because a pipe or a disk is full, the queue fills up, and further lines are
//! dropped. As soon as it can write again, it writes how many were dropped.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    panic,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::{extract::Request, middleware::Next, response::Response};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
pub(crate) use tracing_subscriber::filter::Targets as Filter;
use tracing_subscriber::{
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The open log. [`Log::close`] writes the lines that are left.
pub(crate) struct Log(WorkerGuard);

/// The length of the queue, in lines of about 250 bytes.
const QUEUE: usize = 4096;

/// Opens the log for the whole process, which can be done once.
pub(crate) fn start(filter: &Filter) -> Log {
    let queue_full = Arc::new(OnceLock::new());
    let out =
        Lines { out: io::stderr(), queue_full: Arc::clone(&queue_full), failed: 0, reported: 0 };
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE).thread_name("log").finish(out);
    // Only this line sets it.
    let _ = queue_full.set(writer.error_counter());
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(filter.clone()).with(lines).init();
    // The default hook writes to the standard error itself, and would block on a full pipe.
    panic::set_hook(Box::new(|info| tracing::error!(%info, "a panic")));
    Log(guard)
}

impl Log {
    /// How long [`Log::close`] takes at most.
    pub(crate) const CLOSING: Duration = Duration::from_secs(1);

    /// Writes the lines that are left, unless that takes too long.
    pub(crate) fn close(self) {
        let (closed, is_closed) = mpsc::channel();
        // Where the queue is full, the guard reports it on the standard output, which may be the
        // same full pipe.
        thread::spawn(move || {
            drop(self.0);
            closed.send(())
        });
        let _ = is_closed.recv_timeout(Self::CLOSING);
    }
}

/// Writes lines to `out`, and reports how many were dropped before.
struct Lines<W> {
    out: W,
    /// Counts the lines that found the queue full.
    queue_full: Arc<OnceLock<ErrorCounter>>,
    /// How many lines could not be written.
    failed: usize,
    /// How many dropped lines have been reported.
    reported: usize,
}

impl<W: Write> Lines<W> {
    fn report(&mut self) -> io::Result<()> {
        let full = self.queue_full.get().map_or(0, ErrorCounter::dropped_lines);
        let dropped = full.saturating_add(self.failed);
        if dropped == self.reported {
            return Ok(());
        }
        let mut now = String::new();
        // Writing to a `String` does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut now));
        let line = serde_json::json!({
            "timestamp": now,
            "level": "WARN",
            "message": "lines of the log were dropped",
            "dropped": dropped - self.reported,
            "target": module_path!(),
        });
        writeln!(self.out, "{line}")?;
        self.reported = dropped;
        Ok(())
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.report().and_then(|()| self.out.write_all(line)).is_err() {
            self.failed += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Limits a line that could repeat for each request to one in ten seconds.
#[derive(Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    const PAUSE: Duration = Duration::from_secs(10);

    /// Calls `line` with how many times this happened since the last call, at most every ten
    /// seconds.
    pub(crate) fn say(&self, line: impl FnOnce(u64)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, times) = &mut *state;
        *times += 1;
        if last.is_none_or(|last| last.elapsed() >= Self::PAUSE) {
            *last = Some(Instant::now());
            line(std::mem::take(times));
        }
    }
}

/// Logs a line for each request.
pub(crate) async fn request(request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), begin.elapsed());
    tracing::info!(%method, path, status, ms = took.as_secs_f64() * 1e3, "answered");
    response
}

/// Returns the text of an error and of all its sources.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    use fmt::Write;

    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Writing to a `String` does not fail.
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer that fails while it is full.
    struct Disk {
        is_full: bool,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn reports_how_many_lines_were_dropped() {
        let disk = Disk { is_full: false, text: Vec::new() };
        let mut lines = Lines { out: disk, queue_full: Arc::default(), failed: 0, reported: 0 };
        lines.write_all(b"one\n").expect("written");
        lines.out.is_full = true;
        lines.write_all(b"two\n").expect("dropped");
        lines.write_all(b"three\n").expect("dropped");
        lines.out.is_full = false;
        lines.write_all(b"four\n").expect("written");
        lines.write_all(b"five\n").expect("written");
        let text = String::from_utf8(lines.out.text).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        assert!(matches!(lines[..], ["one", _, "four", "five"]), "{text}");
        let report: serde_json::Value = serde_json::from_str(lines[1]).expect("JSON");
        assert_eq!((&report["dropped"], &report["level"]), (&2.into(), &"WARN".into()));
    }
}
