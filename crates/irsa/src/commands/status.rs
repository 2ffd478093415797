//! `irsa status`: which endpoint everything really uses.

mod args;
mod settings;
mod text;

use std::process::ExitCode;

use irsa_fleet::cluster::{Cluster, ConnectOptions};
use irsa_fleet::directory::Scope;
use irsa_fleet::report::{API_VERSION, ClusterReport, StatusReport};
use irsa_fleet::status::{self, Options, Status};

use crate::args::Format;
use crate::exit;
use crate::output::Output;

pub(crate) use args::Args;
use settings::{Query, Settings};

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let settings = Settings::resolve(args, output.is_terminal())?;
    loop {
        let clusters = read_all(&settings).await?;
        if settings.watch.is_some() && output.is_terminal() && settings.view.format.is_text() {
            output.clear()?;
        }
        let code = show(&settings, output, &clusters)?;
        let Some(pause) = settings.watch else {
            return Ok(code);
        };
        tokio::time::sleep(pause).await;
    }
}

/// One cluster, or its context and why it could not be read.
type Read = Result<Status, (String, anyhow::Error)>;

async fn read_all(settings: &Settings) -> anyhow::Result<Vec<Read>> {
    let several = settings.clusters.len() > 1;
    let read = settings.clusters.iter().map(|cluster| async move {
        read(cluster, &settings.query)
            .await
            .map_err(|error| (cluster.context.clone().unwrap_or_default(), error))
    });
    let mut clusters = futures::future::join_all(read).await;
    if !several {
        // One cluster that cannot be read is the command's own failure.
        match clusters.pop() {
            Some(Err((_, error))) => return Err(error),
            Some(Ok(status)) => clusters.push(Ok(status)),
            None => {}
        }
    }
    Ok(clusters)
}

async fn read(connect: &ConnectOptions, query: &Query) -> anyhow::Result<Status> {
    let cluster = Cluster::connect(connect).await?;
    let options = Options {
        scope: Scope {
            namespace: query.namespaces.name(&cluster),
            labels: query.labels.clone(),
            page: Some(query.page),
        },
        families: query.families.clone(),
        pods: query.pods,
        accounts: query
            .accounts
            .iter()
            .map(|account| {
                (
                    account.namespace.clone().unwrap_or_default(),
                    account.name.clone(),
                )
            })
            .collect(),
    };
    let mut status = status::status(&cluster, &options, &query.overrides).await?;
    if !query.findings.is_empty() {
        let wanted = |id| query.findings.contains(&id);
        status
            .accounts
            .retain(|_, row| row.findings.keys().any(|finding| wanted(finding.id())));
        status
            .pod_rows
            .retain(|row| row.findings.iter().any(|finding| wanted(finding.id())));
    }
    Ok(status)
}

fn show(settings: &Settings, output: &Output, clusters: &[Read]) -> anyhow::Result<ExitCode> {
    let report = StatusReport {
        api_version: API_VERSION,
        kind: "Status",
        clusters: clusters
            .iter()
            .map(|read| match read {
                Ok(status) => ClusterReport::of(status),
                Err((context, error)) => ClusterReport::failed(context, "", format!("{error:#}")),
            })
            .collect(),
    };
    match &settings.view.format {
        format @ (Format::Json | Format::Yaml | Format::JsonPath(_)) => output.document(&report, format)?,
        Format::CustomColumns(columns) => {
            let table = text::custom(columns, &report, &settings.view)?;
            output.page(|to| table.write(to, None))?;
        }
        _ => output.page(|to| text::write(to, &report, &settings.view, output.columns()))?,
    }
    for cluster in &report.clusters {
        text::notes(output, cluster)?;
    }
    let errors = clusters.iter().filter_map(|read| read.as_ref().err());
    if let Some(worst) = errors.map(|(_, error)| exit::of(error)).max() {
        return Ok(ExitCode::from(worst));
    }
    let caught = clusters
        .iter()
        .flatten()
        .flat_map(Status::all_findings)
        .any(|finding| settings.fail_on.catches(finding.id(), finding.severity()));
    let missing = clusters.iter().flatten().any(|status| !status.missing.is_empty());
    Ok(if caught || missing {
        exit::no()
    } else {
        ExitCode::SUCCESS
    })
}
