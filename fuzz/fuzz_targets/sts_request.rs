//! Any request to an STS or S3 endpoint: answered, with a status and never a panic.
#![no_main]

use std::sync::OnceLock;

use bytes::Bytes;
use http::Request;
use irsa_sts::config::Account;
use irsa_sts::{Aws, Config, Connection};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

fuzz_target!(|data: (bool, bool, &str, &str, &[u8])| {
    static WORLD: OnceLock<(Aws, Runtime)> = OnceLock::new();
    let (aws, runtime) = WORLD.get_or_init(|| {
        let config = Config { accounts: vec![Account::new("111122223333")], ..Config::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        (Aws::new(config).unwrap(), runtime)
    });
    let (sts, post, target, authorization, body) = data;
    let host = if sts { "sts.us-west-2.amazonaws.com" } else { "bucket.s3.us-west-2.amazonaws.com" };
    let request = Request::builder()
        .method(if post { "POST" } else { "GET" })
        .uri(format!("/{target}"))
        .header("host", host)
        .header("authorization", authorization)
        .body(Bytes::copy_from_slice(body));
    if let Ok(request) = request {
        let response = runtime.block_on(aws.handle(request, &Connection::to(host)));
        assert!(response.status().as_u16() >= 200);
    }
});
