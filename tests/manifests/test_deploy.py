"""``deploy/deploy.sh`` against a recording stand-in for ``oc`` and ``kubectl``: every branch."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from deploy.cli import parse
from shared.settings import Settings

from .cluster import ROOT, SCRIPT, Cluster, objects_in


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def _file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_deploys_working_farm_into_empty_namespace(cluster: Cluster) -> None:
    done = cluster.run("--images", "reg/team/", "--tag", "v7", "--client", "gateway")
    assert done.returncode == 0, done.stderr
    assert "compresses" in done.stderr
    assert cluster.asked("create namespace headroom-farm")
    assert cluster.asked("label namespace gateway headroom-farm/client=true --overwrite")
    secret = cluster.sent("create secret generic headroom-redis")
    assert secret["url"] == "redis://headroom-redis:6379/0"
    assert re.fullmatch("[0-9a-f]{48}", secret["password"])
    applied = objects_in(cluster.sent("objects.yaml")["applied"])
    image = applied["StatefulSet", "headroom-api"]["spec"]["template"]["spec"]["containers"][0]
    assert image["image"] == "reg/team/headroom-farm-api:v7"
    assert ("StatefulSet", "headroom-redis") in applied
    waited = [line.split()[4] for line in cluster.asked("rollout status")]
    assert waited[0] == "statefulset/headroom-redis"
    assert set(waited[1:]) == {
        "statefulset/headroom-api",
        "deployment/headroom-worker-cpu",
        "deployment/headroom-worker-text",
    }
    assert not cluster.asked("rollout restart")
    # The command line accepts every command that is run in containers.
    inside = [line.split("-- headroom-farm ")[1] for line in cluster.asked("-- headroom-farm ")]
    assert [parse(line.split()).command for line in inside] == ["check", "bypass", "demo"]
    assert not list(cluster.folder.glob("tmp.*"))  # its temporary files, with passwords, are gone


def test_second_deploy_keeps_passwords(cluster: Cluster) -> None:
    there = [("get namespace", 0, ""), ("get secret", 0, "c2VjcmV0")]
    same = ("objects.yaml", 0, "configmap/headroom-settings unchanged")
    assert cluster.run("--images", "r", world=[*there, same]).returncode == 0
    assert not cluster.asked("create namespace")
    assert not cluster.asked("create secret")
    assert not cluster.asked("rollout restart")
    other = ("objects.yaml", 0, "configmap/headroom-settings configured")
    done = cluster.run(
        "--images", "r", "--set", "HEADROOM_DEADLINE_MS=7000", "--set", "HEADROOM_LOG_LEVEL=it's",
        world=[*there, other],
    )  # fmt: skip
    assert done.returncode == 0
    settings = objects_in(cluster.sent("objects.yaml")["applied"])["ConfigMap", "headroom-settings"]
    assert settings["data"]["HEADROOM_DEADLINE_MS"] == "7000"
    assert settings["data"]["HEADROOM_LOG_LEVEL"] == "it's"
    (restart,) = cluster.asked("rollout restart")
    assert "redis" not in restart


def test_secrets_appear_on_no_command_line(cluster: Cluster, tmp_path: Path) -> None:
    files = {
        name: _file(tmp_path, name, f"hush-{name}")
        for name in ("redis-url", "tokens", "metrics-token", "smoke-token", "pricing-dsn")
    }
    options = [part for name, path in files.items() for part in (f"--{name}-file", path)]
    done = cluster.run("--images", "r", "--with", "monitoring", *options)
    assert done.returncode == 0, done.stderr
    for name, key, said in [
        ("headroom-redis", "url", "redis-url"),
        ("headroom-tokens", "tokens.json", "tokens"),
        ("headroom-metrics", "token", "metrics-token"),
        ("headroom-pricing", "dsn", "pricing-dsn"),
    ]:
        assert cluster.sent(f"create secret generic {name}")[key] == f"hush-{said}"
    assert "password" not in cluster.sent("create secret generic headroom-redis")
    assert cluster.sent("demo")["stdin"] == "hush-smoke-token"
    assert "--token-file -" in cluster.asked("demo")[0]
    lines = "".join(line for line, _ in cluster.calls) + done.stdout + done.stderr
    assert "hush" not in lines
    applied = objects_in(cluster.sent("objects.yaml")["applied"])
    assert ("StatefulSet", "headroom-redis") not in applied
    assert not cluster.asked("rollout status statefulset/headroom-redis")
    variables = applied["StatefulSet", "headroom-api"]["spec"]["template"]["spec"]["containers"][0]
    assert "HEADROOM_TOKENS_FILE" in {v["name"] for v in variables["env"]}


def test_deploys_with_external_state_collector_and_model(cluster: Cluster, tmp_path: Path) -> None:
    url, hub = _file(tmp_path, "state", "hush-state"), _file(tmp_path, "hub", "hush-hub")
    there = [("get secret", 0, "c2VjcmV0")]
    done = cluster.run(
        *IMAGES, "--state-url-file", url, "--set", "HEADROOM_OTEL_ENDPOINT=http://collector:4318",
        "--with", "model", "--hub-token-file", hub, world=there,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cluster.sent("create secret generic headroom-state")["url"] == "hush-state"
    assert cluster.sent("create secret generic headroom-hub")["token"] == "hush-hub"
    assert not cluster.asked("generic headroom-redis")  # its password stays as it was
    lines = [line for line, _ in cluster.calls]
    (deleted,) = cluster.asked("delete job/headroom-model --ignore-not-found")
    assert lines.index(deleted) < lines.index(cluster.asked("objects.yaml")[0])
    applied = objects_in(cluster.sent("objects.yaml")["applied"])
    for name in ("headroom-tracing", "headroom-external-state", "headroom-model"):
        assert ("NetworkPolicy", name) in applied
    assert ("StatefulSet", "headroom-redis") in applied
    job = applied["Job", "headroom-model"]["spec"]["template"]["spec"]["containers"][0]
    assert job["image"] == "r/headroom-farm-worker-cpu:latest"
    variables = applied["StatefulSet", "headroom-api"]["spec"]["template"]["spec"]["containers"][0]
    (state,) = [v for v in variables["env"] if v["name"] == "HEADROOM_STATE_URL"]
    assert state["valueFrom"]["secretKeyRef"]["name"] == "headroom-state"


def test_deploys_images_built_on_openshift(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, "oc")
    token = _file(tmp_path, "hub", "hush-hub")
    done = cluster.run(
        "--build", "--model", "pulled", "--hub-token-file", token, "--namespace", "mine",
        "--with", "gpu", "--with", "openshift", "--with", "keda", "--with", "priority",
        "--timeout", "30",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert cluster.sent("create secret generic headroom-hub")["token"] == "hush-hub"
    builds = cluster.asked("start-build")
    assert [line.split()[3] for line in builds] == [
        f"headroom-farm-{part}" for part in ("api", "worker-cpu", "worker-gpu")
    ]
    assert all("--build-arg=MODEL=pulled --follow --wait" in line for line in builds)
    text = cluster.sent("objects.yaml")["applied"]
    applied = objects_in(text)
    worker = applied["Deployment", "headroom-worker-gpu"]["spec"]["template"]["spec"]
    assert worker["containers"][0]["image"] == "registry.example/farm/image@sha256:abc"
    assert ("Deployment", "headroom-worker-text") not in applied
    assert ("ScaledObject", "headroom-worker-gpu") in applied
    assert ("Route", "headroom-api") in applied
    assert "http://headroom-api.mine.svc:8788/metrics" in text
    assert "headroom-farm.svc" not in text
    assert all("--timeout=30s" in line for line in cluster.asked("rollout status"))
    assert "--provider cuda" in cluster.asked("check farm")[0]
    assert "deployment/headroom-worker-gpu" in cluster.asked("models check /model")[0]


def test_deploys_policy_file_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    text = "  # it's indented\n[[rule]]\n\nname = 'ops: \"$HOME\"'\n  mode = 'off'"
    done = cluster.run(*IMAGES, "--policy-file", _file(tmp_path, "policy", text))
    assert done.returncode == 0, done.stderr
    applied = objects_in(cluster.sent("objects.yaml")["applied"])
    (key,) = data = applied["ConfigMap", "headroom-policy"]["data"]
    assert data[key].rstrip("\n") == text
    pod = applied["StatefulSet", "headroom-api"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (file,) = [v["value"] for v in container["env"] if v["name"] == "HEADROOM_POLICY_FILE"]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "policy"]
    assert "subPath" not in mount
    assert file == f"{mount['mountPath']}/{key}"
    assert f"policy check {file}" in (ROOT / "docs/runbook.md").read_text()


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://maas.example/it's/$HOME/v1", 443),
        ("http://maas.models.svc", 80),
        ("https://[fd00::1]:08443/", 8443),
    ],
)
def test_deploys_proxy_to_given_provider(cluster: Cluster, url: str, port: int) -> None:
    done = cluster.run(
        *IMAGES, *PROXY, url, "--with", "openshift", "--set", "HEADROOM_LOG_LEVEL=debug"
    )
    assert done.returncode == 0, done.stderr
    applied = objects_in(cluster.sent("objects.yaml")["applied"])
    data = applied["ConfigMap", "headroom-settings"]["data"]
    assert data["HEADROOM_LOG_LEVEL"] == "debug"
    settings = Settings.model_validate(
        {name.removeprefix("HEADROOM_").lower(): value for name, value in data.items()}
    )
    assert (settings.anthropic_target_api_url, settings.openai_target_api_url) == (url, url)
    assert applied["NetworkPolicy", "headroom-proxy"]["spec"]["egress"] == [
        {"ports": [{"port": port}]}
    ]
    timeout = applied["Route", "headroom-api"]["metadata"]["annotations"]
    assert timeout == {"haproxy.router.openshift.io/timeout": "630s"}
    assert not cluster.asked("delete networkpolicy/headroom-proxy")


NO = 1
BUILD, IMAGES = ["--build"], ["--images", "r"]
PROXY = ["--mode", "proxy", "--maas-url"]
COMPONENTS = re.findall(r"^known='(.*)'$", SCRIPT.read_text(), re.MULTILINE)[0].split()


@pytest.mark.parametrize(
    ("arguments", "world", "said"),
    [
        (IMAGES, [("can-i create deployments", NO, "")], "log in"),
        (IMAGES, [("can-i create namespaces", NO, "")], "no namespace headroom-farm"),
        (BUILD, [("--api-group=build", NO, "")], "give --images"),
        ([*IMAGES, "--with", "openshift"], [("--api-group=route", NO, "")], "no Routes"),
        ([*IMAGES, "--with", "keda"], [("--api-group=keda", NO, "")], "no KEDA"),
        ([*IMAGES, "--with", "monitoring"], [("--api-group=monitoring", NO, "")], "operator"),
        ([*IMAGES, "--with", "priority"], [("can-i create priority", NO, "")], "PriorityClasses"),
        ([*IMAGES, "--with", "gpu"], [("get nodes", 0, "0 0")], "no node offers"),
        (BUILD, [("start-build", NO, "")], "the build of api failed"),
        (IMAGES, [("objects.yaml", NO, "")], "not applied"),
        (IMAGES, [("rollout status", NO, "")], "not ready after 600 s"),
        (IMAGES, [("check farm", NO, "")], "not whole"),
        (IMAGES, [("bypass status", 0, "on since x")], "emergency switch is on"),
        (IMAGES, [("demo", NO, "")], "does not compress"),
        ([*IMAGES, "--with", "gpu"], [("models check", NO, "")], "does not run on the GPU"),
        ([*IMAGES, "--with", "gpu"], [("models check", 0, "provider  cpu")], "not run on CUDA"),
    ],
)
def test_failure_is_reported_and_ends_deployment(
    cluster: Cluster, arguments: list[str], world: list[tuple[str, int, str]], said: str
) -> None:
    done = cluster.run(*arguments, world=world)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    if "can-i" in world[0][0] or "--api-group" in world[0][0] or "get nodes" in world[0][0]:
        assert not cluster.asked("apply")  # preflight comes before anything is changed


def test_missing_permission_to_look_is_only_reported(cluster: Cluster) -> None:
    world = [("get nodes", NO, ""), ("--api-group=metrics", NO, "")]
    done = cluster.run(*IMAGES, "--with", "gpu", "--skip-smoke", world=world)
    assert done.returncode == 0, done.stderr
    assert "may not see the nodes" in done.stderr
    assert "no metrics server" in done.stderr
    assert not cluster.asked("demo")


def test_reports_missing_kubectl(tmp_path: Path) -> None:
    done = Cluster(tmp_path, "").run(*IMAGES)
    assert done.returncode == 1
    assert "neither oc nor kubectl" in done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the images are missing"),
        ("--images r --build", "not both"),
        ("--images r --with everything", "no such component"),
        ("--images r --what x", "no such option"),
        ("--images", "needs a value"),
        ("--build --model best", "none or pulled"),
        ("--images r --model pulled", "goes with --build"),
        ("--build --hub-token-file README.md", "goes with --model pulled"),
        ("--images r --timeout soon", "a number of seconds"),
        ("--images r --tokens-file nowhere", "no such file"),
        ("--images r --set LOG=x", "HEADROOM_NAME=VALUE"),
        ("--images r --mode other", "compress or proxy"),
        ("--images r --mode proxy", "--mode proxy needs --maas-url"),
        ("--images r --maas-url https://maas.example", "goes with --mode proxy"),
        *(
            (f"--images r --mode proxy --maas-url {url}", said)
            for url, said in [
                ("maas.example", "http:// or https://"),
                ("ftp://maas.example", "http:// or https://"),
                ("https://", "http:// or https://"),
                ("https://name:hush@maas.example", "http:// or https://"),
                ("https://maas.example/\N{LATIN SMALL LETTER E WITH ACUTE}", "http:// or https://"),
                ("https://maas.example:65536", "no such port"),
                ("https://maas.example:0", "no such port"),
                ("https://m --set HEADROOM_OPENAI_TARGET_API_URL=https://o", "sets the provider"),
            ]
        ),
        ("--images r --tokens-file README.md", "--smoke-token-file"),
        ("--images r --tokens-file README.md --skip-smoke --with keda", "--metrics-token-file"),
    ],
)
def test_wrong_option_changes_nothing(cluster: Cluster, line: str, said: str) -> None:
    arguments = [str(ROOT / p) if p == "README.md" else p for p in line.split()]
    done = cluster.run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hush" not in done.stderr
    assert not cluster.calls


def test_dry_run_prints_objects_and_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    token = _file(tmp_path, "t", "hush-token")
    options = ["--build", "--client", "gw", "--with", "monitoring", "--tokens-file", token]
    options += ["--metrics-token-file", token, "--smoke-token-file", token]
    printed = cluster.run(*options, "--dry-run")
    assert printed.returncode == 0, printed.stderr
    assert all(line.startswith("kustomize") for line, _ in cluster.calls)
    assert "hush" not in printed.stdout
    shown = objects_in(printed.stdout)
    cluster.run(*options)
    made = {key for _, sent in cluster.calls for key in objects_in(sent.get("applied", ""))}
    made -= {("Secret", "x")}
    made |= {("Secret", line.split()[5]) for line in cluster.asked("create secret generic")}
    made |= {("Namespace", line.split()[2]) for line in cluster.asked("create namespace ")}
    made |= {("Namespace", line.split()[2]) for line in cluster.asked("label namespace")}
    assert set(shown) == made


TOKENS = ["--with", "monitoring", "--tokens-file", "{file}", "--metrics-token-file", "{file}"]
# For every option, a command line and the arguments to add: the results must differ.
USES: dict[str, tuple[list[str], list[str]]] = {
    "--namespace": (IMAGES, ["--namespace", "other"]),
    "--images": (IMAGES, ["--images", "other"]),
    "--tag": (IMAGES, ["--tag", "other"]),
    "--build": ([], ["--build"]),
    "--model": (BUILD, ["--model", "pulled"]),
    "--hub-token-file": ([*BUILD, "--model", "pulled"], ["--hub-token-file", "{file}"]),
    **{f"--with {c}": (IMAGES, ["--with", c]) for c in COMPONENTS},
    "--mode": (IMAGES, [*PROXY, "https://maas.example"]),
    "--maas-url": ([*IMAGES, *PROXY, "https://maas.example"], ["--maas-url", "https://other"]),
    "--client": (IMAGES, ["--client", "gateway"]),
    "--state-url-file": (IMAGES, ["--state-url-file", "{file}"]),
    "--redis-url-file": (IMAGES, ["--redis-url-file", "{file}"]),
    "--policy-file": (IMAGES, ["--policy-file", "{file}"]),
    "--tokens-file": ([*IMAGES, "--skip-smoke"], ["--tokens-file", "{file}"]),
    "--metrics-token-file": (
        [*IMAGES, *TOKENS, "--skip-smoke"],
        ["--metrics-token-file", "{other}"],
    ),
    "--smoke-token-file": (
        [*IMAGES, *TOKENS, "--smoke-token-file", "{file}"],
        ["--smoke-token-file", "{other}"],
    ),
    "--pricing-dsn-file": (IMAGES, ["--pricing-dsn-file", "{file}"]),
    "--set": (IMAGES, ["--set", "HEADROOM_LOG_LEVEL=debug"]),
    "--timeout": (IMAGES, ["--timeout", "30"]),
    "--skip-smoke": (IMAGES, ["--skip-smoke"]),
    "--dry-run": (IMAGES, ["--dry-run"]),
    "--rules": (IMAGES, ["--rules"]),
}


def test_every_option_is_parsed_and_documented() -> None:
    text = SCRIPT.read_text()
    documented = set(re.findall(r"--[a-z-]+", text[text.index("usage:") : text.index("TEXT\n}")]))
    taken = set(re.findall(r"^        (--[a-z-]+)(?: \| -h)?\)", text, re.MULTILINE)) - {"--help"}
    assert taken == documented == {use.split()[0] for use in USES}
    (line,) = re.findall(r"--with COMPONENT +(.+); repeatable", text)
    assert set(re.split(", | or ", line)) == set(COMPONENTS)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Return all that the script does and prints, as lines; cached by command line."""
    folder = tmp_path_factory.mktemp("traces")
    cluster = Cluster(folder)
    places = {name: _file(folder, name, f"in-{name}") for name in ("file", "other")}

    @cache
    def trace(*arguments: str, again: int = 0) -> list[str]:
        ran = cluster.run(*[argument.format(**places) for argument in arguments])
        # Queries before any change do not count.
        seen = [
            f"{line} {sorted(sent.items())}"
            for line, sent in cluster.calls
            if not re.search("can-i|--api-group|get nodes", line)
        ]
        # Passwords and the script's temporary folder differ between runs.
        text = re.sub(r"tmp\.\w+|[0-9a-f]{48}", "*", "\n".join([*seen, ran.stdout]))
        return sorted(text.splitlines())

    return trace


@pytest.mark.parametrize("option", USES)
def test_every_option_has_an_effect(traces: Callable[..., list[str]], option: str) -> None:
    first, more = USES[option]
    assert traces(*first) != traces(*first, *more)


@pytest.mark.parametrize("arguments", [IMAGES, BUILD])
def test_same_command_gives_same_calls(
    traces: Callable[..., list[str]], arguments: list[str]
) -> None:
    assert traces(*arguments) == traces(*arguments, again=1)


def test_deploy_script_is_valid_bash() -> None:
    for script in SCRIPT.parent.glob("*.sh"):
        assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    rules = subprocess.run([str(SCRIPT), "--rules"], capture_output=True, text=True, check=True)
    committed = ROOT / "deploy/k8s/components/monitoring/rules.yaml"
    assert rules.stdout == committed.read_text()
