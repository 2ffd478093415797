//! What the tests share: a lab as a user starts it, kubectl and `irsa` as a user calls them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The built command.
pub fn irsa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_irsa"));
    for variable in [
        "KUBECONFIG",
        "IRSA_LAB_DIR",
        "NO_COLOR",
        "CLICOLOR_FORCE",
        "HTTPS_PROXY",
        "https_proxy",
    ] {
        command.env_remove(variable);
    }
    command
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A running `irsa lab up`, ended when dropped.
pub struct Lab {
    child: Child,
    state: TempDir,
}

impl Lab {
    /// Starts a lab with these further arguments of `irsa lab up` and waits until it says that it is ready.
    pub fn start<S: AsRef<OsStr>>(args: &[S]) -> Self {
        require_kubectl();
        let state = TempDir::new().unwrap();
        let mut child = irsa()
            .args(["lab", "up", "--state-dir"])
            .arg(state.path())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (ready, wait) = mpsc::channel();
        // Reads to the end, so that the lab never blocks on a full pipe.
        std::thread::spawn(move || {
            let mut seen = String::new();
            for line in stdout.lines().map_while(Result::ok) {
                seen.push_str(&line);
                seen.push('\n');
                if line.contains("lab is ready") {
                    let _ = ready.send(Ok(()));
                }
            }
            let _ = ready.send(Err(seen));
        });
        match wait.recv_timeout(Duration::from_secs(60)) {
            Ok(Ok(())) => {}
            Ok(Err(seen)) => panic!("irsa lab up ended before it was ready; it said: {seen}"),
            Err(_) => {
                let _ = child.kill();
                panic!("irsa lab up was not ready after a minute");
            }
        }
        Self { child, state }
    }

    /// The folder with kubeconfig, CA and control address.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Where kubectl finds this cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    /// `kubectl ARGS` against this cluster, whatever it answers.
    pub fn try_kubectl<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        Command::new("kubectl")
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.state())
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// `kubectl ARGS`, which must succeed; what it printed.
    pub fn kubectl<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let shown: Vec<_> = args
            .iter()
            .map(|arg| arg.as_ref().to_string_lossy().into_owned())
            .collect();
        succeeded(&format!("kubectl {}", shown.join(" ")), self.try_kubectl(args))
    }

    /// A line of words for kubectl, as a person types it (no quoting).
    pub fn k(&self, line: &str) -> String {
        self.kubectl(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// `kubectl apply -f -` of this manifest.
    pub fn apply(&self, manifest: &str) -> String {
        let file = self.state().join("manifest-to-apply.yaml");
        std::fs::write(&file, manifest).unwrap();
        self.kubectl(&["apply", "-f", file.to_str().unwrap()])
    }

    /// `irsa ARGS` against this cluster and lab.
    pub fn irsa<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        irsa()
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("IRSA_LAB_DIR", self.state())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Asks the lab to end as Ctrl-C does and says how long that took.
    pub fn interrupt(mut self) -> (std::process::ExitStatus, Duration) {
        let started = Instant::now();
        signal(self.child.id(), "INT");
        let status = self.child.wait().unwrap();
        (status, started.elapsed())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name: `INT`, `TERM`.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(process.to_string())
        .status()
        .unwrap();
    assert!(status.success(), "kill -{name} {process}");
}

/// What a command printed, once it has succeeded.
pub fn succeeded(command: &str, output: Output) -> String {
    assert!(
        output.status.success(),
        "`{command}` ended with {}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until the answer is yes, or fails with the last thing seen.
pub fn eventually(what: &str, mut ask: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match ask() {
            Ok(()) => return,
            Err(seen) if Instant::now() > deadline => {
                panic!("not within a minute: {what}; last seen: {seen}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn require_kubectl() {
    let found = Command::new("kubectl")
        .args(["version", "--client"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "these tests need kubectl 1.32 or later on PATH: https://kubernetes.io/docs/tasks/tools/ or `.ci/kubectl DIR`"
    );
}
