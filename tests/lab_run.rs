//! `irsa lab run`, `irsa lab events` and `irsa lab region` from outside: a local process in a pod's place.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::common::{Lab, eventually, irsa, root, signal, succeeded};

/// A pod that uses everything a container's environment can be made of.
const POD: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata:
  name: app
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::111122223333:role/app
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOR: blue, file.txt: from a config map}
---
apiVersion: v1
kind: Secret
metadata: {name: secrets}
stringData: {PASSWORD: hunter2}
---
apiVersion: v1
kind: Pod
metadata:
  name: app
  labels: {tier: front}
spec:
  serviceAccountName: app
  containers:
    - name: first
      image: app
      envFrom:
        - prefix: CFG_
          configMapRef: {name: settings}
      env:
        - {name: PLAIN, value: "1"}
        - {name: COMPOSED, value: "$(PLAIN)-$(NOT_THERE)-$$(PLAIN)"}
        - name: NODE
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        - name: TIER
          valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}
        - name: PASSWORD
          valueFrom: {secretKeyRef: {name: secrets, key: PASSWORD}}
        - name: OPTIONAL
          valueFrom: {secretKeyRef: {name: nowhere, key: x, optional: true}}
        - name: MEMORY
          valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}
        - {name: CONFIG, value: /etc/app/file.txt}
      resources:
        limits: {memory: 64Mi}
      volumeMounts:
        - {name: config, mountPath: /etc/app}
    - name: second
      image: app
      env:
        - {name: WHO, value: second}
  volumes:
    - name: config
      configMap: {name: settings}
"#;

struct Pods {
    lab: Lab,
}

impl Pods {
    fn start() -> Self {
        let lab = Lab::start::<&str>(&[]);
        lab.apply(POD);
        lab.k("wait --for=condition=Ready pod/app --timeout=60s");
        Self { lab }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut all = vec!["lab", "run"];
        all.extend_from_slice(args);
        self.lab.irsa(&all)
    }

    fn shell(&self, script: &str) -> String {
        let output = self.run(&["app", "--", "sh", "-c", script]);
        succeeded("irsa lab run app -- sh -c …", output)
    }

    fn events(&self, args: &[&str]) -> Vec<Value> {
        let mut all = vec!["lab", "events", "-o", "json"];
        all.extend_from_slice(args);
        let text = succeeded("irsa lab events", self.lab.irsa(&all));
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[test]
fn a_command_has_exactly_the_containers_environment() {
    let pods = Pods::start();
    let seen = pods.shell("env");
    for wanted in [
        "PLAIN=1",
        "COMPOSED=1-$(NOT_THERE)-$(PLAIN)",
        "CFG_COLOR=blue",
        "TIER=front",
        "PASSWORD=hunter2",
        "MEMORY=64",
        "HOSTNAME=app",
        "AWS_STS_REGIONAL_ENDPOINTS=regional",
        "AWS_REGION=us-west-2",
        "AWS_DEFAULT_REGION=us-west-2",
        "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/app",
    ] {
        assert!(
            seen.lines().any(|line| line == wanted),
            "{wanted} not in:\n{seen}"
        );
    }
    assert!(
        seen.lines().any(|line| line.starts_with("NODE=ip-192-168-")),
        "{seen}"
    );
    // Nothing of this process, and nothing of what does not exist.
    for absent in ["CARGO", "OPTIONAL=", "KUBECONFIG=", "IRSA_LAB_DIR="] {
        assert!(
            !seen.lines().any(|line| line.starts_with(absent)),
            "{absent} in:\n{seen}"
        );
    }
    assert_eq!(pods.shell("cat $CONFIG"), "from a config map");
    let second = pods.run(&["pod/app", "-c", "second", "--", "sh", "-c", "echo $WHO $PLAIN"]);
    assert_eq!(succeeded("irsa lab run -c second", second), "second\n");
}

#[test]
fn the_token_is_a_private_file_of_this_pod_that_is_gone_afterwards() {
    let pods = Pods::start();
    let seen = pods.shell(
        "stat -c '%a %n' $AWS_WEB_IDENTITY_TOKEN_FILE $(dirname $AWS_WEB_IDENTITY_TOKEN_FILE) $HOME; \
         cut -d. -f2 $AWS_WEB_IDENTITY_TOKEN_FILE",
    );
    let lines: Vec<_> = seen.lines().collect();
    let path = lines[0].strip_prefix("600 ").unwrap();
    assert!(
        lines[1].starts_with("700 ") && lines[2].starts_with("700 "),
        "{seen}"
    );
    assert!(!std::path::Path::new(path).exists(), "{path} is left over");
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(lines[3])
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], "system:serviceaccount:default:app");
    assert_eq!(claims["aud"], serde_json::json!(["sts.amazonaws.com"]));
    assert_eq!(claims["kubernetes.io"]["pod"]["name"], "app");
}

#[test]
fn exit_codes_and_signals_pass_through() {
    let pods = Pods::start();
    assert_eq!(
        pods.run(&["app", "--", "sh", "-c", "exit 7"]).status.code(),
        Some(7)
    );
    let missing = pods.run(&["app", "--", "no-such-command"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-command"));

    let mut child = irsa()
        .args(["lab", "run", "app", "--state-dir"])
        .arg(pods.lab.state())
        .args([
            "--",
            "sh",
            "-c",
            "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    signal(child.id(), "TERM");
    assert_eq!(lines.next().unwrap().unwrap(), "got it");
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(9), None));
}

#[test]
fn volumes_are_at_their_paths_and_keep_what_is_written_to_them() {
    let pods = Pods::start();
    let token = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token";
    let seen = pods.shell("echo $AWS_WEB_IDENTITY_TOKEN_FILE; cut -d. -f1 /var/run/secrets/eks.amazonaws.com/serviceaccount/token; cat /etc/app/file.txt");
    let lines: Vec<&str> = seen.lines().collect();
    if lines[0] != token {
        eprintln!("skipped: mount namespaces are not possible here");
        return;
    }
    assert!(lines[1].starts_with("ey"), "{seen}");
    assert_eq!(lines[2], "from a config map");
    pods.lab.kubectl(&[
        "exec",
        "app",
        "--",
        "sh",
        "-c",
        "echo kept > /etc/app/made; test -e /etc/passwd",
    ]);
    assert_eq!(pods.lab.k("exec app -- cat /etc/app/made"), "kept\n");
    assert!(!std::path::Path::new("/etc/app").exists());
}

#[test]
fn a_lab_that_is_killed_leaves_neither_processes_nor_folders() {
    let pods = Pods::start();
    let mut exec = std::process::Command::new("kubectl")
        .env("KUBECONFIG", pods.lab.kubeconfig())
        .args([
            "exec",
            "app",
            "--",
            "sh",
            "-c",
            "sleep 300 & echo $! $$ $HOME; wait",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(exec.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let [child, shell, home] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{line:?}");
    };
    let addresses = std::fs::read(pods.lab.state().join(irsa_lab::control::FILE)).unwrap();
    let addresses: Value = serde_json::from_slice(&addresses).unwrap();
    let folder = std::path::Path::new(home).parent().unwrap();
    assert!(folder.exists());
    signal(
        u32::try_from(addresses["process"].as_u64().unwrap()).unwrap(),
        "KILL",
    );
    let _ = exec.wait();
    let runs = |process: &str| {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    eventually("the kernel ends the command", || {
        if runs(shell) {
            Err(shell.to_owned())
        } else {
            Ok(())
        }
    });
    // What it had started is ended by the next lab, which removes the folder, too.
    let _next = Lab::start::<&str>(&[]);
    assert!(!runs(child), "{child}");
    assert!(!folder.exists(), "{home}");
}

#[test]
fn what_cannot_be_run_is_said_with_what_to_do() {
    let pods = Pods::start();
    for (args, wanted) in [
        (
            vec!["nothing", "--", "env"],
            "there is no pod nothing in namespace default",
        ),
        (
            vec!["app", "-c", "third", "--", "env"],
            "pod app has no container third; it has first, second",
        ),
        (vec!["app", "-e", "X", "--", "env"], "NAME=VALUE"),
    ] {
        let output = pods.run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(wanted), "{args:?}: {stderr}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let output = irsa()
        .args(["lab", "events", "--state-dir"])
        .arg(elsewhere.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("irsa lab up"));
}

#[test]
fn what_a_command_printed_is_in_the_log_of_its_container() {
    let pods = Pods::start();
    pods.shell("echo to the log; echo and this >&2");
    eventually("the output is in kubectl logs", || {
        let seen = pods.lab.k("logs app -c first");
        if seen.contains("to the log\n") && seen.contains("and this\n") {
            Ok(())
        } else {
            Err(seen)
        }
    });
}

#[test]
fn kubectl_exec_runs_the_same_and_is_in_the_log_too() {
    let pods = Pods::start();
    let exec = |args: &[&str]| {
        let mut all = vec!["exec", "app", "-c", "first", "--"];
        all.extend_from_slice(args);
        pods.lab.try_kubectl(&all)
    };
    let output = exec(&[
        "sh",
        "-c",
        "echo $PASSWORD $AWS_STS_REGIONAL_ENDPOINTS; echo wrong >&2; exit 5",
    ]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hunter2 regional\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("wrong\n"));
    let output = exec(&[
        "sh",
        "-c",
        "curl -sS \"https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\"",
    ]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("MissingAuthenticationToken"));
    let log = pods.lab.k("logs app -c first");
    assert!(
        log.contains("hunter2 regional\n") && log.contains("wrong\n"),
        "{log}"
    );
    let missing = exec(&["no-such-command"]);
    assert!(!missing.status.success());
    assert!(
        String::from_utf8_lossy(&missing.stderr).contains("executable file not found in $PATH"),
        "{missing:?}"
    );
}

#[test]
fn curl_reaches_the_labs_aws_and_nothing_else() {
    let pods = Pods::start();
    let seen = pods
        .shell("curl -sS https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity'&'Version=2011-06-15");
    assert!(seen.contains("<Code>MissingAuthenticationToken</Code>"), "{seen}");
    let seen = pods.shell("curl -sS https://example.com/ 2>&1; echo code $?");
    assert!(seen.contains("403") && seen.contains("code 56"), "{seen}");
    // The issuer that tokens name leads to the cluster.
    let seen = pods.shell(
        "iss=$(cut -d. -f2 $AWS_WEB_IDENTITY_TOKEN_FILE | tr _- /+ | sed 's/$/==/' | base64 -d 2>/dev/null \
         | sed 's/.*\"iss\":\"\\([^\"]*\\)\".*/\\1/'); curl -sS $iss/.well-known/openid-configuration",
    );
    let discovery: Value = serde_json::from_str(&seen).unwrap();
    assert!(
        discovery["issuer"]
            .as_str()
            .unwrap()
            .starts_with("https://oidc.eks.us-west-2.amazonaws.com/id/"),
        "{seen}"
    );
}

#[test]
fn in_a_namespace_of_its_own_a_client_without_a_proxy_reaches_the_lab() {
    let pods = Pods::start();
    let script = "test -z \"$HTTPS_PROXY\" && curl -sS https://sts.amazonaws.com/?Action=GetCallerIdentity'&'Version=2011-06-15 \
                  && curl -sS https://some-bucket.s3.us-west-2.amazonaws.com/key; exit 4";
    let output = pods.run(&["app", "--netns", "--", "sh", "-c", script]);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    if output.status.code() == Some(2)
        && stderr.contains("a network namespace for the command is not possible")
    {
        // Without root the command must say so, and does.
        assert!(stderr.contains("HTTPS_PROXY"), "{stderr}");
        return;
    }
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(
        stdout.contains("<Code>MissingAuthenticationToken</Code>"),
        "{stdout}{stderr}"
    );
    assert!(stdout.contains("<Code>NoSuchBucket</Code>"), "{stdout}{stderr}");
    let events = pods.events(&["--service", "s3"]);
    assert_eq!(
        events[0]["tlsDetails"]["clientProvidedHostHeader"],
        "some-bucket.s3.us-west-2.amazonaws.com"
    );
}

#[test]
fn events_are_filtered_shown_and_followed() {
    let pods = Pods::start();
    let call = |host: &str| {
        pods.shell(&format!(
            "curl -sS -o /dev/null 'https://{host}/?Action=GetCallerIdentity&Version=2011-06-15'"
        ));
    };
    call("sts.amazonaws.com");
    call("sts.eu-west-1.amazonaws.com");
    assert_eq!(pods.events(&[]).len(), 2);
    assert_eq!(pods.events(&["--endpoint", "global"]).len(), 1);
    assert_eq!(pods.events(&["--region", "eu-west-1"]).len(), 1);
    assert_eq!(pods.events(&["--tail", "1"])[0]["awsRegion"], "eu-west-1");
    assert!(pods.events(&["--caller", "nobody"]).is_empty());
    let table = succeeded("irsa lab events", pods.lab.irsa(&["lab", "events"]));
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("TIME "), "{table}");
    let first = lines.next().unwrap();
    assert!(
        first.contains("GetCallerIdentity")
            && first.contains("global")
            && first.contains("sts.amazonaws.com"),
        "{table}"
    );

    let mut follower = irsa()
        .args([
            "lab",
            "events",
            "-f",
            "-o",
            "json",
            "--region",
            "sa-east-1",
            "--state-dir",
        ])
        .arg(pods.lab.state())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut arriving = BufReader::new(follower.stdout.take().unwrap()).lines();
    call("sts.ap-south-1.amazonaws.com");
    call("sts.sa-east-1.amazonaws.com");
    let seen: Value = serde_json::from_str(&arriving.next().unwrap().unwrap()).unwrap();
    assert_eq!(seen["awsRegion"], "sa-east-1");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_region_is_switched_off_fails_and_heals() {
    let pods = Pods::start();
    let region = |words: &[&str]| {
        let mut all = vec!["lab", "region"];
        all.extend_from_slice(words);
        pods.lab.irsa(&all)
    };
    let call = || {
        pods.shell(
            "curl -sS -w '%{http_code}' --data-urlencode \"WebIdentityToken@$AWS_WEB_IDENTITY_TOKEN_FILE\" \
             --data-urlencode \"RoleArn=$AWS_ROLE_ARN\" -d RoleSessionName=me -d Version=2011-06-15 \
             -d Action=AssumeRoleWithWebIdentity https://sts.us-west-2.amazonaws.com/",
        )
    };
    assert!(call().ends_with("200"));
    succeeded("deactivate", region(&["deactivate", "us-west-2"]));
    let seen = call();
    assert!(
        seen.contains("STS is not activated in this region for account:111122223333."),
        "{seen}"
    );
    succeeded("activate", region(&["activate", "us-west-2"]));
    succeeded("fail", region(&["fail", "us-west-2"]));
    assert!(call().ends_with("503"));
    succeeded("heal", region(&["heal", "us-west-2"]));
    assert!(call().ends_with("200"));

    for words in [
        ["switch", "global-tokens", "v2"],
        ["switch", "s3-redirects", "on"],
    ] {
        let output = pods.lab.irsa(&["lab", words[0], words[1], words[2]]);
        succeeded("irsa lab switch", output);
    }
    let refused = region(&["deactivate", "us-east-1"]);
    assert_eq!(refused.status.code(), Some(2));
    let unknown = region(&["deactivate", "us-middle-1"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no such region"));
}

#[test]
fn the_pods_of_the_guide_reach_the_endpoint_that_they_were_given() {
    let lab = Lab::start::<&str>(&[]);
    lab.kubectl(&[
        "apply",
        "-f",
        root().join("examples/aws-node.yaml").to_str().unwrap(),
    ]);
    lab.k("rollout status -n kube-system ds/aws-node --timeout=60s");
    let pods = lab.k("get pods -n kube-system -l k8s-app=aws-node -o name");
    for pod in pods.lines() {
        let output = lab.irsa(&["lab", "run", "-n", "kube-system", pod, "--", "env"]);
        let seen = succeeded("irsa lab run", output);
        assert!(seen.contains("AWS_STS_REGIONAL_ENDPOINTS=regional"), "{seen}");
    }
}
