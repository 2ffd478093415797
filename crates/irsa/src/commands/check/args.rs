//! What `irsa check` is asked.

use std::path::PathBuf;

use clap::ValueEnum;
use irsa_core::endpoint::GlobalValue;
use irsa_core::sdk::Sdk;
use irsa_fleet::finding::FailOn;

use crate::args::{Format, FormatParser, fail_on};

/// Check manifests before they reach a cluster
///
/// Reads manifests (YAML or JSON, several documents in a file, Lists, what Helm and Kustomize print), makes the pods
/// of every workload as the webhook would make them, and says what is wrong with them. Service accounts, namespaces and
/// the pod-identity-webhook ConfigMap are found in the same input. No cluster is asked.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa check -f deploy/ --region us-west-2
  helm template ./chart | irsa check -f - --region us-west-2
  irsa check -k overlays/prod --region us-west-2 -o yaml
                                                 the pods as they would be
  irsa check -f k8s/ -o github                   annotations on a pull request
  irsa check -f k8s/ -o sarif > irsa.sarif       for code scanning
  irsa check -f k8s/ --eks --fail-on warning     as EKS's own webhook would make them

Exit codes: 0 nothing found at or above --fail-on; 1 something found; 2 the input, or a part of it, cannot be read.")]
pub(crate) struct Args {
    /// File, directory, or - for standard input; may be given more than once
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        required_unless_present = "kustomize"
    )]
    pub(super) files: Vec<PathBuf>,

    /// Directory with a kustomization, which is built by `kubectl kustomize`
    #[arg(short = 'k', long, value_name = "DIR", conflicts_with = "files")]
    pub(super) kustomize: Option<PathBuf>,

    /// Format
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = FormatParser::with(&[Format::Sarif, Format::Github])
    )]
    pub(super) format: Format,

    /// When to answer with exit code 1: error, warning, info, never, or ids of findings
    #[arg(long, value_name = "SEVERITY|ID,…", default_value = "error", value_parser = fail_on)]
    pub(super) fail_on: FailOn,

    /// Namespace of objects that name none
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub(super) namespace: String,

    /// SDKs that the containers use, such as boto3, boto3@1.39 or js-v2; else the one that an image is known for, or
    /// each that behaves in its own way
    #[arg(long, value_name = "SDK", value_delimiter = ',')]
    pub(super) sdk: Vec<Sdk>,

    /// Region that the webhook writes; without it endpoints are not predicted
    #[arg(
        long,
        visible_alias = "aws-default-region",
        value_name = "REGION",
        help_heading = "Webhook"
    )]
    pub(super) region: Option<String>,

    /// Check against the webhook that EKS runs
    #[arg(long, help_heading = "Webhook", conflicts_with = "compat")]
    pub(super) eks: bool,

    /// Whose behaviour the webhook has
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = "Webhook")]
    pub(super) compat: Option<Compat>,

    /// The webhook's --sts-regional-endpoint
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        help_heading = "Webhook"
    )]
    pub(super) sts_regional_endpoint: Option<bool>,

    /// The webhook's --global-endpoint-value: legacy, omit or global
    #[arg(long, value_name = "VALUE", help_heading = "Webhook")]
    pub(super) global_endpoint_value: Option<GlobalValue>,

    /// The webhook's --annotation-prefix
    #[arg(long, value_name = "PREFIX", help_heading = "Webhook")]
    pub(super) annotation_prefix: Option<String>,

    /// Kubernetes version of the EKS cluster, such as 1.29; `none` for a cluster that is not EKS; else a current one is
    /// assumed
    #[arg(long, value_name = "VERSION", help_heading = "Webhook")]
    pub(super) kubernetes_version: Option<String>,

    /// Platform version of the EKS cluster, such as eks.1
    #[arg(
        long,
        value_name = "eks.N",
        requires = "kubernetes_version",
        help_heading = "Webhook"
    )]
    pub(super) platform_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Compat {
    /// The Go webhook aws/amazon-eks-pod-identity-webhook
    Upstream,
}
