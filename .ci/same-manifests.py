"""Compares the objects of `irsa install -o json` with those of `helm template`.

usage: same-manifests.py INSTALL.json CHART.yaml

Not compared: the namespace, which the chart does not create, and the two labels that Helm recommends.
"""

import json
import sys

import yaml

HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def key(item):
    metadata = item["metadata"]
    return item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"]


def by_key(items):
    return {key(item): item for item in items if item["kind"] != "Namespace"}


def differences(path, left, right):
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys()):
            if name not in left or name not in right:
                yield f"{path}.{name} is only in {'install' if name in left else 'the chart'}"
            else:
                yield from differences(f"{path}.{name}", left[name], right[name])
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right)):
            yield from differences(f"{path}[{index}]", one, other)
    elif left != right or type(left) is not type(right):
        yield f"{path}: install has {left!r}, the chart {right!r}"


def main():
    with open(sys.argv[1]) as file:
        installed = by_key(json.load(file)["items"])
    with open(sys.argv[2]) as file:
        charted = by_key(item for item in yaml.safe_load_all(file) if item)
    for item in charted.values():
        for label in HELM_LABELS:
            item["metadata"].get("labels", {}).pop(label, None)
    found = []
    for name in sorted(installed.keys() | charted.keys()):
        if name not in installed or name not in charted:
            found.append(f"{name} is only in {'install' if name in installed else 'the chart'}")
        else:
            found.extend(differences("/".join(name), installed[name], charted[name]))
    for difference in found:
        print(difference, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
