"""Drives real AWS clients in the environment of the lab's pods and looks where their calls arrived.

Every expectation is a measured fact about the client (docs/sdks.md has the table), so that a lab which agrees with
itself but not with the world fails here. Standard library only.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

REGION = "us-west-2"
ACCOUNT = "111122223333"
GLOBAL, REGIONAL = "sts.amazonaws.com", f"sts.{REGION}.amazonaws.com"
INVALID = (
    "InvalidSTSRegionalEndpointsConfigError",
    'STS regional endpoints option global is invalid. Valid options are: "legacy", "regional"',
)
SCOPE = (
    "An error occurred (SignatureDoesNotMatch) when calling the GetCallerIdentity operation: "
    "Credential should be scoped to a valid region."
)
DENIED = (
    "An error occurred (AccessDenied) when calling the AssumeRoleWithWebIdentity operation: "
    "Not authorized to perform sts:AssumeRoleWithWebIdentity"
)

MANIFEST = """
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::{account}:role/{name}
{annotations}
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
spec:
  serviceAccountName: {name}
  containers:
    - name: app
      image: app
---
"""

passed, failed = 0, 0


def check(name, condition, seen):
    global passed, failed
    if condition:
        passed += 1
        print(f"ok    {name}", flush=True)
    else:
        failed += 1
        print(f"FAIL  {name}\n      saw: {seen}", flush=True)


class Lab:
    """A running `irsa lab up` with one pod for each choice of endpoint."""

    def __init__(self, irsa, folder):
        self.irsa = irsa
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "IRSA_LAB_DIR": folder,
            "KUBECONFIG": f"{folder}/kubeconfig",
        }
        self.process = subprocess.Popen(
            [irsa, "lab", "up", "--region", REGION],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "lab is ready" in line:
                return
        sys.exit("irsa lab up ended before it was ready; it said:\n" + "".join(said))

    def apply(self, manifest):
        subprocess.run(
            ["kubectl", "apply", "-f", "-"], env=self.env, input=manifest, text=True, check=True, stdout=subprocess.DEVNULL
        )
        subprocess.run(
            ["kubectl", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"],
            env=self.env, check=True, stdout=subprocess.DEVNULL,
        )

    def run(self, pod, command, netns=False, **variables):
        """Runs a command as the pod. A variable that is None is taken away."""
        unset = [f"--unset={name}" for name, value in variables.items() if value is None]
        given = [f"{name}={value}" for name, value in variables.items() if value is not None]
        prefix = ["env", *unset, *given] if variables else []
        ways = ["--netns"] if netns else []
        before = len(self.events())
        done = subprocess.run(
            [self.irsa, "lab", "run", pod, *ways, "--", *prefix, *command],
            env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180,
        )
        return done, self.events()[before:]

    def events(self, *filters):
        done = subprocess.run(
            [self.irsa, "lab", "events", "-o", "json", *filters], env=self.env, capture_output=True, text=True, check=True
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def region(self, *words):
        subprocess.run([self.irsa, "lab", "region", *words], env=self.env, check=True, stderr=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def hosts(events, source="sts.amazonaws.com"):
    return [event["tlsDetails"]["clientProvidedHostHeader"] for event in events if event["eventSource"] == source]


class Client:
    """One client: how it is called, and what it does by itself."""

    def __init__(self, name, lab, command, default, netns=False):
        self.name, self.lab, self.command, self.netns = name, lab, command, netns
        # Where it goes when the variable is not set.
        self.default = default

    def probe(self, pod, action, options=None, **variables):
        done, events = self.lab.run(
            pod, [*self.command, action, json.dumps(options or {})], netns=self.netns, **variables
        )
        try:
            return json.loads(done.stdout.strip().splitlines()[-1]), events
        except (IndexError, json.JSONDecodeError):
            return {"error": "NoAnswer", "text": done.stdout + done.stderr}, events

    def identity(self, pod, endpoint=None, **variables):
        return self.probe(pod, "identity", {"endpoint": endpoint} if endpoint else {}, **variables)


class Cli(Client):
    """AWS CLI: the same answers from its own words."""

    def identity(self, pod, endpoint=None, **variables):
        more = ["--endpoint-url", endpoint] if endpoint else []
        done, events = self.lab.run(pod, [*self.command, "sts", "get-caller-identity", *more], **variables)
        if done.returncode == 0:
            return {"arn": json.loads(done.stdout)["Arn"]}, events
        text = done.stderr.strip()
        name, _, rest = text.partition(": ")
        return {"error": name, "text": text, "rest": rest, "code": done.returncode}, events


def reaches(client, label, host, result, events, calls=2):
    """The call succeeded, and both of its requests went to one host."""
    answer = result.get("arn", "")
    check(
        f"{client.name}: {label} -> {host}",
        ":assumed-role/" in answer and hosts(events) == [host] * calls,
        (result, hosts(events)),
    )


def choice_of_endpoint(client):
    """The rows of the table of SDKs that a pod can be in."""
    botocore = client.name != "js-v3"
    variable = "AWS_STS_REGIONAL_ENDPOINTS"
    for pod, host in [("regional", REGIONAL), ("legacy", GLOBAL if botocore else REGIONAL)]:
        result, events = client.identity(pod)
        reaches(client, f"annotation says {pod}", host, result, events)
    result, events = client.identity("regional", **{variable: None})
    reaches(client, "variable not set", client.default, result, events)
    if botocore:
        result, events = client.identity("regional", **{variable: ""})
        reaches(client, "variable empty", client.default, result, events)
        result, events = client.identity("regional", **{variable: "global"})
        check(
            f"{client.name}: the word global is refused by the SDK",
            INVALID[1] in result.get("text", "") and not events,
            (result, hosts(events)),
        )
        result, events = client.identity("regional", AWS_DEFAULT_REGION=None)
        reaches(client, "regional, but only AWS_REGION is set", GLOBAL, result, events)
    else:
        result, events = client.identity("regional", **{variable: "global"})
        reaches(client, "the word global is ignored by the SDK", REGIONAL, result, events)
    result, events = client.identity("legacy", AWS_REGION="ap-east-1", AWS_DEFAULT_REGION="ap-east-1")
    reaches(client, "legacy in a region that must be enabled", "sts.ap-east-1.amazonaws.com", result, events)


def explicit_endpoint(client):
    """The application of the procedure's last step, and which cures cure it."""
    endpoint = f"https://{GLOBAL}"
    # JS retries nothing here, and its text is the message alone.
    text = SCOPE if client.name != "js-v3" else "Credential should be scoped to a valid region."
    for pod in ["regional", "legacy"]:
        result, events = client.identity(pod, endpoint=endpoint)
        last = events[-1] if events else {}
        check(
            f"{client.name}: explicit global endpoint, annotation {pod}: the error of the guide",
            result.get("text", "").rstrip().endswith(text)
            and last.get("errorCode") == "SignatureDoesNotMatch"
            and hosts(events)[-1:] == [GLOBAL],
            (result, hosts(events)),
        )
    result, events = client.identity(
        "regional", endpoint=endpoint, AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1"
    )
    check(
        f"{client.name}: cure: region us-east-1 for the explicit global endpoint",
        "arn" in result and hosts(events) == ["sts.us-east-1.amazonaws.com", GLOBAL],
        (result, hosts(events)),
    )
    result, events = client.identity("regional", endpoint=f"https://{REGIONAL}")
    reaches(client, "cure: the explicit endpoint of the region", REGIONAL, result, events)


def refusals(client, message_only=False):
    def refused(label, result, events, code, text):
        last = [event for event in events if event["eventName"] == "AssumeRoleWithWebIdentity"]
        check(
            f"{client.name}: {label}: {code}",
            text in result.get("text", "") and bool(last) and last[-1].get("errorCode") == code,
            (result, last[-1] if last else None),
        )

    result, events = client.identity("audience")
    refused("token for another audience", result, events, "InvalidIdentityToken", "Incorrect token audience")
    result, events = client.identity("regional", AWS_ROLE_ARN=f"arn:aws:iam::{ACCOUNT}:role/legacy")
    refused(
        "role of another service account", result, events, "AccessDenied",
        "Not authorized to perform sts:AssumeRoleWithWebIdentity" if message_only else DENIED,
    )
    client.lab.region("deactivate", REGION)
    result, events = client.identity("regional")
    refused(
        "STS not active in the region", result, events, "RegionDisabledException",
        f"STS is not activated in this region for account:{ACCOUNT}. Your account administrator can activate STS in "
        "this region using the IAM Console.",
    )
    client.lab.region("activate", REGION)
    result, events = client.identity("regional")
    reaches(client, "active again", REGIONAL, result, events)


def form_of(url):
    """Host and signature of a presigned URL, as the guide tells them apart."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    if "X-Amz-Credential" in query:
        return parts.hostname, "/".join(query["X-Amz-Credential"][0].split("/")[2:])
    return parts.hostname, "version 2" if "AWSAccessKeyId" in query else "unsigned"


def presigned(client, rows):
    v4 = f"{REGION}/s3/aws4_request"
    for pod in ["regional", "legacy"]:
        for label, options, host, scope in rows:
            result, events = client.probe(pod, "presign", {"bucket": "bucket", "key": "path", **options})
            form = form_of(result.get("url", ""))
            gets = [event for event in events if event["eventName"] == "GetObject"]
            check(
                f"{client.name}: presigned {label}, annotation {pod} -> {host}, {scope or v4}, and it works",
                form == (host, scope or v4)
                and result.get("status") == 200
                and result.get("body") == "hello"
                and len(gets) == 1
                and gets[0]["tlsDetails"]["clientProvidedHostHeader"] == host
                and gets[0]["additionalEventData"]["SignatureVersion"] == ("SigV2" if scope else "SigV4"),
                (form, result, gets),
            )


def credentials_in_opt_in_regions(client):
    """What the choice really means for S3: tokens of the global endpoint are not valid in every region."""
    client.probe("regional", "put", {
        "bucket": "hongkong", "region": "ap-east-1", "create": True, "key": "path", "body": "hello"})
    options = {
        "bucket": "hongkong", "key": "path", "region": "ap-east-1", "version": "s3v4", "signs_in_at_home": True}
    for pod, status in [("regional", 200), ("legacy", 400)]:
        result, _ = client.probe(pod, "presign", {**options, "style": "path"})
        check(
            f"{client.name}: URL into an opt-in region with credentials of the {pod} endpoint: {status}",
            result.get("status") == status and (status == 200 or "InvalidToken" in result.get("body", "")),
            result,
        )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--irsa", required=True)
    arguments.add_argument("--clients", required=True, type=Path)
    arguments.add_argument("--probe", required=True)
    arguments = arguments.parse_args()
    python = lambda name: str(arguments.clients / name / "bin" / "python")

    folder = tempfile.mkdtemp(prefix="irsa-clients-")
    lab = Lab(arguments.irsa, folder)
    try:
        annotation = "    eks.amazonaws.com/{}: {}"
        lab.apply("".join(
            MANIFEST.format(name=name, account=ACCOUNT, annotations=annotation.format(*more))
            for name, more in [
                ("regional", ("sts-regional-endpoints", '"true"')),
                ("legacy", ("sts-regional-endpoints", '"false"')),
                ("audience", ("audience", "somebody.else.example")),
            ]
        ))
        old = Client("boto3 1.34", lab, [python("boto-old"), arguments.probe], GLOBAL)
        new = Client("boto3 1.44", lab, [python("boto-new"), arguments.probe], REGIONAL)
        cli = Cli("aws-cli 1.46", lab, [str(arguments.clients / "awscli-v1" / "bin" / "aws")], REGIONAL)
        clients = [old, new, cli]

        new.probe("regional", "put", {
            "bucket": "bucket", "region": REGION, "create": True, "key": "path", "body": "hello"})
        for client in clients:
            choice_of_endpoint(client)
            explicit_endpoint(client)
            refusals(client)
        both = [
            ("by default", {}, "bucket.s3.amazonaws.com", "version 2"),
            ("s3v4", {"version": "s3v4"}, "bucket.s3.amazonaws.com", None),
            ("s3v4, virtual", {"version": "s3v4", "style": "virtual"}, f"bucket.s3.{REGION}.amazonaws.com", None),
            ("s3v4, path", {"version": "s3v4", "style": "path"}, f"s3.{REGION}.amazonaws.com", None),
        ]
        presigned(old, both)
        presigned(new, both)
        for client in [old, new]:
            result, _ = client.probe("regional", "use-s3", {"bucket": "used-by-boto", "region": "eu-central-1"})
            check(f"{client.name}: buckets and objects, multipart and all", result == {"done": True}, result)
        credentials_in_opt_in_regions(new)

        done, _ = lab.run("regional", ["sh", "-c", "\n".join([
            f"set -e; aws={arguments.clients}/awscli-v1/bin/aws",
            "head -c 9000000 /dev/urandom > $HOME/large",
            "$aws s3 mb s3://used-by-cli",
            "$aws s3 cp --only-show-errors $HOME/large s3://used-by-cli/a/large",
            "$aws s3 cp --only-show-errors s3://used-by-cli/a/large $HOME/back",
            "cmp $HOME/large $HOME/back",
            "$aws s3 rb --force s3://used-by-cli",
        ])])
        check("aws-cli 1.46: s3 mb, cp both ways, rb", done.returncode == 0, done.stdout + done.stderr)

        if os.environ.get("IRSA_CLIENTS_WITHOUT_NODE") == "1":
            print("note  the AWS SDK for JavaScript is left out, as IRSA_CLIENTS_WITHOUT_NODE says", flush=True)
        else:
            js = Client("js-v3", lab, [shutil.which("node"), str(arguments.clients / "js" / "probe.mjs")], REGIONAL, netns=True)
            choice_of_endpoint(js)
            explicit_endpoint(js)
            refusals(js, message_only=True)
            presigned(js, [("by default", {}, f"bucket.s3.{REGION}.amazonaws.com", None)])
            result, _ = js.probe("regional", "use-s3", {"bucket": "used-by-js", "region": "eu-west-1"})
            check("js-v3: buckets and objects", result.get("body") == "hello", result)
    finally:
        lab.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed else 0)


main()
