//! `irsa webhook`: the admission server as a process, from its flags to its signals.

mod flags;
mod go;
mod klog;
mod rules;

use std::process::ExitCode;

use anyhow::Context as _;
use irsa_webhook::{Drain, Server};
use tokio::signal::unix::{SignalKind, signal};

use crate::output::Output;

pub(crate) use flags::Args;

pub(crate) async fn run(args: Args, _output: &Output) -> anyhow::Result<ExitCode> {
    args.log.install()?;
    // Everything behind the command's own name; what is not a flag of the rules is skipped.
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let config = args.config(&arguments, |name| std::env::var(name).ok()).await?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "irsa webhook");
    let server = Server::start(config).await?;
    let drain = tokio::select! {
        _ = terminate.recv() => None,
        // Somebody at a terminal does not want to wait for a load balancer that is not there.
        _ = interrupt.recv() => Some(Drain::at_once()),
    };
    let shutdown = async {
        match drain {
            None => server.shutdown().await,
            Some(drain) => server.shutdown_with(drain).await,
        }
    };
    tokio::select! {
        () = shutdown => tracing::info!("shut down"),
        _ = terminate.recv() => tracing::warn!("second signal: ending at once"),
        _ = interrupt.recv() => tracing::warn!("second signal: ending at once"),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use clap::Parser;
    use irsa_core::endpoint::{EndpointType, GlobalValue};
    use irsa_webhook::config::PlatformSource;
    use irsa_webhook::{Certificates, Config};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    async fn config(words: &[&str]) -> anyhow::Result<Config> {
        let line = Line::try_parse_from(std::iter::once("webhook").chain(words.iter().copied()))?;
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        line.args.config(&words, |_| None).await
    }

    #[tokio::test]
    async fn the_defaults_are_those_of_the_go_webhook() {
        let config = config(&[]).await.unwrap();
        assert_eq!(
            (config.listen.port(), config.metrics_listen.unwrap().port()),
            (443, 9999)
        );
        let settings = &config.settings;
        assert_eq!(&*settings.annotation_prefix, "eks.amazonaws.com");
        assert_eq!(&*settings.audience, "sts.amazonaws.com");
        assert_eq!(
            &*settings.mount_path,
            "/var/run/secrets/eks.amazonaws.com/serviceaccount"
        );
        assert_eq!(settings.token_expiration, 86_400);
        assert_eq!(
            (settings.flag, &settings.region, &settings.compose),
            (None, &None, &None)
        );
        assert!(config.config_map_namespace.is_none() && config.container_credentials.is_none());
        let Certificates::Managed(managed) = &config.certificates else {
            panic!("not managed")
        };
        assert_eq!(
            (managed.namespace.as_str(), managed.secret.as_str()),
            ("eks", "pod-identity-webhook")
        );
        assert_eq!(managed.service, "pod-identity-webhook");
        assert!(!config.debug_handlers);
    }

    #[tokio::test]
    async fn an_argument_list_of_kops_works_as_it_is() {
        let config = config(&[
            "--in-cluster=false",
            "--namespace=kube-system",
            "--service-name=pod-identity-webhook",
            "--annotation-prefix=eks.amazonaws.com",
            "--token-audience=amazonaws.com",
            "--watch-config-map",
            "--sts-regional-endpoint",
            "--aws-default-region=eu-west-1",
            "--logtostderr",
            "-v",
            "3",
        ])
        .await
        .unwrap();
        assert_eq!(config.settings.flag, Some(EndpointType::Regional));
        assert_eq!(config.settings.region.as_deref(), Some("eu-west-1"));
        assert_eq!(&*config.settings.audience, "amazonaws.com");
        assert_eq!(config.config_map_namespace.as_deref(), Some("kube-system"));
        assert!(matches!(config.certificates, Certificates::Files(_)));
    }

    #[tokio::test]
    async fn numbers_and_repeated_flags_are_read_as_go_reads_them() {
        let config = config(&[
            "--port=0x1bb",
            "--metrics-port=1_0000",
            "--token-expiration=0o1750",
            "--namespace=first",
            "--watch-config-map",
            "--namespace",
            "second",
            "--watch-config-map=false",
            "--legacy_stderr_threshold_behavior",
            "--alsologtostderrthreshold=2",
            "-v=-1",
        ])
        .await
        .unwrap();
        assert_eq!(config.listen.port(), 443);
        assert_eq!(config.metrics_listen.unwrap().port(), 10_000);
        assert_eq!(config.settings.token_expiration, 1000);
        assert_eq!(config.config_map_namespace, None);
        let Certificates::Managed(managed) = &config.certificates else {
            panic!("not managed")
        };
        assert_eq!(managed.namespace, "second");
    }

    #[test]
    fn no_variable_can_be_one_that_kubernetes_sets_for_a_service() {
        let command = <Line as clap::CommandFactory>::command();
        let mut count = 0;
        for variable in command.get_arguments().filter_map(|argument| argument.get_env()) {
            let variable = variable.to_str().unwrap();
            count += 1;
            // NAME_SERVICE_HOST, NAME_SERVICE_PORT, NAME_SERVICE_PORT_WEB, NAME_PORT, NAME_PORT_443_TCP and so on.
            let number = variable
                .rsplit_once("_PORT_")
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
            assert!(
                !variable.ends_with("_PORT")
                    && !variable.ends_with("_SERVICE_HOST")
                    && !variable.contains("_SERVICE_PORT")
                    && !number,
                "{variable} could be set by a Service"
            );
        }
        assert!(count > 40, "{count}");
    }

    #[tokio::test]
    async fn compatibility_switches_off_what_the_go_webhook_does_not_have() {
        let config = config(&["--compat", "upstream"]).await.unwrap();
        let settings = &config.settings;
        assert!(settings.compat.is_upstream() && !settings.record && !settings.namespace_defaults);
        assert_eq!(settings.global_value, GlobalValue::Omit);
        assert!(config.lookup.wait.is_zero());
        assert!(matches!(config.platform, PlatformSource::Known(None)));
    }

    #[tokio::test]
    async fn a_flag_that_cannot_be_honoured_is_refused_with_a_sentence() {
        for (words, part) in [
            (
                &["--compat=upstream", "--role-session-name"] as &[_],
                "--role-session-name cannot be honoured",
            ),
            (
                &["--compat=upstream", "--global-endpoint-value=legacy"],
                "--global-endpoint-value cannot be honoured",
            ),
            (&["--tls-min-version=1.0"], "--tls-min-version"),
            (
                &["--tls-cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
                "--tls-cipher-suites",
            ),
            (&["--kubernetes=new"], "--kubernetes"),
            (
                &["--compose-role-arn", "--compose-role-account=12"],
                "twelve digits",
            ),
            (
                &["--certificate-lifetime=1h", "--ca-lifetime=1m"],
                "--ca-lifetime",
            ),
            (&["--global-endpoint-value=maybe"], "maybe"),
        ] {
            let error = format!("{:#}", config(words).await.unwrap_err());
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
