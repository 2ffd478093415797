//! Where the tests of the fleet commands run: in a namespace of a lab, or of the cluster that `IRSA_TEST_KUBECONFIG` names.
//!
//! An existing cluster must run the irsa webhook with regional as the default; the user needs cluster-admin. Each test
//! creates a namespace and deletes it. Transcripts are the same on both: what differs from cluster to cluster is filtered
//! out of them, such as the region, the source of the default, and host names.
//!
//! ```console
//! $ IRSA_TEST_KUBECONFIG=~/.kube/config cargo nextest run -p irsa --test whole -E 'test(fleet_)'
//! ```

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::common::{Lab, irsa, succeeded};

pub const ROLE: &str = "arn:aws:iam::111122223333:role/app";
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A namespace to play in.
pub struct Stage {
    lab: Option<Lab>,
    kubeconfig: PathBuf,
    pub namespace: String,
    /// The region of an existing cluster's nodes.
    region: Option<String>,
    /// A folder to work in, for undo files.
    pub folder: TempDir,
}

impl Stage {
    pub fn new() -> Self {
        let given = std::env::var_os("IRSA_TEST_KUBECONFIG").map(PathBuf::from);
        let lab = given.is_none().then(|| Lab::start::<&str>(&[]));
        let kubeconfig = match (&lab, given) {
            (Some(lab), _) => lab.kubeconfig(),
            (None, Some(path)) => path,
            (None, None) => unreachable!("one of the two is there"),
        };
        let mut stage = Self {
            lab,
            kubeconfig,
            region: None,
            namespace: format!(
                "irsa-test-{:07}-{:02}",
                std::process::id(),
                COUNT.fetch_add(1, Ordering::Relaxed)
            ),
            folder: TempDir::new().unwrap(),
        };
        stage.kubectl(&["create", "namespace", &stage.namespace]);
        if stage.lab.is_none() {
            let region = r"jsonpath={.items[0].metadata.labels.topology\.kubernetes\.io/region}";
            let region = stage.kubectl(&["get", "nodes", "-o", region]);
            stage.region = Some(region).filter(|region| !region.is_empty());
        }
        stage
    }

    /// Writes a kubeconfig for the same cluster with another user.
    pub fn write_kubeconfig_with_token(
        &self,
        path: &std::path::Path,
        user: &str,
        context: &str,
        token: &str,
    ) {
        let text = self.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cluster = config["clusters"][0]["name"].clone();
        config["users"] = serde_json::json!([{"name": user, "user": {"token": token}}]);
        config["contexts"] =
            serde_json::json!([{"name": context, "context": {"cluster": cluster, "user": user}}]);
        config["current-context"] = context.into();
        std::fs::write(path, config.to_string()).unwrap();
    }

    /// `kubectl ARGS`, which must succeed.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let output = Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        succeeded("kubectl", output)
    }

    /// A line of words for kubectl in this namespace.
    pub fn k(&self, line: &str) -> String {
        let mut args: Vec<&str> = vec!["-n", &self.namespace];
        args.extend(line.split_whitespace());
        self.kubectl(&args)
    }

    /// `kubectl apply -f -`; NAMESPACE in the text becomes this one.
    pub fn apply(&self, manifest: &str) {
        let file = self.folder.path().join("manifest.yaml");
        std::fs::write(&file, manifest.replace("NAMESPACE", &self.namespace)).unwrap();
        self.kubectl(&["apply", "-n", &self.namespace, "-f", file.to_str().unwrap()]);
    }

    /// A service account with a role, without an annotation that chooses. `create` and `annotate` leave the
    /// annotations to people's hands, so that irsa may take them over.
    pub fn account(&self, name: &str, choice: Option<&str>) {
        self.k(&format!("create serviceaccount {name}"));
        self.k(&format!(
            "annotate serviceaccount {name} eks.amazonaws.com/role-arn={ROLE}"
        ));
        if let Some(choice) = choice {
            self.k(&format!(
                "annotate serviceaccount {name} eks.amazonaws.com/sts-regional-endpoints={choice}"
            ));
        }
    }

    /// A Deployment whose pods use a service account, rolled out.
    pub fn deployment(&self, name: &str, account: &str, replicas: usize, extra: &str) {
        self.apply(&deployment(name, account, replicas, extra));
        self.k(&format!("rollout status deployment/{name} --timeout=60s"));
    }

    /// The command, ready to run against the cluster in this namespace's folder.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = irsa();
        command
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("IRSA_POLL_INTERVAL_MS", "50")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `irsa LINE` and returns what a person would see. NAMESPACE stands for the namespace.
    pub fn run(&self, line: &str) -> Transcript {
        self.run_with(line, "")
    }

    /// The same with text on standard input.
    pub fn run_with(&self, line: &str, input: &str) -> Transcript {
        let line_here = line.replace("NAMESPACE", &self.namespace);
        let args: Vec<&str> = line_here.split_whitespace().collect();
        let mut command = self.command(&args);
        command
            .stdin(if input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        Transcript {
            line: line.to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            namespace: self.namespace.clone(),
            region: self.region.clone(),
        }
    }

    /// The value of AWS_STS_REGIONAL_ENDPOINTS in every pod with a label that is not terminating.
    pub fn values(&self, label: &str) -> Vec<String> {
        let text = self.k(&format!(
            "get pods -l {label} --field-selector=status.phase=Running -o json"
        ));
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter_map(|pod| {
                let variables = pod["spec"]["containers"][0]["env"].as_array()?;
                let variable = variables
                    .iter()
                    .find(|variable| variable["name"] == "AWS_STS_REGIONAL_ENDPOINTS")?;
                Some(variable["value"].as_str()?.to_owned())
            })
            .collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.lab.is_none() {
            let _ = Command::new("kubectl")
                .args(["delete", "namespace", &self.namespace, "--wait=false"])
                .env("KUBECONFIG", &self.kubeconfig)
                .stdin(Stdio::null())
                .output();
        }
    }
}

/// A manifest of a Deployment. `extra` is YAML for the container, indented by eight.
pub fn deployment(name: &str, account: &str, replicas: usize, extra: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}}}
  template:
    metadata:
      labels: {{app: {name}}}
    spec:
      serviceAccountName: {account}
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: registry.k8s.io/pause:3.10
{extra}"
    )
}

/// One run of the command.
pub struct Transcript {
    line: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    namespace: String,
    region: Option<String>,
}

impl Transcript {
    /// Exit code, standard output and standard error in one text, without what differs from run to run.
    pub fn text(&self) -> String {
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        let text = format!(
            "$ irsa {}\nexit code {code}\n----- stdout\n{}----- stderr\n{}",
            self.line, self.stdout, self.stderr
        );
        let text = text.replace(&self.namespace, "NAMESPACE");
        // The snapshots show the region of the lab.
        match &self.region {
            Some(region) => text.replace(region.as_str(), "us-west-2"),
            None => text,
        }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Compares a transcript with its snapshot.
macro_rules! transcript {
    ($name:expr, $run:expr) => {
        insta::with_settings!({
            filters => vec![
                (r"https://[0-9a-zA-Z.\-]+(:\d+)?", "https://SERVER"),
                // The default of the cluster, which is that of the lab's platform in the snapshots.
                (r"regional \((flag|unset)\)", "regional (platform)"),
                (r"(?m)^\S+( \(https://SERVER\))? · Kubernetes \S+ ·", "CONTEXT$1 · Kubernetes VERSION ·"),
                (r"webhook [a-z\-]+ \([^)]*\)", "webhook WEBHOOK"),
                (r"\d+ service accounts, ", "N service accounts, "),
                (r"(web|sets|left|mine|plain|guarded|slow)-[0-9a-f]{8,10}-[a-z0-9]{5}", "$1-POD"),
                (r"irsa-undo-\d{8}T\d{6}Z(-\d+)?\.json", "irsa-undo-TIME.json"),
                (r" in \d+(\.\d+)?(ms|s)\b", " in TIME"),
                // Widths of columns follow the names that are filtered out.
                (r" {3,}", "   "),
                (r" +\n", "\n"),
            ],
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, { insta::assert_snapshot!($name, $run.text()) })
    };
}
pub(crate) use transcript;
