//! Creating and changing: generators, annotate, label, patches, scale, edit, dry run.

use crate::support::{Cluster, WEB};

#[tokio::test(flavor = "multi_thread")]
async fn every_generator_of_create_works() {
    let cluster = Cluster::bare().await;
    for line in [
        "create ns team",
        "create sa mysa",
        "create configmap cm --from-literal=a=b",
        "create secret generic sec --from-literal=a=b",
        "create deployment dep --image=nginx --replicas=3 --port=80",
        "create job j --image=busybox -- echo hi",
        "create cronjob cj --image=busybox --schedule=@hourly -- echo hi",
        "create role r --verb=get --resource=pods",
        "create clusterrole cr --verb=get --resource=pods",
        "create rolebinding rb --role=r --serviceaccount=default:mysa",
        "create clusterrolebinding crb --clusterrole=cr --user=jane",
        "create pdb b --selector=app=dep --min-available=1",
        "create priorityclass pc --value=10",
        "create quota q --hard=pods=5",
        "create ingress i --rule=a.example/x=svc:80",
        "create service clusterip svc --tcp=80:8080",
        "create service nodeport np --tcp=80:8080",
        "expose deploy dep --port=80 --name=exposed",
        "autoscale deploy dep --max=3 --cpu-percent=80",
        "run p --image=nginx --env=A=b --labels=x=y",
    ] {
        cluster.ok(line).await;
    }
    assert_eq!(cluster.ok("get secret sec -o jsonpath={.data.a}").await, "Yg==");
    assert_eq!(
        cluster
            .ok("get svc svc -o jsonpath={.spec.ports[0].targetPort}")
            .await,
        "8080"
    );
    assert_eq!(
        cluster
            .ok("get job j -o jsonpath={.spec.template.spec.restartPolicy}")
            .await,
        "Never"
    );
    assert_eq!(
        cluster.ok("get deploy dep -o jsonpath={.spec.replicas}").await,
        "3"
    );
    assert!(cluster.ok("get hpa dep").await.contains("/80%"));
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_are_set_overwritten_and_removed() {
    let cluster = Cluster::bare().await;
    cluster.ok("create sa aws-node -n kube-system").await;
    let annotate = "annotate serviceaccount -n kube-system aws-node eks.amazonaws.com/sts-regional-endpoints";
    assert_eq!(
        cluster.ok(&format!("{annotate}=true")).await,
        "serviceaccount/aws-node annotated\n"
    );
    let refused = cluster.fails(&format!("{annotate}=false")).await;
    assert!(refused.contains("--overwrite is false"), "{refused}");
    cluster.ok(&format!("{annotate}=false --overwrite")).await;
    let path = "-o jsonpath={.metadata.annotations}";
    assert_eq!(
        cluster
            .ok(&format!("get sa -n kube-system aws-node {path}"))
            .await,
        r#"{"eks.amazonaws.com/sts-regional-endpoints":"false"}"#
    );
    cluster.ok(&format!("{annotate}-")).await;
    assert_eq!(
        cluster
            .ok(&format!("get sa -n kube-system aws-node {path}"))
            .await,
        ""
    );
    let refused = cluster
        .fails("annotate sa -n kube-system aws-node bad/key/x=1")
        .await;
    assert!(refused.contains("qualified name"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_kinds_of_patch_do_what_they_say() {
    let cluster = Cluster::bare().await;
    cluster.apply(WEB).await;
    let patch = async |kind: &str, patch: &str| {
        cluster
            .ok_with(
                &["patch", "deploy", "web", &format!("--type={kind}"), "-p", patch],
                None,
            )
            .await
    };
    patch("json", r#"[{"op":"test","path":"/spec/replicas","value":2},{"op":"replace","path":"/spec/replicas","value":4}]"#)
        .await;
    patch("merge", r#"{"metadata":{"labels":{"app":null,"x":"y"}}}"#).await;
    let env =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"B","value":"2"}]}]}}}}"#;
    patch("strategic", env).await;
    assert!(patch("strategic", env).await.contains("(no change)"));
    let shown = "get deploy web -o jsonpath={.spec.replicas}{.metadata.labels}{.spec.template.spec.containers[0].env[*].name}";
    assert_eq!(cluster.ok(shown).await, r#"4{"x":"y"}A B"#);
    // Replicas, then the template: labels are no part of a generation.
    assert_eq!(
        cluster
            .ok("get deploy web -o jsonpath={.metadata.generation}")
            .await,
        "3"
    );
    let failed = r#"[{"op":"test","path":"/spec/replicas","value":9}]"#;
    let refused = cluster
        .fails_with(&["patch", "deploy", "web", "--type=json", "-p", failed], None)
        .await;
    assert!(refused.contains("value did not match"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn convenience_commands_change_what_they_name() {
    let cluster = Cluster::bare().await;
    cluster.apply(WEB).await;
    cluster.ok("set image deploy/web app=nginx:2").await;
    cluster.ok("set env deploy/web FOO=bar A-").await;
    cluster.ok("set serviceaccount deploy web mysa").await;
    cluster.ok("set resources deploy web --limits=cpu=200m").await;
    cluster.ok("scale deploy web --replicas=5").await;
    let refused = cluster
        .fails("scale deploy web --replicas=1 --current-replicas=9")
        .await;
    assert!(refused.contains("Expected replicas to be 9, was 5"), "{refused}");
    let template: serde_json::Value = serde_json::from_str(
        &cluster
            .ok("get deploy web -o jsonpath={.spec.template.spec}")
            .await,
    )
    .unwrap();
    assert_eq!(template["containers"][0]["image"], "nginx:2");
    assert_eq!(
        template["containers"][0]["env"],
        serde_json::json!([{ "name": "FOO", "value": "bar" }])
    );
    assert_eq!(template["serviceAccountName"], "mysa");
    assert_eq!(template["containers"][0]["resources"]["requests"]["cpu"], "200m");
}

#[tokio::test(flavor = "multi_thread")]
async fn edit_writes_what_the_editor_saved() {
    let cluster = Cluster::bare().await;
    cluster.ok("create cm cm --from-literal=word=before").await;
    let mut command = cluster.command(&["edit", "cm", "cm"]);
    let output = command
        .env("KUBE_EDITOR", "sed -i s/before/after/")
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(cluster.ok("get cm cm -o jsonpath={.data.word}").await, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_on_the_server_changes_nothing() {
    let cluster = Cluster::bare().await;
    let before = cluster.server.store().resource_version();
    cluster
        .ok_with(&["apply", "--dry-run=server", "-f", "-"], Some(WEB))
        .await;
    cluster
        .ok_with(
            &["apply", "--server-side", "--dry-run=server", "-f", "-"],
            Some(WEB),
        )
        .await;
    cluster.ok("create sa x --dry-run=server").await;
    cluster.ok("delete svc kubernetes --dry-run=server").await;
    cluster.ok("annotate ns default a=b --dry-run=server").await;
    assert_eq!(cluster.server.store().resource_version(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_served_as_soon_as_they_are_defined() {
    let cluster = Cluster::bare().await;
    cluster
        .apply(
            r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: certificates.cert-manager.io}
spec:
  group: cert-manager.io
  scope: Namespaced
  names: {plural: certificates, kind: Certificate, shortNames: [cert]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
    additionalPrinterColumns: [{name: Secret, type: string, jsonPath: .spec.secretName}]
"#,
        )
        .await;
    cluster
        .ok("wait --for=condition=Established crd/certificates.cert-manager.io --timeout=10s")
        .await;
    let certificate = r#"
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: c}
spec: {secretName: s, dnsNames: [a]}
"#;
    assert_eq!(
        cluster.apply(certificate).await,
        "certificate.cert-manager.io/c created\n"
    );
    assert_eq!(
        cluster.apply(certificate).await,
        "certificate.cert-manager.io/c unchanged\n"
    );
    let table = cluster.ok("get cert").await;
    assert_eq!(
        table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .next_back()
            .unwrap(),
        ["c", "s"]
    );
    cluster.ok("delete crd certificates.cert-manager.io").await;
    let refused = cluster
        .fails("get --raw /apis/cert-manager.io/v1/certificates")
        .await;
    assert!(
        refused.contains("could not find the requested resource"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_of_the_object_is_refused_in_kubernetes_words() {
    let cluster = Cluster::bare().await;
    cluster.ok("create cm cm").await;
    let old = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cm","resourceVersion":"1"},"data":{"a":"b"}}"#;
    let refused = cluster.fails_with(&["replace", "-f", "-"], Some(old)).await;
    assert!(
        refused.contains(
            "Operation cannot be fulfilled on configmaps \"cm\": the object has been modified; please apply your \
             changes to the latest version and try again"
        ),
        "{refused}"
    );
    let named = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"gen-"}}"#;
    let created = cluster.ok_with(&["create", "-f", "-"], Some(named)).await;
    assert!(
        created.starts_with("configmap/gen-") && created.len() == "configmap/gen-xxxxx created\n".len(),
        "{created}"
    );
}
