"""Three front ends of two farms on one Redis answer like one process, with options and turns."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deploy.ports import free_port

from ..farm import Farm, Process, post, request, until, user
from ..turns import SHAPES, asks, says, text_of, turn_request
from .test_decided_once import Session

ROUNDS = 6


class Site:
    """Front ends of two farms that share only Redis."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._choose = random.Random(7)
        second = {"data_dir": farm.directory / "second"}
        farm.start_redis()
        farm.start_worker("cpu")
        farm.start_worker("gpu")
        farm.start_worker("cpu", **second)
        self.fronts: dict[str, Process] = {farm.url: farm.start_api()}
        for settings in ({}, second):
            self.start_one(**settings)

    def start_one(self, **settings: Any) -> None:
        """Start another front end."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        self.fronts[url] = self._farm.start_api(port=port, **settings)
        until("it sees the workers", lambda: _sees_workers(url))

    def any(self) -> str:
        """Return the address of a random live front end."""
        return self._choose.choice(list(self.fronts))

    def kill_one(self) -> None:
        """Kill a front end, as if its machine were lost; never the first one."""
        self.fronts.pop(self._choose.choice(list(self.fronts)[1:])).kill()


def _sees_workers(url: str) -> bool:
    try:
        checks = request(url, "GET", "/readyz").json["checks"]
    except OSError:
        return False
    return bool(checks["cpu_workers"] == 2 and checks["gpu_workers"] == 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Farm(tmp_path_factory.mktemp("replicas")) as farm:
        yield Site(farm)


@pytest.fixture
def site(made: Site) -> Site:
    """Three live front ends."""
    while len(made.fronts) < 3:
        made.start_one()
    return made


def _options(choose: random.Random, messages: int) -> dict[str, Any]:
    """Return random options, as a gateway may change them within a conversation."""
    return choose.choice(
        [
            {},
            {"frozen_message_count": choose.randrange(messages + 1)},
            {"token_budget": choose.choice([2000, 20_000, 10**6])},
            {"target_ratio": choose.choice([0.2, 0.6])},
            {"min_tokens_to_compress": choose.choice([50, 100_000])},
            {"compress_user_messages": True, "protect_analysis_context": False},
            {"unheard_of": 1},
        ]
    )


def _ask(url: str, path: str, name: str, body: Any) -> Any:
    answer = post(url, body, {"x-maas-username": name}, path)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize("named", [True, False], ids=["session_id", "no session_id"])
def test_replicas_answer_sessions_as_one_process(farm: Farm, site: Site, named: bool) -> None:
    """Options change from turn to turn, and a front end is killed in the middle."""
    choose = random.Random(f"options {named}")
    shapes = ("claude", "claude", "chat", "responses")
    plays = [(Session(shape, 60 + n), user()) for n, shape in enumerate(shapes)]
    for number in range(ROUNDS):
        if number == ROUNDS // 2:
            site.kill_one()
        for index, (session, name) in enumerate(plays):
            session.turn()
            config = _options(choose, len(session.items))
            if named:
                config["session_id"] = f"session {index}"
            body = session.body(config=config)
            alone = _ask(farm.url, "/v1/compress", name, body)
            spread = _ask(site.any(), "/v1/compress", name, body)
            assert spread == alone, (session.shape, number, config)
            assert not alone["degraded"]


def test_turn_can_be_finished_by_any_replica(farm: Farm, site: Site) -> None:
    """The halves of a turn are served by different front ends; one dies in between."""
    started = []
    for shape in SHAPES:
        for _ in range(2):
            name = user()
            body = turn_request(shape, name, config={"session_id": name})
            alone = _ask(farm.url, "/v1/compress", name, body)
            spread = _ask(site.any(), "/v1/compress", name, body)
            ids = alone.pop("turn_id"), spread.pop("turn_id")
            assert spread == alone
            started.append((shape, name, ids, alone["ccr_hashes"][0]))
    site.kill_one()
    for shape, name, (own, id_), digest in started:
        for number, response in enumerate((asks(shape, digest), says(shape, "all is well"))):
            given = {"response": response, "round": number}
            path = "/v1/compress/response"
            alone = _ask(farm.url, path, name, {"turn_id": own, **given})
            spread = _ask(site.any(), path, name, {"turn_id": id_, **given})
            assert {**spread, "turn_id": ""} == {**alone, "turn_id": ""}
        assert text_of(shape, spread["response"]).endswith("all is well")


def test_only_one_of_two_simultaneous_answers_counts(site: Site) -> None:
    """Two front ends get a turn's answer at the same time, and both send the same reply."""
    name = user()
    first = _ask(site.any(), "/v1/compress", name, turn_request("openai", name))
    given = {"turn_id": first["turn_id"], "round": 0}
    given["response"] = asks("openai", first["ccr_hashes"][0])
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda url: json.dumps(_ask(url, "/v1/compress/response", name, given)),
                list(site.fronts) * 4,
            )
        )
    assert len(set(answers)) == 1
    assert json.loads(answers[0])["round"] == 1
