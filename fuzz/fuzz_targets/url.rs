//! What people paste: presigned URLs, host names, error texts, images, User-Agents. Whatever comes, no panic, and no
//! secret in what would be shown.

#![no_main]

use irsa_core::errors;
use irsa_core::partition::AwsHost;
use irsa_core::presign::{Anatomy, mask};
use irsa_core::sdk;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    for url in [
        text.to_owned(),
        format!("https://bucket.s3.us-west-2.amazonaws.com/key?{text}"),
        format!("https://sts.amazonaws.com/?X-Amz-Signature=a&{text}"),
        format!("https://{first}/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&{rest}"),
    ] {
        let masked = mask(&url);
        let region = (!rest.is_empty()).then_some(rest);
        for now in [0, 1_795_479_510, i64::MIN, i64::MAX] {
            let Ok(anatomy) = Anatomy::read(&url, now, region) else {
                continue;
            };
            assert!(!anatomy.form().is_empty());
            for problem in &anatomy.problems {
                assert!(problem.status >= 300 && !problem.message.is_empty());
            }
            // A value long enough to be no accident must not survive masking, unless it also stands elsewhere.
            for parameter in anatomy
                .parameters
                .iter()
                .filter(|p| p.secret && p.value.len() >= 16)
            {
                if url.matches(parameter.value.as_str()).count() == 1 {
                    assert!(!masked.contains(&parameter.value), "{masked}");
                }
            }
        }
    }
    if let Some(host) = AwsHost::parse(first) {
        assert!(host.region.as_deref().is_none_or(|region| !region.is_empty()));
    }
    for found in errors::recognise(text) {
        assert!(errors::entry(found.entry.id).is_some());
    }
    let _ = (sdk::from_image(first), sdk::from_user_agent(text));
});
