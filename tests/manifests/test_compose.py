"""The compose file, the image and the README say only what the code knows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli import parse
from shared.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def _variables() -> set[str]:
    return {f"HEADROOM_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", ["api", "worker-cpu", "worker-gpu"])
def test_a_services_command_is_one_the_command_line_takes(
    compose: dict[str, Any], name: str
) -> None:
    program, *arguments = compose["services"][name]["command"]
    assert program == "headroom-farm"
    parsed = parse(arguments)
    assert parsed.command == name.split("-")[0]
    if name.startswith("worker"):
        assert parsed.pool == name.removeprefix("worker-")


def test_services_wait_for_redis_and_are_given_its_address(compose: dict[str, Any]) -> None:
    for name in ("api", "worker-cpu", "worker-gpu"):
        service = compose["services"][name]
        assert service["depends_on"]["valkey"]["condition"] == "service_healthy"
        assert "HEADROOM_REDIS_PASSWORD" in service["environment"]["HEADROOM_REDIS_URL"]
        assert set(service["environment"]) <= _variables()
        assert service["read_only"] is True
        assert "container_name" not in service  # or it could not be scaled


def test_only_the_front_end_is_published_and_on_loopback(compose: dict[str, Any]) -> None:
    published = {n: s["ports"] for n, s in compose["services"].items() if "ports" in s}
    assert published == {"api": ["127.0.0.1:8788:8788"]}


def test_the_image_has_the_targets_and_copies_the_packages(compose: dict[str, Any]) -> None:
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE))
    used = {s["build"]["target"] for s in compose["services"].values() if "build" in s}
    assert used <= targets
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), path
    default = re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)
    for command in default:
        program, *arguments = yaml.safe_load(command)
        assert program == "headroom-farm"
        parse(arguments)
    version = re.search(r"FROM python:(3\.\d+)", dockerfile)
    assert version
    assert version[1] >= "3.11"


def test_the_readme_lists_every_setting_and_no_other() -> None:
    section = (ROOT / "README.md").read_text().partition("## Settings")[2]
    assert set(re.findall(r"`(HEADROOM_[A-Z_]+)`", section)) == _variables()
    for name in ("deadline_ms", "max_body_bytes", "session_ttl", "queue_max_blocks", "memo_bytes"):
        row = next(r for r in section.splitlines() if f"HEADROOM_{name.upper()}`" in r)
        assert str(Settings.model_fields[name].default) in row


def test_documents_name_files_that_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/books.md"):
        text = (ROOT / document).read_text()
        named = re.findall(r"`((?:api|shared|workers|tests|loadtest|deploy|docs)/[\w./-]+)`", text)
        for path in named:
            assert (ROOT / path).exists(), f"{document} names {path}"
        for command in re.findall(r"^ +headroom-farm (\w+)", text, re.MULTILINE):
            assert command in {"up", "api", "worker", "models", "export", "import", "demo"}


def test_the_wheel_holds_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("api", "workers", "shared", "deploy", "loadtest")
        for path in (ROOT / top).rglob("*.py")
    }
    assert set(listed) == found
