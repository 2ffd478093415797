//! The wire form of an admission: `AdmissionReview` of `admission.k8s.io/v1` and `v1beta1`, in and out.
//!
//! The request borrows from the body and holds only what is looked at; the pod within it is read in the same pass.
//! `kube`'s types are not used: they write the patch as an array of numbers, and copy the pod.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use irsa_core::pod::Pod;
use irsa_core::text::Foreign;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};

/// The versions understood; an answer has that of its request.
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// The most containers of a pod that is changed: reading and patching one takes some hundred times the memory of an
/// empty container in the request.
pub const MAX_CONTAINERS: usize = 1_000;

/// Warnings together longer than this are cut off by the API server.
const MAX_WARNING_BYTES: usize = 4_096;
/// One warning longer than this may be cut off.
const MAX_ONE_WARNING: usize = 256;

/// Why a body is no review that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON of that form.
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    /// Its kind is another one.
    #[error("the body is not an AdmissionReview: its kind is `{0}`")]
    Kind(String),
    /// Its version is not known.
    #[error(
        "AdmissionReview version `{0}` is not understood: expected admission.k8s.io/v1 or admission.k8s.io/v1beta1"
    )]
    Version(String),
    /// It has no request.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// The pod in it has a list or map of another form than expected.
    #[error("{0}")]
    Pod(String),
}

/// A review as it is received.
#[derive(Debug)]
pub struct Review<'a> {
    /// The version to answer in.
    pub version: &'static str,
    /// The request.
    pub request: Request<'a>,
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// The number of the request, to be given back.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// The kind of the object.
    #[serde(borrow, default)]
    pub kind: Option<GroupVersionKind<'a>>,
    /// Set when a part of the object is concerned, such as `ephemeralcontainers` or `status`.
    #[serde(borrow, default)]
    pub sub_resource: Option<Cow<'a, str>>,
    /// The namespace of the object; that in the object itself may not be filled in yet.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow, default)]
    pub operation: Cow<'a, str>,
    /// The pod; none when something is deleted, the object is not a pod, or the pod is oversized.
    #[serde(borrow, default)]
    pub object: Option<Pod<'a>>,
    /// Whether the pod has more than [`MAX_CONTAINERS`] containers, so that it was not read.
    #[serde(skip)]
    pub oversized: bool,
}

/// A kind.
#[derive(Debug, Deserialize)]
pub struct GroupVersionKind<'a> {
    /// The group, empty for core.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// The kind.
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
}

impl Request<'_> {
    /// Whether it is the creation of a pod. Fields that are missing are taken to say so, for people who try the
    /// webhook by hand.
    #[must_use]
    pub fn creates_pod(&self) -> bool {
        let pod = self
            .kind
            .as_ref()
            .is_none_or(|kind| kind.group.is_empty() && matches!(&*kind.kind, "Pod" | ""));
        let whole = self.sub_resource.as_deref().unwrap_or_default().is_empty();
        pod && whole && matches!(&*self.operation, "CREATE" | "")
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

impl<'a> Review<'a> {
    /// Reads the body of a request. Memory does not grow with the pod: what is kept borrows from `body`.
    ///
    /// # Errors
    /// A body that is no review, or one of a version that is not understood.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        if has_too_many_containers(body) {
            let other: Other<'a> = serde_json::from_slice(body)?;
            return Self::of(other.without_object(true)?);
        }
        let envelope: Envelope<'a> = match serde_json::from_slice(body) {
            Ok(envelope) => envelope,
            // The object of a review of another kind need not look like a pod: read once more without it.
            Err(error) if error.is_data() => {
                let other: Other<'a> = serde_json::from_slice(body).map_err(|_same| Error::Json(error))?;
                other.without_object(false)?
            }
            Err(error) => return Err(error.into()),
        };
        Self::of(envelope)
    }

    fn of(envelope: Envelope<'a>) -> Result<Self, Error> {
        if envelope.kind != "AdmissionReview" {
            return Err(Error::Kind(shown(&envelope.kind)));
        }
        let version = VERSIONS
            .into_iter()
            .find(|version| *version == envelope.api_version)
            .ok_or_else(|| Error::Version(shown(&envelope.api_version)))?;
        let request = envelope.request.ok_or(Error::NoRequest)?;
        Ok(Self { version, request })
    }
}

/// Text of a stranger, short and safe to show.
fn shown(text: &str) -> String {
    Foreign(text.chars().take(80).collect::<String>()).to_string()
}

/// Counts containers without keeping them. A body that has no more objects than [`MAX_CONTAINERS`] is not looked at
/// twice, which is nearly every one.
fn has_too_many_containers(body: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    struct Review {
        #[serde(default)]
        request: Option<Request>,
    }
    #[derive(Deserialize)]
    struct Request {
        #[serde(default)]
        object: Option<Object>,
    }
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        spec: Option<Spec>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        #[serde(default)]
        init_containers: Option<Count>,
        #[serde(default)]
        containers: Option<Count>,
    }

    if body.iter().filter(|byte| **byte == b'{').count() <= MAX_CONTAINERS {
        return false;
    }
    // What cannot be read here cannot be read as a review either.
    let spec = serde_json::from_slice::<Review>(body)
        .ok()
        .and_then(|review| review.request?.object?.spec);
    let count = |list: Option<Count>| list.map_or(0, |Count(count)| count);
    spec.is_some_and(|spec| count(spec.init_containers) + count(spec.containers) > MAX_CONTAINERS)
}

/// How many entries a list has.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;

        impl<'de> serde::de::Visitor<'de> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }

        deserializer.deserialize_seq(CountVisitor)
    }
}

/// A review whose object is not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Other<'a> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    request: Option<OtherRequest<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtherRequest<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Option<GroupVersionKind<'a>>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    operation: Cow<'a, str>,
    #[serde(default)]
    object: Anything,
}

#[derive(Default)]
struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl<'a> Other<'a> {
    /// Only for requests that are not the creation of a pod, and for oversized pods; another pod that cannot be read
    /// stays an error.
    fn without_object(self, oversized: bool) -> Result<Envelope<'a>, Error> {
        let Self {
            api_version,
            kind,
            request,
        } = self;
        let request = match request {
            None => None,
            Some(OtherRequest {
                uid,
                kind,
                sub_resource,
                namespace,
                operation,
                object: Anything,
            }) => {
                let request = Request {
                    uid,
                    kind,
                    sub_resource,
                    namespace,
                    operation,
                    object: None,
                    oversized,
                };
                if request.creates_pod() && !oversized {
                    return Err(Error::Json(serde::de::Error::custom(
                        "its object is not a pod that can be read",
                    )));
                }
                Some(request)
            }
        };
        Ok(Envelope {
            api_version,
            kind,
            request,
        })
    }
}

/// An answer.
#[derive(Debug, Default)]
pub struct Response<'a> {
    /// The JSON patch, empty for none.
    pub patch: &'a [u8],
    /// Sentences for the one who created the pod.
    pub warnings: Vec<String>,
    /// Entries for the audit log, as key and value.
    pub audit: Vec<(&'static str, String)>,
}

/// Writes the answer to the request `uid` in `version`: always allowed, perhaps with a patch.
#[must_use]
pub fn answer(version: &str, uid: &str, answer: &Response<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(320 + uid.len() + answer.patch.len().div_ceil(3) * 4);
    out.extend_from_slice(br#"{"kind":"AdmissionReview","apiVersion":""#);
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(br#"","response":{"uid":"#);
    string(&mut out, uid);
    out.extend_from_slice(br#","allowed":true"#);
    if !answer.patch.is_empty() {
        out.extend_from_slice(br#","patch":""#);
        base64(&mut out, answer.patch);
        out.extend_from_slice(br#"","patchType":"JSONPatch""#);
    }
    if !answer.audit.is_empty() {
        out.extend_from_slice(br#","auditAnnotations":{"#);
        for (index, (key, value)) in answer.audit.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            string(&mut out, key);
            out.push(b':');
            string(&mut out, value);
        }
        out.push(b'}');
    }
    if !answer.warnings.is_empty() {
        out.extend_from_slice(br#","warnings":["#);
        let mut total = 0;
        for (index, warning) in answer.warnings.iter().enumerate() {
            let warning = shorten(warning, MAX_ONE_WARNING);
            total += warning.len();
            if total > MAX_WARNING_BYTES {
                break;
            }
            if index > 0 {
                out.push(b',');
            }
            string(&mut out, &warning);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}}");
    out
}

/// A denial with a message, as the debug handler gives it.
#[must_use]
pub fn denial(version: &str, uid: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(br#"{"kind":"AdmissionReview","apiVersion":""#);
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(br#"","response":{"uid":"#);
    string(&mut out, uid);
    out.extend_from_slice(br#","allowed":false,"status":{"message":"#);
    string(&mut out, message);
    out.extend_from_slice(b"}}}");
    out
}

fn base64(out: &mut Vec<u8>, patch: &[u8]) {
    let start = out.len();
    out.resize(start + patch.len().div_ceil(3) * 4, 0);
    // The room is exactly what the encoding needs, so this cannot fail.
    let written = STANDARD
        .encode_slice(patch, &mut out[start..])
        .unwrap_or_default();
    out.truncate(start + written);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text
        .bytes()
        .all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
    {
        out.extend_from_slice(text.as_bytes());
    } else {
        let mut escaped = String::with_capacity(text.len() + 16);
        for c in text.chars() {
            match c {
                '"' => escaped.push_str("\\\""),
                '\\' => escaped.push_str("\\\\"),
                c if u32::from(c) < 0x20 => {
                    let _ = write!(escaped, "\\u{:04x}", u32::from(c));
                }
                c => escaped.push(c),
            }
        }
        out.extend_from_slice(escaped.as_bytes());
    }
    out.push(b'"');
}

fn shorten(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let mut end = limit - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn review(version: &str) -> Vec<u8> {
        json!({"kind": "AdmissionReview", "apiVersion": version, "request": {
            "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "a", "operation": "CREATE",
            "object": {"metadata": {"name": "p"}, "spec": {"serviceAccountName": "x", "containers": []}},
            "oldObject": null, "options": {"kind": "CreateOptions"}, "dryRun": false,
        }})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn both_versions_are_read_and_answered_in_kind() {
        for version in VERSIONS {
            let body = review(version);
            let read = Review::parse(&body).unwrap();
            assert!(read.request.creates_pod());
            let answered: Value =
                serde_json::from_slice(&answer(read.version, &read.request.uid, &Response::default()))
                    .unwrap();
            assert_eq!(
                answered,
                json!({"kind": "AdmissionReview", "apiVersion": version, "response": {"uid": "u-1", "allowed": true}})
            );
        }
    }

    #[test]
    fn the_patch_is_base64_and_the_texts_are_escaped() {
        let warnings = vec!["say \"no\"\n".to_owned(), "é".repeat(200)];
        let audit = vec![("endpoint", "regional".to_owned())];
        let bytes = answer(
            VERSIONS[0],
            "u\\\"",
            &Response {
                patch: b"[1]",
                warnings,
                audit,
            },
        );
        let answered: Value = serde_json::from_slice(&bytes).unwrap();
        let response = &answered["response"];
        assert_eq!(response["uid"], "u\\\"");
        assert_eq!(response["patchType"], "JSONPatch");
        assert_eq!(
            STANDARD.decode(response["patch"].as_str().unwrap()).unwrap(),
            b"[1]"
        );
        assert_eq!(response["warnings"][0], "say \"no\"\n");
        assert!(response["warnings"][1].as_str().unwrap().len() <= MAX_ONE_WARNING);
        assert_eq!(response["auditAnnotations"]["endpoint"], "regional");
    }

    #[test]
    fn what_is_not_a_review_is_told_so() {
        let error = |body: &str| Review::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error("").starts_with("the body is not an AdmissionReview"));
        assert!(error("[]").starts_with("the body is not an AdmissionReview"));
        assert!(error(r#"{"kind":"Pod","apiVersion":"v1"}"#).contains("`Pod`"));
        assert!(
            error(r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v2","request":{}}"#)
                .contains("v2")
        );
        assert!(
            error(r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#).contains("no request")
        );
    }

    #[test]
    fn objects_that_are_no_pods_are_no_error_but_unreadable_pods_are() {
        let mut body: Value = serde_json::from_slice(&review(VERSIONS[0])).unwrap();
        body["request"]["object"]["spec"] = json!("text");
        assert!(Review::parse(body.to_string().as_bytes()).is_err());
        body["request"]["kind"]["kind"] = json!("Gadget");
        let text = body.to_string();
        assert!(!Review::parse(text.as_bytes()).unwrap().request.creates_pod());
        let mut body: Value = serde_json::from_slice(&review(VERSIONS[0])).unwrap();
        body["request"]["operation"] = json!("DELETE");
        body["request"]["object"] = Value::Null;
        let text = body.to_string();
        assert!(!Review::parse(text.as_bytes()).unwrap().request.creates_pod());
    }

    #[test]
    fn the_patch_of_a_large_pod_stays_small() {
        use irsa_core::identity::{self, Known, Lookup, ServiceAccount};
        use irsa_core::settings::Settings;
        let body = include_bytes!("../benches/review.json");
        let settings = Settings {
            region: Some("us-west-2".into()),
            ..Settings::default()
        };
        let annotations = [
            (
                "eks.amazonaws.com/role-arn",
                "arn:aws:iam::111122223333:role/checkout",
            ),
            ("eks.amazonaws.com/sts-regional-endpoints", "true"),
        ];
        let account = ServiceAccount::from_annotations(annotations, &settings).unwrap();
        let lookup = Lookup {
            service_account: Known::Annotated(&account),
            ..Lookup::NOTHING
        };
        let review = Review::parse(body).unwrap();
        let pod = review.request.object.as_ref().unwrap();
        let identity = identity::resolve(&lookup, &settings).unwrap();
        let patch = pod.patch(&identity, &settings, 7).unwrap().patch;
        // Six additions to each of four containers, the volume and the record; the Go webhook sends both arrays whole.
        assert!(
            patch.len() < body.len() / 4,
            "{} bytes for a review of {}",
            patch.len(),
            body.len()
        );
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = Review::parse(&body);
        }

        #[test]
        fn damage_anywhere_in_a_review_is_no_panic(at in 0_usize..14_000, byte in proptest::num::u8::ANY) {
            let mut body = include_bytes!("../benches/review.json").to_vec();
            body[at] = byte;
            if let Ok(review) = Review::parse(&body) {
                let _ = review.request.creates_pod();
            }
        }

        #[test]
        fn every_text_survives_the_answer(uid in "\\PC*", warning in "[\\x00-\\u{2fff}]{0,60}") {
            let whole = Response { patch: &[], warnings: vec![warning.clone()], audit: vec![("key", warning.clone())] };
            let answered: Value = serde_json::from_slice(&answer(VERSIONS[0], &uid, &whole)).unwrap();
            proptest::prop_assert_eq!(answered["response"]["uid"].as_str(), Some(uid.as_str()));
            proptest::prop_assert_eq!(answered["response"]["warnings"][0].as_str(), Some(warning.as_str()));
            proptest::prop_assert_eq!(answered["response"]["auditAnnotations"]["key"].as_str(), Some(warning.as_str()));
        }
    }
}
