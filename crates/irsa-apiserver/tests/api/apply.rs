//! `kubectl apply`, on the client and on the server.

use crate::support::{Cluster, WEB};

#[tokio::test(flavor = "multi_thread")]
async fn client_side_apply_creates_keeps_changes_and_prunes() {
    let cluster = Cluster::bare().await;
    assert_eq!(cluster.apply(WEB).await, "deployment.apps/web created\n");
    assert_eq!(cluster.apply(WEB).await, "deployment.apps/web unchanged\n");
    let changed = WEB
        .replace("replicas: 2", "replicas: 3")
        .replace(", env: [{name: A, value: \"1\"}]", "");
    assert_eq!(cluster.apply(&changed).await, "deployment.apps/web configured\n");
    let shown = "get deploy web -o jsonpath={.spec.replicas}|{.spec.template.spec.containers[0].env}";
    assert_eq!(cluster.ok(shown).await, "3|");
    let said = cluster.run(&["diff", "-f", "-"], Some(WEB)).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("-  replicas: 3\n+  replicas: 2"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_names_unknown_fields_and_wrong_types() {
    let cluster = Cluster::bare().await;
    let misspelt = WEB.replace("replicas:", "replicass:");
    let refused = cluster.fails_with(&["apply", "-f", "-"], Some(&misspelt)).await;
    assert!(
        refused.contains(
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
             \"spec.replicass\""
        ),
        "{refused}"
    );
    let said = cluster
        .run(&["apply", "--validate=warn", "-f", "-"], Some(&misspelt))
        .await;
    assert_eq!(
        (said.code, said.stderr.trim()),
        (0, "Warning: unknown field \"spec.replicass\"")
    );
    let wrong = WEB.replace("replicas: 2", "replicas: two");
    let refused = cluster.fails_with(&["create", "-f", "-"], Some(&wrong)).await;
    assert!(
        refused.contains("cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_finds_conflicts_and_forces_them() {
    let cluster = Cluster::bare().await;
    let apply = |manager: &'static str| ["apply", "--server-side", "--field-manager", manager, "-f", "-"];
    assert_eq!(
        cluster.ok_with(&apply("one"), Some(WEB)).await,
        "deployment.apps/web serverside-applied\n"
    );
    let three = WEB.replace("replicas: 2", "replicas: 3");
    let refused = cluster.fails_with(&apply("two"), Some(&three)).await;
    assert!(
        refused.contains("Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"),
        "{refused}"
    );
    let mut forced = apply("two").to_vec();
    forced.push("--force-conflicts");
    cluster.ok_with(&forced, Some(&three)).await;
    assert_eq!(
        cluster.ok("get deploy web -o jsonpath={.spec.replicas}").await,
        "3"
    );

    // `two` no longer wants the variable, but `one` still does; then `one` does not either.
    let without = three.replace(", env: [{name: A, value: \"1\"}]", "");
    cluster.ok_with(&apply("two"), Some(&without)).await;
    let env = "get deploy web -o jsonpath={.spec.template.spec.containers[0].env}";
    assert!(cluster.ok(env).await.contains("\"A\""));
    cluster.ok_with(&apply("one"), Some(&without)).await;
    assert_eq!(cluster.ok(env).await, "");

    // A plain write takes the field over, and the next apply says by whom.
    cluster.ok("scale deploy web --replicas=7").await;
    let refused = cluster.fails_with(&apply("two"), Some(&without)).await;
    assert!(
        refused.contains(".spec.replicas") && refused.contains("kubectl"),
        "{refused}"
    );
    let managed = cluster.ok("get deploy web -o yaml --show-managed-fields").await;
    assert!(
        managed.contains("operation: Apply") && managed.contains("f:replicas: {}"),
        "{managed}"
    );
}
