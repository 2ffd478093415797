//! Presigned URLs of both forms, made by the AWS SDK for Rust in a pod's environment and verified by the lab's S3.
//!
//! As in [`crate::sts_sdk`] the SDK runs in a process of its own that `irsa lab run` starts: this binary again.

use std::time::Duration;

use aws_sdk_s3::config::BehaviorVersion;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use serde_json::Value;

use crate::common::{Lab, root, succeeded};

const BUCKET: &str = "bucket";
const KEY: &str = "a path/with é+~.txt";

/// Creates the bucket, writes and reads an object, and prints presigned URLs of both forms.
#[test]
#[ignore = "the other side of these tests, which start it as a pod's process"]
fn probe() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if let Err(error) = runtime.block_on(use_s3()) {
        println!("PROBE refused {error}");
    }
}

async fn use_s3() -> Result<(), String> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let s3 = aws_sdk_s3::Client::new(&config);
    let region = BucketLocationConstraint::from(config.region().unwrap().as_ref());
    s3.create_bucket()
        .bucket(BUCKET)
        .create_bucket_configuration(
            CreateBucketConfiguration::builder()
                .location_constraint(region)
                .build(),
        )
        .send()
        .await
        .map_err(|error| DisplayErrorContext(error).to_string())?;
    s3.put_object()
        .bucket(BUCKET)
        .key(KEY)
        .metadata("who", "me")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await
        .map_err(|error| DisplayErrorContext(error).to_string())?;
    let object = s3
        .get_object()
        .bucket(BUCKET)
        .key(KEY)
        .send()
        .await
        .map_err(|error| DisplayErrorContext(error).to_string())?;
    assert_eq!(object.metadata().unwrap()["who"], "me");
    // The SDK compares the checksum that came back with what it reads.
    let body = object.body.collect().await.map_err(|error| error.to_string())?;
    assert_eq!(&body.into_bytes()[..], b"hello");

    for (path_style, endpoint) in [
        (false, None),
        (true, None),
        // The global form: this SDK makes it only when it is told the host.
        (false, Some("https://s3.amazonaws.com".to_owned())),
    ] {
        let mut config = aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style);
        config.set_endpoint_url(endpoint);
        let url = aws_sdk_s3::Client::from_conf(config.build())
            .get_object()
            .bucket(BUCKET)
            .key(KEY)
            .presigned(PresigningConfig::expires_in(Duration::from_secs(600)).unwrap())
            .await
            .map_err(|error| DisplayErrorContext(error).to_string())?;
        println!("PROBE url {}", url.uri());
    }
    Ok(())
}

struct World {
    lab: Lab,
    pod: String,
}

impl World {
    fn start() -> Self {
        let lab = Lab::start::<&str>(&[]);
        lab.kubectl(&[
            "apply",
            "-f",
            root().join("examples/aws-node.yaml").to_str().unwrap(),
        ]);
        lab.k("rollout status -n kube-system ds/aws-node --timeout=60s");
        let names = lab.k("get pods -n kube-system -l k8s-app=aws-node -o name");
        let pod = names.lines().next().unwrap().to_owned();
        Self { lab, pod }
    }

    fn run(&self, command: &[&str]) -> String {
        let mut args = vec!["lab", "run", "-n", "kube-system", &self.pod, "--"];
        args.extend_from_slice(command);
        succeeded("irsa lab run", self.lab.irsa(&args))
    }

    /// The URLs that the SDK makes: bucket in the region's host, bucket in the path, bucket in the global host.
    fn urls(&self) -> [String; 3] {
        let program = std::env::current_exe().unwrap();
        let seen = self.run(&[
            program.to_str().unwrap(),
            "--exact",
            "presign_s3::probe",
            "--ignored",
            "--nocapture",
        ]);
        let urls: Vec<_> = seen
            .lines()
            .filter_map(|line| line.split_once("PROBE url "))
            .map(|(_, url)| url.to_owned())
            .collect();
        urls.try_into().unwrap_or_else(|_| panic!("no URLs: {seen}"))
    }

    /// What anybody gets who has the URL: status, then body.
    fn fetch(&self, url: &str) -> String {
        self.run(&["curl", "-sS", "-w", "\n%{http_code}", url])
    }
}

#[test]
fn urls_of_the_sdk_verify_in_every_form() {
    let world = World::start();
    for (url, host) in world.urls().iter().zip([
        "https://bucket.s3.us-west-2.amazonaws.com/",
        "https://s3.us-west-2.amazonaws.com/bucket/",
        "https://bucket.s3.amazonaws.com/",
    ]) {
        assert!(url.starts_with(host), "{url}");
        assert!(url.contains("%2Fus-west-2%2Fs3%2Faws4_request"), "{url}");
        assert_eq!(world.fetch(url), "hello\n200");

        // Anything that is changed breaks it.
        let other_key = url.replace(".txt?", ".tar?");
        let seen = world.fetch(&other_key);
        assert!(seen.contains("<Code>SignatureDoesNotMatch</Code>"), "{seen}");
        let longer = url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000");
        assert!(world.fetch(&longer).ends_with("\n403"));
    }
}

#[test]
fn one_form_cannot_be_made_from_the_other() {
    let world = World::start();
    let [regional, ..] = world.urls();
    // The host is signed.
    let global = regional.replace("bucket.s3.us-west-2.amazonaws.com", "bucket.s3.amazonaws.com");
    let seen = world.fetch(&global);
    assert!(seen.contains("<Code>SignatureDoesNotMatch</Code>"), "{seen}");
    // The scope says us-west-2, so the region's own host is the one that is named.
    let elsewhere = regional.replace("bucket.s3.us-west-2", "bucket.s3.eu-west-1");
    let seen = world.fetch(&elsewhere);
    assert!(
        seen.contains("the region 'us-west-2' is wrong; expecting 'eu-west-1'"),
        "{seen}"
    );
}

#[test]
fn the_log_joins_the_url_to_the_service_account_that_made_it() {
    let world = World::start();
    let [url, ..] = world.urls();
    world.fetch(&url);
    let records: Vec<Value> = succeeded(
        "irsa lab events",
        world.lab.irsa(&["lab", "events", "-o", "json"]),
    )
    .lines()
    .map(|line| serde_json::from_str(line).unwrap())
    .collect();
    let got = records.last().unwrap();
    assert_eq!(got["eventName"], "GetObject");
    assert_eq!(got["additionalEventData"]["AuthenticationMethod"], "QueryString");
    let key = &got["userIdentity"]["accessKeyId"];
    let begun = records
        .iter()
        .find(|record| record["responseElements"]["credentials"]["accessKeyId"] == *key)
        .unwrap();
    assert_eq!(
        begun["userIdentity"]["userName"],
        "system:serviceaccount:kube-system:aws-node"
    );
    let text = serde_json::to_string(&records).unwrap();
    for secret in ["X-Amz-Signature=", "secretAccessKey", "SecretAccessKey"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
