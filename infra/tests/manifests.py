"""The Kubernetes manifests as `kustomize build` makes them, and the schemas that they must fit."""

import copy
import os
import subprocess
from functools import cache
from pathlib import Path

import yaml

from bicep import INFRA

DIRECTORY = INFRA / "container" / "kubernetes"
VARIANTS = ("deployment", "job")


@cache
def built(variant):
    """{kind: manifest} of a variant; each kind comes once."""
    text = subprocess.run(["kustomize", "build", DIRECTORY / variant], check=True, capture_output=True, text=True).stdout
    found = list(yaml.safe_load_all(text))
    manifests = {manifest["kind"]: manifest for manifest in found}
    assert len(manifests) == len(found)
    return manifests


def pod(variant):
    """Metadata and spec of the pods of a variant."""
    manifests = built(variant)
    if variant == "deployment":
        return manifests["Deployment"]["spec"]["template"]
    return manifests["ScaledJob"]["spec"]["jobTargetRef"]["template"]


def container(variant):
    """The one container of its pods."""
    only, = pod(variant)["spec"]["containers"]
    return only


def scaled(variant):
    """Its ScaledObject or ScaledJob."""
    return built(variant)["ScaledObject" if variant == "deployment" else "ScaledJob"]


def keda():
    """The source of KEDA, which has the definitions of its resources and says what its scalers read."""
    return Path(os.environ["SIGNET_KEDA"])


@cache
def keda_schemas():
    """{kind: schema} of KEDA's own resources, strict: a member that a schema does not know is a mistake."""
    found = {}
    for path in (keda() / "config" / "crd" / "bases").glob("keda.sh_*.yaml"):
        definition = yaml.safe_load(path.read_text())["spec"]
        version, = (version for version in definition["versions"] if version["served"])
        found[definition["names"]["kind"]] = strict(version["schema"]["openAPIV3Schema"])
    return found


def strict(schema):
    """The schema, which says no to members that it does not name."""
    schema = copy.deepcopy(schema)
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            is_open = part.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in part
            if isinstance(part.get("properties"), dict) and part.get("type") == "object" and not is_open:
                part["additionalProperties"] = False
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    # What every resource has, and no definition of one says.
    schema["properties"]["metadata"] = {"type": "object"}
    return schema
