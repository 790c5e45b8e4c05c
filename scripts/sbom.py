"""Reads `cargo metadata`, and prints the crates of the programs on any system as CycloneDX 1.5. scripts/release.sh calls it."""

import json
import sys
import tomllib
import uuid

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
with open("Cargo.lock", "rb") as lock:
    locked = {(one["name"], one["version"]): one.get("checksum") for one in tomllib.load(lock)["package"]}


def dependencies(node):
    """Returns the crates that are compiled into a crate, or that build it; not those of its tests."""
    return sorted(dep["pkg"] for dep in node["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"]))


def reference(identifier):
    """Returns the package URL of a crate."""
    return f"pkg:cargo/{packages[identifier]['name']}@{packages[identifier]['version']}"


def component(identifier):
    """Returns a crate as a component."""
    package = packages[identifier]
    found = {"type": "library", "bom-ref": reference(identifier), "name": package["name"], "version": package["version"]}
    found["purl"] = reference(identifier)
    if package["license"]:
        # CycloneDX takes SPDX only; some crates still separate with a slash.
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = locked.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


reached, waiting = set(), [root]
while waiting:
    one = waiting.pop()
    if one not in reached:
        reached.add(one)
        waiting += dependencies(nodes[one])

listed = sorted(reached - {root}, key=reference)
described = component(root) | {"type": "application"}
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same crates give the same number.
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(map(reference, [root, *listed])))),
        "version": 1,
        "metadata": {"component": described},
        "components": [component(one) for one in listed],
        "dependencies": [
            {"ref": reference(one), "dependsOn": sorted({reference(other) for other in dependencies(nodes[one])})}
            for one in [root, *listed]
        ],
    },
    sys.stdout,
    indent=1,
)
print()
