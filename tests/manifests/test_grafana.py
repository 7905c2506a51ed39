"""Alert rules and dashboard use only metrics and labels that the farm exposes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from api.accounting.token_prices import Prices
from shared.settings import Settings

from ..documented import page
from .exposed import exposed, exposed_by_front_end

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


def _documented() -> dict[str, str]:
    """Return how docs/books.md aggregates a front end's own metrics, by name."""
    section = page("docs/books.md").partition("## Metrics")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(sum|max|min)` \| (.*) \|$", section, re.MULTILINE)
    return {name: how for how, names in rows for name in re.findall(r"`(headroom_\w+)", names)}


def test_documents_how_to_aggregate_a_front_ends_own_metrics() -> None:
    assert set(_documented()) == exposed_by_front_end()


@pytest.mark.parametrize("expression", _expressions())
def test_expressions_aggregate_as_documented(expression: str) -> None:
    around = r"(\w+)(?: by \(([^)]*)\))? ?\((?:(?:rate|increase)\()?(headroom_\w+)"
    found = re.findall(around, expression)
    assert [name for _, _, name in found] == _METRIC.findall(expression)
    for how, by, name in found:
        per_front_end = (how, by) == ("sum", "instance")  # of one front end's labels
        assert per_front_end or how == _documented().get(name, "max"), name


def test_reports_the_age_of_prices_that_were_never_read() -> None:
    configured = Prices(Settings(pricing_dsn=SecretStr("host=127.0.0.1 port=9")))
    assert "headroom_prices_age_seconds" in exposed(configured)
    assert "headroom_prices_age_seconds" not in exposed(Prices(Settings()))


def test_every_alert_has_a_summary() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
