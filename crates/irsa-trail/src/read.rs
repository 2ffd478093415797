//! Files, folders and streams of CloudTrail records, on all cores, each file as a stream.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use flate2::read::MultiGzDecoder;

use crate::audit::{Period, Tally};
use crate::json::{Damage, Elements, Fault, Next};
use crate::record::{self, Other};
use crate::rows::{Columns, Wrapped};

/// How many things that were passed over are told one by one; the rest is counted.
const MAX_TOLD: usize = 100;

/// Where records come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, or a folder with all that is below it.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The callers.
    pub tally: Tally,
    /// Files that were read, or read in part.
    pub files: usize,
    /// Records and rows that were sound, of any service.
    pub records: u64,
    /// Records and stretches that were passed over.
    pub damaged: u64,
    /// What was passed over, the first hundred of it.
    pub problems: Vec<Problem>,
}

/// Something that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, or `-` for standard input.
    pub file: String,
    /// Where in the decompressed file, in bytes; for tables the number of the record. Nothing if it is the whole file.
    pub at: Option<u64>,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What can be wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ProblemKind {
    /// It is not JSON.
    #[error("not JSON: the rest of the line is passed over")]
    NotJson,
    /// It ends in the middle of a record.
    #[error("the file ends in the middle of a record")]
    Truncated,
    /// A value is longer than any record can be.
    #[error("a value of more than 16 MiB is passed over")]
    TooLong,
    /// It is JSON, but neither a CloudTrail record nor a row of the queries that `irsa audit query` prints.
    #[error("neither a CloudTrail record nor a row of a query result")]
    NotARecord,
    /// A table without the columns that tell anything.
    #[error("the table has no column {0}: use the query that `irsa audit query` prints")]
    Columns(String),
    /// It could not be read, or not to its end.
    #[error("{0}")]
    Io(String),
    /// Neither JSON nor a table.
    #[error("neither JSON nor CSV")]
    Unknown,
    /// There is nothing to read in a folder.
    #[error("the folder holds no .json, .jsonl, .csv or .gz file")]
    EmptyFolder,
}

impl From<Fault> for ProblemKind {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax => Self::NotJson,
            Fault::Truncated => Self::Truncated,
            Fault::TooLong => Self::TooLong,
        }
    }
}

impl Outcome {
    fn new(period: Period) -> Self {
        Self {
            tally: Tally::new(period),
            ..Self::default()
        }
    }

    fn problem(&mut self, file: &str, at: Option<u64>, kind: ProblemKind) {
        self.damaged += 1;
        if self.problems.len() < MAX_TOLD {
            self.problems.push(Problem {
                file: file.to_owned(),
                at,
                kind,
            });
        }
    }

    fn merge(&mut self, other: Self) {
        self.tally.merge(&other.tally);
        self.files += other.files;
        self.records += other.records;
        self.damaged += other.damaged;
        self.problems.extend(other.problems);
    }
}

/// Reads everything, `threads` files at a time, and calls `progress` with the number of files done.
///
/// A file that cannot be read is a problem of the outcome, never the end.
pub fn read(sources: &[Source], period: Period, threads: usize, progress: impl Fn(usize) + Sync) -> Outcome {
    let mut whole = Outcome::new(period);
    let mut inputs = Vec::new();
    for source in sources {
        match source {
            Source::Stdin => inputs.push(Source::Stdin),
            Source::Path(path) => expand(path, &mut inputs, &mut whole),
        }
    }
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let whole = Mutex::new(whole);
    let work = || {
        let mut part = Outcome::new(period);
        while let Some(input) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
            match input {
                Source::Stdin => stream("-", io::stdin().lock(), &mut part),
                Source::Path(path) => {
                    let name = path.display().to_string();
                    match File::open(path) {
                        Ok(file) => stream(&name, file, &mut part),
                        Err(error) => part.problem(&name, None, ProblemKind::Io(error.to_string())),
                    }
                }
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        // A thread that panicked has left its part out, which the panic itself reports.
        whole
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .merge(part);
    };
    thread::scope(|scope| {
        for _ in 1..threads.clamp(1, inputs.len().max(1)) {
            scope.spawn(work);
        }
        work();
    });
    let mut whole = whole
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    whole.problems.sort();
    whole.problems.truncate(MAX_TOLD);
    whole
}

/// The files below a folder that can hold records. CloudTrail's digests lie beside its logs and hold none.
fn expand(path: &Path, inputs: &mut Vec<Source>, whole: &mut Outcome) {
    let name = path.display().to_string();
    if !path.is_dir() {
        inputs.push(Source::Path(path.to_owned()));
        return;
    }
    let before = inputs.len();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                let name = folder.display().to_string();
                whole.problem(&name, None, ProblemKind::Io(error.to_string()));
                continue;
            }
        };
        let mut below: Vec<_> = entries.flatten().collect();
        below.sort_by_key(std::fs::DirEntry::file_name);
        for entry in below {
            let path = entry.path();
            // Links are not followed: they could lead round in a circle.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != "CloudTrail-Digest" => folders.push(path),
                Ok(kind) if kind.is_file() && holds_records(&path) => inputs.push(Source::Path(path)),
                _ => {}
            }
        }
    }
    if inputs.len() == before {
        whole.problem(&name, None, ProblemKind::EmptyFolder);
    }
}

fn holds_records(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("json" | "jsonl" | "ndjson" | "csv" | "gz"))
}

/// Reads one stream, compressed or not, of whatever form.
pub fn stream(name: &str, mut input: impl Read, outcome: &mut Outcome) {
    outcome.files += 1;
    let mut head = [0; 2];
    let mut length = 0;
    while length < head.len() {
        match input.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return outcome.problem(name, None, ProblemKind::Io(error.to_string())),
        }
    }
    let whole = Cursor::new(head).take(length as u64).chain(input);
    if head == [0x1F, 0x8B] {
        plain(name, MultiGzDecoder::new(whole), outcome);
    } else {
        plain(name, whole, outcome);
    }
}

fn plain(name: &str, mut input: impl Read, outcome: &mut Outcome) {
    let mut head = Vec::new();
    // A heading can be long, but its first name shows whether it is one.
    if let Err(error) = (&mut input).take(4096).read_to_end(&mut head) {
        return outcome.problem(name, None, ProblemKind::Io(error.to_string()));
    }
    let text = head.trim_ascii_start();
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    match text.first() {
        None => {}
        Some(b'{' | b'[') => json(name, &head, input, outcome),
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'"' => {
            table(name, Cursor::new(head).chain(input), outcome);
        }
        Some(_) => outcome.problem(name, None, ProblemKind::Unknown),
    }
}

fn json(name: &str, head: &[u8], input: impl Read, outcome: &mut Outcome) {
    let mut elements = Elements::new(head, input);
    let mut heading: Option<Columns> = None;
    loop {
        let offset = elements.offset();
        match elements.next() {
            Ok(Next::End) => return,
            Ok(Next::Damage(Damage { offset, fault })) => outcome.problem(name, Some(offset), fault.into()),
            Ok(Next::Element(bytes)) => {
                let Outcome { tally, .. } = outcome;
                let result = match record::observe(bytes, |seen| tally.add(seen)) {
                    Err(Other::Damaged | Other::Service) if may_be_wrapped(bytes) => {
                        wrapped(bytes, &mut heading, tally)
                    }
                    result => result.map_err(|other| (other, ProblemKind::NotARecord)),
                };
                match result {
                    Ok(()) | Err((Other::Service, _)) => outcome.records += 1,
                    Err((Other::Damaged, kind)) => outcome.problem(name, Some(offset), kind),
                }
            }
            Err(error) => return outcome.problem(name, None, ProblemKind::Io(error.to_string())),
        }
    }
}

/// Whether an element that is no record of STS is to be looked at as a row or an event: records of other services are
/// most of a log, and none of them has these keys at its very beginning.
fn may_be_wrapped(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'[')
        || memchr::memmem::find(bytes, b"\"CloudTrailEvent\"").is_some()
        || memchr::memmem::find(&bytes[..bytes.len().min(32)], b"\"Data\"").is_some()
}

fn wrapped(
    bytes: &[u8],
    heading: &mut Option<Columns>,
    tally: &mut Tally,
) -> Result<(), (Other, ProblemKind)> {
    let damaged = |_| (Other::Damaged, ProblemKind::NotARecord);
    match serde_json::from_slice(bytes).map_err(|_| (Other::Damaged, ProblemKind::NotARecord))? {
        Wrapped::LookupEvent { event } => record::observe(event.as_bytes(), |seen| tally.add(seen))
            .map_err(|other| (other, ProblemKind::NotARecord)),
        Wrapped::AthenaRow { data } => {
            let cells: Vec<&str> = data.iter().map(|cell| &*cell.value).collect();
            match heading {
                Some(columns) => columns.observe(&cells, |seen| tally.add(seen)).map_err(damaged),
                None => {
                    let columns = Columns::new(cells);
                    let missing = columns.missing();
                    *heading = Some(columns);
                    // The heading is no record; it counts as one of another service.
                    complete(&missing).and(Err((Other::Service, ProblemKind::NotARecord)))
                }
            }
        }
        Wrapped::LakeRow(cells) => {
            let cells: Vec<(&str, &str)> = cells
                .iter()
                .flatten()
                .map(|(name, value)| (&**name, value.as_deref().unwrap_or_default()))
                .collect();
            let columns = Columns::new(cells.iter().map(|(name, _)| *name));
            complete(&columns.missing())?;
            let values: Vec<&str> = cells.iter().map(|(_, value)| *value).collect();
            columns.observe(&values, |seen| tally.add(seen)).map_err(damaged)
        }
    }
}

fn complete(missing: &[&str]) -> Result<(), (Other, ProblemKind)> {
    match missing {
        [] => Ok(()),
        missing => Err((Other::Damaged, ProblemKind::Columns(missing.join(", ")))),
    }
}

fn table(name: &str, input: impl Read, outcome: &mut Outcome) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let columns = match reader.headers() {
        Ok(headers) => Columns::new(headers.iter()),
        Err(error) => return outcome.problem(name, None, ProblemKind::Io(error.to_string())),
    };
    if let Err((_, kind)) = complete(&columns.missing()) {
        return outcome.problem(name, None, kind);
    }
    let mut row = csv::StringRecord::new();
    for number in 1_u64.. {
        match reader.read_record(&mut row) {
            Ok(false) => return,
            Ok(true) => {
                let cells: Vec<&str> = row.iter().collect();
                let Outcome { tally, .. } = outcome;
                match columns.observe(&cells, |seen| tally.add(seen)) {
                    Ok(()) | Err(Other::Service) => outcome.records += 1,
                    Err(Other::Damaged) => outcome.problem(name, Some(number), ProblemKind::NotARecord),
                }
            }
            Err(error) if error.is_io_error() => {
                return outcome.problem(name, Some(number), ProblemKind::Io(error.to_string()));
            }
            Err(_) => outcome.problem(name, Some(number), ProblemKind::NotARecord),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn record(account: &str) -> String {
        format!(
            r#"{{"eventTime":"2026-11-24T00:18:30Z","eventSource":"sts.amazonaws.com","eventName":"AssumeRoleWithWebIdentity","awsRegion":"us-east-1","userIdentity":{{"type":"WebIdentityUser","userName":"system:serviceaccount:team:{account}","identityProvider":"p"}},"requestParameters":{{"roleArn":"r"}},"tlsDetails":{{"clientProvidedHostHeader":"sts.amazonaws.com"}}}}"#
        )
    }

    fn outcome(bytes: &[u8]) -> Outcome {
        let mut outcome = Outcome::default();
        stream("f", bytes, &mut outcome);
        outcome
    }

    fn gz(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_form_of_the_same_records_gives_the_same_callers() {
        let (a, b) = (record("a"), record("b"));
        let event = |record: &str| serde_json::json!({"EventId": "1", "CloudTrailEvent": record}).to_string();
        let cells = |account: &str| {
            [
                ("event_name", "AssumeRoleWithWebIdentity".to_owned()),
                ("provider", "p".to_owned()),
                ("subject", format!("system:serviceaccount:team:{account}")),
                ("role", "r".to_owned()),
                ("host", "sts.amazonaws.com".to_owned()),
                ("region", "us-east-1".to_owned()),
                ("first_seen", "2026-11-24T00:18:30Z".to_owned()),
            ]
        };
        let lake = |account: &str| {
            let row: Vec<_> = cells(account)
                .iter()
                .map(|(name, value)| serde_json::json!({*name: value}))
                .collect();
            serde_json::Value::from(row).to_string()
        };
        let athena = |values: Vec<String>| {
            let data: Vec<_> = values
                .iter()
                .map(|value| serde_json::json!({"VarCharValue": value}))
                .collect();
            serde_json::json!({ "Data": data }).to_string()
        };
        let heading = cells("").map(|(name, _)| name.to_owned()).to_vec();
        let values = |account: &str| cells(account).map(|(_, value)| value).to_vec();
        let json_column = |record: &str| format!("\"{}\"", record.replace('"', "\"\""));
        let forms = [
            format!("{{\"Records\":[{a},{b}]}}"),
            format!("{a}\n{b}\n"),
            format!("[{a},{b}]"),
            format!("{{\"Events\":[{},{}]}}", event(&a), event(&b)),
            format!(
                "{{\"QueryStatus\":\"FINISHED\",\"QueryResultRows\":[{},{}]}}",
                lake("a"),
                lake("b")
            ),
            format!(
                "{{\"ResultSet\":{{\"Rows\":[{},{},{}]}}}}",
                athena(heading.clone()),
                athena(values("a")),
                athena(values("b"))
            ),
            format!(
                "{}\n{}\n{}\n",
                heading.join(","),
                values("a").join(","),
                values("b").join(",")
            ),
            format!("eventJson\n{}\n{}\n", json_column(&a), json_column(&b)),
        ];
        let expected = outcome(forms[0].as_bytes()).tally.callers();
        assert_eq!(expected.len(), 2);
        for form in forms {
            for bytes in [form.clone().into_bytes(), gz(&form)] {
                let found = outcome(&bytes);
                assert_eq!(found.tally.callers(), expected, "{form}");
                assert_eq!(found.problems, [], "{form}");
            }
        }
    }

    #[test]
    fn damage_is_told_with_its_place_and_the_rest_counts() {
        let text = format!(
            "{}\n{{\"eventSource\":1}}\nnonsense\n{}\n",
            record("a"),
            record("b")
        );
        let found = outcome(text.as_bytes());
        assert_eq!(found.tally.callers().len(), 2);
        assert_eq!(found.damaged, 1, "{:?}", found.problems);
        assert_eq!(found.problems[0].kind, ProblemKind::NotJson);

        let whole = gz(&format!("{{\"Records\":[{},{}]}}", record("a"), record("b")));
        let found = outcome(&whole[..whole.len() - 9]);
        assert!(found.damaged >= 1);
        assert!(found.problems.iter().all(|problem| problem.file == "f"));

        let found = outcome(b"a,b\n1,2\n");
        assert_eq!(
            found.problems[0].kind,
            ProblemKind::Columns("event_name, role, first_seen".to_owned())
        );
        assert_eq!(outcome(b"\x00\x01").problems[0].kind, ProblemKind::Unknown);
        assert_eq!(outcome(b"").damaged, 0);
    }

    #[test]
    fn folders_are_read_on_several_threads_without_digests_and_missing_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("AWSLogs/CloudTrail/us-east-1");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir_all(folder.path().join("AWSLogs/CloudTrail-Digest")).unwrap();
        std::fs::write(folder.path().join("AWSLogs/CloudTrail-Digest/d.json.gz"), b"x").unwrap();
        for number in 0..20 {
            let text = format!("{{\"Records\":[{}]}}", record(&format!("a{}", number % 4)));
            std::fs::write(below.join(format!("{number}.json.gz")), gz(&text)).unwrap();
        }
        let missing = folder.path().join("missing.json");
        let sources = [
            Source::Path(folder.path().to_owned()),
            Source::Path(missing.clone()),
        ];
        let found = read(&sources, Period::default(), 3, |_| ());
        assert_eq!((found.files, found.records), (20, 20));
        let callers = found.tally.callers();
        assert_eq!(callers.len(), 4);
        assert!(callers.values().all(|totals| totals.calls == 5));
        assert_eq!(found.problems.len(), 1);
        assert_eq!(found.problems[0].file, missing.display().to_string());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            outcome(&bytes);
        }

        #[test]
        fn a_record_cut_or_changed_anywhere_never_panics(at in 0_usize..400, byte in any::<u8>(), cut in any::<bool>()) {
            let mut text = format!("{{\"Records\":[{},{}]}}", record("a"), record("b")).into_bytes();
            let at = at % text.len();
            if cut { text.truncate(at) } else { text[at] = byte }
            let found = outcome(&text);
            prop_assert!(found.tally.sts_calls <= 2);
        }
    }
}
