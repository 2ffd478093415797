//! The mutation of one ordinary admission: a review of about 14 KB, a pod with four containers.
//!
//! `cargo bench -p irsa-core --bench mutation`. Reported: reading the pod out of its review, the patch alone, and
//! both; beside them serde_json reading the same bytes into a `Value`, which is what a mutation on whole objects would
//! begin with.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use irsa_core::endpoint::EndpointType;
use irsa_core::identity::{Known, Lookup, ServiceAccount, resolve};
use irsa_core::pod::Pod;
use irsa_core::settings::Settings;
use serde::Deserialize;
use serde_json::{Value, json};

/// An AdmissionReview with its pod borrowed in place, as the webhook reads it.
#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    object: Pod<'a>,
}

/// A container as a web application has it: variables, probes, resources, mounts.
fn container(name: &str, variables: usize) -> Value {
    let env: Vec<Value> = (0..variables)
        .map(|n| json!({"name": format!("APPLICATION_SETTING_{n}"), "value": format!("value-of-the-setting-{n}")}))
        .collect();
    let probe = |path: &str| {
        json!({"httpGet": {"path": path, "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1,
               "successThreshold": 1, "failureThreshold": 3})
    };
    let mut container = json!({
        "name": name,
        "image": format!("111122223333.dkr.ecr.us-west-2.amazonaws.com/team/{name}@sha256:5f0a8b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccdde"),
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "livenessProbe": probe("/healthz"),
        "readinessProbe": probe("/readyz"),
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app", "readOnly": true},
            {"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        ],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    });
    if variables > 0 {
        container["env"] = env.into();
    }
    container
}

/// The review: an init container, the application with its variables, and two sidecars.
fn review() -> Vec<u8> {
    let fields: serde_json::Map<String, Value> = (0..52)
        .map(|n| {
            (
                format!("k:{{\"name\":\"APPLICATION_SETTING_{n}\"}}"),
                json!({".": {}, "f:name": {}, "f:value": {}}),
            )
        })
        .collect();
    let user = json!({"username": "system:serviceaccount:kube-system:replicaset-controller", "uid": "1c0a89b4-7d5e-4f3a-9b8c-0d1e2f3a4b5c",
                      "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]});
    serde_json::to_vec(&json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"}, "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop", "operation": "CREATE", "userInfo": user, "oldObject": null, "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
            "object": {
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {
                    "generateName": "web-6d4cf56db6-", "creationTimestamp": null,
                    "labels": {"app": "web", "pod-template-hash": "6d4cf56db6", "team": "shop", "version": "2026-11-24"},
                    "annotations": {"kubectl.kubernetes.io/restartedAt": "2026-11-24T07:07:00Z", "prometheus.io/scrape": "true",
                                    "prometheus.io/port": "9102", "checksum/config": "5f0a8b1c2d3e4f5061728394a5b6c7d8e9f00112"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4cf56db6",
                                         "uid": "2f3a4b5c-7d5e-4f3a-9b8c-0d1e2f3a4b5c", "controller": true, "blockOwnerDeletion": true}],
                    "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                        "time": "2026-11-24T07:07:00Z", "fieldsType": "FieldsV1",
                        "fieldsV1": {"f:metadata": {"f:annotations": {}, "f:labels": {}},
                                     "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:env": fields}}}}}],
                },
                "spec": {
                    "serviceAccountName": "web", "serviceAccount": "web",
                    "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}},
                                {"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}}],
                    "initContainers": [container("migrate", 0)],
                    "containers": [container("web", 52), container("proxy", 0), container("metrics", 0)],
                    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                    "nodeSelector": {"kubernetes.io/os": "linux"}, "schedulerName": "default-scheduler", "priority": 0,
                    "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
                    "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
                },
                "status": {},
            },
        },
    }))
    .unwrap()
}

fn mutation(criterion: &mut Criterion) {
    let review = review();
    let settings = Settings {
        region: Some("us-west-2".into()),
        flag: Some(EndpointType::Regional),
        ..Settings::default()
    };
    let account = ServiceAccount::from_annotations(
        [(
            "eks.amazonaws.com/role-arn",
            "arn:aws:iam::111122223333:role/shop-web",
        )],
        &settings,
    )
    .unwrap();
    let lookup = Lookup {
        service_account: Known::Annotated(&account),
        ..Lookup::NOTHING
    };
    let read = |bytes| {
        serde_json::from_slice::<Review<'_>>(bytes)
            .unwrap()
            .request
            .object
    };
    let pod = read(&review);
    let identity = resolve(&lookup, &settings).unwrap();
    let outcome = pod.patch(&identity, &settings, 0).unwrap();
    let plain = Settings {
        region: None,
        record: false,
        ..settings.clone()
    };
    let without = pod.patch(&identity, &plain, 0).unwrap();
    eprintln!(
        "review {} bytes; patch {} bytes in {} operations, {} bytes without region and record",
        review.len(),
        outcome.patch.len(),
        outcome.operations,
        without.patch.len(),
    );

    let mut group = criterion.benchmark_group("mutation");
    group.throughput(Throughput::Bytes(review.len() as u64));
    group.bench_function("read the pod", |b| b.iter(|| black_box(read(black_box(&review)))));
    group.bench_function("patch", |b| {
        b.iter(|| {
            let identity = resolve(black_box(&lookup), &settings).unwrap();
            black_box(pod.patch(&identity, &settings, 0).unwrap())
        });
    });
    group.bench_function("read and patch", |b| {
        b.iter(|| {
            let pod = read(black_box(&review));
            let identity = resolve(black_box(&lookup), &settings).unwrap();
            pod.patch(&identity, &settings, 0).unwrap().patch
        });
    });
    group.bench_function("for comparison: read into a Value", |b| {
        b.iter(|| serde_json::from_slice::<Value>(black_box(&review)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, mutation);
criterion_main!(benches);
