//! What people configure: annotations, the ConfigMap, the container credentials file, names of nodes, ARNs. Whatever
//! comes, no panic, and what is read back is what was meant.

#![no_main]

use irsa_core::annotations;
use irsa_core::arn::RoleArn;
use irsa_core::endpoint::{Choice, EnvValue, Platform};
use irsa_core::identity::{ConfigMap, CredentialsFile, Known, Lookup, ServiceAccount, resolve};
use irsa_core::node;
use irsa_core::settings::Settings;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 7] = [
    annotations::ROLE_ARN,
    annotations::AUDIENCE,
    annotations::STS_REGIONAL_ENDPOINTS,
    annotations::TOKEN_EXPIRATION,
    annotations::SKIP_CONTAINERS,
    annotations::INCLUDE_CONTAINERS,
    annotations::RECORD,
];

fuzz_target!(|bytes: &[u8]| {
    let _ = CredentialsFile::parse(bytes).map(|file| file.contains("a", "b"));
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let own = Settings::default();
    for settings in [own.clone(), own.upstream()] {
        if let Ok(map) = ConfigMap::parse(text, &settings) {
            for warning in map.warnings() {
                assert!(!warning.to_string().is_empty());
            }
            for entry in map.entries() {
                let found = map.find(entry.namespace(), entry.service_account());
                assert!(
                    found.is_some(),
                    "the entry of {}/{} is not found",
                    entry.namespace(),
                    entry.service_account()
                );
            }
        }
        // As values under the keys that have a meaning, and as keys.
        let keys = NAMES.map(|name| format!("eks.amazonaws.com/{name}"));
        let mut pairs: Vec<_> = keys.iter().map(|key| (&**key, text)).collect();
        pairs.push((text, "true"));
        if let Some(account) = ServiceAccount::from_annotations(pairs.iter().copied(), &settings) {
            for warning in account.warnings() {
                assert!(warning.to_string().len() < 2000 + text.len());
            }
            let lookup = Lookup {
                service_account: Known::Annotated(&account),
                ..Lookup::NOTHING
            };
            if let Ok(identity) = resolve(&lookup, &settings) {
                assert!(identity.token_expiration >= annotations::MIN_TOKEN_EXPIRATION);
            }
        }
        let _ = annotations::pod(
            &settings.annotation_prefix,
            settings.compat.is_upstream(),
            pairs.iter().copied(),
        );
        let _ = annotations::namespace(&settings.annotation_prefix, pairs.iter().copied());
        for (key, _) in &pairs {
            let _ = annotations::concerns(&settings.annotation_prefix, key);
        }
    }
    if let Ok(arn) = RoleArn::parse(text) {
        assert_eq!(arn.to_string(), text);
    }
    if let Some(choice) = Choice::from_record(text) {
        assert_eq!(choice.record(), text);
    }
    let _ = (EnvValue::read(text), Platform::parse(text, Some(text)));
    let _ = node::region(
        text,
        [(node::REGION_LABEL, text), (node::ZONE_LABEL, text)],
        Some(text),
    );
});
