"""``deploy/deploy.sh`` run again with other options: what they leave out goes, passwords stay."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from .cluster import Cluster, objects_in

IMAGES = ["--images", "r", "--skip-smoke"]
# Command lines that differ in what they add to the farm; {file} is a file with a secret.
CHOICES = [
    "",
    "--with keda",
    "--with gpu",
    "--with keda --with gpu",
    "--with openshift --with monitoring --with priority",
    "--with model --hub-token-file {file}",
    "--redis-url-file {file} --state-url-file {file}",
    "--policy-file {file}",
    "--tokens-file {file} --pricing-dsn-file {file}",
    "--set HEADROOM_OTEL_ENDPOINT=http://collector:4318",
    "--mode proxy --maas-url https://maas.example",
]
# Their data or other farms may need them.
KEPT = {"PersistentVolumeClaim", "PriorityClass"}


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def arguments(cluster: Cluster, choice: str) -> list[str]:
    secret = cluster.folder / "secret"
    secret.write_text("hush")
    return [*IMAGES, *choice.format(file=secret).split()]


def gone(cluster: Cluster) -> Iterator[str]:
    """Yield the objects that were deleted, as kind/name."""
    for line in cluster.asked(" delete "):
        (deleted,) = [part for part in line.split() if "/" in part]
        assert line.endswith("--ignore-not-found")
        yield plain(deleted)


def plain(named: str) -> str:
    """Return an object's kind/name without the group of its kind."""
    kind, _, name = named.partition("/")
    return f"{kind.partition('.')[0]}/{name}"


def test_deletes_what_other_options_had_added(cluster: Cluster) -> None:
    made: dict[str, set[str]] = {}
    deleted: dict[str, set[str]] = {}
    for choice in CHOICES:
        printed = cluster.run(*arguments(cluster, choice), "--dry-run")
        objects = {k for k in objects_in(printed.stdout) if k[0] not in KEPT}
        made[choice] = {f"{kind.lower()}/{name}" for kind, name in objects}
        done = cluster.run(*arguments(cluster, choice))
        assert done.returncode == 0, done.stderr
        deleted[choice] = set(gone(cluster))
        announced = printed.stderr.partition("if they exist: ")[2].split()
        assert set(map(plain, announced)) == deleted[choice]
    for first, then in permutations(CHOICES, 2):
        assert made[first] - made[then] <= deleted[then], f"{first!r}, then {then!r}"
    for choice in CHOICES:
        again = deleted[choice] & made[choice]
        assert again == ({"job/headroom-model"} if "model" in choice else set())


def test_deletes_autoscalers_first_and_workers_last(cluster: Cluster) -> None:
    cluster.run(*arguments(cluster, "--with keda --with gpu"))
    lines = [line for line, _ in cluster.calls]

    def place(part: str) -> int:
        return next(i for i, line in enumerate(lines) if part in line)

    applied, ready = place("objects.yaml"), place("rollout status deployment/headroom-worker-gpu")
    for pool in ("cpu", "text"):
        assert place(f"delete horizontalpodautoscaler/headroom-worker-{pool}") < applied
    assert place("delete scaledobject.keda.sh/headroom-worker-text") < applied
    assert place("delete deployment/headroom-worker-text") > ready
    assert not cluster.asked("delete horizontalpodautoscaler/headroom-api")


def test_restarts_parts_that_read_a_deleted_secret(cluster: Cluster) -> None:
    said = 'secret "headroom-state" deleted'
    there = [("get secret", 0, "c2VjcmV0"), ("delete secret/headroom-state", 0, said)]
    assert cluster.run(*IMAGES, world=there).returncode == 0
    lines = [line for line, _ in cluster.calls]
    (deleted,) = cluster.asked("delete secret/headroom-state")
    (restarted,) = cluster.asked("rollout restart")
    assert lines.index(deleted) < lines.index(restarted)


def test_leaves_kinds_alone_that_the_cluster_lacks_or_forbids(cluster: Cluster) -> None:
    lacks = [("--api-group=keda.sh", 1, ""), ("--api-group=monitoring", 1, "")]
    assert cluster.run(*IMAGES, world=lacks).returncode == 0
    assert not cluster.asked("delete scaledobject")
    assert not cluster.asked("delete servicemonitor")
    assert cluster.asked("delete route")
    done = cluster.run(*IMAGES, world=[("delete servicemonitor", 1, "")])
    assert done.returncode == 0
    assert "servicemonitor.monitoring.coreos.com/headroom-api may not be deleted" in done.stderr


def test_replaces_secret_of_an_external_redis(cluster: Cluster) -> None:
    """It has no password, without which the Redis of the manifests cannot start."""
    world = [
        ("jsonpath={.data.password}", 0, ""),
        ("get secret", 0, "c2VjcmV0"),
        ("secret.yaml", 0, "secret/headroom-redis configured"),
    ]
    assert cluster.run(*IMAGES, world=world).returncode == 0
    secret = cluster.sent("create secret generic headroom-redis")
    assert secret["url"] == "redis://headroom-redis:6379/0"
    assert len(secret["password"]) == 48
    (restarted,) = cluster.asked("rollout restart")
    assert "statefulset/headroom-redis" in restarted
