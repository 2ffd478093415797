//! The steps of the procedure, in order: each is done, shown, explained, and verified through the API.

use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use irsa_core::endpoint::{Choice, EndpointType, EnvValue, GlobalValue, Platform, Sources};
use irsa_core::node;
use irsa_core::text::Foreign;
use irsa_lab::Lab;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::ListParams;
use kube::{Api, Client};
use owo_colors::OwoColorize;

use super::example::{ANNOTATION, NAME, NAMESPACE, SELECTOR, VARIABLE};
use super::hands::Hands;
use super::proof;
use crate::output::{Output, Table, wrapped};

/// How long the pods may take to be running: far longer than the lab needs, short of a person's patience.
const PATIENCE: Duration = Duration::from_secs(60);

struct Step {
    title: String,
    seen: String,
    verified: bool,
}

struct Tour<'a> {
    lab: &'a Lab,
    client: Client,
    hands: Hands,
    output: &'a Output,
    platform: Platform,
    steps: Vec<Step>,
}

/// Goes through all steps. `true`: every one was verified.
pub(super) async fn run(
    lab: &Lab,
    platform: Platform,
    no_kubectl: bool,
    output: &Output,
) -> anyhow::Result<bool> {
    let client = lab.client().await?;
    let hands = Hands::find(no_kubectl, lab.kubeconfig_path().to_owned(), client.clone()).await;
    let mut tour = Tour {
        lab,
        client,
        hands,
        output,
        platform,
        steps: Vec::new(),
    };
    tour.introduce()?;
    tour.apply().await?;
    tour.region().await?;
    tour.endpoint_in_use().await?;
    tour.choose("true", EndpointType::Regional, "Choose the regional endpoint")
        .await?;
    tour.choose("false", EndpointType::Global, "Switch to the global endpoint")
        .await?;
    tour.choose(
        "true",
        EndpointType::Regional,
        "And back to the regional endpoint",
    )
    .await?;
    tour.summary()
}

impl Tour<'_> {
    fn introduce(&self) -> anyhow::Result<()> {
        self.output.out(format_args!(
            "{}\nA DaemonSet `{NAME}` whose service account has an IAM role, on an embedded cluster at {}.",
            "The STS endpoint of a service account: look, choose, recreate, prove".bold(),
            self.lab.url()
        ))?;
        match &self.hands {
            Hands::Kubectl { .. } => self.output.out("Every command below is run by the kubectl of this machine.")?,
            Hands::Api(_) => self.output.out(
                "Without kubectl: the same calls are made through the API, and shown as kubectl would show them.",
            )?,
        }
        Ok(())
    }

    fn title(&self, text: &str) -> anyhow::Result<()> {
        Ok(self
            .output
            .out(format_args!("\n{} {}", "▸".cyan(), text.bold()))?)
    }

    /// A command as it could be typed: folded lines end with a backslash.
    fn command(&self, text: &str) -> anyhow::Result<()> {
        let width = self.output.columns().map(|columns| columns.saturating_sub(6));
        let lines = wrapped(text, width);
        for (index, line) in lines.iter().enumerate() {
            let prompt = if index == 0 { "$" } else { " " };
            let more = if index + 1 < lines.len() { " \\" } else { "" };
            self.output
                .out(format_args!("  {} {}{more}", prompt.dimmed(), line.cyan()))?;
        }
        Ok(())
    }

    fn printed(&self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            for line in wrapped(&format!("    {}", Foreign(line)), self.output.columns()) {
                self.output.out(line)?;
            }
        }
        if text.trim().is_empty() {
            self.output.out(format_args!("    {}", "(nothing)".dimmed()))?;
        }
        Ok(())
    }

    /// Says what it means and writes the step into the summary.
    fn meaning(&mut self, title: &str, seen: String, verified: bool, text: &str) -> anyhow::Result<()> {
        let mark = if verified {
            "✓".green().to_string()
        } else {
            "✗".red().to_string()
        };
        let width = self.output.columns().map(|columns| columns.saturating_sub(4));
        for (index, line) in wrapped(text, width).iter().enumerate() {
            let mark = if index == 0 { mark.as_str() } else { " " };
            self.output.out(format_args!("  {mark} {line}"))?;
        }
        self.steps.push(Step {
            title: title.to_owned(),
            seen,
            verified,
        });
        Ok(())
    }

    async fn apply(&mut self) -> anyhow::Result<()> {
        self.title("A workload that uses an IAM role")?;
        self.command("kubectl apply -f examples/aws-node.yaml")?;
        let printed = self.hands.apply().await?;
        self.printed(&printed)?;
        let pods = self.wait(&[]).await?;
        let text = format!("{} pods are running, one on every node", pods.len());
        self.meaning("workload applied", format!("{} pods", pods.len()), true, &text)
    }

    async fn region(&mut self) -> anyhow::Result<()> {
        self.title("1. Which region does the pod run in?")?;
        let pod = self.first_pod().await?;
        let name = name_of(&pod);
        self.command(&format!(
            "kubectl describe pod {name} -n {NAMESPACE} | grep Node:"
        ))?;
        let printed = self.hands.describe(&name, "Node:").await?;
        self.printed(&printed)?;
        let node_name = pod
            .spec
            .and_then(|spec| spec.node_name)
            .context("the pod has no node")?;
        let node = Api::<Node>::all(self.client.clone()).get(&node_name).await?;
        let labels = node.metadata.labels.unwrap_or_default();
        let provider = node.spec.and_then(|spec| spec.provider_id);
        let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let Some(found) = node::region(&node_name, labels, provider.as_deref()) else {
            return self.meaning(
                "region",
                "unknown".into(),
                false,
                "the node does not tell its region",
            );
        };
        let verified = found.region == self.lab.region() && printed.contains(&node_name);
        let text = format!("{}, as the node tells ({})", found.region, found.source);
        self.meaning("region of the pod", found.region.to_owned(), verified, &text)
    }

    async fn endpoint_in_use(&mut self) -> anyhow::Result<()> {
        self.title("2. Which endpoint type is in use?")?;
        let pod = self.first_pod().await?;
        let name = name_of(&pod);
        self.show_endpoint(&name).await?;
        let shown = endpoint_of(&pod);
        let choice = self.expected(None);
        let text = match &shown {
            Shown::Default => format!(
                "no line, so the default is not overridden: {}",
                choice.source.reason()
            ),
            Shown::Chosen(endpoint) => format!("{endpoint}: {}", choice.source.reason()),
            Shown::Mixed(values) => format!("the containers differ: {values}"),
        };
        self.meaning(
            "endpoint in use",
            shown.to_string(),
            shown == Shown::of(choice),
            &text,
        )
    }

    /// What the rules give the pods of a service account with this annotation.
    fn expected(&self, annotation: Option<EndpointType>) -> Choice {
        Sources {
            platform: Some(self.platform),
            service_account: annotation,
            ..Sources::default()
        }
        .choose()
    }

    async fn show_endpoint(&self, pod: &str) -> anyhow::Result<()> {
        self.command(&format!(
            "kubectl describe pod {pod} -n {NAMESPACE} | grep {VARIABLE}"
        ))?;
        let printed = self.hands.describe(pod, VARIABLE).await?;
        self.printed(&printed)
    }

    /// Steps 3 to 6, for one choice.
    async fn choose(&mut self, value: &str, endpoint: EndpointType, title: &str) -> anyhow::Result<()> {
        let step = |text: &str| format!("{endpoint}: {text}");
        self.title(&format!("3. {title}"))?;
        self.command(&format!(
            "kubectl annotate serviceaccount -n {NAMESPACE} {NAME} {ANNOTATION}={value} --overwrite"
        ))?;
        let before = self.pods().await?;
        let printed = self.hands.annotate(value).await?;
        self.printed(&printed)?;
        let account = Api::<ServiceAccount>::namespaced(self.client.clone(), NAMESPACE)
            .get(NAME)
            .await?;
        let annotated = account
            .metadata
            .annotations
            .unwrap_or_default()
            .get(ANNOTATION)
            .cloned();
        let untouched = self
            .pods()
            .await?
            .iter()
            .map(endpoint_of)
            .eq(before.iter().map(endpoint_of));
        self.meaning(
            &step("annotated"),
            format!("{ANNOTATION}={}", annotated.as_deref().unwrap_or("<none>")),
            annotated.as_deref() == Some(value) && untouched,
            "annotated; pods that run already keep what they have, so they must be recreated",
        )?;

        self.title("4. Recreate the pods")?;
        self.command(&format!("kubectl delete Pods -n {NAMESPACE} -l {SELECTOR}"))?;
        let old: Vec<String> = before.iter().map(name_of).collect();
        let printed = self.hands.delete_pods().await?;
        self.printed(&printed)?;
        let pods = self.wait(&old).await?;
        self.title("5. Wait for them")?;
        self.command(&format!("kubectl get Pods -n {NAMESPACE} -l {SELECTOR}"))?;
        let printed = self.hands.get_pods().await?;
        self.printed(&printed)?;
        let text = format!("{} new pods are running", pods.len());
        self.meaning(
            &step("pods recreated"),
            format!("{} of {}", pods.len(), old.len()),
            pods.len() == old.len(),
            &text,
        )?;

        self.title("6. See the value")?;
        let first = pods.first().context("no pod is left")?;
        self.show_endpoint(&name_of(first)).await?;
        let choice = self.expected(Some(endpoint));
        let shown = endpoint_of(first);
        let right = pods.iter().all(|pod| endpoint_of(pod) == Shown::of(choice));
        let text = match choice.written(GlobalValue::default()) {
            Some("legacy") => {
                "global in every pod: `legacy` is the word for it that the SDKs accept".to_owned()
            }
            Some(word) => format!("{word} in every pod: {}", choice.source.reason()),
            None => format!("nothing is written: {}", choice.source.reason()),
        };
        self.meaning(&step("value in every pod"), shown.to_string(), right, &text)?;

        self.title("7. Prove it")?;
        let proof = proof::call(self.lab, first).await?;
        self.command(&proof.command)?;
        self.printed(&proof.printed)?;
        self.meaning(
            &step("endpoint really called"),
            proof.seen,
            proof.verified,
            &proof.meaning,
        )
    }

    fn summary(&self) -> anyhow::Result<bool> {
        self.output.out("")?;
        let mut table = Table::new(&["STEP", "SEEN", "VERIFIED"]);
        for step in &self.steps {
            table.row([
                step.title.as_str(),
                &step.seen,
                if step.verified { "yes" } else { "NO" },
            ]);
        }
        table.write(&mut self.output.stdout(), self.output.columns())?;
        let failed = self.steps.iter().filter(|step| !step.verified).count();
        let total = self.steps.len();
        if failed == 0 {
            self.output.out(format_args!(
                "\n{}",
                format_args!("All {total} steps were verified.").green().bold()
            ))?;
            self.output.out(
                "Next: `irsa lab up` leaves such a cluster up for your own kubectl; README says more.",
            )?;
        } else {
            self.output.out(format_args!(
                "\n{}",
                format_args!("{failed} of {total} steps were not verified.")
                    .red()
                    .bold()
            ))?;
        }
        Ok(failed == 0)
    }

    async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), NAMESPACE);
        let mut pods = pods.list(&ListParams::default().labels(SELECTOR)).await?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        // By node, so that the first one is on the guide's.
        pods.sort_by_key(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()));
        Ok(pods)
    }

    async fn first_pod(&self) -> anyhow::Result<Pod> {
        self.pods()
            .await?
            .into_iter()
            .next()
            .context("the DaemonSet has no pod")
    }

    /// Waits until every node has a ready pod that is none of `old`.
    async fn wait(&self, old: &[String]) -> anyhow::Result<Vec<Pod>> {
        let bar = if self.output.is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(80));
        let sets = Api::<DaemonSet>::namespaced(self.client.clone(), NAMESPACE);
        let started = tokio::time::Instant::now();
        loop {
            let wanted = sets
                .get(NAME)
                .await?
                .status
                .map_or(0, |status| status.desired_number_scheduled);
            let pods = self.pods().await?;
            let fresh: Vec<Pod> = pods
                .into_iter()
                .filter(|pod| !old.contains(&name_of(pod)) && is_ready(pod))
                .collect();
            bar.set_message(format!("waiting for pods: {} of {wanted} ready", fresh.len()));
            if wanted > 0 && usize::try_from(wanted).is_ok_and(|wanted| fresh.len() >= wanted) {
                bar.finish_and_clear();
                return Ok(fresh);
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "after {} s only {} of {wanted} pods are ready",
                    PATIENCE.as_secs(),
                    fresh.len()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn name_of(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What a pod's containers carry, as people are shown it.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Default,
    Chosen(EndpointType),
    Mixed(String),
}

impl Shown {
    /// What a choice looks like in a pod.
    fn of(choice: Choice) -> Self {
        match choice.written(GlobalValue::default()) {
            Some(_) => Self::Chosen(choice.endpoint),
            None => Self::Default,
        }
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Chosen(endpoint) => write!(f, "{endpoint}"),
            Self::Mixed(values) => f.write_str(values),
        }
    }
}

fn endpoint_of(pod: &Pod) -> Shown {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let mut values: Vec<Option<&str>> = containers
        .map(|container| {
            let variable = container
                .env
                .iter()
                .flatten()
                .find(|variable| variable.name == VARIABLE);
            variable.and_then(|variable| variable.value.as_deref())
        })
        .collect();
    values.dedup();
    match values.as_slice() {
        [None] | [] => Shown::Default,
        [Some(value)] => match EnvValue::read(value).endpoint {
            Some(endpoint) => Shown::Chosen(endpoint),
            None => Shown::Mixed((*value).to_owned()),
        },
        several => {
            let shown: Vec<&str> = several.iter().map(|value| value.unwrap_or("<none>")).collect();
            Shown::Mixed(shown.join(", "))
        }
    }
}
