//! What the arguments of `irsa check` mean.

use std::path::PathBuf;

use irsa_core::endpoint::{EndpointType, Platform};
use irsa_core::settings::Settings as WebhookSettings;
use irsa_fleet::check::Options;
use irsa_fleet::effective::Families;
use irsa_fleet::finding::FailOn;
use irsa_fleet::webhook;

use super::args::{Args, Compat};
use crate::args::Format;

/// Everything decided.
pub(super) struct Settings {
    pub(super) source: Source,
    pub(super) options: Options,
    /// What was assumed about the cluster, if nothing was said about it.
    pub(super) assumption: Option<String>,
    pub(super) fail_on: FailOn,
    pub(super) format: Format,
}

/// Where manifests come from.
pub(super) enum Source {
    /// Files, directories, and `-` for standard input.
    Files(Vec<PathBuf>),
    /// What `kubectl kustomize` makes of a directory.
    Kustomization(PathBuf),
}

impl Settings {
    pub(super) fn resolve(args: Args) -> anyhow::Result<Self> {
        let nothing_said = args.kubernetes_version.is_none() && args.compat.is_none();
        let assumption = nothing_said.then(|| {
            let whose = if args.eks {
                "webhook of EKS"
            } else {
                "irsa webhook on EKS"
            };
            format!(
                "assuming the {whose}, Kubernetes {} or later (see --kubernetes-version)",
                Platform::LATEST
            )
        });
        Ok(Self {
            options: Options {
                settings: webhook_settings(&args)?,
                namespace: args.namespace,
                families: Families::new(args.sdk),
            },
            source: match args.kustomize {
                Some(directory) => Source::Kustomization(directory),
                None => Source::Files(args.files),
            },
            assumption,
            fail_on: args.fail_on,
            format: args.format,
        })
    }
}

/// The settings of the webhook that the manifests will meet.
fn webhook_settings(args: &Args) -> anyhow::Result<WebhookSettings> {
    let platform = match args.kubernetes_version.as_deref() {
        None => Some(Platform::LATEST),
        Some("none") => {
            anyhow::ensure!(
                args.platform_version.is_none(),
                "--platform-version has no meaning with --kubernetes-version none"
            );
            None
        }
        Some(version) => Some(Platform::parse(version, args.platform_version.as_deref())?),
    };
    if let Some(platform) = platform.filter(|platform| platform.is_undecided()) {
        anyhow::bail!(
            "whether Kubernetes {platform} may choose its endpoint type depends on the EKS platform version: pass \
             --platform-version, which `aws eks describe-cluster` prints"
        );
    }
    let mut settings = if args.eks {
        webhook::documented_for_eks(platform)
    } else {
        WebhookSettings {
            platform,
            ..WebhookSettings::default()
        }
    };
    if args.compat == Some(Compat::Upstream) {
        settings = settings.upstream();
    }
    if let Some(regional) = args.sts_regional_endpoint {
        settings.flag = Some(EndpointType::from_regional(regional));
    }
    if let Some(value) = args.global_endpoint_value {
        settings.global_value = value;
    }
    if let Some(prefix) = &args.annotation_prefix {
        settings.annotation_prefix = prefix.as_str().into();
    }
    settings.region = args.region.as_deref().map(Into::into);
    Ok(settings)
}
