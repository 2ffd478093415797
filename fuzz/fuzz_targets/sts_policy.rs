//! Any text as a trust policy: read and asked, or refused with a sentence.
#![no_main]

use irsa_sts::trust::{ConditionKeys, Principal, TrustPolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match TrustPolicy::from_json(text) {
        Ok(policy) => {
            let mut context = ConditionKeys::new();
            context.set("oidc.example:sub", "system:serviceaccount:kube-system:aws-node");
            context.set("oidc.example:aud", "sts.amazonaws.com");
            let principal = Principal::Federated {
                provider_arn: "arn:aws:iam::111122223333:oidc-provider/oidc.example",
            };
            let _ = policy.evaluate("sts:AssumeRoleWithWebIdentity", &principal, &context);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
