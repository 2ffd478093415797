//! The body of an admission: whatever comes, no panic; and what is answered keeps the promises of the patch.

#![no_main]

use std::sync::LazyLock;

use irsa_core::identity::{self, Known, Lookup, ServiceAccount};
use irsa_core::pod::Pod;
use irsa_core::settings::Settings;
use irsa_webhook::review::{Response, Review, answer};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Our own settings with everything on, and those of compatibility.
static SETTINGS: LazyLock<[Settings; 2]> = LazyLock::new(|| {
    let own = Settings { region: Some("us-west-2".into()), session_name: true, ..Settings::default() };
    [own.clone(), own.upstream()]
});

/// The patch for `pod` by `settings`; empty when the pod cannot be read.
fn patch(pod: &Pod<'_>, settings: &Settings) -> Vec<u8> {
    let annotations = [
        ("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/app"),
        ("eks.amazonaws.com/sts-regional-endpoints", "true"),
    ];
    let account = ServiceAccount::from_annotations(annotations, settings).expect("it is annotated");
    let lookup = Lookup { service_account: Known::Annotated(&account), ..Lookup::NOTHING };
    let identity = identity::resolve(&lookup, settings).expect("it has a role");
    pod.patch(&identity, settings, 7).map(|outcome| outcome.patch).unwrap_or_default()
}

fuzz_target!(|body: &[u8]| {
    let Ok(review) = Review::parse(body) else { return };
    let Some(pod) = &review.request.object else { return };
    for settings in SETTINGS.iter() {
        let bytes = patch(pod, settings);
        let whole = Response { patch: &bytes, warnings: vec![review.request.uid.to_string()], audit: Vec::new() };
        let answered = answer(review.version, &review.request.uid, &whole);
        serde_json::from_slice::<Value>(&answered).expect("the answer is JSON");
    }
    // Written anew there are no duplicate keys, of which two readers may keep different ones.
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return };
    let original = value["request"]["object"].take();
    let text = original.to_string();
    let Ok(pod) = Pod::parse(text.as_bytes()) else { return };
    for settings in SETTINGS.iter() {
        let bytes = patch(&pod, settings);
        let mut patched = original.clone();
        if !bytes.is_empty() {
            let operations: json_patch::Patch = serde_json::from_slice(&bytes).expect("the patch is a JSON Patch");
            json_patch::patch(&mut patched, &operations).expect("the patch applies");
        }
        let text = patched.to_string();
        let again = Pod::parse(text.as_bytes()).expect("a patched pod is a pod");
        let second = patch(&again, settings);
        assert!(second.is_empty(), "a second run changes {}", String::from_utf8_lossy(&second));
    }
});
