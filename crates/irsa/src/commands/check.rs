//! `irsa check`: manifests in, findings out, no cluster.

mod args;
mod settings;
mod text;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use irsa_core::text::Foreign;
use irsa_fleet::check;
use irsa_fleet::manifests::Input;
use irsa_fleet::report::{CheckReport, sarif};

use crate::args::{Format, read_input};
use crate::exit;
use crate::output::{Output, counted};

pub(crate) use args::Args;
use settings::{Settings, Source};

pub(crate) fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let settings = Settings::resolve(args)?;
    let input = match &settings.source {
        Source::Files(files) => read(files, output)?,
        Source::Kustomization(directory) => build(directory)?,
    };
    for error in &input.errors {
        output.note(format_args!("irsa: error: {}", Foreign(error.to_string())))?;
    }
    if input.documents.is_empty() {
        anyhow::ensure!(!input.errors.is_empty(), "the input holds no Kubernetes object");
        return Ok(ExitCode::from(exit::FAILED));
    }
    if let Some(assumption) = &settings.assumption {
        output.note(assumption)?;
    }
    let checked = check::check(&input.documents, &settings.options);
    let report = CheckReport::of(&checked, &input.documents);
    let region = settings.options.settings.region.is_some();
    match &settings.format {
        Format::Sarif => output.document(&sarif(&checked, &input.documents), &Format::Json)?,
        Format::Yaml => {
            let mut to = output.stdout();
            text::manifests(&mut to, &report)?;
        }
        Format::Github => output.page(|to| text::github(to, &report))?,
        format if format.is_text() => {
            if report.service_accounts == 0 && report.workloads.is_empty() {
                output.note(format_args!(
                    "nothing to check: none of {} is a workload or a service account",
                    counted(input.documents.len(), "object")
                ))?;
            }
            output.page(|to| text::write(to, &report, region, output.columns()))?;
            if !region {
                output.note("note: no --region is given, so where SDKs would call is not predicted")?;
            }
        }
        format => output.document(&report, format)?,
    }
    if !input.errors.is_empty() {
        return Ok(ExitCode::from(exit::FAILED));
    }
    let caught = checked.all().any(|located| {
        settings
            .fail_on
            .catches(located.finding.id(), located.finding.severity())
    });
    Ok(if caught { exit::no() } else { ExitCode::SUCCESS })
}

fn read(files: &[PathBuf], output: &Output) -> anyhow::Result<Input> {
    let mut input = Input::default();
    for file in files {
        if file.as_os_str() == "-" {
            if io::stdin().is_terminal() {
                output.note("reading manifests from standard input; end with Ctrl-D")?;
            }
            input.add_text("-", &read_input(file)?);
        } else {
            input.add_path(file);
        }
    }
    Ok(input)
}

/// What `kubectl kustomize` prints for a directory.
fn build(directory: &Path) -> anyhow::Result<Input> {
    let built = Command::new("kubectl")
        .arg("kustomize")
        .arg(directory)
        .output()
        .context("-k needs kubectl, which builds the kustomization")?;
    anyhow::ensure!(
        built.status.success(),
        "kubectl kustomize {}: {}",
        directory.display(),
        String::from_utf8_lossy(&built.stderr).trim()
    );
    let mut input = Input::default();
    input.add_text(
        &directory.display().to_string(),
        &String::from_utf8(built.stdout).context("what kubectl kustomize printed is not UTF-8")?,
    );
    Ok(input)
}
