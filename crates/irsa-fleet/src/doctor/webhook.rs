//! The webhooks that inject identities: their configurations, selectors and pods, and whether they answer.

use std::collections::{BTreeMap, BTreeSet};

use irsa_core::endpoint::EnvValue;

use super::{Check, Verdict, cure};
use crate::{
    cluster::{Cluster, Error},
    directory::Directory,
    probe::{self, Probe},
    webhook::{Flavor, Installed, Target},
};

pub(super) fn configuration(directory: &Directory) -> Check {
    let mut check = Check::new("webhook-configuration", "Webhook configuration");
    let webhooks = &directory.webhooks;
    if let Some(why) = &webhooks.unreadable {
        check.wrong(
            Verdict::Unknown,
            why.clone(),
            "ask for the permission to list mutatingwebhookconfigurations; docs/doctor.md lists a ClusterRole",
        );
        return check;
    }
    if webhooks.installed.is_empty() {
        check.wrong(
            Verdict::Fail,
            "no MutatingWebhookConfiguration injects identities into pods",
            "irsa install; on EKS, ask AWS support to restore the configuration pod-identity-webhook",
        );
        return check;
    }
    for webhook in &webhooks.installed {
        policies(&mut check, webhook);
    }
    side_by_side(&mut check, &webhooks.installed);
    check
}

fn policies(check: &mut Check, webhook: &Installed) {
    check.see(format!(
        "{} ({}): {}, failurePolicy {}, reinvocationPolicy {}, sideEffects {}, timeout {} s",
        webhook.configuration,
        webhook.flavor,
        webhook.target,
        webhook.failure_policy,
        webhook.reinvocation_policy,
        webhook.side_effects,
        webhook.timeout_seconds
    ));
    if webhook.reinvocation_policy != "IfNeeded" {
        check.wrong(
            Verdict::Warn,
            "containers that a later webhook adds (Vault, Istio, Linkerd) get no identity",
            "set reinvocationPolicy: IfNeeded",
        );
    }
    if !matches!(webhook.side_effects.as_str(), "None" | "NoneOnDryRun") {
        check.wrong(
            Verdict::Warn,
            "because of its sideEffects, the webhook cannot be tried with dry runs",
            "set sideEffects: None",
        );
    }
    if !webhook.review_versions.iter().any(|version| version == "v1") {
        check.wrong(
            Verdict::Warn,
            format!(
                "it accepts only reviews of version {}",
                webhook.review_versions.join(", ")
            ),
            "list v1 first in admissionReviewVersions; newer API servers send nothing else",
        );
    }
    if webhook.failure_policy == "Fail"
        && webhook.object_selector.is_everything()
        && webhook.namespace_selector.is_everything()
    {
        check.wrong(
            Verdict::Warn,
            "failurePolicy Fail without selectors: while the webhook is down, no pod can start, not even its own",
            "exclude the webhook's own namespace and kube-system, or use Ignore",
        );
    }
}

/// One installation may have several entries, as that of `irsa install --opt-in` has; and ours is made to run beside the
/// webhook of EKS. Anything else side by side is worth a warning.
fn side_by_side(check: &mut Check, installed: &[Installed]) {
    let installations: BTreeSet<(Flavor, String)> = installed
        .iter()
        .map(|webhook| {
            let place = match &webhook.target {
                Target::Service { namespace, name, .. } => format!("{namespace}/{name}"),
                Target::Url(url) => url.clone(),
            };
            (webhook.flavor, place)
        })
        .collect();
    let of = |flavor| installations.iter().filter(|(known, _)| *known == flavor).count();
    match (of(Flavor::Irsa), of(Flavor::Eks), of(Flavor::Upstream)) {
        (1, 1, 0) => {
            check.see(
                "the irsa webhook runs beside the one of EKS, as it is made for: neither overwrites what the other wrote",
            );
        }
        (irsa, eks, upstream) if irsa + eks + upstream > 1 => {
            check.wrong(
                Verdict::Warn,
                format!(
                    "{} webhooks inject identities: the first one called decides, the others find everything in place",
                    installations.len()
                ),
                "keep one of them, or give each its own annotation prefix; the one of EKS cannot be removed",
            );
        }
        _ => {}
    }
}

pub(super) fn selectors(directory: &Directory) -> Check {
    let mut check = Check::new("webhook-selectors", "Webhook selectors");
    let webhooks = &directory.webhooks;
    if webhooks.installed.is_empty() {
        return check.skip("no webhook configuration is known");
    }
    let mut excluded: BTreeMap<&str, usize> = BTreeMap::new();
    for (namespace, accounts) in &directory.accounts {
        let meta = crate::wire::Meta::default();
        if directory.webhook_asked(namespace, &meta) {
            continue;
        }
        let with_role = accounts
            .values()
            .filter(|account| {
                account
                    .annotations
                    .as_ref()
                    .is_some_and(|annotations| annotations.role_arn().is_some())
            })
            .count();
        if with_role > 0 {
            excluded.insert(namespace, with_role);
        }
    }
    if excluded.is_empty() {
        check.see("every namespace with a service account that has a role is sent to the webhook");
    }
    for (namespace, accounts) in excluded {
        check.wrong(
            Verdict::Fail,
            format!(
                "pods in {namespace} are not sent to the webhook; service accounts with a role there: {accounts}"
            ),
            "change the namespaceSelector or objectSelector of the webhook configuration, or the labels of the namespace",
        );
    }
    check
}

pub(super) fn backend(directory: &Directory) -> Check {
    let mut check = Check::new("webhook-backend", "Webhook pods");
    let Some(first) = directory.webhooks.installed.first() else {
        return check.skip("no webhook configuration is known");
    };
    let Target::Service { namespace, name, .. } = &first.target else {
        return check.skip(format!(
            "it runs outside the cluster, at {}: only a dry run shows whether it answers",
            first.target
        ));
    };
    let Some(ready) = directory.webhooks.ready else {
        check.wrong(
            Verdict::Unknown,
            format!("the pods behind service {namespace}/{name} cannot be read"),
            format!("ask for the permission to get services and list pods in {namespace}"),
        );
        return check;
    };
    check.see(format!(
        "{} of {} pods behind service {namespace}/{name} are ready; settings from {}",
        ready.ready, ready.total, directory.webhooks.source
    ));
    if ready.ready == 0 {
        check.wrong(
            Verdict::Fail,
            if first.failure_policy == "Ignore" {
                "nothing answers: new pods start without their identity, and without any error"
            } else {
                "nothing answers: no new pod can start"
            },
            format!("kubectl -n {namespace} get pods, describe and logs of the webhook"),
        );
    } else if ready.ready == 1 {
        check.wrong(
            Verdict::Warn,
            "only one pod: while its node is drained, new pods start without their identity",
            "run two replicas with a PodDisruptionBudget",
        );
    }
    if directory.webhooks.settings.region.is_none() && first.flavor != Flavor::Eks {
        check.wrong(
            Verdict::Warn,
            "it writes no region: pods whose template has none call the global endpoint or fail",
            "set --aws-default-region on the webhook",
        );
    }
    check
}

/// Sends a dry-run pod through the webhooks. What it shows about them is remembered in the directory.
pub(super) async fn answers(cluster: &Cluster, directory: &mut Directory, namespace: Option<&str>) -> Check {
    let mut check = Check::new("webhook-answers", "A dry-run pod gets its identity");
    let Some(account) = probe::candidate(directory, namespace).or_else(|| probe::candidate(directory, None))
    else {
        return check.skip("no service account has a role, so there is nothing to try");
    };
    match probe::probe(cluster, directory, account).await {
        Ok(probe) => {
            probe::observe(directory, &probe);
            judge(&mut check, &probe);
        }
        Err(error) if matches!(error, Error::Api { .. }) && !error.is_forbidden() => {
            check.wrong(
                Verdict::Fail,
                error.to_string(),
                "the answer names the webhook or policy that rejects the pod",
            );
        }
        Err(error) => {
            check.wrong(
                Verdict::Unknown,
                format!("a dry-run pod cannot be created: {error}"),
                cure(&error),
            );
        }
    }
    check
}

fn judge(check: &mut Check, probe: &Probe) {
    let (namespace, name) = &probe.account;
    if !probe.mutated {
        check.wrong(
            Verdict::Fail,
            format!("a dry-run pod of service account {namespace}/{name} came back without an identity"),
            "the checks above say why: configuration, selectors, pods, certificate; else look in the API server's log \
             for `failed calling webhook`",
        );
        return;
    }
    let value = probe.value.as_deref().unwrap_or("not set");
    check.see(format!(
        "a dry-run pod of service account {namespace}/{name} got its role; AWS_STS_REGIONAL_ENDPOINTS is {value}, the region \
         is {}",
        probe.region.as_deref().unwrap_or("not set")
    ));
    if let Some(record) = probe.record {
        check.see(format!(
            "the irsa webhook recorded: {} by {}",
            record.endpoint, record.source
        ));
    }
    if let Some(value) = &probe.value
        && let Some(problem) = EnvValue::read(value).problem
    {
        check.wrong(
            Verdict::Fail,
            format!("the webhook writes {value:?}: {}", problem.explain()),
            "set --global-endpoint-value=legacy on the webhook",
        );
    }
    if probe.region.is_none() {
        check.wrong(
            Verdict::Warn,
            "the webhook writes no region",
            "set --aws-default-region on the webhook, or AWS_REGION and AWS_DEFAULT_REGION in the pods",
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::webhook;

    fn installed(configurations: &[(&str, &[serde_json::Value])]) -> Vec<Installed> {
        let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
        let items: Vec<_> = configurations
            .iter()
            .map(|(name, clients)| {
                let webhooks: Vec<_> = clients
                    .iter()
                    .enumerate()
                    .map(|(index, client)| json!({"name": format!("{index}.{name}.dev"), "rules": rules, "clientConfig": client}))
                    .collect();
                json!({"metadata": {"name": name}, "webhooks": webhooks})
            })
            .collect();
        webhook::installed(&json!({"items": items}))
    }

    fn verdict(configurations: &[(&str, &[serde_json::Value])]) -> Verdict {
        let mut check = Check::new("a", "A");
        side_by_side(&mut check, &installed(configurations));
        check.verdict
    }

    #[test]
    fn the_entries_of_one_installation_are_not_several_webhooks() {
        let ours = |path: &str| json!({"service": {"name": "irsa-webhook", "namespace": "irsa-system", "path": path}});
        let own: (&str, &[_]) = ("irsa-webhook", &[ours("/mutate"), ours("/mutate/required")]);
        let eks: (&str, &[_]) = (
            "pod-identity-webhook",
            &[json!({"url": "https://127.0.0.1:23443/mutate"})],
        );
        assert_eq!(verdict(&[own]), Verdict::Pass);
        assert_eq!(
            verdict(&[own, eks]),
            Verdict::Pass,
            "documented in docs/install-eks.md"
        );
        let go: (&str, &[_]) = (
            "a-pod-identity",
            &[json!({"service": {"name": "pod-identity-webhook", "namespace": "kube-system"}})],
        );
        assert_eq!(verdict(&[own, go]), Verdict::Warn);
        let second: (&str, &[_]) = (
            "irsa-b",
            &[json!({"service": {"name": "irsa-b", "namespace": "b"}})],
        );
        assert_eq!(verdict(&[own, second]), Verdict::Warn);
    }
}
