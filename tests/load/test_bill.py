"""A session's bill with and without the farm, and the code that measures it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.servers import Servers
from loadtest.bill import faults, report, where
from loadtest.bill.generated import session
from loadtest.bill.prompt_cache import session_of
from loadtest.bill.provider import Provider
from loadtest.bill.replay import changed_turns, replay_all
from loadtest.bill.scenarios import CLIENTS, SCENARIOS, Client, calls_of, project
from loadtest.bill.systems import Compress, Library, Nothing, NotTaken, Proxy, SystemFailed

from ..farm import Farm

Body = dict[str, Any]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Body]]:
    """One generated session of each client."""
    return {
        f"{client}-incident": session(
            "incident", client, project(tmp_path_factory.mktemp(client) / "project", size=400)
        )
        for client in CLIENTS
    }


def test_generated_session_has_the_clients_shape(sessions: dict[str, list[Body]]) -> None:
    bodies = sessions["claude-incident"]
    assert len(bodies) == len(SCENARIOS["incident"]()) + 1
    first, last = bodies[0], bodies[-1]
    assert len(last["tools"]) == 24
    assert 55_000 < len(json.dumps(last["tools"])) < 75_000
    marks = [
        [i for i, m in enumerate(b["messages"]) if "cache_control" in json.dumps(m)] for b in bodies
    ]
    assert all(len(found) == 1 for found in marks)
    assert marks == sorted(marks), "the mark moves on"
    assert len({found[0] for found in marks}) == len(bodies)
    assert (first["tools"], first["system"]) == (last["tools"], last["system"])
    assert "CrashLoopBackOff" in json.dumps(last), "the commands really ran"


def test_client_pays_mostly_cache_reads_without_farm(sessions: dict[str, list[Body]]) -> None:
    for bodies in sessions.values():
        cache = session_of(bodies[0]["model"])
        usages = [cache.turn(body) for body in bodies]
        assert usages[0].read == 0
        assert all(usage.read > usage.written for usage in usages[1:])
        assert changed_turns(bodies) == 0


@pytest.mark.parametrize("client", CLIENTS)
def test_same_seed_gives_the_same_session(client: Client, tmp_path: Path) -> None:
    place = tmp_path / "project"
    first = session("api-json", client, project(place))
    place.rename(tmp_path / "before")
    assert session("api-json", client, project(place)) == first


def test_no_session_costs_more_with_farm(farm: Farm, sessions: dict[str, list[Body]]) -> None:
    bills = replay_all(sessions, [Nothing(), Compress("farm", farm.url, responses=True)])
    assert bills.failures == []
    assert bills.dearer("farm") == []
    assert report.verdicts(bills, [])[0][1] is True
    assert {row["farm"].changed for row in bills.bills.values()} == {0}
    text = report.table(bills, ["none", "farm"])
    assert all(name in text for name in sessions)


@pytest.mark.parametrize("client", CLIENTS)
def test_bill_is_parted_by_kinds_of_blocks(client: Client, sessions: dict[str, list[Body]]) -> None:
    bodies = sessions[f"{client}-incident"]
    found = where.shares(bodies)

    assert found["results"] > found["calls"] > 0
    assert found["tools"] > 0
    assert found["results"] == pytest.approx(
        found["commands"] + found["reads"] + found["others"], abs=2
    )
    emptied = json.dumps(where.without(bodies[-1], where.KINDS["results"]))
    assert "CrashLoopBackOff" not in emptied


def test_disturbed_session_is_sent_as_undisturbed(
    tmp_path: Path, sessions: dict[str, list[Body]]
) -> None:
    bodies = sessions["claude-incident"][:6]
    with Servers(tmp_path) as servers:
        # A late form would differ, and this machine may be slow.
        target = servers.farm("farm", cpu=1, settings={"deadline_ms": "60000"})
        plain, flushed = (
            faults.replayed(target, "claude", bodies, fault) for fault in ("undisturbed", "flush")
        )

    assert flushed == plain != bodies


class _Rewriting:
    """A system that saves tokens but changes the whole prefix in each turn."""

    name = "farm"

    def __init__(self) -> None:
        self._turns = 0

    def begin(self, session: str) -> None:
        self._turns = 0

    def turn(self, body: Body) -> Body:
        self._turns += 1
        first = {"role": "user", "content": f"turn {self._turns}"}
        return {**body, "system": [], "messages": [first, *body["messages"][1:]]}

    def close(self) -> None:
        return


def test_finds_costlier_session_that_sends_less(sessions: dict[str, list[Body]]) -> None:
    name = "claude-incident"
    bills = replay_all({name: sessions[name]}, [Nothing(), _Rewriting()])
    sent = bills.bills[name]
    assert sent["farm"].bill.tokens < sent["none"].bill.tokens
    assert bills.dearer("farm") == [name]
    assert sent["farm"].changed == len(sessions[name]) - 1
    assert report.verdicts(bills, [])[0][1] is False


def test_leaves_out_target_that_cannot_be_measured(sessions: dict[str, list[Body]]) -> None:
    gone = Compress("gone", "http://127.0.0.1:1", responses=True)
    bills = replay_all(sessions, [Nothing(), gone])
    assert len(bills.failures) == 1, "it is asked once"
    assert bills.change("claude-incident", "gone") is None
    assert bills.mean("gone", list(sessions)) is None
    with pytest.raises(NotTaken):
        Compress("inline", "http://127.0.0.1:1", responses=False).turn(
            sessions["codex-incident"][0]
        )


def test_library_answers_in_its_own_process(sessions: dict[str, list[Body]]) -> None:
    library = Library("compress()")
    try:
        bodies = sessions["claude-incident"]
        sent = library.turn(bodies[-1])
        assert len(sent["messages"]) == len(bodies[-1]["messages"])
        assert sent["tools"] == bodies[-1]["tools"]
        with pytest.raises(NotTaken):
            library.turn(sessions["codex-incident"][0])
    finally:
        library.close()


def test_scripted_provider_reports_usage(tmp_path: Path) -> None:
    steps = SCENARIOS["review"]()[:2]
    with Provider(calls_of(steps, "claude", tmp_path)) as provider:
        body = {
            "model": "claude-opus-4-8",
            "tools": [{"name": "Bash", "description": "x" * 9000}],
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "go"}],
        }
        answers = [_asked(f"{provider.url}/v1/messages", body) for _ in range(3)]
        used = [answer["content"][0].get("input", {}).get("command") for answer in answers]
        assert used == [steps[0].what, steps[1].what, None]
        assert answers[0]["usage"]["cache_creation_input_tokens"] > 2000
        assert answers[1]["usage"]["cache_read_input_tokens"] > 2000
        streamed = _raw(f"{provider.url}/v1/messages", {**body, "stream": True}).decode()
        assert streamed.count("event: ") == 6
        assert len(provider.bodies) == 4
        provider.forget()
        assert provider.bodies == []


def test_proxy_is_billed_by_what_it_forwards(tmp_path: Path) -> None:
    with Provider() as upstream, Provider() as another:
        proxy = Proxy("proxy", upstream.url, upstream)
        proxy.begin("s")
        body = {"model": "gpt-5.5", "input": [{"type": "message", "content": "hello"}]}
        assert proxy.turn(body) == body
        silent = Proxy("proxy", upstream.url, another)
        with pytest.raises(SystemFailed, match="forwarded nothing"):
            silent.turn(body)


def test_writes_only_between_page_markers(tmp_path: Path) -> None:
    page = tmp_path / "bill.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(page, "new")
    assert page.read_text() == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"
    page.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        report.write(page, "new")


def test_plot_is_drawn(sessions: dict[str, list[Body]], tmp_path: Path) -> None:
    name = "claude-incident"
    bills = replay_all({name: sessions[name]}, [Nothing(), _Rewriting()])
    report.draw(bills, ["none", "farm"], tmp_path / "bill.svg")
    assert name in (tmp_path / "bill.svg").read_text()


def _raw(url: str, body: Body) -> bytes:
    asked = urllib.request.Request(url, json.dumps(body).encode())
    with urllib.request.urlopen(asked, timeout=90) as answer:
        data: bytes = answer.read()
    return data


def _asked(url: str, body: Body) -> Any:
    return json.loads(_raw(url, body))
