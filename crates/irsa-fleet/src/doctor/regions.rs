//! The regions in use, and whether STS is active and reachable there.

use std::collections::BTreeSet;

use irsa_core::partition::{self, Activation};

use super::{Check, Verdict};
use crate::directory::Directory;

pub(super) async fn check(directory: &Directory, probe: bool) -> Check {
    let mut check = Check::new("regions", "STS in the regions in use");
    let regions: BTreeSet<&str> = directory
        .nodes
        .values()
        .map(|node| &*node.region)
        .chain(directory.webhooks.settings.region.as_deref())
        .collect();
    if regions.is_empty() {
        return check.skip("no region is known: neither nodes nor the webhook name one");
    }
    for region in regions {
        let host = partition::sts_host(region, false, false);
        match partition::activation(region) {
            Activation::Always | Activation::Default => check.see(format!("{region}: {host}, active by default")),
            Activation::OptIn => check.see(format!(
                "{region}: {host}, only for accounts that have enabled the region; tokens of the global endpoint are not \
                 valid in it unless they are of version 2"
            )),
            Activation::Unknown => check.wrong(
                Verdict::Warn,
                format!("{region}: not a region that this version of irsa knows; SDKs call {host}"),
                "check the spelling of the region",
            ),
        };
        if !probe {
            continue;
        }
        match reach(&host).await {
            Ok(address) => check.see(format!("{host} resolves and answers at {address}")),
            Err(why) => check.wrong(
                Verdict::Fail,
                format!("{host}: {why}"),
                "from the pods' network: check DNS, routes, security groups, or the VPC endpoint's private DNS",
            ),
        };
    }
    if !probe {
        check.see("hosts were not resolved: --probe does it, from this machine");
    }
    check
}

/// Resolves a host and opens a connection to its port 443.
async fn reach(host: &str) -> Result<std::net::SocketAddr, String> {
    let patience = std::time::Duration::from_secs(5);
    let addresses = tokio::time::timeout(patience, tokio::net::lookup_host((host, 443)))
        .await
        .map_err(|_| "the name is not resolved within 5 s".to_owned())?
        .map_err(|error| format!("the name does not resolve ({error})"))?;
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) => last = format!("{address} does not answer ({error})"),
            Err(_) => last = format!("{address} does not answer within 5 s"),
        }
    }
    Err(last)
}
