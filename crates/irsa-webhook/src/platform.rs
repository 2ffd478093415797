//! Which EKS platform the cluster is, asked of the Kubernetes API's `/version`.
//!
//! The platform version (`eks.N`) is not told there; the rules then assume the current one, which EKS installs by
//! itself. A version without `-eks-` is a cluster that is not EKS, where endpoint types are chosen freely.

use irsa_core::endpoint::Platform;
use kube::Client;

/// The name of the condition in `/readyz`.
pub(crate) const CONDITION: &str = "platform";

/// Reads the `gitVersion` of a cluster: `v1.29.4-eks-036c24b` is EKS, `v1.29.4` is not.
pub(crate) fn of_version(git_version: &str) -> Option<Platform> {
    git_version
        .contains("-eks-")
        .then(|| Platform::parse(git_version, None).ok())
        .flatten()
}

/// Asks once.
pub(crate) async fn ask(client: &Client) -> Result<Option<Platform>, kube::Error> {
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
