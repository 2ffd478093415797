//! What `irsa install` prints, applied with kubectl: the webhook that results gives pods their identity, and goes
//! again with `irsa uninstall`.

use crate::common::{Lab, eventually, succeeded};

const TEAM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: app
  namespace: team
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/app
    eks.amazonaws.com/sts-regional-endpoints: "true"
"#;

fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: team}}\nspec:\n  serviceAccountName: app\n  \
         containers: [{{name: app, image: example.com/app}}]\n"
    )
}

fn endpoint(lab: &Lab, name: &str) -> String {
    lab.kubectl(&[
        "get",
        "pod",
        "-n",
        "team",
        name,
        "-o",
        "jsonpath={.spec.containers[0].env[?(@.name==\"AWS_STS_REGIONAL_ENDPOINTS\")].value}",
    ])
}

#[test]
fn the_installed_webhook_works_and_is_taken_away_again() {
    let lab = Lab::start(&["--no-webhook"]);
    lab.apply(TEAM);
    lab.apply(&pod("before"));
    assert_eq!(endpoint(&lab, "before"), "");

    let manifests = succeeded(
        "irsa install",
        lab.irsa(&["install", "--image", "irsa:under-test"]),
    );
    lab.apply(&manifests);
    lab.k("rollout status -n irsa-system deploy/irsa-webhook --timeout=60s");
    // Ready replicas have agreed on a CA; the configuration names it a moment later.
    let mut count = 0;
    eventually("a new pod is given its endpoint", || {
        count += 1;
        let name = format!("after-{count}");
        lab.apply(&pod(&name));
        match endpoint(&lab, &name).as_str() {
            "regional" => Ok(()),
            other => Err(format!(
                "{other:?}; webhook log: {}",
                lab.k("logs -n irsa-system deploy/irsa-webhook --tail=5")
            )),
        }
    });

    // A rolling restart of the webhook keeps it serving.
    lab.k("rollout restart -n irsa-system deploy/irsa-webhook");
    lab.k("rollout status -n irsa-system deploy/irsa-webhook --timeout=60s");
    lab.apply(&pod("after-restart"));
    assert_eq!(endpoint(&lab, "after-restart"), "regional");

    let goodbye = succeeded("irsa uninstall", lab.irsa(&["uninstall"]));
    let file = lab.state().join("goodbye.yaml");
    std::fs::write(&file, goodbye).unwrap();
    lab.kubectl(&["delete", "--ignore-not-found", "-f", file.to_str().unwrap()]);
    lab.apply(&pod("at-last"));
    assert_eq!(endpoint(&lab, "at-last"), "");
    assert_eq!(lab.k("get mutatingwebhookconfigurations -o name"), "");
}
