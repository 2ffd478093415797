//! A client for the Kubernetes API from what the flags say.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::config::Cluster;

/// Why the Kubernetes API cannot be reached: only what can be known without asking it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No kubeconfig and not in a pod.
    #[error(
        "no way to the Kubernetes API found: {0}; pass --kubeconfig, or run in a pod with a service account"
    )]
    Infer(#[from] kube::config::InferConfigError),
    /// Not in a pod.
    #[error("not in a pod with a service account: {0}; pass --kubeconfig")]
    InCluster(#[from] kube::config::InClusterError),
    /// The kubeconfig cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The address is no URL.
    #[error("--kube-api `{0}` is not a URL such as https://10.0.0.1:6443: {1}")]
    Address(String, http::uri::InvalidUri),
    /// The client could not be made, for instance because a certificate in the kubeconfig is broken.
    #[error("cannot make a client for the Kubernetes API: {0}")]
    Client(#[from] kube::Error),
}

/// A client as `cluster` says.
///
/// # Errors
/// When the configuration cannot be found or used. A server that does not answer is no error here.
pub async fn client(cluster: &Cluster) -> Result<Client, Error> {
    let options = KubeConfigOptions::default();
    let mut config = match cluster {
        Cluster::Infer => Config::infer().await?,
        Cluster::InCluster => Config::incluster()?,
        Cluster::File(path) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        Cluster::Kubeconfig(text) => {
            Config::from_custom_kubeconfig(Kubeconfig::from_yaml(text)?, &options).await?
        }
        Cluster::Address { url, kubeconfig } => {
            let address = url.parse().map_err(|error| Error::Address(url.clone(), error))?;
            match kubeconfig {
                Some(path) => {
                    let mut config =
                        Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?;
                    config.cluster_url = address;
                    config
                }
                None => Config::new(address),
            }
        }
    };
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}
