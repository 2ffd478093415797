//! `watch`: a stream of frames that ends when the client leaves, its time is over, or the server ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::read::{Selection, check_version, check_versions, write_object};
use crate::http::answer::{self, Body};
use crate::http::asked::{Asked, Context};
use crate::http::negotiate::Form;
use crate::object::{Object, ObjectExt, Stored, metadata_mut};
use crate::resources::{Resource, api_version};
use crate::shutdown::ended;
use crate::status::{Cause, Result, Status};
use crate::store::{Change, Event, Watch};
use crate::table;

/// How often a client that wants bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
/// How long a watch lasts when the client does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(2400);
/// Frames are sent together up to this size.
const CHUNK: usize = 64 * 1024;

/// Writes frames in the form that the client asked for.
struct Frames {
    resource: Arc<Resource>,
    version: String,
    form: Form,
    include: table::Include,
    // Tables name their columns in the first frame only.
    columns_sent: bool,
}

impl Frames {
    fn write(&mut self, out: &mut Vec<u8>, kind: &str, object: &Stored) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match self.form {
            Form::Objects => write_object(out, &self.resource, &self.version, object),
            Form::Metadata => object.write_metadata(out),
            Form::Table => {
                let metadata = json!({ "resourceVersion": object.str_at(&["metadata", "resourceVersion"]) });
                let mut table = table::Table::new(&self.resource, &self.version);
                table.begin(out, &metadata, !self.columns_sent);
                table.row(out, object, self.include);
                table.end(out);
                self.columns_sent = true;
            }
        }
        out.extend_from_slice(b"}\n");
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, version: u64, initial_end: bool) {
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let (kind, group_version) = match self.form {
            Form::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            _ => (
                self.resource.kind.clone(),
                api_version(&self.resource.group, &self.version),
            ),
        };
        let object = json!({ "kind": kind, "apiVersion": group_version, "metadata": metadata });
        if self.form == Form::Table {
            self.write(out, "BOOKMARK", &Stored::new(object, version));
        } else {
            out.extend_from_slice(format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n").as_bytes());
        }
    }
}

fn error_frame(status: &Status) -> Vec<u8> {
    format!("{{\"type\":\"ERROR\",\"object\":{}}}\n", status.to_json()).into_bytes()
}

struct State {
    frames: Frames,
    selection: Selection,
    namespace: Option<String>,
    initial: std::vec::IntoIter<Object>,
    initial_end: bool,
    watch: Watch,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    ending: watch::Receiver<bool>,
    over: bool,
}

impl State {
    fn in_scope(&self, object: &Stored) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| object.namespace() == namespace)
    }

    fn event(&mut self, out: &mut Vec<u8>, event: &Event) {
        if !self.in_scope(&event.object) {
            return;
        }
        let before = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.selection.matches(previous));
        let now = event.change != Change::Deleted && self.selection.matches(&event.object);
        match (before, now) {
            (false, false) => {}
            (false, true) => self.frames.write(out, "ADDED", &event.object),
            (true, true) => self.frames.write(out, "MODIFIED", &event.object),
            (true, false) if event.change == Change::Deleted => {
                self.frames.write(out, "DELETED", &event.object)
            }
            // It left the selection: its last selected state, with the version of the change.
            (true, false) => {
                if let Some(previous) = &event.previous {
                    let mut last = previous.value().clone();
                    let version = event.object.version();
                    metadata_mut(&mut last).insert("resourceVersion".into(), version.to_string().into());
                    self.frames.write(out, "DELETED", &Stored::new(last, version));
                }
            }
        }
    }

    /// The next frames; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if self.over {
            return None;
        }
        while out.len() < CHUNK {
            match self.initial.next() {
                Some(object) => self.frames.write(&mut out, "ADDED", &object),
                None => break,
            }
        }
        if !out.is_empty() && self.initial.len() > 0 {
            return Some(out);
        }
        if self.initial_end {
            self.initial_end = false;
            let version = self.watch.version();
            self.frames.bookmark(&mut out, version, true);
        }
        loop {
            // What is there goes out together.
            while out.len() < CHUNK {
                match self.watch.try_next() {
                    Ok(Some(event)) => self.event(&mut out, &event),
                    Ok(None) => break,
                    Err(expired) => {
                        self.over = true;
                        out.extend_from_slice(&error_frame(&Status::expired(expired.to_string())));
                        break;
                    }
                }
            }
            if !out.is_empty() {
                return Some(out);
            }
            let wake = if self.bookmarks {
                self.next_bookmark.min(self.deadline)
            } else {
                self.deadline
            };
            tokio::select! {
                () = ended(&mut self.ending) => return None,
                event = self.watch.next() => match event {
                    Ok(event) => self.event(&mut out, &event),
                    Err(expired) => {
                        self.over = true;
                        return Some(error_frame(&Status::expired(expired.to_string())));
                    }
                },
                () = tokio::time::sleep_until(wake) => {
                    let now = Instant::now();
                    if now >= self.deadline {
                        return None;
                    }
                    self.next_bookmark = now + BOOKMARK_EVERY;
                    let version = self.watch.version();
                    self.frames.bookmark(&mut out, version, false);
                    return Some(out);
                }
            }
        }
    }
}

pub(crate) fn serve(context: &Context, asked: &Asked<'_>) -> Result<Response<Body>> {
    let form = Form::of(asked.headers)?;
    let selection = Selection::of(asked)?;
    let query = asked.query;
    let bookmarks = query.flag("allowWatchBookmarks");
    let wanted = query.get("resourceVersion");
    let send_initial = query
        .get("sendInitialEvents")
        .map(|_| query.flag("sendInitialEvents"));
    let matching = query.get("resourceVersionMatch");
    let refuse = |field: &str, detail: &str| {
        Err(Status::invalid(
            "ListOptions",
            "meta.k8s.io",
            "",
            &[Cause::forbidden(field, detail)],
        ))
    };
    match (send_initial, matching) {
        (Some(_), Some("NotOlderThan")) => {}
        (Some(_), _) => {
            return refuse(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        (None, Some(_)) => {
            return refuse(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        (None, None) => check_versions(wanted, None, None)?,
    }
    let life = match query.int("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => {
            Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX).min(86_400))
        }
        _ => DEFAULT_LIFE,
    };
    let version = match wanted.map(str::parse::<u64>) {
        None => 0,
        Some(Ok(version)) => version,
        Some(Err(_)) => return check_version(context, wanted).map(|_| answer::text("")),
    };

    let storage = &asked.resource.storage;
    let store = context.api.store();
    let initial_wanted = send_initial.unwrap_or(version == 0);
    let (initial, from) = if initial_wanted {
        let listing = store.page(storage, asked.scope(), None, usize::MAX, |object| {
            selection.matches(object)
        });
        (listing.items, listing.resource_version)
    } else if version == 0 {
        (Vec::new(), store.resource_version())
    } else {
        (Vec::new(), version)
    };
    let now = Instant::now();
    let state = State {
        frames: Frames {
            resource: Arc::clone(&asked.resource),
            version: asked.at.version.clone(),
            form,
            include: table::Include::of(query.get("includeObject")),
            columns_sent: false,
        },
        selection,
        namespace: asked.scope().map(str::to_owned),
        initial: initial.into_iter(),
        initial_end: send_initial == Some(true) && bookmarks,
        watch: store.watch(storage, from),
        bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        deadline: now + life,
        ending: context.ending.clone(),
        over: false,
    };
    let frames = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))), state))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
