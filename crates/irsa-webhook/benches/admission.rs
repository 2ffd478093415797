//! One admission without the network: a 14 KB review of a pod with four containers, in and out.

#![allow(clippy::expect_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use irsa_core::identity::{self, Known, Lookup, ServiceAccount};
use irsa_core::settings::Settings;
use irsa_webhook::review::{Response, Review, answer};

const BODY: &[u8] = include_bytes!("review.json");

/// Reads the review and answers it, with an identity or without one.
fn admit(body: &[u8], account: Option<&ServiceAccount>, settings: &Settings) -> Vec<u8> {
    let review = Review::parse(body).expect("it is a review");
    let known = account.map_or(Known::Plain, Known::Annotated);
    let lookup = Lookup {
        service_account: known,
        ..Lookup::NOTHING
    };
    let pod = review.request.object.as_ref().expect("it has a pod");
    let patch = match identity::resolve(&lookup, settings) {
        Ok(identity) => {
            pod.patch(&identity, settings, 7)
                .expect("the pod is readable")
                .patch
        }
        Err(_) => Vec::new(),
    };
    answer(
        review.version,
        &review.request.uid,
        &Response {
            patch: &patch,
            ..Response::default()
        },
    )
}

fn admissions(criterion: &mut Criterion) {
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
    let account = ServiceAccount::from_annotations(annotations, &settings);
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Bytes(BODY.len() as u64));
    group.bench_function("annotated", |bencher| {
        bencher.iter(|| admit(black_box(BODY), account.as_ref(), &settings));
    });
    group.bench_function("not annotated", |bencher| {
        bencher.iter(|| admit(black_box(BODY), None, &settings));
    });
    group.bench_function("read only", |bencher| {
        bencher.iter(|| {
            Review::parse(black_box(BODY))
                .expect("it is a review")
                .request
                .uid
                .len()
        });
    });
    group.finish();
}

criterion_group!(benches, admissions);
criterion_main!(benches);
