//! What containers printed.
//!
//! The last lines of a container's output are kept in memory with their times, until the pod is deleted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How much of one container's output is kept; the oldest lines go first.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A line longer than this is cut into several, as the CRI does it.
const MAX_LINE: usize = 16 * 1024;

#[derive(Debug)]
struct Line {
    number: u64,
    at: Timestamp,
    // With its newline, unless the line was cut.
    text: Bytes,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    bytes: usize,
    next: u64,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    changed: watch::Sender<()>,
}

/// The output of one run of one container. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

impl Default for Log {
    fn default() -> Self {
        Self(Arc::new(Shared {
            lines: Mutex::default(),
            changed: watch::channel(()).0,
        }))
    }
}

impl Log {
    /// Adds one line; `text` without its newline.
    pub fn line(&self, text: &str) {
        let mut writer = self.writer();
        writer.write(text.as_bytes());
        writer.write(b"\n");
    }

    /// A writer that splits output into lines. Each stream of a process needs its own.
    #[must_use]
    pub fn writer(&self) -> LogWriter {
        LogWriter {
            log: self.clone(),
            partial: BytesMut::new(),
        }
    }

    /// Says that nothing more follows: `kubectl logs -f` ends.
    pub fn end(&self) {
        self.0.lines.lock().ended = true;
        self.0.changed.send_replace(());
    }

    fn push(&self, text: Bytes) {
        {
            let mut lines = self.0.lines.lock();
            let number = lines.next;
            lines.next += 1;
            lines.bytes += text.len();
            lines.kept.push_back(Line {
                number,
                at: Timestamp::now(),
                text,
            });
            while lines.bytes > MAX_BYTES
                && let Some(oldest) = lines.kept.pop_front()
            {
                lines.bytes -= oldest.text.len();
            }
        }
        self.0.changed.send_replace(());
    }
}

/// Turns bytes into lines of a [`Log`]. What is left without a newline is written when it is dropped.
#[derive(Debug)]
pub struct LogWriter {
    log: Log,
    partial: BytesMut,
}

impl LogWriter {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            while self.partial.len() > MAX_LINE {
                let cut = self.partial.split_to(MAX_LINE).freeze();
                self.log.push(cut);
            }
            if piece.ends_with(b"\n") {
                let line = self.partial.split().freeze();
                self.log.push(line);
            }
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if !self.partial.is_empty() {
            let rest = self.partial.split().freeze();
            self.log.push(rest);
        }
    }
}

#[derive(Debug, Default)]
struct Runs {
    previous: Option<Log>,
    current: Option<(u32, Log)>,
}

/// The logs of all containers.
#[derive(Debug, Default)]
pub struct Logs {
    /// By uid of the pod and name of the container.
    runs: Mutex<HashMap<String, HashMap<String, Runs>>>,
}

impl Logs {
    /// The log of a container's present run, made when there is none.
    #[must_use]
    pub fn of(&self, pod_uid: &str, container: &str) -> Log {
        let mut runs = self.runs.lock();
        let runs = runs.entry(pod_uid.to_owned()).or_default();
        let runs = runs.entry(container.to_owned()).or_default();
        runs.current.get_or_insert_with(|| (0, Log::default())).1.clone()
    }

    /// Begins a new run; the last one can still be read as the previous.
    pub(crate) fn begin(&self, pod_uid: &str, container: &str, restart_count: u32) -> Log {
        let mut runs = self.runs.lock();
        let runs = runs.entry(pod_uid.to_owned()).or_default();
        let runs = runs.entry(container.to_owned()).or_default();
        match &runs.current {
            Some((count, log)) if *count == restart_count => return log.clone(),
            _ => {}
        }
        if let Some((_, ended)) = runs.current.take() {
            ended.end();
            runs.previous = Some(ended);
        }
        let log = Log::default();
        runs.current = Some((restart_count, log.clone()));
        log
    }

    /// Forgets a pod.
    pub(crate) fn forget(&self, pod_uid: &str) {
        let gone = self.runs.lock().remove(pod_uid);
        for runs in gone.into_iter().flat_map(HashMap::into_values) {
            if let Some((_, log)) = runs.current {
                log.end();
            }
        }
    }

    pub(crate) fn find(&self, pod_uid: &str, container: &str, previous: bool) -> Option<Log> {
        let runs = self.runs.lock();
        let runs = runs.get(pod_uid)?.get(container)?;
        if previous {
            runs.previous.clone()
        } else {
            runs.current.as_ref().map(|(_, log)| log.clone())
        }
    }
}

/// Which part of a log to read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    /// Each line begins with its time.
    pub(crate) timestamps: bool,
    /// Only so many of the last lines.
    pub(crate) tail: Option<u64>,
    /// Only lines written at or after this time.
    pub(crate) since: Option<Timestamp>,
    /// At most so many bytes.
    pub(crate) limit: Option<u64>,
}

/// A place in a log.
pub(crate) struct Reader {
    log: Log,
    changed: watch::Receiver<()>,
    next: u64,
    since: Option<Timestamp>,
    timestamps: bool,
    left: Option<u64>,
}

impl Reader {
    pub(crate) fn new(log: Log, part: Part) -> Self {
        let changed = log.0.changed.subscribe();
        let next = part.tail.map_or(0, |tail| {
            let lines = log.0.lines.lock();
            lines.next.saturating_sub(tail)
        });
        Self {
            log,
            changed,
            next,
            since: part.since,
            timestamps: part.timestamps,
            left: part.limit,
        }
    }

    /// Waits until something was written or the log has ended since the last [`Reader::read`].
    pub(crate) async fn changed(&mut self) {
        // The sender lives as long as `self.log`.
        let _ = self.changed.changed().await;
    }

    /// What is new, and whether more may follow.
    pub(crate) fn read(&mut self) -> (Bytes, bool) {
        self.changed.mark_unchanged();
        let mut text = BytesMut::new();
        let lines = self.log.0.lines.lock();
        let start = lines.kept.partition_point(|line| line.number < self.next);
        for line in lines.kept.range(start..) {
            if self.since.is_some_and(|since| line.at < since) {
                continue;
            }
            if self.timestamps {
                let stamp = line.at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string();
                text.extend_from_slice(stamp.as_bytes());
            }
            text.extend_from_slice(&line.text);
        }
        self.next = lines.next;
        let mut more = !lines.ended;
        drop(lines);
        if let Some(left) = &mut self.left {
            let keep = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
            text.truncate(keep);
            *left -= keep as u64;
            more &= *left > 0;
        }
        (text.freeze(), more)
    }
}

/// How long a log outlives its pod, so that `logs -f` can read the last words.
pub(crate) const AFTERLIFE: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(log: &Log, part: Part) -> String {
        let (text, _) = Reader::new(log.clone(), part).read();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn output_is_kept_line_by_line_and_the_rest_is_not_lost() {
        let log = Log::default();
        let mut writer = log.writer();
        writer.write(b"on");
        writer.write(b"e\ntwo\nthr");
        assert_eq!(read(&log, Part::default()), "one\ntwo\n");
        writer.write(b"ee");
        drop(writer);
        assert_eq!(read(&log, Part::default()), "one\ntwo\nthree");
        let last = |count| Part {
            tail: Some(count),
            ..Part::default()
        };
        assert_eq!(read(&log, last(1)), "three");
        assert_eq!(read(&log, last(0)), "");
        let since = Part {
            since: Some("2100-01-01T00:00:00Z".parse().unwrap()),
            ..Part::default()
        };
        assert_eq!(read(&log, since), "");
    }

    #[test]
    fn a_log_is_bounded_and_a_long_line_is_cut() {
        let log = Log::default();
        let mut writer = log.writer();
        writer.write(&vec![b'x'; MAX_LINE * 2 + 1]);
        writer.write(b"\n");
        assert_eq!(log.0.lines.lock().kept.len(), 3);
        for _ in 0..(MAX_BYTES / MAX_LINE + 8) {
            writer.write(&vec![b'y'; MAX_LINE - 1]);
            writer.write(b"\n");
        }
        assert!(log.0.lines.lock().bytes <= MAX_BYTES);
        assert!(!read(&log, Part::default()).contains('x'));
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let log = Log::default();
        log.line("one");
        let mut reader = Reader::new(log.clone(), Part::default());
        assert_eq!(reader.read(), (Bytes::from_static(b"one\n"), true));
        assert_eq!(reader.read(), (Bytes::new(), true));
        log.line("two");
        log.end();
        assert_eq!(reader.read(), (Bytes::from_static(b"two\n"), false));
    }

    #[test]
    fn the_previous_run_is_kept_and_a_gone_pod_is_forgotten() {
        let logs = Logs::default();
        logs.begin("u", "a", 0).line("first");
        logs.begin("u", "a", 1).line("second");
        assert_eq!(
            read(&logs.find("u", "a", true).unwrap(), Part::default()),
            "first\n"
        );
        assert_eq!(
            read(&logs.find("u", "a", false).unwrap(), Part::default()),
            "second\n"
        );
        logs.forget("u");
        assert!(logs.find("u", "a", false).is_none());
    }
}
