"""Renders kustomizations: with ``kubectl`` if it is installed, else by a subset implemented here.

The subset: ``resources``, ``components``, ``patches`` (strategic merges, from a file or in line,
of one object or of all that a target's kind and name fit), ``images``, ``labels`` without
selectors, ``namespace``. A test compares it with kubectl.
"""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
# libyaml's loader, if PyYAML has it, is ten times as fast.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KNOWN = {
    "apiVersion",
    "kind",
    "resources",
    "components",
    "patches",
    "images",
    "labels",
    "namespace",
}
# Lists that are merged by a key; all others are replaced whole.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
_CLUSTER = {"PriorityClass", "Namespace"}


def render(folder: Path) -> list[Object]:
    """Return the objects of the kustomization in ``folder``."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, done.stderr
        return documents(done.stdout)
    return in_python(folder)


def in_python(folder: Path) -> list[Object]:
    """Return the same without kubectl."""
    return _applied(folder, [])


def _applied(folder: Path, objects: list[Object]) -> list[Object]:
    spec = yaml.load((folder / "kustomization.yaml").read_text(), _Loader)
    assert set(spec) <= _KNOWN, f"{folder} uses what this renderer does not know"
    for name in spec.get("resources", []):
        path = folder / name
        objects += _applied(path, []) if path.is_dir() else documents(path.read_text())
    for name in spec.get("components", []):
        objects = _applied(folder / name, objects)
    for patch in spec.get("patches", []):
        text = (folder / patch["path"]).read_text() if "path" in patch else patch["patch"]
        for document in documents(text):
            if "target" in patch:
                _patch_all(objects, document, patch["target"])
            else:
                objects = _patched(objects, document)
    for image in spec.get("images", []):
        for item in objects:
            _set_image(item, image)
    for labels in spec.get("labels", []):
        for item in objects:
            item["metadata"].setdefault("labels", {}).update(labels["pairs"])
    if "namespace" in spec:
        for item in objects:
            if item["kind"] not in _CLUSTER:
                item["metadata"]["namespace"] = spec["namespace"]
    return objects


def documents(text: str) -> list[Object]:
    """Return the objects in YAML text."""
    return [document for document in yaml.load_all(text, _Loader) if document]


def identity(item: Object) -> tuple[str, str, str]:
    """Return the identity by which a patch finds an object."""
    return item["apiVersion"], item["kind"], item["metadata"]["name"]


def _patched(objects: list[Object], patch: Object) -> list[Object]:
    targets = [item for item in objects if identity(item) == identity(patch)]
    assert len(targets) == 1, f"{identity(patch)} is there {len(targets)} times"
    if patch.get("$patch") == "delete":
        return [item for item in objects if item is not targets[0]]
    _merge(targets[0], patch)
    return objects


def _patch_all(objects: list[Object], patch: Object, target: Object) -> None:
    assert set(target) == {"kind", "name"}
    for item in objects:
        name = item["metadata"]["name"]
        if item["kind"] == target["kind"] and re.fullmatch(target["name"], name):
            own = copy.deepcopy(patch)
            own["metadata"]["name"] = name
            _merge(item, own)


def _merge(into: Object, patch: Object) -> None:
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        elif isinstance(value, list) and name in _KEYS and name in into:
            key = _KEYS[name]
            for item in value:
                same = [old for old in into[name] if old[key] == item[key]]
                if same:
                    _merge(same[0], item)
                else:
                    into[name].insert(0, item)
        else:
            into[name] = value


def _set_image(value: Any, image: Object) -> None:
    if isinstance(value, list):
        for item in value:
            _set_image(item, image)
    elif isinstance(value, dict):
        named = value.get("image")
        if isinstance(named, str) and named.partition(":")[0] == image["name"]:
            name = image.get("newName", image["name"])
            value["image"] = (
                f"{name}@{image['digest']}" if "digest" in image else f"{name}:{image['newTag']}"
            )
        for item in value.values():
            _set_image(item, image)
