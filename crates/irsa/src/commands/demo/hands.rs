//! Who carries out a step: the kubectl of this machine where there is one, else the same calls through the API.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::example::{ANNOTATION, MANIFEST, NAME, NAMESPACE, SELECTOR, VARIABLE};

/// What a step does it with.
pub(super) enum Hands {
    /// The real thing.
    Kubectl {
        /// Where the lab's kubeconfig is.
        kubeconfig: PathBuf,
    },
    /// The calls that kubectl would make.
    Api(Client),
}

impl Hands {
    /// kubectl if it is installed and wanted.
    pub(super) async fn find(no_kubectl: bool, kubeconfig: PathBuf, client: Client) -> Self {
        let installed = || async {
            let asked = Command::new("kubectl")
                .args(["version", "--client"])
                .output()
                .await;
            asked.is_ok_and(|output| output.status.success())
        };
        if !no_kubectl && installed().await {
            Self::Kubectl { kubeconfig }
        } else {
            Self::Api(client)
        }
    }

    /// `kubectl apply -f examples/aws-node.yaml`
    pub(super) async fn apply(&self) -> anyhow::Result<String> {
        match self {
            Self::Kubectl { .. } => self.kubectl_with_input(&["apply", "-f", "-"], MANIFEST).await,
            Self::Api(client) => {
                let (account, set): (ServiceAccount, DaemonSet) = manifest()?;
                let apply = PatchParams::apply("irsa-demo").force();
                Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE)
                    .patch(NAME, &apply, &Patch::Apply(account))
                    .await?;
                Api::<DaemonSet>::namespaced(client.clone(), NAMESPACE)
                    .patch(NAME, &apply, &Patch::Apply(set))
                    .await?;
                Ok(format!(
                    "serviceaccount/{NAME} serverside-applied\ndaemonset.apps/{NAME} serverside-applied"
                ))
            }
        }
    }

    /// `kubectl describe pod POD -n NAMESPACE | grep PATTERN`
    pub(super) async fn describe(&self, pod: &str, pattern: &str) -> anyhow::Result<String> {
        match self {
            Self::Kubectl { .. } => {
                let text = self.kubectl(&["describe", "pod", pod, "-n", NAMESPACE]).await?;
                Ok(text
                    .lines()
                    .filter(|line| line.contains(pattern))
                    .collect::<Vec<_>>()
                    .join("\n"))
            }
            Self::Api(client) => {
                let pod = Api::<Pod>::namespaced(client.clone(), NAMESPACE).get(pod).await?;
                Ok(described(&pod, pattern))
            }
        }
    }

    /// `kubectl annotate serviceaccount -n NAMESPACE NAME ANNOTATION=VALUE --overwrite`
    pub(super) async fn annotate(&self, value: &str) -> anyhow::Result<String> {
        match self {
            Self::Kubectl { .. } => {
                let pair = format!("{ANNOTATION}={value}");
                self.kubectl(&[
                    "annotate",
                    "serviceaccount",
                    "-n",
                    NAMESPACE,
                    NAME,
                    &pair,
                    "--overwrite",
                ])
                .await
            }
            Self::Api(client) => {
                let patch = serde_json::json!({"metadata": {"annotations": {ANNOTATION: value}}});
                Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE)
                    .patch(NAME, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                Ok(format!("serviceaccount/{NAME} annotated"))
            }
        }
    }

    /// `kubectl delete Pods -n NAMESPACE -l SELECTOR`
    pub(super) async fn delete_pods(&self) -> anyhow::Result<String> {
        match self {
            Self::Kubectl { .. } => {
                self.kubectl(&["delete", "Pods", "-n", NAMESPACE, "-l", SELECTOR])
                    .await
            }
            Self::Api(client) => {
                let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
                let mut text = String::new();
                for pod in pods.list(&ListParams::default().labels(SELECTOR)).await? {
                    let name = pod.metadata.name.unwrap_or_default();
                    pods.delete(&name, &DeleteParams::default()).await?;
                    writeln!(text, "pod \"{name}\" deleted from {NAMESPACE} namespace")?;
                }
                Ok(text)
            }
        }
    }

    /// `kubectl get Pods -n NAMESPACE -l SELECTOR`
    pub(super) async fn get_pods(&self) -> anyhow::Result<String> {
        match self {
            Self::Kubectl { .. } => {
                self.kubectl(&["get", "Pods", "-n", NAMESPACE, "-l", SELECTOR])
                    .await
            }
            Self::Api(client) => {
                let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
                let mut text = String::from("NAME             READY   STATUS\n");
                for pod in pods.list(&ListParams::default().labels(SELECTOR)).await? {
                    let phase = pod
                        .status
                        .as_ref()
                        .and_then(|status| status.phase.clone())
                        .unwrap_or_default();
                    let containers = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
                    let ready = pod
                        .status
                        .iter()
                        .flat_map(|status| status.container_statuses.iter().flatten())
                        .filter(|container| container.ready)
                        .count();
                    let name = pod.metadata.name.unwrap_or_default();
                    writeln!(text, "{name:<14}   {ready}/{containers}     {phase}")?;
                }
                Ok(text)
            }
        }
    }

    async fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with_input(args, "").await
    }

    async fn kubectl_with_input(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let Self::Kubectl { kubeconfig } = self else {
            bail!("kubectl was not asked for")
        };
        let mut child = Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("kubectl could not be started")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            bail!(
                "`kubectl {}`: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The two objects of the example.
fn manifest() -> anyhow::Result<(ServiceAccount, DaemonSet)> {
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(MANIFEST)?;
    let [account, set] = <[serde_json::Value; 2]>::try_from(objects)
        .map_err(|objects| anyhow::anyhow!("the example holds {} objects", objects.len()))?;
    Ok((serde_json::from_value(account)?, serde_json::from_value(set)?))
}

/// The lines of `kubectl describe pod` that the procedure looks at, for a pod that was read through the API.
fn described(pod: &Pod, pattern: &str) -> String {
    let mut lines = Vec::new();
    let Some(spec) = &pod.spec else {
        return String::new();
    };
    let node = spec.node_name.as_deref().unwrap_or("<none>");
    let host = pod
        .status
        .as_ref()
        .and_then(|status| status.host_ip.as_deref())
        .unwrap_or_default();
    lines.push(format!("Node:                 {node}/{host}"));
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        for variable in container
            .env
            .iter()
            .flatten()
            .filter(|variable| variable.name == VARIABLE)
        {
            lines.push(format!(
                "      {VARIABLE}:  {}",
                variable.value.as_deref().unwrap_or_default()
            ));
        }
    }
    lines.retain(|line| line.contains(pattern));
    lines.join("\n")
}
