"""Alert rules and dashboard use only metrics and labels that the farm exposes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from .exposed import exposed

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
_METRIC = re.compile(r"\bheadroom_[a-z_]+\b")
_LABEL = re.compile(r"by \(([^)]*)\)|\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}|\{(\w+)=")


def _expressions() -> list[str]:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    targets = [target for panel in panels for target in panel["targets"]]
    return [rule["expr"] for rule in rules] + [target["expr"] for target in targets]


@pytest.mark.parametrize("expression", _expressions())
def test_expressions_query_exposed_metrics(expression: str) -> None:
    known = exposed()
    asked = set(_METRIC.findall(expression))
    assert asked
    assert asked <= set(known)
    labels = {
        label.strip()
        for groups in _LABEL.findall(expression)
        for group in groups
        for label in group.split(",")
        if label.strip()
    }
    allowed = {"instance", "le"}.union(*[known[name] for name in asked])
    assert labels <= allowed
    assert expression.count("(") == expression.count(")")


def test_every_alert_has_a_summary() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
