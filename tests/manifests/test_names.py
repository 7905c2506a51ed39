"""Everything that the documents name exists: metrics, settings, files, pages, ports, commands."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import yaml

from api.http.auth import TOKEN_PATH
from deploy.cli import _parser, parse
from shared.settings import Settings

from ..documented import ROOT, page
from .exposed import exposed
from .kustomize import Object, in_python

PAGES = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "docs", "loadtest", "changes")
    for path in ROOT.glob(f"{folder}/*.md")
    if path.name != "template.md"
)
# Documents on the current state; the changelog and its fragments may name removed things.
DOCUMENTS = [
    name
    for name in PAGES
    if name == "changes/README.md" or not name.startswith(("CHANGELOG.md", "changes/"))
]
OPERATORS = ["README.md", *(f"docs/{name}.md" for name in ("deploy", "runbook", "integration"))]
COMPOSE: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
# Names of headroom itself, its MCP server and LiteLLM, and the tool that both offer.
OTHERS = {"HEADROOM_DEDUPE", "HEADROOM_PROXY_URL", "HEADROOM_API_KEY", "headroom_retrieve"}
# Folders that a path in backticks may be relative to.
PLACES = (
    "",
    "tests",
    "api",
    "api/pipeline",
    "api/runtime",
    "api/accounting",
    "workers",
    "workers/runtime",
    "loadtest",
)
KINDS = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "hpa": "HorizontalPodAutoscaler",
    "scaledobject": "ScaledObject",
    "secret": "Secret",
    "configmap": "ConfigMap",
    "job": "Job",
}
COLLECTOR = 4318
"""OpenTelemetry's own port, not ours."""


def prose(name: str) -> list[str]:
    """Return the texts in backticks in a document, outside of code blocks."""
    text = re.sub(r"^```.*?^```$", "", page(name), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(part.split()) for part in re.findall(r"`([^`]+)`", text)]


def blocks(name: str) -> list[str]:
    """Return a document's command lines, without comments, continued lines as one."""
    text = re.sub(r"\\\n +", " ", page(name))
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [
        re.split(r"\s+(?:#|&$)", line)[0]
        for line in re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    ]


def commands(name: str, program: str) -> list[list[str]]:
    """Return the words after ``program`` for each command in a document."""
    found = []
    for line in (*blocks(name), *prose(name)):
        said = re.search(rf"(?:^|-- |=\S+ |\(|; ){re.escape(program)}(?: (.*))?$", line)
        if said:
            found.append(shlex.split(said[1] or ""))
    return found


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    code = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for title in re.findall(r"^#+ (.+)$", code, re.MULTILINE):
        made = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        repeats = sum(1 for each in found if re.fullmatch(rf"{re.escape(made)}(-\d+)?", each))
        found.add(f"{made}-{repeats}" if repeats else made)
    return found


@cache
def farms() -> dict[str, tuple[set[str], set[str]]]:
    """Return the options and the words that each of the farm's commands accepts."""

    def takes(parser: argparse.ArgumentParser) -> tuple[set[str], set[str]]:
        options, words = set(), set()
        for action in parser._actions:
            options |= set(action.option_strings)
            words |= set(map(str, action.choices or ()))
            if isinstance(action, argparse._SubParsersAction):
                for nested in action.choices.values():
                    more = takes(nested)
                    options, words = options | more[0], words | more[1]
        return options, words

    (subparsers,) = (a for a in _parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name: takes(parser) for name, parser in subparsers.choices.items()}


@cache
def objects() -> dict[tuple[str, str], Object]:
    """Return every object of base and components by kind and name, and Secrets by reference."""
    found: dict[tuple[str, str], Object] = {}
    for folder in (ROOT / "deploy/k8s/base", *(ROOT / "deploy/k8s/overlays").iterdir()):
        for item in in_python(folder):
            found.setdefault((item["kind"], item["metadata"]["name"]), item)
    for path in (ROOT / "deploy/k8s/components").rglob("*.yaml"):
        for item in yaml.safe_load_all(path.read_text()):
            if "metadata" in item and len(item.get("spec", {})) > 1:
                found.setdefault((item["kind"], item["metadata"]["name"]), item)
    text = json.dumps(list(found.values()))
    for secret in re.findall(r'"secretKeyRef": {"name": "([\w-]+)"|"secretName": "([\w-]+)"', text):
        found["Secret", "".join(secret)] = {}
    return found


def source(module: str) -> str:
    """Return the source of a module or package; empty if it is not part of this project."""
    path = ROOT / module.replace(".", "/")
    files = [*path.rglob("*.py")] if path.is_dir() else [path.with_suffix(".py")]
    return "".join(file.read_text() for file in files if (ROOT / module.split(".")[0]).is_dir())


def options(words: list[str]) -> set[str]:
    """Return the long options among ``words``."""
    return {found for word in words for found in re.findall(r"^\[?(--[a-z][a-z-]*)", word)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_metrics_are_exposed(name: str) -> None:
    known = exposed()
    for text in prose(name):
        for metric, labels in re.findall(r"\b(headroom_[a-z_]+)(?:\{([^}]*)\})?", text):
            if metric not in OTHERS:
                assert metric in known, metric
                assert {part.split("=")[0] for part in labels.split(",") if part} <= known[metric]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_settings_exist(name: str) -> None:
    composed = re.findall(r"\$\{?(HEADROOM_\w+)", (ROOT / "docker-compose.yml").read_text())
    known = {f"HEADROOM_{field.upper()}" for field in Settings.model_fields} | set(composed)
    assert set(re.findall(r"HEADROOM_[A-Z_]*[A-Z]", page(name))) <= known | OTHERS


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_files_exist(name: str) -> None:
    tops = {path.name for path in ROOT.iterdir()}
    for text in (each for each in prose(name) if not each.startswith("kubectl")):
        for path in re.findall(
            r"(?:^| )((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|sh|sql|lua|acl))\b", text
        ):
            top = path.split("/")[0]
            if top in tops or re.search(r"\.(py|sh|sql|lua|acl)$", path):
                there = any((ROOT / place / path).exists() for place in PLACES)
                assert there or list(ROOT.glob(f"[!.]*/**/{path}")), path


@pytest.mark.parametrize("name", PAGES)
def test_relative_links_and_anchors_resolve(name: str) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page(name), flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"\]\[|^\[[^\]]+\]: ", text, re.MULTILINE), "links are written inline"
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


def test_no_document_is_left_out() -> None:
    """Every Markdown file of the project is one of those that these tests read."""
    hidden = re.compile(r"(^|/)(\.|node_modules/|build/)")
    found = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.md")}
    assert {name for name in found if not hidden.search(name)} == {
        *PAGES,
        "changes/template.md",
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_tests_exist(name: str) -> None:
    """A name may be abbreviated: ``test_too_heavy_body_is_returned_verbatim``."""
    there: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= {path.stem, *re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}
    for start, cut in re.findall(r"\b(test_\w+)(…?)", page(name)):
        assert start in there or (cut and any(t.startswith(start) for t in there)), start


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_pages_are_served(name: str) -> None:
    routes = re.findall(r'add_route\("([^"]+)"', (ROOT / "api/app.py").read_text())
    routes += re.findall(r'"(/v1/[a-z_/]+)": ', (ROOT / "api/proxy/upstream_routes.py").read_text())
    routes.append(f"{TOKEN_PATH}TOKEN/")
    patterns = [re.sub(r"\\{.*\\}", ".+", re.escape(route)) for route in routes]
    mounted = {"/tmp", *re.findall(r":(/\w+)", str(COMPOSE["services"]))}
    for text in prose(name):
        path = re.fullmatch(r"(?:(?:GET|POST) )?(/[\w/.-]*)(\?\S*)?", text)
        if path:
            served = any(re.fullmatch(pattern, path[1]) for pattern in patterns)
            assert served or path[1] in mounted, text


@pytest.mark.parametrize("name", OPERATORS)
def test_documented_ports_are_in_use(name: str) -> None:
    composed = re.findall(r":(\d+)", str([s.get("ports") for s in COMPOSE["services"].values()]))
    manifests = " ".join(p.read_text() for p in (ROOT / "deploy/k8s").rglob("*.yaml"))
    known = {COLLECTOR, Settings.model_fields["port"].default, *map(int, composed)}
    known |= {int(port) for port in re.findall(r"[pP]ort: (\d+)", manifests)}
    known |= {int(re.findall(r":(\d+)", Settings.model_fields["redis_url"].default)[0])}
    assert {int(port) for port in re.findall(r"://[\w.@:-]+:(\d{4,5})\b", page(name))} <= known


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_commands_parse(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(argparse.FileType, "__call__", lambda self, path: path)
    for command, *rest in commands(name, "headroom-farm"):
        assert command in farms(), command
        known, words = farms()[command]
        assert options(rest) <= known, rest
        if rest and words and re.fullmatch(r"[a-z|]+", rest[0]):
            assert set(rest[0].split("|")) <= words, rest
    for line in blocks(name):
        said = re.search(r"(?:^|-- )headroom-farm ([^>]+)", line)
        if said and not re.search(r"[\[|]", line):  # a synopsis is not a command
            parse(shlex.split(said[1]))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_modules_and_targets_take_their_options(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for words in commands(name, "make"):
        assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words
        for given in words[1:]:
            variable, _, value = given.partition("=")
            assert f"$({variable})" in makefile or f"$(if $({variable})" in makefile, given
            recipe = re.search(rf"^{words[0]}:.*\n(?:\t.*\n)*", makefile, re.MULTILINE)
            assert recipe, words
            module = re.search(rf"-m ([\w.]+) \$\({variable}\)", recipe[0])
            for option in options(value.split()):
                assert module, given
                assert f'"{option}"' in source(module[1]), given
    for module, *rest in commands(name, "python -m"):
        if (ROOT / module.split(".")[0]).exists():
            text = source(module)
            assert text, module
            folder = (ROOT / module.replace(".", "/")).parent
            for name in re.findall(r"^from \.(\w+) import", text, re.MULTILINE):
                beside = folder / f"{name}.py"
                text += beside.read_text() if beside.exists() else ""
            assert all(f'"{option}"' in text for option in options(rest)), (module, rest)


def test_load_tests_are_all_documented() -> None:
    folder = ROOT / "loadtest"
    own = {f"`{path.name}`" for path in folder.glob("*.py") if path.stem != "__init__"}
    own |= {f"`{path.parent.name}/`" for path in folder.glob("*/__init__.py")}
    table = page("loadtest/README.md").partition("## Modules")[2]
    assert own == set(re.findall(r"`\w+(?:\.py|/)`", table))


def test_redis_keys_are_made_in_one_place_and_documented() -> None:
    """A name in capitals in the table stands for what the code fills in."""
    made = re.findall(r'f?"(?:\{PREFIX\}|(?=rq:)):?([^"]+)"', (ROOT / "shared/keys.py").read_text())
    filled = [re.sub(r"(?<!\{)\{\w+(?:\.hex\(\))?\}", "*", key) for key in made]
    patterns = {key.replace("{{", "<").replace("}}", ">") for key in filled}
    table = page("docs/architecture.md").partition("## State in Redis")[2].partition("\n## ")[0]
    shown = set(re.findall(r"`(?:farm:|(?=rq:))([^`]+)`", table))
    named = {re.sub(r"[A-Z_]+|\.\.\.", "*", k.replace("{", "<").replace("}", ">")) for k in shown}
    assert {f"{key}*" if key == "rq:job:" else key for key in patterns} == named
    first = {re.split(r"[:*]", key)[0] for key in patterns} - {"rq"}
    elsewhere = rf"""f?["'](?:rq:|farm:(?:{"|".join(map(re.escape, first))})\b)"""
    for module in ("api", "workers", "deploy", "shared"):
        for path in (ROOT / module).rglob("*.py"):
            assert path.name == "keys.py" or not re.search(elsewhere, path.read_text()), path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_deploy_script_takes_documented_options(name: str) -> None:
    script = (ROOT / "deploy/deploy.sh").read_text()
    taken = set(re.findall(r"^        (--[a-z-]+)(?: \| -h)?\)", script, re.MULTILINE))
    (components,) = re.findall(r"^known='(.*)'$", script, re.MULTILINE)
    for words in commands(name, "deploy/deploy.sh"):
        assert options(words) <= taken, words
        given = {words[i + 1] for i, word in enumerate(words) if word == "--with"}
        assert given <= set(components.split()), words


@pytest.mark.parametrize("name", DOCUMENTS)
def test_kubectl_commands_name_existing_objects(name: str) -> None:
    for words in (*commands(name, "kubectl"), *commands(name, "oc")):
        own = words[: words.index("--")] if "--" in words else words
        named = [
            (kind, what)
            for kind, slash, what in (word.partition("/") for word in own)
            if kind in KINDS and slash and "/" not in what
        ]
        for i, word in enumerate(own[:-1]):
            if i and word in KINDS and re.fullmatch(r"[a-z-]+", own[i + 1]):
                named.append((word, own[i + 1]))
        for kind, what in named:
            assert (KINDS[kind], what) in objects(), words
        for flag, value in pairwise(own):
            if flag in ("-c", "--container"):
                workload = objects()[KINDS[named[0][0]], named[0][1]]
                containers = workload["spec"]["template"]["spec"]["containers"]
                assert value in {c["name"] for c in containers}, words
            if flag == "--selector":
                label, _, chosen = value.partition("=")
                assert json.dumps({label: chosen})[1:-1] in json.dumps(list(objects().values()))
            if flag == "--patch":
                _has(objects()[KINDS[named[0][0]], named[0][1]], json.loads(value))
            if flag == "-k":
                assert (ROOT / value / "kustomization.yaml").exists(), words


def _has(item: Object, patch: Object) -> None:
    """Assert that a patch changes existing fields; a misspelt one would be added instead."""
    for field, value in patch.items():
        assert field in item, field
        if isinstance(value, dict):
            _has(item[field], value)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_compose_commands_name_existing_services(name: str) -> None:
    services = COMPOSE["services"]
    profiles = {profile for s in services.values() for profile in s.get("profiles", [])}
    for words in commands(name, "docker compose"):
        for flag, value in pairwise(words):
            assert flag != "--profile" or value in profiles, words
            assert flag != "--scale" or value.split("=")[0] in services, words
            assert flag not in ("exec", "logs", "restart") or value in services, words


def test_checks_find_something_in_documents() -> None:
    """Each kind of name is found somewhere, so that no test above passes vacuously."""
    for program in ("headroom-farm", "kubectl", "docker compose", "make", "python -m"):
        assert sum(len(commands(name, program)) for name in DOCUMENTS) > 3, program
    assert len(commands("docs/runbook.md", "kubectl")) > 40
