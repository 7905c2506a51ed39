"""``headroom-farm up``: starts a ready farm with one command, and stops it completely."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from api.pipeline.offload import HEAVY_BODY_BYTES
from deploy.ports import free_port
from shared.python_command import python_module

from ..farm import Process, post, request, until, user
from ..forked import completed
from ..texts import conversation, prose, ran, rows

COMMAND = python_module("deploy.cli")


class Up:
    """A running ``headroom-farm up``."""

    def __init__(self, directory: Path, working_directory: Path | None = None) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        options = ["--port", str(port), "--data-dir", str(self.data)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADROOM_")}
        self.process = Process.run(
            [*COMMAND, "up", *options], environment, directory / "up.log", working_directory
        )
        line = f"ready {self.url}\n"
        until("it says ready", lambda: line in self.process.log.read_text())

    def parts(self) -> dict[int, str]:
        """Return its processes by pid: every descendant and its command line."""
        parents: dict[int, int] = {}
        lines: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                    lines[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
                except OSError:
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
        found = {self.process.pid}
        while more := {p for p, parent in parents.items() if parent in found} - found:
            found |= more
        return {p: lines[p] for p in found - {self.process.pid}}

    def compresses(self) -> bool:
        """Return whether a fresh conversation shrinks."""
        try:
            body = conversation(ran(rows(user())), ran(prose(user()), "b"))
            answer = post(self.url, body, {"x-maas-username": user()})
        except OSError:
            return False
        return answer.status == 200 and answer.json["degraded"] == []


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A farm shared by tests that kill its parts.

    It is started in a working directory with modules named like its own and the standard
    library's; one that is imported says so in the file ``imported``.
    """
    folder = tmp_path_factory.mktemp("up")
    strange = folder / "strange"
    strange.mkdir()
    tell = f"open({str(folder / 'imported')!r}, 'a').write(__name__ + ' ')\n"
    for module in ("inspect", "pickle", "multiprocessing"):
        (strange / f"{module}.py").write_text(tell)
    for package in ("api", "deploy", "shared", "workers"):
        (strange / package).mkdir()
        (strange / package / "__init__.py").write_text(tell)
    started = Up(folder, strange)
    yield started
    started.process.stop()


@pytest.fixture
def own_up(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    """Start farms that end with their test, one after another on the same data."""
    made: list[Up] = []

    def make() -> Up:
        made.append(Up(tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.process.stop()


def gone(parts: Iterable[int]) -> bool:
    """Return whether none of these processes is running; zombies do not count."""
    states = []
    for pid in parts:
        with contextlib.suppress(OSError):
            states.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    return set(states) <= {"Z"}


def test_stops_cleanly_and_keeps_its_data(
    own_up: Callable[[], Up],
) -> None:
    name, body = user(), conversation(ran(rows("kept")))
    answers = []
    for number in (signal.SIGTERM, signal.SIGINT):
        up = own_up()
        assert request(up.url, "GET", "/readyz").status == 200
        assert up.compresses()
        answers.append(post(up.url, body, {"x-maas-username": name}).json)
        parts = up.parts()
        assert len(parts) >= 5
        assert not any("requirepass" in line for line in parts.values())
        up.process.signal(number)
        assert up.process.wait() == 0
        assert gone(parts)
    assert answers[0] == answers[1]


def test_second_sigterm_kills_all_processes(own_up: Callable[[], Up]) -> None:
    up = own_up()
    parts = up.parts()
    stopped = next(pid for pid, line in parts.items() if "--pool cpu" in line)
    # It cannot exit, so after a single SIGTERM the supervisor would wait for it.
    os.kill(stopped, signal.SIGSTOP)
    up.process.signal(signal.SIGTERM)
    others = [pid for pid, line in parts.items() if "--pool gpu" in line]
    until("the parts have been signalled", lambda: gone(others))
    assert up.process.alive
    up.process.signal(signal.SIGTERM)
    assert up.process.wait() == 128 + signal.SIGTERM
    until("all parts are gone", lambda: gone(parts))


@pytest.mark.parametrize("part", ["deploy.cli api", "--pool cpu", "--pool gpu", "valkey-server"])
def test_restarts_killed_process(up: Up, part: str) -> None:
    killed = {p for p, line in up.parts().items() if part in line}
    assert killed
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(
        "another in its place",
        lambda: {p for p, line in up.parts().items() if part in line} - killed,
    )
    until("it compresses again", up.compresses)


def test_processes_end_when_supervisor_is_killed(own_up: Callable[[], Up]) -> None:
    up = own_up()
    parts = up.parts()
    up.process.signal(signal.SIGKILL)
    up.process.wait()
    until("all parts are gone", lambda: gone(parts))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--port", "99999"], "port"),
        (["up", "--cpu-workers", "-1"], "cpu_workers"),
        (["worker"], "--pool"),
        (["worker", "--pool", "tpu"], "invalid choice"),
        (["nonsense"], "invalid choice"),
        ([], "required"),
    ],
)
def test_wrong_option_exits_with_status_2(arguments: list[str], said: str) -> None:
    done = completed(arguments, os.environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_reports_port_in_use(up: Up) -> None:
    port = up.url.rpartition(":")[2]
    done = subprocess.run(
        [*COMMAND, "up", "--port", port, "--data-dir", str(up.data) + "2"],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert up.compresses()


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://127.0.0.1:9", "no answer"), ("localhost:80", "not an http"), ("x", "not an http")],
)
def test_demo_reports_what_is_wrong(url: str, said: str) -> None:
    done = completed(["demo", url], os.environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_make_run_shows_savings_of_every_kind() -> None:
    command = python_module("deploy.run", "--port", "0", "--once")
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9"}  # must not matter
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    for kind in ("json", "logs", "grep", "diff", "html", "text", "all of it, again"):
        assert f"\n{kind} " in done.stdout


def test_reports_invalid_environment_variable(tmp_path: Path) -> None:
    environment = {**os.environ, "HEADROOM_DEADLINE_MS": "soon"}
    done = subprocess.run(
        [*COMMAND, "up"], capture_output=True, text=True, timeout=180, env=environment, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "deadline_ms" in done.stderr


def test_parts_import_nothing_from_working_directory(up: Up) -> None:
    assert up.compresses()
    body = {**conversation(), "x": "x" * HEAVY_BODY_BYTES}

    def offloads() -> bool:  # on a slow machine the first child may be replaced
        assert post(up.url, body, {"x-maas-username": user()}).status == 200
        return any("offload" in line or "spawn_main" in line for line in up.parts().values())

    until("a child reads the body", offloads)
    imported = up.directory / "imported"
    assert not imported.exists(), imported.read_text()
