//! The proof of a choice: a real call from the pod, and the line of the event log which shows where it arrived.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use irsa_core::sdk::{self, Call, Code, Environment, Family, Sdk};
use irsa_lab::container::Container;
use irsa_lab::run::{Sandbox, Way};
use irsa_lab::{Lab, caller};
use irsa_sts::events::{Filter, Record};
use k8s_openapi::api::core::v1::Pod;

use super::example::NAMESPACE;

/// AWS CLI v1 takes about a second; a client that has no answer by then has none.
const PATIENCE: Duration = Duration::from_secs(60);
const PYTHON: &str = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])";

/// What was called, and what is to be said of it.
pub(super) struct Proof {
    pub(super) command: String,
    pub(super) printed: String,
    pub(super) seen: String,
    pub(super) verified: bool,
    pub(super) meaning: String,
}

/// Who makes the call.
enum Client {
    /// An AWS SDK of this machine, started in the pod's environment.
    Program { sdk: Sdk, command: Vec<String> },
    /// Our own, doing what the rules say that boto3 does.
    Own(Sdk),
}

impl Client {
    async fn find() -> Self {
        if let Some(text) = first_line("aws", &["--version"]).await
            && let Some(guess) = sdk::from_user_agent(&text)
        {
            let command = ["aws", "sts", "get-caller-identity"].map(str::to_owned).to_vec();
            return Self::Program {
                sdk: guess.sdk,
                command,
            };
        }
        let version = "import boto3, botocore; print('Botocore/' + botocore.__version__)";
        if let Some(text) = first_line("python3", &["-c", version]).await
            && let Some(guess) = sdk::from_user_agent(&text)
        {
            let command = ["python3", "-c", PYTHON].map(str::to_owned).to_vec();
            return Self::Program {
                sdk: guess.sdk,
                command,
            };
        }
        Self::Own(Sdk::current(Family::Botocore))
    }

    /// Who called, as people are told.
    fn title(&self) -> String {
        match self {
            Self::Program { sdk, .. } => sdk.to_string(),
            Self::Own(sdk) => format!("irsa's own client, which calls as {sdk} would,"),
        }
    }

    fn sdk(&self) -> Sdk {
        match self {
            Self::Program { sdk, .. } | Self::Own(sdk) => *sdk,
        }
    }
}

async fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().to_owned())
}

/// Calls STS from `pod` and looks for the call in the event log.
pub(super) async fn call(lab: &Lab, pod: &Pod) -> anyhow::Result<Proof> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let container = Container::of(serde_json::to_value(pod)?, None)?;
    let sandbox = Sandbox::prepare(lab.client().await?, container, lab.reach(), Way::Proxy).await?;
    let environment = Environment::from_pairs(
        Environment::NAMES
            .iter()
            .filter_map(|name| Some((*name, variable(&sandbox, name)?))),
    );
    let client = Client::find().await;
    let predicted = sdk::sts(client.sdk(), &environment, Code::default(), Call::Credentials);
    let host = predicted
        .endpoint()
        .map(|endpoint| endpoint.host.clone())
        .unwrap_or_default();

    let before = lab.events().newest();
    let (command, printed) = match &client {
        Client::Program { command, .. } => call_by_program(&sandbox, &name, command).await?,
        Client::Own(sdk) => call_by_ourselves(lab, &sandbox, &host, *sdk).await?,
    };
    let filter = Filter {
        event_name: Some("AssumeRoleWithWebIdentity".into()),
        ..Filter::default()
    };
    let record = lab.events().after(before, &filter, 1).pop();
    let Some(record) = record.map(|entry| entry.record) else {
        return Ok(Proof {
            command,
            printed,
            seen: "no call".into(),
            verified: false,
            meaning: "the event log has no AssumeRoleWithWebIdentity of this pod".into(),
        });
    };
    let line = event_line(&record);
    let account = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.clone())
        .unwrap_or_default();
    let subject = format!("system:serviceaccount:{NAMESPACE}:{account}");
    let verified = record.error_code.is_none() && record.host() == host && record.caller() == subject;
    Ok(Proof {
        command,
        printed: format!("{printed}\n{line}"),
        seen: format!("{} ({})", record.host(), record.endpoint_type().unwrap_or("?")),
        verified,
        meaning: format!(
            "{} reached {}, the {} endpoint: {}",
            client.title(),
            record.host(),
            record.endpoint_type().unwrap_or("unknown"),
            predicted.reason.sentence()
        ),
    })
}

/// A variable of the pod's container.
fn variable(sandbox: &Sandbox, wanted: &str) -> Option<String> {
    let found = sandbox.variables().iter().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.to_string_lossy().into_owned())
}

/// The command as a person would type it, and what it printed.
async fn call_by_program(
    sandbox: &Sandbox,
    pod: &str,
    command: &[String],
) -> anyhow::Result<(String, String)> {
    let (program, arguments) = command.split_first().context("a client without a name")?;
    let mut child = tokio::process::Command::from(sandbox.command(program, arguments));
    child.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, child.output())
        .await
        .context("the AWS SDK gave no answer")??;
    let text = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    let quoted: Vec<String> = command
        .iter()
        .map(|word| {
            if word.contains(' ') {
                format!("\"{word}\"")
            } else {
                word.clone()
            }
        })
        .collect();
    let shown = format!("irsa lab run -n {NAMESPACE} {pod} -- {}", quoted.join(" "));
    Ok((shown, String::from_utf8_lossy(&text).trim().to_owned()))
}

/// What is called in place of a command, and the answer.
async fn call_by_ourselves(
    lab: &Lab,
    sandbox: &Sandbox,
    host: &str,
    sdk: Sdk,
) -> anyhow::Result<(String, String)> {
    let role = variable(sandbox, "AWS_ROLE_ARN").context("the pod has no AWS_ROLE_ARN")?;
    let file = variable(sandbox, "AWS_WEB_IDENTITY_TOKEN_FILE")
        .context("the pod has no AWS_WEB_IDENTITY_TOKEN_FILE")?;
    let token = tokio::fs::read_to_string(sandbox.place(&file))
        .await
        .context("the pod's token cannot be read")?;
    let reach = lab.reach();
    let (status, _) =
        caller::assume_role_with_web_identity(reach.direct, &reach.ca_pem, host, &role, "irsa-demo", &token)
            .await?;
    let shown = format!("(no AWS SDK on this machine: irsa calls https://{host}, as {sdk} would)");
    Ok((shown, format!("HTTP {status}")))
}

/// What CloudTrail would show of it.
fn event_line(record: &Record) -> String {
    format!(
        "event: {} {} endpointType={} awsServingRegion={} awsRegion={} host={} {}",
        record.event_name,
        record.caller(),
        record.endpoint_type().unwrap_or("-"),
        record.serving_region().unwrap_or("-"),
        record.aws_region,
        record.host(),
        record.error_code.as_deref().unwrap_or("ok"),
    )
}
