//! What `irsa install` prints, applied by the real kubectl to an embedded cluster whose node starts the real webhook
//! with the arguments of its Deployment and the rights of its service account.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use irsa_apiserver::object::ObjectExt as _;
use irsa_apiserver::runtime::{Cluster, ContainerRef, Running, Runtime, RuntimeError, Start};
use irsa_apiserver::{ApiServer, Authorization};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::common::{Lab, eventually, irsa, signal, succeeded};

const IMAGE: &str = "irsa-under-test";

type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A node that starts [`IMAGE`] as a process: with the arguments of its container, except that it has no network of its
/// own, so that any free port stands for the container's, and that it reaches the API by a file.
#[derive(Default)]
struct Node {
    cluster: OnceLock<Cluster>,
    /// The administrator's kubeconfig, and the folder of those of service accounts.
    kubeconfig: OnceLock<(String, PathBuf)>,
}

impl Node {
    /// A kubeconfig with the token of a pod's service account, so that its roles are what counts.
    fn kubeconfig_of(&self, at: &ContainerRef) -> Option<PathBuf> {
        let (admin, folder) = self.kubeconfig.get()?;
        let (namespace, account) = (at.pod.namespace(), at.pod.str_at(&["spec", "serviceAccountName"]));
        let tokens = &self.cluster.get()?.tokens;
        let issued = tokens.issue(namespace, account, &[], 3600, None).ok()?;
        let mut config: serde_json::Value = serde_json::from_str(admin).ok()?;
        config["users"][0]["user"]["token"] = issued.token.into();
        let path = folder.join(format!("{}.kubeconfig", at.pod.name()));
        std::fs::write(&path, config.to_string()).ok()?;
        Some(path)
    }
}

/// What the process has said on standard error.
#[derive(Clone, Copy, Default)]
struct Said {
    address: Option<SocketAddr>,
    ready: bool,
}

struct Process {
    child: Mutex<Child>,
    address: SocketAddr,
    said: watch::Receiver<Said>,
}

impl Runtime for Node {
    fn attach(&self, cluster: Cluster) {
        let _ = self.cluster.set(cluster);
    }

    fn knows(&self, at: &ContainerRef) -> bool {
        at.image() == IMAGE
    }

    fn start(&self, start: Start) -> BoxFuture<'_, Result<Arc<dyn Running>, RuntimeError>> {
        Box::pin(async move {
            let failed = |error: &dyn std::fmt::Display| RuntimeError::Start(error.to_string());
            let spec = start.at.spec().cloned().unwrap_or_default();
            let args = spec["args"].as_array().cloned().unwrap_or_default();
            let args = args.iter().filter_map(|arg| arg.as_str()).map(|arg| match arg {
                "--port=9443" => "--port=0",
                "--metrics-port=9999" => "--metrics-port=0",
                other => other,
            });
            let mut child = irsa()
                .args(args)
                .env("IRSA_WEBHOOK_BIND_ADDRESS", "127.0.0.1")
                .env(
                    "IRSA_WEBHOOK_KUBECONFIG",
                    self.kubeconfig_of(&start.at)
                        .ok_or_else(|| failed(&"no kubeconfig"))?,
                )
                .env("IRSA_WEBHOOK_LOG_FORMAT", "json")
                .env("IRSA_WEBHOOK_SHUTDOWN_DELAY", "0s")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| failed(&error))?;
            let lines = BufReader::new(child.stderr.take().ok_or_else(|| failed(&"no stderr"))?).lines();
            let (tell, mut said) = watch::channel(Said::default());
            let log = start.log.clone();
            std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    log.line(&line);
                    let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else {
                        continue;
                    };
                    tell.send_modify(|said| match event["message"].as_str() {
                        Some("listening") => {
                            said.address = event["address"].as_str().and_then(|text| text.parse().ok())
                        }
                        Some("ready") => said.ready = true,
                        _ => {}
                    });
                }
            });
            let address = tokio::time::timeout(
                Duration::from_secs(30),
                said.wait_for(|said| said.address.is_some()),
            )
            .await
            .ok()
            .and_then(|said| said.ok()?.address);
            let Some(address) = address else {
                let _ = child.kill();
                return Err(failed(&"the webhook does not listen; see its log"));
            };
            Ok(Arc::new(Process {
                child: Mutex::new(child),
                address,
                said,
            }) as Arc<dyn Running>)
        })
    }
}

impl Running for Process {
    fn ports(&self) -> Vec<(u16, SocketAddr)> {
        vec![(9443, self.address)]
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        let mut said = self.said.clone();
        Box::pin(async move {
            said.wait_for(|said| said.ready)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            signal(self.child.lock().id(), "TERM");
            let end = tokio::time::Instant::now() + grace;
            while tokio::time::Instant::now() < end && matches!(self.child.lock().try_wait(), Ok(None)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut child = self.child.lock();
            let _ = child.kill();
            let _ = child.wait();
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// An embedded cluster with such a node.
struct Site {
    _api: ApiServer,
    state: TempDir,
}

impl Site {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let state = TempDir::new().unwrap();
        let node = Arc::new(Node::default());
        let runtime: Arc<dyn Runtime> = Arc::clone(&node) as _;
        let config = irsa_apiserver::Config {
            platform: None,
            authorization: Authorization::Rbac,
            runtime: Some(runtime),
            ..Default::default()
        };
        let api = ApiServer::start(config).await.unwrap();
        let path = state.path().join("kubeconfig");
        std::fs::write(&path, api.kubeconfig()).unwrap();
        let folder = state.path().to_owned();
        node.kubeconfig.set((api.kubeconfig(), folder)).unwrap();
        Self { _api: api, state }
    }

    fn path(&self) -> &Path {
        self.state.path()
    }

    fn try_kubectl(&self, line: &str) -> Output {
        tokio::task::block_in_place(|| {
            Command::new("kubectl")
                .args(line.split_whitespace())
                .env("KUBECONFIG", self.path().join("kubeconfig"))
                .env("HOME", self.path())
                .stdin(Stdio::null())
                .output()
                .unwrap()
        })
    }

    /// A line of words for kubectl, which must succeed.
    fn k(&self, line: &str) -> String {
        succeeded(&format!("kubectl {line}"), self.try_kubectl(line))
    }

    /// kubectl with this text as a file, as in `apply -f FILE`.
    fn with_file(&self, verb: &str, text: &str) -> String {
        let file = self.path().join("manifest.yaml");
        std::fs::write(&file, text).unwrap();
        self.k(&format!("{verb} -f {}", file.display()))
    }

    /// The variables of a new pod of this service account, or why there is no pod.
    fn pod(&self, name: &str, service_account: &str, label: &str) -> Result<String, String> {
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"eks.amazonaws.com/identity": label}},
            "spec": {"serviceAccountName": service_account, "containers": [{"name": "main", "image": "app"}]},
        });
        let file = self.path().join("pod.json");
        std::fs::write(&file, manifest.to_string()).unwrap();
        let created = self.try_kubectl(&format!("create -f {}", file.display()));
        if !created.status.success() {
            return Err(String::from_utf8_lossy(&created.stderr).into_owned());
        }
        Ok(self.k(&format!("get pod {name} -o jsonpath={{.spec.containers[0].env}}")))
    }
}

/// What `irsa` prints.
fn printed(args: &[&str]) -> String {
    succeeded("irsa", irsa().args(args).output().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_install_prints_runs_serves_refuses_what_asks_for_it_and_goes_away_again() {
    let site = Site::start().await;
    let flags = ["--image", IMAGE, "--region", "us-west-2"];
    let manifests = printed(&[&["install"] as &[_], &flags].concat());
    site.with_file("apply", &manifests);
    site.k("rollout status -n irsa-system deployment/irsa-webhook --timeout=60s");

    // The webhook has made its certificate and made it trusted, in every entry.
    eventually("the caBundle of every entry is written", || {
        let bundles = site.k(
            "get mutatingwebhookconfiguration irsa-webhook -o jsonpath={.webhooks[*].clientConfig.caBundle}",
        );
        let count = bundles
            .split_whitespace()
            .filter(|bundle| bundle.starts_with("LS0tLS1CRUdJTi"))
            .count();
        if count == 3 {
            Ok(())
        } else {
            Err(format!("{count} of 3"))
        }
    });
    assert_eq!(
        site.k("get secret -n irsa-system irsa-webhook -o name").trim(),
        "secret/irsa-webhook"
    );

    site.k("create serviceaccount reader");
    site.k("annotate serviceaccount reader eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/reader eks.amazonaws.com/sts-regional-endpoints=true");
    let env = site.pod("one", "reader", "optional").unwrap();
    for expected in [
        "AWS_STS_REGIONAL_ENDPOINTS",
        "regional",
        "us-west-2",
        "role/reader",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ] {
        assert!(env.contains(expected), "{expected} in {env}");
    }
    assert!(
        site.pod("two", "reader", "required")
            .unwrap()
            .contains("AWS_ROLE_ARN")
    );

    // A pod that must have an identity and cannot be given one is refused; any other is not.
    let refused = site.pod("three", "default", "required").unwrap_err();
    assert!(refused.contains("the pod needs an identity"), "{refused}");
    assert_eq!(site.pod("four", "default", "optional").unwrap(), "");

    // Applied once more nothing changes, the caBundle included.
    let again = site.with_file("apply", &manifests);
    assert!(
        again
            .lines()
            .all(|line| line.ends_with("unchanged") || line.ends_with("configured")),
        "{again}"
    );
    assert!(
        site.k(
            "get mutatingwebhookconfiguration irsa-webhook -o jsonpath={.webhooks[0].clientConfig.caBundle}"
        )
        .starts_with("LS0t")
    );

    // Without a replica the required pod is refused, the other one starts without identity, and the webhook's own
    // pods can start again.
    site.k("scale -n irsa-system deployment/irsa-webhook --replicas=0");
    site.k("wait -n irsa-system --for=delete pod -l app.kubernetes.io/name=irsa-webhook --timeout=60s");
    let refused = site.pod("five", "reader", "required").unwrap_err();
    assert!(
        refused.contains("failed calling webhook \"required-pods.irsa.dev\""),
        "{refused}"
    );
    assert_eq!(site.pod("six", "reader", "optional").unwrap(), "");
    site.k("scale -n irsa-system deployment/irsa-webhook --replicas=1");
    site.k("rollout status -n irsa-system deployment/irsa-webhook --timeout=60s");
    assert!(
        site.pod("seven", "reader", "required")
            .unwrap()
            .contains("AWS_ROLE_ARN")
    );

    let removal = printed(&[&["uninstall"] as &[_], &flags].concat());
    site.with_file("delete --ignore-not-found --timeout=60s", &removal);
    let left = site.k("get mutatingwebhookconfigurations,clusterroles,clusterrolebindings,namespaces -l app.kubernetes.io/name=irsa-webhook -o name");
    assert_eq!(left, "");
    assert_eq!(site.pod("eight", "reader", "required").unwrap(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_region_install_reads_it_from_the_nodes_and_says_so() {
    let site = Site::start().await;
    let install = |args: &[&str]| {
        let command = &mut irsa();
        command
            .args(["install", "--image", IMAGE])
            .args(args)
            .env("KUBECONFIG", site.path().join("kubeconfig"))
            .env("HOME", site.path());
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let from_nodes = install(&[]);
    let said = String::from_utf8_lossy(&from_nodes.stderr);
    assert!(
        said.contains("Region us-west-2, read from the nodes of"),
        "{said}"
    );
    assert!(String::from_utf8_lossy(&from_nodes.stdout).contains("--aws-default-region=us-west-2"));

    let given = install(&["--region=eu-west-1"]);
    assert_eq!(String::from_utf8_lossy(&given.stderr), "");
    assert!(String::from_utf8_lossy(&given.stdout).contains("--aws-default-region=eu-west-1"));

    let none = install(&["--region=none"]);
    assert!(!String::from_utf8_lossy(&none.stdout).contains("--aws-default-region"));

    site.k("label nodes --all topology.kubernetes.io/region=eu-west-1 --overwrite");
    site.with_file(
        "create",
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "far", "labels": {"topology.kubernetes.io/region": "us-east-1"}}}"#,
    );
    let several = install(&[]);
    assert!(!several.status.success());
    assert_eq!(String::from_utf8_lossy(&several.stdout), "");
    let said = String::from_utf8_lossy(&several.stderr);
    assert!(said.contains("several regions (eu-west-1, us-east-1)"), "{said}");
    assert!(said.contains("--region"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_profile_s_manifests_are_accepted_and_taken_away_by_kubectl() {
    let site = Site::start().await;
    for flags in [
        &["--profile=kops", "--region=eu-west-1", "--failure-policy=ignore"] as &[_],
        &[
            "--opt-in=false",
            "--host-network",
            "--namespace=identity",
            "--create-namespace",
            "--region=none",
            "--set=compat=upstream",
            "--watch-config-map",
        ],
    ] {
        let manifests = printed(&[&["install", "--image=nothing-that-runs"] as &[_], flags].concat());
        let applied = site.with_file("apply", &manifests);
        assert_eq!(
            applied.lines().count(),
            manifests.matches("\n---\n").count() + 1,
            "{applied}"
        );
        site.with_file(
            "delete --ignore-not-found --timeout=60s",
            &printed(&[&["uninstall"] as &[_], flags].concat()),
        );
        assert_eq!(site.k("get deployments,services,roles,poddisruptionbudgets,networkpolicies -A -l app.kubernetes.io/name=irsa-webhook -o name"), "");
    }
}

/// The webhook starts by its flags; `irsa status`, which reads them in its pods, must understand the same by them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_reads_unusual_flags_of_a_running_webhook_as_the_webhook_does() {
    let site = Site::start().await;
    let flags = [
        "install",
        "--image",
        IMAGE,
        "--region=eu-west-1",
        "--set=kubernetes=1.24",
        "--set=platform=eks.1",
        "--sts-regional-endpoint=true",
        "--set=token-audience=sts.example",
    ];
    site.with_file("apply", &printed(&flags));
    site.k("rollout status -n irsa-system deployment/irsa-webhook --timeout=60s");
    site.k("create serviceaccount reader");
    site.k("annotate serviceaccount reader eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/reader eks.amazonaws.com/sts-regional-endpoints=true");
    let (mut count, mut env) = (0, String::new());
    eventually("the webhook answers", || {
        count += 1;
        env = site.pod(&format!("pod-{count}"), "reader", "optional")?;
        if env.contains("AWS_ROLE_ARN") {
            Ok(())
        } else {
            Err(env.clone())
        }
    });
    // One below the table: nothing is written, whatever annotation and flag say.
    assert!(!env.contains("AWS_STS_REGIONAL_ENDPOINTS"), "{env}");

    let status = tokio::task::block_in_place(|| {
        irsa()
            .args(["status", "-n", "default", "-o", "json"])
            .env("KUBECONFIG", site.path().join("kubeconfig"))
            .output()
            .unwrap()
    });
    let status: serde_json::Value = serde_json::from_str(&succeeded("irsa status", status)).unwrap();
    let cluster = &status["clusters"][0];
    assert!(
        cluster["settings"]["source"]
            .as_str()
            .unwrap()
            .starts_with("the arguments of pod irsa-system/"),
        "{}",
        cluster["settings"]
    );
    let account = cluster["serviceAccounts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|account| account["name"] == "reader")
        .unwrap();
    assert_eq!(
        account["choice"],
        serde_json::json!({"endpoint": "global", "source": "platform-too-old"})
    );
    assert_eq!(account["stale"], 0, "{account}");
    let ids: Vec<_> = account["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["id"].as_str().unwrap())
        .collect();
    // The audience of the flag is the audience of the tokens.
    assert!(!ids.contains(&"token-audience"), "{ids:?}");
    assert!(ids.contains(&"cluster-too-old"), "{ids:?}");
}

/// Two replicas of the real webhook, each with its own service account in a cluster that enforces roles.
#[test]
fn the_roles_of_install_are_sufficient_where_rbac_is_enforced() {
    let lab = Lab::start(&["--authorization", "rbac"]);
    let kubectl = |line: &str| {
        let args: Vec<_> = line.split_whitespace().collect();
        succeeded(&format!("kubectl {line}"), lab.try_kubectl(&args))
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("manifests.yaml");
    let manifests = printed(&[
        "install",
        "--image=irsa:test",
        "--region=us-west-2",
        "--watch-config-map",
    ]);
    std::fs::write(&file, manifests).unwrap();
    kubectl(&format!("apply -f {}", file.display()));
    // Ready means that it has listed what it reads, made its certificate, and written the caBundle.
    kubectl("rollout status -n irsa-system deployment/irsa-webhook --timeout=60s");
    kubectl("create serviceaccount reader");
    kubectl(
        "annotate serviceaccount reader eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/reader",
    );
    // A Secret that is lost has to be written again.
    kubectl("delete secret -n irsa-system irsa-webhook");
    kubectl("rollout restart -n irsa-system deployment/irsa-webhook");
    kubectl("rollout status -n irsa-system deployment/irsa-webhook --timeout=60s");
    assert_eq!(
        kubectl("get secret -n irsa-system irsa-webhook -o name").trim(),
        "secret/irsa-webhook"
    );
    let may = |verb: &str| {
        let user = "--as=system:serviceaccount:irsa-system:irsa-webhook";
        let output = lab.try_kubectl(&["auth", "can-i", verb, "secrets", "-n", "irsa-system", user]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!((may("create"), may("list")), ("yes".to_owned(), "no".to_owned()));
    kubectl("scale -n irsa-system deployment/irsa-webhook --replicas=0");
    kubectl("wait -n irsa-system --for=delete pod -l app.kubernetes.io/name=irsa-webhook --timeout=60s");
}
