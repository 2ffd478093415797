//! Patches over objects: JSON Patch, merge, strategic merge. The result is an object or a refusal, never a panic.
#![no_main]

use irsa_apiserver::api::PatchKind;
use irsa_apiserver::patch::Patch;
use irsa_apiserver::resources::Registry;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    // One byte for the kind of patch, then the object and the patch, parted by a zero byte.
    let Some((kind, rest)) = data.split_first() else { return };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (Some(object), Some(patch)) = (parts.next(), parts.next()) else { return };
    let Ok(object @ Value::Object(_)) = serde_json::from_slice::<Value>(object) else { return };
    let kind = match kind % 3 {
        0 => PatchKind::Json,
        1 => PatchKind::Merge,
        _ => PatchKind::Strategic,
    };
    let registry = Registry::default();
    let Some(resource) = registry.by_storage("pods") else { return };
    if let Ok(patch) = Patch::parse(kind, patch)
        && let Ok(result) = patch.apply(&resource, &object)
    {
        assert!(result.is_object());
    }
});
