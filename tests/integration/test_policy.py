"""The policy on a real farm: two processes, a file that changes, spoils and comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..farm import Farm, until, user
from ..texts import conversation, events, ran, rows

FIRST = """
[[rule]]
name = "not yet"
user = "later-*"
mode = "off"

[[rule]]
name = "no crm"
protect_tools = ["Bash"]
model = "careful-*"

[[rule]]
name = "all"
markers = "none"
"""


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm of two front-end processes under a policy that these tests change."""
    directory = tmp_path_factory.mktemp("ruled")
    path = directory / "policy.toml"
    path.write_text(FIRST)
    farm = Farm(directory, api_processes=2, policy_file=path)
    try:
        yield farm.start()
    finally:
        farm.stop()


def _file(farm: Farm) -> Path:
    return farm.directory / "policy.toml"


def _applied(farm: Farm, text: str) -> None:
    """Write a policy and wait until every process has it, or shows its fault."""
    before = _states(farm)[0]
    _file(farm).write_text(text)

    def known() -> bool:
        states = _states(farm)
        return all(
            (s["version"], s["fault"]) != (before["version"], before["fault"]) for s in states
        )

    until("every process has looked", known)


def _states(farm: Farm) -> list[Any]:
    return [farm.get("/readyz").json["policy"] for _ in range(20)]


def test_rules_decide_by_user_model_and_tool(ruled: Farm) -> None:
    body = conversation(ran(events("ruled")), ran(rows("ruled"), "b"))
    later = ruled.post(body, f"later-{user()}").json
    assert later["messages"] == body["messages"]
    assert later["transforms_applied"] == ["farm:policy:off"]
    assert later["degraded"] == []
    careful = ruled.post({**body, "model": "careful-1"}, user()).json
    assert careful["messages"] == body["messages"]
    assert "farm:verbatim:policy" in careful["transforms_applied"]
    others = ruled.post({**body, "mode": "ccr"}, user()).json
    assert others["tokens_saved"] > 0
    assert others["ccr_hashes"] == []


def test_changed_file_applies_and_spoilt_file_keeps_last(ruled: Farm) -> None:
    body = conversation(ran(events("changed")))
    _applied(ruled, "[[rule]]\nname = 'nobody'\nmode = 'off'\n")
    assert ruled.post(body, user()).json["messages"] == body["messages"]
    _applied(ruled, "[[rule]]\nmoed = 'on'\n")
    assert ruled.post(body, user()).json["messages"] == body["messages"]
    ready = ruled.get("/readyz")
    assert (ready.status, ready.json["policy"]["fault"]) == (200, "invalid")
    faulty = "headroom_policy_fault 1.0"
    until("the metric says so", lambda: faulty in ruled.get("/metrics").body.decode())
    assert "moed" in ruled.logs()
    _applied(ruled, FIRST)
    assert ruled.post(body, user()).json["tokens_saved"] > 0


def _command(farm: Farm, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", "policy", *arguments],
        env=farm.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_line_checks_and_explains(ruled: Farm, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[[rule]]\nname = 'a'\nshre = 3\n")
    done = _command(ruled, "check", str(path))
    assert done.returncode == 2
    assert f"{path}:3: rule 1 ('a'): unknown key 'shre'" in done.stderr
    path.write_text(FIRST)
    done = _command(ruled, "check", str(path))
    assert (done.returncode, done.stdout) == (0, f"{path}: 3 rules, valid\n")
    asked = ("--user", "acme/ada", "--model", "careful-1", "--tool", "Bash", "--session", "s")
    done = _command(ruled, "explain", "--file", str(path), *asked)
    assert done.returncode == 0
    for words in (
        "not yet: no, user 'ada' is not 'later-*'",
        "no crm: yes, decides",
        "session 's': on",
        "left as it is",
    ):
        assert words in done.stdout
