"""The manifests render, validate strictly, and agree with the code and each other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from api.server.drain import drain_limit
from deploy.cli import parse
from shared.settings import Settings

from ..documented import page, setting_names
from .kustomize import Object, identity, in_python, render

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
SCHEMAS = Path(__file__).parent / "schemas"
KUBERNETES = ("1.29", "1.35")
# All components together, in the order of deploy.sh, with either way to run the text pool.
_REST = (
    "monitoring priority model openshift tracing external-redis external-state policy tokens "
    "proxy build"
)
MIXES = {
    "all-gpu": f"gpu keda keda-gpu {_REST}",
    "all-text": f"keda keda-text {_REST}",
}
_PLAIN = re.compile(r"^(v1|[a-z]+/v\d|[a-z.]+\.k8s\.io/v\d)$")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Object]]:
    """Return the objects of base, every overlay and every mix."""
    folders = {"base": K8S / "base", **{f.name: f for f in (K8S / "overlays").iterdir()}}
    for name, components in {**MIXES, "model": "model"}.items():
        folders[name] = _mix(tmp_path_factory.mktemp(name), components.split())
    return {name: render(folder) for name, folder in folders.items()}


def _mix(folder: Path, components: list[str]) -> Path:
    def reach(path: str) -> str:
        return str((K8S / path).relative_to("/").as_posix()).join(
            ["../" * (len(folder.resolve().parts) - 1), ""]
        )

    text = yaml.safe_dump(
        {
            "kind": "Kustomization",
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "namespace": "somewhere",
            "resources": [reach("base")],
            "components": [reach(f"components/{c}") for c in components],
        }
    )
    (folder / "kustomization.yaml").write_text(text)
    return folder


def _everything(rendered: dict[str, list[Object]]) -> Iterator[tuple[str, Object]]:
    for name, objects in rendered.items():
        for item in objects:
            yield name, item


def _pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Yield (workload, pod template)."""
    for item in objects:
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield item["metadata"]["name"], item["spec"]["template"]


def _containers(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    for name, pod in _pods(objects):
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
            yield name, container


def test_every_component_is_rendered_somewhere() -> None:
    used = {c for mix in MIXES.values() for c in mix.split()}
    assert used == {f.name for f in (K8S / "components").iterdir()}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("name", ["base", "openshift", "gpu", "keda", "dev", "proxy", *MIXES])
def test_both_renderers_agree(rendered: dict[str, list[Object]], name: str, tmp_path: Path) -> None:
    folders = {"base": K8S / "base", **{f.name: f for f in (K8S / "overlays").iterdir()}}
    folder = folders.get(name) or _mix(tmp_path, MIXES[name].split())
    ours = sorted(in_python(folder), key=identity)
    theirs = sorted(rendered[name], key=identity)
    assert [identity(item) for item in ours] == [identity(item) for item in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == other


def test_objects_satisfy_the_schemas_of_kubernetes(rendered: dict[str, list[Object]]) -> None:
    seen: set[str] = set()
    for name, item in _everything(rendered):
        text = json.dumps(item)
        if text in seen or (SCHEMAS / f"{item['kind']}.json").exists():
            continue
        seen.add(text)
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{name}: {identity(item)} for {version}: {error.message}")
    assert len(seen) > 20


def test_custom_resources_satisfy_their_schemas(rendered: dict[str, list[Object]]) -> None:
    kinds = set()
    for name, item in _everything(rendered):
        path = SCHEMAS / f"{item['kind']}.json"
        if path.exists():
            kinds.add(item["kind"])
            errors = jsonschema.Draft202012Validator(json.loads(path.read_text())).iter_errors(item)
            for error in errors:
                pytest.fail(f"{name}: {identity(item)}: {error.message}")
        else:
            assert _PLAIN.match(item["apiVersion"]), f"no schema for {item['kind']}"
    assert kinds == {path.stem for path in SCHEMAS.glob("*.json")}


def test_validation_rejects_wrong_object(rendered: dict[str, list[Object]]) -> None:
    """The schemas are strict: an unknown field, a missing one and a wrong type all fail."""
    scaled = next(i for _, i in _everything(rendered) if i["kind"] == "ScaledObject")
    schema = json.loads((SCHEMAS / "ScaledObject.json").read_text())
    for path, value in [("maxReplicas", 3), ("pollingInterval", "10"), ("triggers", [])]:
        wrong = json.loads(json.dumps(scaled))
        wrong["spec"][path] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    deployment = json.loads(
        json.dumps(next(i for _, i in _everything(rendered) if i["kind"] == "Deployment"))
    )
    deployment["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


def test_container_commands_parse(rendered: dict[str, list[Object]]) -> None:
    pools = set()
    for name, container in ((n, c) for o in rendered.values() for n, c in _containers(o)):
        if name == "headroom-redis":
            continue
        program, *arguments = container["command"]
        assert program == "headroom-farm"
        parsed = parse(arguments)
        if parsed.command == "models":
            assert parsed.action == ("pull" if name == "headroom-model" else "check")
            assert "/model" in {m["mountPath"] for m in container["volumeMounts"]}
            continue
        if parsed.command == "worker":
            pools.add((name, parsed.pool))
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container.get(kind, {})
            if "exec" in probe:
                program, *arguments = probe["exec"]["command"]
                assert (program, parse(arguments).command) == ("headroom-farm", "check")
            elif probe:
                assert probe["httpGet"]["path"] in ("/livez", "/readyz")
                assert probe["httpGet"]["port"] == "http"
        assert container["startupProbe"]
        assert container["livenessProbe"]
    assert pools == {
        ("headroom-worker-cpu", "cpu"),
        ("headroom-worker-text", "gpu"),
        ("headroom-worker-gpu", "gpu"),
    }


def test_settings_exist_and_secrets_are_hidden(
    rendered: dict[str, list[Object]],
) -> None:
    known = setting_names()
    secret = re.compile("PASSWORD$|DSN$|(?<!_TARGET_API_)URL$|TOKEN$")
    for name, item in _everything(rendered):
        if item["kind"] == "ConfigMap":
            assert set(item["data"]) <= known
            assert not [n for n in item["data"] if secret.search(n)]
            _settings(objects=[item])
        assert item["kind"] != "Secret", f"{name} carries a secret"
    for container in (c for objects in rendered.values() for _, c in _containers(objects)):
        for variable in container.get("env", []):
            assert variable["name"] in known | {"HF_TOKEN"}  # the hub library's own
            hidden = "secretKeyRef" in variable.get("valueFrom", {})
            assert hidden == bool(secret.search(variable["name"]))


def _secrets(value: Any) -> Iterator[str]:
    """Yield the Secrets without which an object, or a part of one, does not work."""
    if isinstance(value, list):
        for item in value:
            yield from _secrets(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "secret":
                yield item["secretName"]
            elif name in ("secretKeyRef", "credentials") and not item.get("optional"):
                yield item["name"]
            elif name == "secretTargetRef":
                yield from (one["name"] for one in item)
            else:
                yield from _secrets(item)


def test_documents_secrets_and_operators_of_each_overlay(rendered: dict[str, list[Object]]) -> None:
    operators = {
        "Route": "OpenShift's Routes",
        "ServiceMonitor": "the Prometheus operator",
        "ScaledObject": "KEDA",
    }
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|(.*?)\|$", page("docs/deploy.md"), re.MULTILINE)
    needs = {name: (secrets, operator) for name, secrets, operator in rows}
    assert {folder.name for folder in (K8S / "overlays").iterdir()} <= set(needs)
    for name in (folder.name for folder in (K8S / "overlays").iterdir()):
        secrets, operator = needs[name]
        assert set(re.findall(r"`(headroom-\w+)`", secrets)) == set(_secrets(rendered[name])), name
        kinds = {item["kind"] for item in rendered[name]}
        for kind, said in operators.items():
            assert (kind in kinds) == (said in operator), name


def _settings(objects: list[Object]) -> Settings:
    (item,) = [i for i in objects if i["kind"] == "ConfigMap"]
    return Settings.model_validate(
        {n.removeprefix("HEADROOM_").lower(): v for n, v in item["data"].items()}
    )


def test_every_container_is_locked_down(rendered: dict[str, list[Object]]) -> None:
    for objects in rendered.values():
        for name, pod in _pods(objects):
            spec = pod["spec"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert spec["automountServiceAccountToken"] is False
            begins = spec.get("initContainers", [])
            for container in [*spec["containers"], *begins]:
                context = container["securityContext"]
                assert context["readOnlyRootFilesystem"] is True, name
                assert context["allowPrivilegeEscalation"] is False
                assert context["capabilities"] == {"drop": ["ALL"]}
                assert "/tmp" in {m["mountPath"] for m in container["volumeMounts"]}
                mounted = {m["name"] for m in container["volumeMounts"]}
                claims = {"headroom-redis": {"data"}, "headroom-api": {"ledger"}}.get(name, set())
                volumes = {v["name"] for v in spec["volumes"]} | claims
                assert mounted < volumes if container in begins else mounted == volumes
                assert container["resources"]["requests"]["cpu"]
                assert container["resources"]["requests"]["memory"]


def test_leaves_user_ids_to_openshift(rendered: dict[str, list[Object]]) -> None:
    for name in ("openshift", "proxy", *MIXES):
        text = json.dumps(rendered[name])
        assert "runAsUser" not in text
        assert "fsGroup" not in text
    assert "runAsUser" in json.dumps(rendered["base"])  # for valkey, whose image starts as root


def test_pods_may_write_to_their_volumes(rendered: dict[str, list[Object]]) -> None:
    """A new volume belongs to root; a pod of another user writes to it through its group."""
    writers = set()
    for name, objects in rendered.items():
        if any(item["kind"] == "Route" for item in objects):
            continue  # OpenShift chooses user and group
        claims = {
            item["metadata"]["name"]: {
                claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])
            }
            for item in objects
            if item["kind"] in ("Deployment", "StatefulSet", "Job")
        }
        for workload, pod in _pods(objects):
            spec = pod["spec"]
            persistent = claims[workload] | {
                volume["name"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume
            }
            mounts = [m for c in spec["containers"] for m in c["volumeMounts"]]
            if any(m["name"] in persistent and not m.get("readOnly") for m in mounts):
                writers.add(workload)
                assert spec["securityContext"].get("fsGroup"), f"{name}: {workload}"
    assert writers == {"headroom-redis", "headroom-api", "headroom-model"}


def test_grace_period_exceeds_deadline(rendered: dict[str, list[Object]]) -> None:
    for objects in rendered.values():
        settings = _settings(objects)
        deadline = settings.deadline_ms / 1000
        for name, pod in _pods(objects):
            needed = deadline + 2
            if name == "headroom-api":
                stop = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
                needed = drain_limit(settings) + int(stop[1])
            assert pod["spec"]["terminationGracePeriodSeconds"] > needed, name
        for route in (i for i in objects if i["kind"] == "Route"):
            limit = route["metadata"]["annotations"]["haproxy.router.openshift.io/timeout"]
            silent = settings.upstream_idle_seconds if settings.proxies else 0
            assert int(limit.removesuffix("s")) > deadline + silent


def test_only_proxy_reaches_a_provider(rendered: dict[str, list[Object]]) -> None:
    assert {n for n, objects in rendered.items() if _settings(objects).proxies} == {
        "proxy",
        *MIXES,
    }
    for name, objects in rendered.items():
        pods = [pod["metadata"]["labels"] for _, pod in _pods(objects)]
        open_to = [
            labels["app.kubernetes.io/name"]
            for item in objects
            if item["kind"] == "NetworkPolicy"
            for rule in item["spec"].get("egress", [])
            if "to" not in rule and {"port": 443} in rule["ports"]
            for labels in _matching(pods, item["spec"]["podSelector"])
            if labels["app.kubernetes.io/name"] != "headroom-model"
        ]
        assert open_to == (["headroom-api"] if _settings(objects).proxies else []), name


def test_selectors_references_and_targets_exist(rendered: dict[str, list[Object]]) -> None:
    for name, objects in rendered.items():
        pods = [pod["metadata"]["labels"] for _, pod in _pods(objects)]
        workloads = {workload for workload, _ in _pods(objects)}
        scaled = {
            i["metadata"]["name"]: i["spec"]
            for i in objects
            if i["kind"] in ("Deployment", "StatefulSet")
        }
        for item in objects:
            spec = item.get("spec", {})
            if item["kind"] == "Service":
                assert _matching(pods, {"matchLabels": spec["selector"]}), identity(item)
            if item["kind"] in ("PodDisruptionBudget", "Deployment", "StatefulSet"):
                assert _matching(pods, spec["selector"]), (name, identity(item))
            if item["kind"] == "NetworkPolicy":
                assert _matching(pods, spec["podSelector"]), (name, identity(item))
            if item["kind"] in ("ScaledObject", "HorizontalPodAutoscaler"):
                assert spec["scaleTargetRef"]["name"] in workloads
                assert "replicas" not in scaled[spec["scaleTargetRef"]["name"]]
            if item["kind"] == "ServiceMonitor":
                labels = [i["metadata"]["labels"] for i in objects if i["kind"] == "Service"]
                assert _matching(labels, spec["selector"])


def _matching(labels: list[Object], selector: Object) -> list[Object]:
    def fits(one: Object) -> bool:
        wanted = selector.get("matchLabels", {}).items() <= one.items()
        return wanted and all(
            one.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
        )

    return [one for one in labels if fits(one)]


def test_each_pool_has_one_autoscaler(
    rendered: dict[str, list[Object]],
) -> None:
    for name, objects in rendered.items():
        scaled = [
            i["spec"]["scaleTargetRef"]["name"]
            for i in objects
            if i["kind"] in ("ScaledObject", "HorizontalPodAutoscaler")
        ]
        assert len(scaled) == len(set(scaled)), name
        text = {w for w, _ in _pods(objects)} & {"headroom-worker-text", "headroom-worker-gpu"}
        assert len(text) == 1, name
        if name != "dev":
            assert {"headroom-api", "headroom-worker-cpu"} <= set(scaled)


def test_keda_scales_by_depth_and_age(rendered: dict[str, list[Object]]) -> None:
    pools = {
        "headroom-worker-cpu": "cpu",
        "headroom-worker-text": "gpu",
        "headroom-worker-gpu": "gpu",
    }
    found = set()
    for _, item in _everything(rendered):
        if item["kind"] != "ScaledObject":
            continue
        target = item["spec"]["scaleTargetRef"]["name"]
        found.add(target)
        asked = [t["metadata"]["valueLocation"] for t in item["spec"]["triggers"]]
        pool = pools[target]
        assert asked == [
            f'headroom_queue_depth{{pool="{pool}"}}',
            f'headroom_queue_oldest_seconds{{pool="{pool}"}}',
        ]
        for trigger in item["spec"]["triggers"]:
            assert (
                trigger["metadata"]["url"] == "http://headroom-api.headroom-farm.svc:8788/metrics"
            )
    assert found == set(pools)


def test_pools_have_priority_and_text_workers_model(
    rendered: dict[str, list[Object]],
) -> None:
    for name in MIXES:
        pods = dict(_pods(rendered[name]))
        for workload, pod in pods.items():
            wanted = {"headroom-api": "front", "headroom-model": ""}.get(workload, "worker")
            given = pod["spec"].get("priorityClassName", "")
            assert given == (f"headroom-farm-{wanted}" if wanted else ""), workload
            if workload in ("headroom-worker-text", "headroom-worker-gpu"):
                (worker,) = pod["spec"]["containers"]
                assert {"name": "HEADROOM_MODEL_DIR", "value": "/model"} in worker["env"]
                (claim,) = [v for v in pod["spec"]["volumes"] if v["name"] == "model"]
                assert ("PersistentVolumeClaim", claim["persistentVolumeClaim"]["claimName"]) in {
                    identity(item)[1:] for item in rendered[name]
                }
        assert "headroom-model" in pods


def test_network_policies_allow_external_services(rendered: dict[str, list[Object]]) -> None:
    """The ports of the collector and of an external Redis are open, for the farm's own pods."""
    for name in MIXES:
        policies = {
            i["metadata"]["name"]: i["spec"] for i in rendered[name] if i["kind"] == "NetworkPolicy"
        }
        for policy, ports in [
            ("headroom-tracing", {4318}),
            ("headroom-external-state", {6379, 6380, 26379}),
            ("headroom-model", {443}),
            ("headroom-proxy", {443}),
        ]:
            (rule,) = policies[policy]["egress"]
            assert {port["port"] for port in rule["ports"]} == ports
        (job,) = [i["spec"]["template"] for i in rendered[name] if i["kind"] == "Job"]
        fetches = policies["headroom-model"]["podSelector"]
        pods = [pod["metadata"]["labels"] for _, pod in _pods(rendered[name])]
        assert _matching(pods, fetches) == [job["metadata"]["labels"]]  # nobody else
        reaching = {p for p, s in policies.items() if "443" in json.dumps(s)}
        assert reaching == {"headroom-model", "headroom-proxy"}


def test_external_redis_replaces_bundled_redis(rendered: dict[str, list[Object]]) -> None:
    for name in MIXES:
        kinds = {identity(i)[1:] for i in rendered[name]}
        for kind in ("StatefulSet", "Service", "NetworkPolicy"):
            assert (kind, "headroom-redis") not in kinds


def test_operator_rules_equal_prometheus_rules() -> None:
    plain = yaml.safe_load((ROOT / "deploy/grafana/alerts.yaml").read_text())
    wrapped = yaml.safe_load((K8S / "components/monitoring/rules.yaml").read_text())
    assert wrapped["spec"] == plain


def test_valkey_starts_as_in_compose(rendered: dict[str, list[Object]]) -> None:
    compose: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    valkey = compose["services"]["valkey"]
    container = next(c for n, c in _containers(rendered["base"]) if n == "headroom-redis")
    assert container["command"] == [part.replace("$$", "$") for part in valkey["command"]]
    assert container["image"] == valkey["image"]


def test_journal_outlives_its_pod_and_node(rendered: dict[str, list[Object]]) -> None:
    for name, objects in rendered.items():
        (front,) = [
            item
            for item in objects
            if item["metadata"]["name"] == "headroom-api" and "template" in item.get("spec", {})
        ]
        pod = front["spec"]["template"]["spec"]
        mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
        claims = {c["metadata"]["name"]: c for c in front["spec"].get("volumeClaimTemplates", [])}
        assert mounts["/data"] in claims, f"{name}: the journal is lost with its node"
        assert front["spec"].get("persistentVolumeClaimRetentionPolicy", {}).get("whenScaled") in (
            None,
            "Retain",
        ), "a pod that was scaled away leaves what it could not write"
