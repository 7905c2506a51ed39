"""Alert rules and dashboard ask only for metrics, and labels, that the farm exposes."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.books.metrics import Metrics
from api.books.reader import Rows
from shared.breaker import Reading
from shared.jobs import EngineStatus
from shared.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
_METRIC = re.compile(r"\bheadroom_[a-z_]+\b")
_LABEL = re.compile(r"by \(([^)]*)\)|\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}|\{(\w+)=")


class _Reader:
    """Books with one of everything, instead of Redis."""

    async def totals(self, window: Any) -> Rows:
        names = ("requests", "d:redis", "n:bypass", "err:internal", "e:log:saved", "l:0.001")
        return Rows(total=dict.fromkeys(names, 1))

    async def pool(self, pool: str, now: float) -> dict[str, Any]:
        counters = {"jobs:done": 1.0, "blocks:compressed": 1.0}
        return {"depth": 0, "oldest": 0.0, "alive": 1, "counters": counters}


class _Ledger:
    backlog = dropped = 0


class _Prices:
    age = 1.0


class _Switch:
    bypass = None


class _Place:
    name = "redis"
    readings = (Reading("redis", "", "open", "timeout"),)
    trips: ClassVar[dict[str, int]] = {"timeout": 1}


class _Pools:
    text_engines: ClassVar = Counter({EngineStatus("kompress", "cpu", "graph", "a reason"): 2})


def _exposed() -> dict[str, set[str]]:
    """Return the labels of every sample the farm exposes."""
    parts: Any = (_Reader(), _Ledger(), _Prices(), _Pools(), [_Place()], _Switch())
    metrics = Metrics(Settings(), *parts)
    text = asyncio.run(metrics.text()).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _expressions() -> list[str]:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    targets = [target for panel in panels for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + [target["expr"] for target in targets]


@pytest.mark.parametrize("expression", _expressions())
def test_an_expression_asks_for_what_is_exposed(expression: str) -> None:
    exposed = _exposed()
    asked = set(_METRIC.findall(expression))
    assert asked
    assert asked <= set(exposed)
    labels = {
        label.strip()
        for groups in _LABEL.findall(expression)
        for group in groups
        for label in group.split(",")
        if label.strip()
    }
    known = {"instance", "le"}.union(*[exposed[name] for name in asked])
    assert labels <= known
    assert expression.count("(") == expression.count(")")


def test_an_alert_says_what_it_means() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
