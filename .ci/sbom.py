"""Prints the SBOM of the `irsa` binary, as SPDX 2.3 JSON.

usage: sbom.py TARGET    for example x86_64-unknown-linux-gnu

It lists the crates that are linked into the binary for this target: normal dependencies, without development and build
dependencies. Names, versions, licences and checksums come from Cargo.lock and the crates' own manifests. The result only
depends on the commit, so that a build can be reproduced.
"""

import json
import os
import subprocess
import sys
import tomllib


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def linked(nodes, root):
    """The ids of all packages that are linked into `root`, and the pairs that depend on each other."""
    found, edges, queue = {root}, [], [root]
    for package in queue:
        for dependency in nodes[package]["deps"]:
            if not any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                continue
            edges.append((package, dependency["pkg"]))
            if dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                queue.append(dependency["pkg"])
    return found, edges


def main():
    target = sys.argv[1]
    metadata = json.loads(
        output("cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}")
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "irsa")
    found, edges = linked(nodes, root)
    with open(os.path.join(metadata["workspace_root"], "Cargo.lock"), "rb") as file:
        locked = tomllib.load(file)["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in locked}

    def spdx_id(package_id):
        package = packages[package_id]
        name = "".join(c if c.isalnum() or c in ".-" else "-" for c in package["name"])
        return f"SPDXRef-{name}-{package['version'].replace('+', '-')}"

    def entry(package):
        # Before SPDX expressions, Cargo separated alternatives with a slash.
        declared = (package["license"] or "NOASSERTION").replace("/", " OR ")
        result = {
            "SPDXID": spdx_id(package["id"]),
            "name": package["name"],
            "versionInfo": package["version"],
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared,
            "copyrightText": "NOASSERTION",
            "filesAnalyzed": False,
            "downloadLocation": "NOASSERTION",
            "externalRefs": [
                {
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": f"pkg:cargo/{package['name']}@{package['version']}",
                }
            ],
        }
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            file = f"{package['name']}/{package['name']}-{package['version']}.crate"
            result["downloadLocation"] = f"https://static.crates.io/crates/{file}"
            # The checksum is that of the .crate file.
            result["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
        return result

    commit, created = output("git", "log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ").split()
    version = packages[root]["version"]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"irsa-{version}-{target}",
        "documentNamespace": f"https://spdx.org/spdxdocs/irsa-{version}-{target}-{commit}",
        "creationInfo": {"created": created, "creators": ["Tool: irsa .ci/sbom.py"]},
        "documentDescribes": [spdx_id(root)],
        "packages": [entry(packages[package]) for package in sorted(found, key=spdx_id)],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": spdx_id(root)},
        ]
        + [
            {"spdxElementId": one, "relationshipType": "DEPENDS_ON", "relatedSpdxElement": other}
            for one, other in sorted((spdx_id(one), spdx_id(other)) for one, other in set(edges))
        ],
    }
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    main()
