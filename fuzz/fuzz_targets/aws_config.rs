//! Any text as an AWS config file, a region, an endpoint URL and an object key: every SDK gets an answer.
#![no_main]

use irsa_core::presign::{PresignOptions, predict};
use irsa_core::sdk::{AwsConfig, Call, Code, Environment, Sdk, sts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: (&str, &str, &str)| {
    let (config, region, rest) = text;
    let mut environment = Environment::from_pairs([
        ("AWS_REGION", region),
        ("AWS_DEFAULT_REGION", region),
        ("AWS_ENDPOINT_URL", rest),
    ]);
    environment.config = AwsConfig::parse(config).ok();
    for sdk in Sdk::representatives() {
        for call in [Call::Credentials, Call::Program] {
            let answer = sts(sdk, &environment, Code::default(), call);
            assert!(!answer.class().is_empty());
        }
        let _ = predict(sdk, &environment, &PresignOptions::default(), "bucket", rest);
    }
});
