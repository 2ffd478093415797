//! A client for the Kubernetes API from what the flags say.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Uri, header};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How this program names itself to the API server.
const USER_AGENT: &str = concat!("irsa-webhook/", env!("CARGO_PKG_VERSION"));
/// Who changed fields, in `managedFields`.
pub(crate) const FIELD_MANAGER: &str = "irsa-webhook";

/// How the Kubernetes API is reached.
#[derive(Clone, Debug, Default)]
pub enum Cluster {
    /// As `kubectl` would find it: `KUBECONFIG`, `~/.kube/config`, or the service account of the pod this runs in.
    #[default]
    Infer,
    /// The service account of the pod this runs in.
    InCluster,
    /// A kubeconfig file.
    File(PathBuf),
    /// The text of a kubeconfig.
    Kubeconfig(String),
    /// The address of an API that needs no credentials; with a file, the file's credentials and this address.
    Address {
        /// The address.
        url: String,
        /// Where the credentials are.
        kubeconfig: Option<PathBuf>,
    },
}

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
    /// The address is not a URL.
    #[error("invalid --kube-api `{0}`: {1}; use a URL such as https://10.0.0.1:6443")]
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
            let address = address(url)?;
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
    // Watches and lookups have retries of their own, which know how long it is worth waiting.
    config.default_retry = false;
    config
        .headers
        .push((header::USER_AGENT, HeaderValue::from_static(USER_AGENT)));
    Ok(Client::try_from(config)?)
}

/// The address of an API server. As in Go, one without a scheme is an `http` address.
fn address(url: &str) -> Result<Uri, Error> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    whole
        .parse()
        .map_err(|error| Error::Address(url.to_owned(), error))
}

/// An error of the Kubernetes API in words: what the server said, or why it could not be asked.
pub(crate) fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("status {}", status.code),
        error => {
            // The outer errors of a failed connection only say that there was one.
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.ends_with(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_without_a_scheme_is_http_as_in_go() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        for (text, expected) in [
            ("10.0.0.1:8080", "http://10.0.0.1:8080/"),
            ("localhost", "http://localhost/"),
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443/"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
            let cluster = Cluster::Address {
                url: text.to_owned(),
                kubeconfig: None,
            };
            client(&cluster).await.unwrap();
        }
        assert!(address("a b").unwrap_err().to_string().contains("`a b`"));
    }

    #[tokio::test]
    async fn a_refused_connection_is_named_as_one() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let cluster = Cluster::Address {
            url: "127.0.0.1:1".to_owned(),
            kubeconfig: None,
        };
        let error = client(&cluster)
            .await
            .unwrap()
            .apiserver_version()
            .await
            .unwrap_err();
        assert!(reason(&error).contains("refused"), "{}", reason(&error));
    }
}
