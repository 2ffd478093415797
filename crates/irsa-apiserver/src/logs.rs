//! What containers printed, and `kubectl logs`.
//!
//! A container's output is kept in memory, bounded, line by line with the time of each line. It goes when the pod
//! goes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use crate::api::{Api, BoxFuture, Caller};
use crate::hooks::{Addressed, Body, Routes};
use crate::object::{Object, ObjectExt};
use crate::oidc::status_response;
use crate::status::{Result, Status};

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
    // By uid of the pod and name of the container.
    runs: Mutex<HashMap<(String, String), Runs>>,
}

impl Logs {
    /// The log of a container's present run, made when there is none.
    #[must_use]
    pub fn of(&self, pod_uid: &str, container: &str) -> Log {
        let mut runs = self.runs.lock();
        let runs = runs
            .entry((pod_uid.to_owned(), container.to_owned()))
            .or_default();
        runs.current.get_or_insert_with(|| (0, Log::default())).1.clone()
    }

    /// Begins a new run; the last one can still be read as the previous.
    pub(crate) fn begin(&self, pod_uid: &str, container: &str, restart_count: u32) -> Log {
        let mut runs = self.runs.lock();
        let runs = runs
            .entry((pod_uid.to_owned(), container.to_owned()))
            .or_default();
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
        let mut all = self.runs.lock();
        all.retain(|(uid, _), runs| {
            let keep = uid != pod_uid;
            if !keep && let Some((_, log)) = &runs.current {
                log.end();
            }
            keep
        });
    }

    fn find(&self, pod_uid: &str, container: &str, previous: bool) -> Option<Log> {
        let runs = self.runs.lock();
        let runs = runs.get(&(pod_uid.to_owned(), container.to_owned()))?;
        if previous {
            runs.previous.clone()
        } else {
            runs.current.as_ref().map(|(_, log)| log.clone())
        }
    }
}

/// `PodLogOptions`.
#[derive(Debug, Default)]
struct Options {
    container: Option<String>,
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<u64>,
    since: Option<Timestamp>,
    limit: Option<u64>,
}

impl Options {
    fn parse(query: &str) -> Result<Self> {
        let mut options = Self::default();
        let invalid = |field: &str, value: &str, detail: &str| {
            let cause = crate::status::Cause::invalid(field, &Value::from(value), detail);
            Status::invalid("PodLogOptions", "", "", &[cause])
        };
        for (key, value) in form_pairs(query) {
            let number = |field: &str| {
                value
                    .parse::<i64>()
                    .map_err(|_| invalid(field, &value, "must be a number"))
            };
            match key.as_str() {
                "container" => options.container = Some(value).filter(|name| !name.is_empty()),
                "follow" => options.follow = value == "true" || value == "1",
                "previous" => options.previous = value == "true" || value == "1",
                "timestamps" => options.timestamps = value == "true" || value == "1",
                "tailLines" => {
                    let lines = number("tailLines")?;
                    options.tail =
                        Some(u64::try_from(lines).map_err(|_| {
                            invalid("tailLines", &value, "must be greater than or equal to 0")
                        })?);
                }
                "limitBytes" => {
                    let limit = number("limitBytes")?;
                    options.limit = Some(
                        u64::try_from(limit)
                            .ok()
                            .filter(|limit| *limit > 0)
                            .ok_or_else(|| invalid("limitBytes", &value, "must be greater than 0"))?,
                    );
                }
                "sinceSeconds" => {
                    let seconds = number("sinceSeconds")?;
                    if seconds < 1 {
                        return Err(invalid("sinceSeconds", &value, "must be greater than 0"));
                    }
                    options.since = Timestamp::now()
                        .checked_sub(jiff::SignedDuration::from_secs(seconds))
                        .ok();
                }
                "sinceTime" => {
                    options.since = Some(
                        value
                            .parse()
                            .map_err(|_| invalid("sinceTime", &value, "must be a time as in RFC 3339"))?,
                    );
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// The pairs of a query string, decoded.
pub(crate) fn form_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8_lossy()
        .into_owned()
}

/// The container that a request means: the one named, the one annotated as default, or the only one.
pub(crate) fn choose_container(pod: &Object, asked: Option<&str>) -> Result<String> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let all = || lists.iter().flat_map(|list| pod.list_at(&["spec", list]));
    if let Some(asked) = asked {
        return if all().any(|container| container.str_at(&["name"]) == asked) {
            Ok(asked.to_owned())
        } else {
            Err(Status::bad_request(format!(
                "container {asked} is not valid for pod {}",
                pod.name()
            )))
        };
    }
    let containers = pod.list_at(&["spec", "containers"]);
    if let Some(default) = pod.annotation("kubectl.kubernetes.io/default-container")
        && all().any(|container| container.str_at(&["name"]) == default)
    {
        return Ok(default.to_owned());
    }
    match containers {
        [only] if pod.list_at(&["spec", "initContainers"]).is_empty() => {
            Ok(only.str_at(&["name"]).to_owned())
        }
        _ => {
            let names = |list: &str| {
                pod.list_at(&["spec", list])
                    .iter()
                    .map(|container| container.str_at(&["name"]))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            let init = names("initContainers");
            let or = if init.is_empty() {
                String::new()
            } else {
                format!(" or one of the init containers: [{init}]")
            };
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]{or}",
                pod.name(),
                names("containers")
            )))
        }
    }
}

/// Serves `pods/NAME/log`.
pub(crate) struct LogRoutes {
    pub(crate) logs: Arc<Logs>,
    pub(crate) ending: watch::Receiver<bool>,
}

impl LogRoutes {
    fn open(&self, api: &Api, query: &str, at: &Addressed) -> Result<Response<Body>> {
        let pod = api.get("pods", &at.namespace, &at.name)?;
        let options = Options::parse(query)?;
        let container = choose_container(&pod, options.container.as_deref())?;
        if let Some(reason) = waiting_reason(&pod, &container) {
            return Err(Status::bad_request(format!(
                "container {container:?} in pod {:?} is waiting to start: {reason}",
                pod.name()
            )));
        }
        let found = self.logs.find(pod.uid(), &container, options.previous);
        let log = match found {
            Some(log) => log,
            None if options.previous => {
                return Err(Status::bad_request(format!(
                    "previous terminated container {container:?} in pod {:?} not found",
                    pod.name()
                )));
            }
            None => self.logs.of(pod.uid(), &container),
        };
        Ok(self.respond(log, &options))
    }

    fn respond(&self, log: Log, options: &Options) -> Response<Body> {
        let mut changed = log.0.changed.subscribe();
        changed.mark_unchanged();
        let mut reader = Reader::new(log, options);
        let first = reader.read();
        let body = if options.follow {
            let ending = self.ending.clone();
            let rest = stream::unfold(
                (reader, changed, ending),
                |(mut reader, mut changed, mut ending)| async {
                    loop {
                        let (text, more) = reader.read();
                        if !text.is_empty() {
                            return Some((Ok(Frame::data(text)), (reader, changed, ending)));
                        }
                        if !more {
                            return None;
                        }
                        tokio::select! {
                            waited = changed.changed() => waited.ok()?,
                            () = crate::server::ended(&mut ending) => return None,
                        }
                    }
                },
            );
            let first = stream::iter((!first.0.is_empty()).then(|| Ok(Frame::data(first.0))));
            StreamBody::new(futures::StreamExt::chain(first, rest)).boxed_unsync()
        } else {
            Full::new(first.0).boxed_unsync()
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain"),
        );
        response
    }
}

/// A place in a log.
struct Reader {
    log: Log,
    next: u64,
    since: Option<Timestamp>,
    timestamps: bool,
    left: Option<u64>,
}

impl Reader {
    fn new(log: Log, options: &Options) -> Self {
        let next = options.tail.map_or(0, |tail| {
            let lines = log.0.lines.lock();
            lines.next.saturating_sub(tail)
        });
        Self {
            log,
            next,
            since: options.since,
            timestamps: options.timestamps,
            left: options.limit,
        }
    }

    /// What is new, and whether more may follow.
    fn read(&mut self) -> (Bytes, bool) {
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

/// Why a container has not started, as `kubectl logs` is told.
fn waiting_reason<'a>(pod: &'a Object, container: &str) -> Option<&'a str> {
    let status = ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|list| pod.list_at(&["status", list]))
        .find(|status| status.str_at(&["name"]) == container);
    match status {
        Some(status) if status.int_at(&["restartCount"]).unwrap_or_default() == 0 => status
            .at(&["state", "waiting"])
            .map(|waiting| waiting.str_at(&["reason"])),
        Some(_) => None,
        None => Some("ContainerCreating"),
    }
}

impl Routes for LogRoutes {
    fn wants(&self, method: &Method, _path: &str, at: &Addressed, caller: Option<&Caller>) -> bool {
        caller.is_some()
            && method == Method::GET
            && at.group.is_empty()
            && at.plural == "pods"
            && at.subresource == "log"
            && !at.name.is_empty()
    }

    fn serve<'a>(
        &'a self,
        api: &'a Arc<Api>,
        request: Request<Incoming>,
        at: Addressed,
        _caller: Option<Caller>,
    ) -> BoxFuture<'a, Response<Body>> {
        Box::pin(async move {
            let query = request.uri().query().unwrap_or_default();
            self.open(api, query, &at)
                .unwrap_or_else(|status| status_response(&status))
        })
    }
}

/// How long a log outlives its pod, so that `logs -f` can read the last words.
pub(crate) const AFTERLIFE: Duration = Duration::from_secs(2);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn read(log: &Log, query: &str) -> String {
        let options = Options::parse(query).unwrap();
        let (text, _) = Reader::new(log.clone(), &options).read();
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn output_is_kept_line_by_line_and_the_rest_is_not_lost() {
        let log = Log::default();
        let mut writer = log.writer();
        writer.write(b"on");
        writer.write(b"e\ntwo\nthr");
        assert_eq!(read(&log, ""), "one\ntwo\n");
        writer.write(b"ee");
        drop(writer);
        assert_eq!(read(&log, ""), "one\ntwo\nthree");
        assert_eq!(read(&log, "tailLines=1"), "three");
        assert_eq!(read(&log, "tailLines=0"), "");
        assert_eq!(read(&log, "sinceTime=2100-01-01T00:00:00Z"), "");
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
        assert!(!read(&log, "").contains('x'));
    }

    #[test]
    fn a_reader_goes_on_where_it_was() {
        let log = Log::default();
        log.line("one");
        let mut reader = Reader::new(log.clone(), &Options::default());
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
        assert_eq!(read(&logs.find("u", "a", true).unwrap(), ""), "first\n");
        assert_eq!(read(&logs.find("u", "a", false).unwrap(), ""), "second\n");
        logs.forget("u");
        assert!(logs.find("u", "a", false).is_none());
    }

    #[test]
    fn bad_options_say_which_and_why() {
        for (query, field) in [
            ("tailLines=-1", "tailLines"),
            ("limitBytes=0", "limitBytes"),
            ("sinceSeconds=0", "sinceSeconds"),
            ("sinceTime=yesterday", "sinceTime"),
            ("tailLines=x", "tailLines"),
        ] {
            let status = Options::parse(query).unwrap_err();
            assert_eq!(status.code, 422);
            assert!(status.message.contains(field), "{}", status.message);
        }
    }
}
