//! `irsa explain`: one pod, one service account, or an environment given on the command line, in full.

mod document;
mod report;
mod text;
mod wide;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use irsa_core::endpoint::EndpointType;
use irsa_core::sdk::{self, Code, Environment, Sdk};
use irsa_fleet::cluster::Cluster;
use irsa_fleet::explain::{ContainerFacts, Gathered, Subject};

use crate::args::{ClusterArgs, Format, FormatParser, KnowledgeArgs};
use crate::commands::offline::{self, EnvironmentArgs};
use crate::complete;
use crate::exit;
use crate::output::Output;

use report::{ExplainedContainer, Explanation};

/// Explain which STS endpoint a pod, a service account or an environment leads to, and why
///
/// For a pod or a service account: every source that may decide, in order of precedence, which one won, and what was
/// written. For each container and each SDK that it may contain: the endpoint, the region and where it comes from, what
/// AWS makes of it, the form of presigned S3 URLs, what would change on switching, and how sure all this is. Without a
/// cluster: the same for variables given with --env.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa explain pod/aws-node-6mfgv -n kube-system
  irsa explain sa/aws-node -n kube-system --region us-west-2
  irsa explain pod/app-0 -c worker --sdk boto3@1.39
  irsa explain --env AWS_STS_REGIONAL_ENDPOINTS=legacy --region us-west-2
  irsa explain -r us-west-2 --sdk boto3 --endpoint-url https://sts.amazonaws.com
                                the application that asks for the global endpoint itself
  irsa explain pod/app-0 -o json | jq '.containers[].endpoints[] | select(.class == \"global\")'

Exit codes: 0 explained; 1 there is no such pod, service account or container; 2 could not look.")]
pub(crate) struct Args {
    /// pod/NAME or sa/NAME; nothing to explain --env
    #[arg(value_name = "pod/NAME|sa/NAME", num_args = 0..=2, add = complete::subjects())]
    subject: Vec<String>,

    /// Namespace; else that of the context
    #[arg(short = 'n', long, value_name = "NAME", add = complete::namespaces())]
    namespace: Option<String>,

    /// Only this container of the pod
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,

    #[command(flatten)]
    environment: EnvironmentArgs,

    /// Endpoint URL that the program gives to its own STS client
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,

    /// Region that the program gives to its own STS client
    #[arg(long, value_name = "REGION")]
    client_region: Option<String>,

    #[command(flatten)]
    knowledge: KnowledgeArgs,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Wide])
    )]
    format: Format,

    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<ExitCode> {
    let explanation = match subject(&args.subject)? {
        None => without_cluster(args)?,
        Some(subject) => {
            if !args.environment.env.is_empty() {
                bail!("--env gives the environment of no pod: use it without pod/NAME or sa/NAME");
            }
            if args.environment.region.is_some() && matches!(subject, Subject::Pod(_)) {
                bail!("--region is for sa/NAME and --env: a pod has its own region");
            }
            let cluster = Cluster::connect(&args.cluster.clone().options()).await?;
            let namespace = args
                .namespace
                .clone()
                .unwrap_or_else(|| cluster.namespace().to_owned());
            let read = Gathered::read(&cluster, &namespace, &subject, &args.knowledge.overrides()).await;
            let gathered = match read {
                Ok(gathered) => gathered,
                Err(error) if error.is_not_found() => {
                    output.error("irsa", &error.into())?;
                    return Ok(exit::no());
                }
                Err(error) => return Err(error.into()),
            };
            match in_cluster(args, &cluster, &subject, &gathered)? {
                Some(explanation) => explanation,
                None => {
                    let wanted = args.container.as_deref().unwrap_or_default();
                    output.note(format_args!("irsa: error: the pod has no container `{wanted}`"))?;
                    return Ok(exit::no());
                }
            }
        }
    };
    match &args.format {
        format if !format.is_text() => output.document(&document::document(&explanation), format)?,
        Format::Wide => output.page(|to| wide::write(to, &explanation, output.columns()))?,
        _ => output.page(|to| text::write(to, &explanation, output.columns()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads `pod/NAME`, `pod NAME`, and the other words that kubectl has for the two kinds.
fn subject(words: &[String]) -> anyhow::Result<Option<Subject>> {
    let (kind, name) = match words {
        [] => return Ok(None),
        [one] => one
            .split_once('/')
            .with_context(|| format!("`{one}` names no kind: write pod/{one} or sa/{one}"))?,
        [kind, name] => (kind.as_str(), name.as_str()),
        _ => bail!("only one pod or service account can be explained at a time"),
    };
    if name.is_empty() || name.contains('/') {
        bail!("`{name}` is no name of a {kind}");
    }
    match kind {
        "pod" | "pods" | "po" => Ok(Some(Subject::Pod(name.to_owned()))),
        "sa" | "serviceaccount" | "serviceaccounts" => Ok(Some(Subject::ServiceAccount(name.to_owned()))),
        other => bail!("`{other}` cannot be explained: use pod/NAME or sa/NAME"),
    }
}

fn without_cluster(args: &Args) -> anyhow::Result<Explanation> {
    let environment = args.environment.environment()?;
    if environment == Environment::default() && args.endpoint_url.is_none() && args.client_region.is_none() {
        bail!(
            "nothing to explain: name pod/NAME or sa/NAME, or give an environment with --env and --region (see `irsa \
             explain --help`)"
        );
    }
    if args.namespace.is_some() || args.container.is_some() {
        bail!("--namespace and --container need pod/NAME or sa/NAME");
    }
    let facts = ContainerFacts {
        name: String::new(),
        init: false,
        image: String::new(),
        has_identity: true,
        environment,
        unknown: Vec::new(),
        sets_variable: false,
    };
    let values = [Some("regional"), Some("legacy")];
    Ok(Explanation {
        header: None,
        containers: vec![explained(args, &facts, Some(values))],
        skipped: Vec::new(),
        findings: Vec::new(),
        notes: Vec::new(),
    })
}

fn in_cluster(
    args: &Args,
    cluster: &Cluster,
    subject: &Subject,
    gathered: &Gathered,
) -> anyhow::Result<Option<Explanation>> {
    let (mut containers, mut findings) = gathered.containers(args.environment.region.as_deref())?;
    if let Some(wanted) = &args.container {
        containers.retain(|container| container.name == *wanted);
        findings.retain(|f| f.container.as_deref().is_none_or(|name| name == wanted.as_str()));
        if containers.is_empty() {
            return Ok(None);
        }
    }
    let header = report::Header::new(cluster, subject, gathered, &containers)?;
    let identity = gathered.identity().is_ok();
    let may_choose = gathered.may_choose();
    // Containers without any part in this are named only.
    let (concerned, skipped): (Vec<_>, Vec<_>) = containers.into_iter().partition(|container| {
        args.container.is_some()
            || container.has_identity
            || container.sets_variable
            || matches!(subject, Subject::ServiceAccount(_))
    });
    let explained = concerned
        .iter()
        .map(|facts| {
            let switchable = identity && may_choose && !facts.sets_variable;
            let values = switchable.then(|| {
                [EndpointType::Regional, EndpointType::Global].map(|endpoint| gathered.written_for(endpoint))
            });
            explained(args, facts, values)
        })
        .collect();
    Ok(Some(Explanation {
        header: Some(header),
        containers: explained,
        skipped: skipped.into_iter().map(|container| container.name).collect(),
        findings,
        notes: gathered.directory.notes.clone(),
    }))
}

/// Asks the core about one container. `values` are what the variable would be after switching to regional and to
/// global.
fn explained(args: &Args, facts: &ContainerFacts, values: Option<[Option<&str>; 2]>) -> ExplainedContainer {
    let guess = if args.knowledge.sdks().is_empty() {
        sdk::from_image(&facts.image)
    } else {
        None
    };
    let sdks: Vec<Sdk> = match &guess {
        Some(guess) => guess.releases(),
        None => offline::sdks(args.knowledge.sdks()),
    };
    let code = Code {
        endpoint: args.endpoint_url.as_deref(),
        region: args.client_region.as_deref(),
    };
    ExplainedContainer::ask(facts.clone(), guess, &sdks, code, values)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Option<Subject>, String> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        subject(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn subjects_are_named_as_kubectl_names_them() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["pod/a"]), Ok(Some(Subject::Pod("a".into()))));
        assert_eq!(read(&["po", "a"]), Ok(Some(Subject::Pod("a".into()))));
        assert_eq!(
            read(&["serviceaccount/a"]),
            Ok(Some(Subject::ServiceAccount("a".into())))
        );
        assert!(
            read(&["aws-node"])
                .unwrap_err()
                .contains("pod/aws-node or sa/aws-node")
        );
        assert!(
            read(&["deploy/a"])
                .unwrap_err()
                .contains("`deploy` cannot be explained")
        );
        assert!(read(&["pod/"]).is_err() && read(&["pod/a/b"]).is_err());
    }
}
