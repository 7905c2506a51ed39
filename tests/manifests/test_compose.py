"""The compose file, the image and the README agree with the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

from deploy.check import check_farm
from deploy.cli import parse
from deploy.demo import demo
from shared.settings import Settings

from ..documented import setting_names
from ..farm import until
from .composed import Composed, interpolated, local_commands

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
LOCAL = local_commands()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


PARTS = ("api", "worker-cpu", "worker-text", "worker-gpu")


def _stages() -> dict[str, str]:
    """Return the text of the image's stages by name."""
    text = (ROOT / "deploy/docker/Dockerfile").read_text()
    found = re.split(r"^FROM (\S+) AS (\S+)$", text, flags=re.MULTILINE)
    return {found[i + 1]: found[i + 2] for i in range(1, len(found), 3)}


@pytest.mark.parametrize("name", PARTS)
def test_service_commands_parse(compose: dict[str, Any], name: str) -> None:
    program, *arguments = compose["services"][name]["command"]
    assert program == "headroom-farm"
    parsed = parse(arguments)
    assert parsed.command == name.split("-")[0]
    if name.startswith("worker"):
        assert parsed.pool == {"worker-cpu": "cpu"}.get(name, "gpu")


def test_services_depend_on_redis_and_know_it(compose: dict[str, Any]) -> None:
    for name in PARTS:
        service = compose["services"][name]
        assert service["depends_on"]["valkey"]["condition"] == "service_healthy"
        assert set(service["environment"]) <= setting_names()
        assert service["environment"]["HEADROOM_REDIS_URL"] == "redis://valkey:6379/0"
        secret = service["environment"]["HEADROOM_REDIS_PASSWORD_FILE"]
        assert secret.removeprefix("/run/secrets/") in service["secrets"]
        assert int(service["stop_grace_period"].removesuffix("s")) > 8 + 2  # deadline, server


def test_services_are_scalable_and_locked_down(compose: dict[str, Any]) -> None:
    for name in (*PARTS, "valkey"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "container_name" not in service
        assert service["healthcheck"]
        if name.startswith("worker"):
            assert "ports" not in service
            program, *arguments = service["healthcheck"]["test"][1:]
            assert (program, parse(arguments).part) == ("headroom-farm", "worker")


def test_publishes_ports_only_on_loopback(compose: dict[str, Any]) -> None:
    published = {n: s["ports"] for n, s in compose["services"].items() if "ports" in s}
    assert set(published) == {"api", "prometheus", "grafana"}
    for name, ports in published.items():
        assert all(port.startswith("127.0.0.1:") for port in ports), name


def test_profiles_match_the_documents(compose: dict[str, Any]) -> None:
    profiles = {n: s["profiles"] for n, s in compose["services"].items() if "profiles" in s}
    assert profiles == {
        "worker-gpu": ["gpu"],
        "postgres": ["metering"],
        "prometheus": ["monitoring"],
        "grafana": ["monitoring"],
    }


def test_mounted_files_and_volumes_exist(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = interpolated(volume, {}).split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
            else:
                assert source in compose["volumes"], f"{name} uses {source}"


@pytest.mark.parametrize("name", ["policy", "tokens"])
def test_mounts_policy_and_tokens_if_given(compose: dict[str, Any], name: str) -> None:
    variable, setting = f"HEADROOM_{name.upper()}", f"HEADROOM_{name.upper()}_FILE"
    service = compose["services"]["api"]
    assert interpolated(service["environment"][setting], {}) == ""
    file = interpolated(service["environment"][setting], {variable: "./own"})
    mounts = [interpolated(volume, {variable: "./own"}) for volume in service["volumes"]]
    assert f"./own:{Path(file).parent}:ro" in mounts
    rendered = (ROOT / f"deploy/k8s/components/{name}/api.yaml").read_text()
    assert f"value: {file}" in rendered  # the same path as on Kubernetes
    assert f"{variable}=" in (ROOT / "docs/deploy.md").read_text()


def test_docker_accepts_compose_file() -> None:
    asked = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("no docker compose here")
    command = ["docker", "compose", "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_image_has_build_targets_and_copied_files(compose: dict[str, Any]) -> None:
    stages = _stages()
    used = {s["build"]["target"] for s in compose["services"].values() if "build" in s}
    assert used == {"api", "worker-cpu", "worker-gpu"} <= set(stages)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for text in stages.values():
        for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
            for path in source.split():
                assert (ROOT / path).exists(), path
                assert f"!{path.split('/')[0]}" in ignored, f"{path} does not reach the builder"
        for source in re.findall(r"^COPY --from=(\S+)", text, re.MULTILINE):
            assert source in stages
    for package in ("api", "workers", "shared", "deploy", "loadtest"):
        assert f"COPY {package} {package}\n" in stages["source"]


@pytest.mark.parametrize("name", ["api", "worker-cpu", "worker-gpu"])
def test_image_command_equals_composes_and_local_runners(
    compose: dict[str, Any], name: str
) -> None:
    stage = _stages()[name]
    default = yaml.safe_load(re.findall(r"^CMD (\[.*\])$", stage, re.MULTILINE)[0])
    assert default == compose["services"][name]["command"]
    assert default in LOCAL
    health = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", stage, re.MULTILINE)
    assert health
    assert yaml.safe_load(health[1]) == compose["services"][name]["healthcheck"]["test"][1:]
    variables = re.findall(r"(HEADROOM_[A-Z_]+)=", stage + _stages()["base"])
    assert set(variables) <= setting_names()


def test_image_installs_only_its_extras() -> None:
    stages = _stages()
    for name, extras in [("api", "otel"), ("worker-cpu", "cpu,otel"), ("worker-gpu", "gpu,otel")]:
        assert f"pip install -c constraints.txt '.[{extras}]'" in stages[f"build-{name}"]
        assert f"COPY --from=build-{name} /venv /venv" in stages[name]


def test_pins_satisfy_project_requirements() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["otel"], *extras["cpu"], *extras["gpu"]]
    lines = (ROOT / "deploy/docker/constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for line in wanted:
        requirement = Requirement(line)
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), line


def test_image_pulls_model_with_token_secret() -> None:
    stage = _stages()["model-pulled"]
    assert "--mount=type=secret,id=hub_token" in stage
    assert "ARG HUB" not in stage  # an argument would stay in the image's history
    parsed = parse(["models", "pull", "--into", "/model", "--token-file", "/run/secrets/hub_token"])
    assert parsed.token_file == Path("/run/secrets/hub_token")
    for part in ("models pull --into /model", "--token-file", "models check /model"):
        assert part in stage


def test_images_are_pinned(compose: dict[str, Any]) -> None:
    images = [s["image"] for s in compose["services"].values() if "image" in s]
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text()
    images += re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    for image in images:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)?(-\w+)?$", image), image


def test_prometheus_and_grafana_settings_match_services(compose: dict[str, Any]) -> None:
    services = compose["services"]
    scrape = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    mounted = {v.split(":")[1]: v.split(":")[0] for v in services["prometheus"]["volumes"]}
    assert set(scrape["rule_files"]) <= set(mounted)
    (job,) = scrape["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) <= set(services)
    assert found["port"] == Settings.model_fields["port"].default
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning/dashboards/headroom-farm.yaml").read_text()
    )["providers"]
    boards = [v.split(":")[1] for v in services["grafana"]["volumes"]]
    assert any(board.startswith(provider["options"]["path"]) for board in boards)


def test_compose_commands_start_a_farm(compose: dict[str, Any], tmp_path: Path) -> None:
    """Run Valkey, the front end and the workers as Compose would, but as local processes."""
    farm = Composed(compose["services"], tmp_path)
    try:
        valkey = farm.start("valkey")
        until("valkey is healthy", lambda: farm.healthy("valkey"))
        workers = [farm.start(name) for name in ("worker-cpu", "worker-cpu", "worker-text")]
        farm.start("api")
        until("the front end is healthy", lambda: farm.healthy("api"))
        until("a worker is healthy", lambda: farm.healthy("worker-cpu"))
        check_farm(farm.url, provider=None, seconds=60)
        until("both cpu workers", lambda: farm.checks()["cpu_workers"] == 2)
        demo(farm.url)
        assert valkey.alive
        assert "requirepass" not in valkey.line
        assert farm.password not in "".join(w.line for w in [valkey, *workers])
    finally:
        farm.stop()


def test_readme_lists_exactly_the_settings() -> None:
    section = (ROOT / "README.md").read_text().partition("## Configuration")[2]
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", section)) == setting_names()
    for name in ("deadline_ms", "max_body_bytes", "session_ttl", "queue_max_blocks", "memo_bytes"):
        row = next(r for r in section.splitlines() if f"HEADROOM_{name.upper()}`" in r)
        assert str(Settings.model_fields[name].default) in row


def test_wheel_holds_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packed = find_packages(str(ROOT), include=project["packages"]["find"]["include"])
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("api", "workers", "shared", "deploy", "loadtest")
        for path in (ROOT / top).rglob("*.py")
    }
    assert set(packed) == found
