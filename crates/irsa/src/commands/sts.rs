//! `irsa sts`: a local STS and S3 that verify everything, for the tests of other projects.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use irsa_core::text::Foreign;
use irsa_lab::proxy;
use irsa_lab::standalone::{Doors, Standalone};
use irsa_sts::events::{EventLog, Filter};
use irsa_sts::{Aws, Config};
use owo_colors::OwoColorize;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::lab::events::{Format, Listing};
use crate::output::Output;

/// How many calls are kept until they are printed.
const KEPT: usize = 10_000;

/// A local AWS STS and S3 that verify tokens, trust policies and signatures, for CI of other projects
///
/// Answers on the names of AWS through a CONNECT proxy (HTTPS_PROXY) under a CA of its own, on a TLS port for clients
/// whose names are mapped to it, and, with --play, in plain HTTP for AWS_ENDPOINT_URL_STS. Prints every call with the
/// endpoint it used, and why it was refused. All state is in memory.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  irsa sts --config examples/sts/config.yaml
  irsa sts --config sts.yaml --direct 0.0.0.0:443               names mapped by a hosts file or by CoreDNS
  irsa sts --config sts.yaml --play sts.us-west-2.amazonaws.com=127.0.0.1:4566
                                                                then AWS_ENDPOINT_URL_STS=http://127.0.0.1:4566
  irsa sts --config sts.yaml --check                            only read the file, and say what is wrong
See docs/sts-standalone.md for kind, k3d and EKS Anywhere.")]
pub(crate) struct Args {
    /// File with accounts, OIDC providers, roles, users and buckets
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Where the CONNECT proxy listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Where TLS is taken directly
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    direct: SocketAddr,

    /// Play one endpoint in plain HTTP; can be given several times
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = parse_play)]
    play: Vec<(String, SocketAddr)>,

    /// Where the CA certificate is written
    #[arg(long, value_name = "FILE", default_value = "irsa-sts-ca.pem")]
    ca_file: PathBuf,

    /// How calls are printed: table, or json: one CloudTrail record a line
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,

    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(args: Args, output: &Output) -> anyhow::Result<ExitCode> {
    let log = Arc::new(EventLog::new(KEPT));
    let mut config = Config::from_file(&args.config)?;
    config.events = Some(log.clone());
    let accounts: Vec<String> = config.accounts.iter().map(describe).collect();
    let name = args.config.display();
    let aws = Aws::new(config).with_context(|| format!("{name} cannot be used"))?;
    if args.check {
        for account in accounts {
            output.out(account)?;
        }
        return Ok(ExitCode::SUCCESS);
    }

    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let doors = Doors {
        proxy: proxy::Config {
            listen: args.listen,
            direct: args.direct,
            ..proxy::Config::default()
        },
        plain: args.play.clone(),
    };
    let server = Standalone::start(aws, doors).await?;
    std::fs::write(&args.ca_file, server.proxy().ca_pem())
        .with_context(|| format!("cannot write the CA to {}", args.ca_file.display()))?;
    introduce(&server, &args, &accounts, output)?;
    let result = tokio::select! {
        result = print_calls(&log, args.output, output) => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    server.shutdown().await;
    result.map(|()| ExitCode::SUCCESS)
}

async fn print_calls(log: &EventLog, format: Format, output: &Output) -> anyhow::Result<()> {
    let mut after = 0;
    let mut listing = Listing::new(output, format);
    let filter = Filter::default();
    loop {
        log.wait_after(after).await;
        let entries = log.after(after, &filter, KEPT);
        listing.print(&entries)?;
        after = entries
            .last()
            .map_or_else(|| log.newest(), |entry| entry.sequence);
    }
}

/// How to use it. Goes to standard error: standard output has the calls.
fn introduce(server: &Standalone, args: &Args, accounts: &[String], output: &Output) -> anyhow::Result<()> {
    let ca = std::path::absolute(&args.ca_file).unwrap_or_else(|_| args.ca_file.clone());
    let ca = ca.display();
    output.note("AWS STS and S3 are ready.".bold())?;
    for account in accounts {
        output.note(Foreign(account))?;
    }
    output.note("\nFor SDKs that know proxies (boto3, AWS CLI, Go, Rust, Java):\n")?;
    output.note(format_args!("  export HTTPS_PROXY={}", server.proxy().url()))?;
    output.note(format_args!(
        "  export AWS_CA_BUNDLE={ca} SSL_CERT_FILE={ca} NODE_EXTRA_CA_CERTS={ca}"
    ))?;
    output.note(format_args!(
        "\nFor all others the same names over TLS at {}.",
        server.proxy().direct_address()
    ))?;
    for (host, address) in server.plain() {
        let variable = if host.starts_with("s3") || host.contains(".s3") {
            "S3"
        } else {
            "STS"
        };
        output.note(format_args!(
            "Plain HTTP that plays {host}: export AWS_ENDPOINT_URL_{variable}=http://{address}"
        ))?;
    }
    output.note("\nCalls follow. Ctrl-C ends it.")?;
    Ok(())
}

fn describe(account: &irsa_sts::config::Account) -> String {
    let names = |names: Vec<&str>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    format!(
        "account {}: issuers {}; roles {}; users {}",
        account.id,
        names(
            account
                .oidc_providers
                .iter()
                .map(|provider| provider.url.as_str())
                .collect()
        ),
        names(account.roles.iter().map(|role| role.name.as_str()).collect()),
        names(account.users.iter().map(|user| user.name.as_str()).collect()),
    )
}

fn parse_play(text: &str) -> Result<(String, SocketAddr), String> {
    let expected = "expected HOST=ADDRESS, such as sts.us-west-2.amazonaws.com=127.0.0.1:4566";
    let (host, address) = text.split_once('=').ok_or(expected)?;
    let address = address
        .parse()
        .map_err(|_| format!("{address:?} is no address with a port; {expected}"))?;
    if !Aws::serves(host) {
        return Err(format!(
            "{host:?} is not an endpoint of STS or S3 that exists on AWS; {expected}"
        ));
    }
    Ok((host.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_to_play_is_a_name_of_aws_and_an_address() {
        assert!(parse_play("sts.us-west-2.amazonaws.com=127.0.0.1:4566").is_ok());
        for text in [
            "sts.us-west-2.amazonaws.com",
            "sts.us-west-2.amazonaws.com=4566",
            "sts.nowhere-1.amazonaws.com=127.0.0.1:4566",
            "localhost=127.0.0.1:4566",
        ] {
            assert!(parse_play(text).is_err(), "{text}");
        }
    }
}
