"""Renders a kustomization, as much of it as ours use: resources, a namespace, names and tags of images."""

from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]
CLUSTER_WIDE = {"Namespace"}
KNOWN = {"apiVersion", "kind", "namespace", "resources", "images"}


def build(folder: Path) -> list[Resource]:
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(plan) <= KNOWN, f"{folder}: this renders {KNOWN} alone"
    assert plan["kind"] == "Kustomization"
    resources: list[Resource] = []
    for entry in plan["resources"]:
        path = folder / entry
        resources += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for resource in resources:
        if "namespace" in plan and resource["kind"] not in CLUSTER_WIDE:
            resource["metadata"]["namespace"] = plan["namespace"]
    for image in plan.get("images", ()):
        for container in containers(resources):
            name, _, tag = container["image"].partition(":")
            if name == image["name"]:
                container["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
    return resources


def containers(resources: list[Resource]) -> list[Resource]:
    return [container for resource in resources for container in pod(resource).get("containers", ())]


def pod(resource: Resource) -> Resource:
    """Return what a resource says of its pods; nothing for one that makes none."""
    spec = resource.get("spec", {})
    if resource["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return dict(spec["template"]["spec"]) if "template" in spec else {}


def pod_labels(resource: Resource) -> dict[str, str]:
    spec = resource["spec"]
    if resource["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return dict(spec["template"]["metadata"]["labels"])
