//! Which EKS platform the cluster is, asked of the Kubernetes API's `/version`.
//!
//! The platform version (`eks.N`) is not told there; the rules then assume the current one, which EKS installs by
//! itself. A version without `-eks-` is a cluster that is not EKS, where endpoint types are chosen freely.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use irsa_core::endpoint::Platform;
use irsa_core::settings::Settings;
use irsa_net::Condition;
use kube::Client;

/// The name of the condition in `/readyz`.
pub(crate) const CONDITION: &str = "platform";

/// Reads the `gitVersion` of a cluster: `v1.29.4-eks-036c24b` is EKS, `v1.29.4` is not.
fn of_version(git_version: &str) -> Option<Platform> {
    git_version
        .contains("-eks-")
        .then(|| Platform::parse(git_version, None).ok())
        .flatten()
}

/// Asks once.
async fn ask(client: &Client) -> Result<Option<Platform>, kube::Error> {
    let version = client.apiserver_version().await?;
    let platform = of_version(&version.git_version);
    match platform {
        Some(platform) => tracing::info!(version = %version.git_version, %platform, "the cluster is EKS"),
        None => {
            tracing::info!(version = %version.git_version, "the cluster is not EKS: endpoint types are chosen freely")
        }
    }
    Ok(platform)
}

/// Asks until there is an answer, then tells the rules.
pub(crate) async fn find(client: Client, settings: Arc<ArcSwap<Settings>>, condition: Condition) {
    let mut wait = Duration::from_millis(200);
    loop {
        let reason = match tokio::time::timeout(Duration::from_secs(5), ask(&client)).await {
            Ok(Ok(platform)) => {
                settings.rcu(|before| Settings {
                    platform,
                    ..Settings::clone(before)
                });
                condition.met();
                return condition.done();
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "no answer within 5 s".to_owned(),
        };
        condition.unmet(format!(
            "cannot ask the Kubernetes API for its version: {reason}; or pass --kubernetes"
        ));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_of_eks_name_a_platform() {
        assert_eq!(
            of_version("v1.29.4-eks-036c24b").unwrap().to_string(),
            Platform::parse("1.29", None).unwrap().to_string()
        );
        assert_eq!(of_version("v1.29.4"), None);
        assert_eq!(of_version("v1.29.4+k3s1"), None);
        assert_eq!(of_version("nonsense-eks-x"), None);
    }
}
