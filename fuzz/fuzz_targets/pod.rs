//! A pod of any form under any settings: the patch applies, changes nothing that is there, and is empty the second time.

#![no_main]

use irsa_core::endpoint::EndpointType;
use irsa_core::identity::{Known, Lookup, ServiceAccount, resolve};
use irsa_core::pod::Pod;
use irsa_core::settings::Settings;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Whether everything of `before` is in `after`, whatever was added. A list may have grown at either end.
fn is_kept(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Null, _) => true,
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .all(|(key, value)| after.get(key).is_some_and(|after| is_kept(value, after))),
        (Value::Array(before), Value::Array(after)) => {
            let all = |after: &[Value]| {
                before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| is_kept(before, after))
            };
            after.len() >= before.len() && (all(after) || all(&after[after.len() - before.len()..]))
        }
        _ => before == after,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((switches, text)) = bytes.split_first() else {
        return;
    };
    let on = |bit: u8| switches & (1 << bit) != 0;
    let mut settings = Settings {
        region: on(0).then(|| "us-west-2".into()),
        flag: on(1).then(|| EndpointType::from_regional(on(2))),
        session_name: on(3),
        record: on(4),
        ..Settings::default()
    };
    if on(5) {
        settings = settings.upstream();
    }
    // Written anew there are no duplicate keys, of which two readers may keep different ones.
    let Ok(before) = serde_json::from_slice::<Value>(text) else {
        return;
    };
    let text = before.to_string();
    let Ok(pod) = Pod::parse(text.as_bytes()) else {
        return;
    };
    let role = [("eks.amazonaws.com/role-arn", "arn:aws:iam::111122223333:role/app")];
    let account = ServiceAccount::from_annotations(role, &settings).expect("it is annotated");
    let lookup = Lookup {
        service_account: Known::Annotated(&account),
        container_credentials: on(6),
        ..Lookup::NOTHING
    };
    let identity = resolve(&lookup, &settings).expect("it has a role");
    let Ok(outcome) = pod.patch(&identity, &settings, u32::from(*switches)) else {
        return;
    };
    for warning in &outcome.warnings {
        let _ = warning.to_string();
    }
    assert_eq!(outcome.patch.is_empty(), outcome.unchanged.is_some());
    let mut after = before.clone();
    if !outcome.patch.is_empty() {
        let patch: json_patch::Patch =
            serde_json::from_slice(&outcome.patch).expect("the patch is a JSON Patch");
        assert_eq!(patch.0.len(), outcome.operations);
        json_patch::patch(&mut after, &patch).expect("the patch applies");
    }
    // There the label of the container credentials method overwrites another value.
    assert!(
        on(5) && on(6) || is_kept(&before, &after),
        "before {before}\nafter {after}"
    );
    let text = after.to_string();
    let again = Pod::parse(text.as_bytes()).expect("a patched pod is a pod");
    let second = again
        .patch(&identity, &settings, 0)
        .expect("a patched pod can be patched");
    assert!(
        second.patch.is_empty(),
        "a second run changes {}",
        String::from_utf8_lossy(&second.patch)
    );
});
