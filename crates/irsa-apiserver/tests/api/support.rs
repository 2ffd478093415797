//! A cluster for one test, and kubectl against it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use irsa_apiserver::{ApiServer, Config};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What kubectl printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// A cluster that ends with the test.
pub(crate) struct Cluster {
    pub(crate) server: ApiServer,
    pub(crate) directory: TempDir,
}

impl Cluster {
    /// With controllers and a node.
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    /// Without controllers: objects stay as they are written.
    pub(crate) async fn bare() -> Self {
        Self::with(Config {
            controllers: false,
            nodes: Vec::new(),
            ..Config::default()
        })
        .await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let server = ApiServer::start(config).await.expect("the server starts");
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("config"), server.kubeconfig())
            .expect("the kubeconfig is written");
        Self { server, directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// kubectl as a process that is still to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("KUBECONFIG", self.path().join("config"))
            .env("KUBECACHEDIR", self.path().join("cache"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str], input: Option<&str>) -> Said {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "kubectl cannot be run ({error}): install kubectl 1.32 or later \
                 (https://kubernetes.io/docs/tasks/tools/) or set KUBECTL to its path"
            )
        });
        if let Some(input) = input {
            let mut stdin = child.stdin.take().expect("piped above");
            stdin.write_all(input.as_bytes()).await.expect("kubectl reads");
        }
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
            .await
            .expect("kubectl ends within a minute")
            .expect("kubectl runs");
        Said {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Runs a command line (split at blanks) that must succeed; returns stdout.
    pub(crate) async fn ok(&self, line: &str) -> String {
        self.ok_with(&line.split_whitespace().collect::<Vec<_>>(), None)
            .await
    }

    pub(crate) async fn ok_with(&self, arguments: &[&str], input: Option<&str>) -> String {
        let said = self.run(arguments, input).await;
        assert_eq!(said.code, 0, "kubectl {arguments:?}: {said:?}");
        said.stdout
    }

    /// Runs a command line that must fail; returns stderr.
    pub(crate) async fn fails(&self, line: &str) -> String {
        self.fails_with(&line.split_whitespace().collect::<Vec<_>>(), None)
            .await
    }

    pub(crate) async fn fails_with(&self, arguments: &[&str], input: Option<&str>) -> String {
        let said = self.run(arguments, input).await;
        assert_ne!(said.code, 0, "kubectl {arguments:?} succeeded: {said:?}");
        said.stderr
    }

    /// Applies a manifest.
    pub(crate) async fn apply(&self, manifest: &str) -> String {
        self.ok_with(&["apply", "-f", "-"], Some(manifest)).await
    }

    /// A request without kubectl.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, serde_json::Value) {
        let (code, bytes) = self.request_bytes(method, path, headers, body).await;
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| serde_json::Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        (code, value)
    }

    async fn request_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (u16, Bytes) {
        let mut roots = rustls::RootCertStore::empty();
        use rustls_pki_types::pem::PemObject as _;
        roots
            .add(rustls_pki_types::CertificateDer::from_pem_slice(self.server.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .enable_http2()
            .build();
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build(connector);
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.url()));
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
        {
            request = request.header("authorization", format!("Bearer {}", self.server.token()));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = client
            .request(request.body(Full::new(body.into())).unwrap())
            .await
            .expect("an answer");
        let code = response.status().as_u16();
        (
            code,
            response
                .into_body()
                .collect()
                .await
                .expect("a whole body")
                .to_bytes(),
        )
    }
}

/// Waits until a condition holds, for at most ten seconds.
pub(crate) async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    for _ in 0..200 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not come true within ten seconds");
}

pub(crate) const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: app, image: "nginx:1.25", ports: [{containerPort: 80}], env: [{name: A, value: "1"}]}
"#;
