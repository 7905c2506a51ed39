"""The operators' pages: alerts lead to sections, commands and metrics exist, examples are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from deploy.cli import parse
from shared.settings import Settings

from ..farm import Farm, user

ROOT = Path(__file__).parents[2]
PAGES = ("runbook", "deploy", "integration")


def _page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def test_every_alert_leads_to_a_section() -> None:
    rules = yaml.safe_load((ROOT / "deploy/grafana/alerts.yaml").read_text())["groups"][0]["rules"]
    titles = re.findall(r"^## (.+)$", _page("runbook"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/runbook.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors


def test_every_section_of_the_runbook_has_a_command() -> None:
    for section in _page("runbook").split("\n## ")[1:]:
        assert re.search(r"^    (kubectl|deploy/)", section, re.MULTILINE), section[:40]


@pytest.mark.parametrize("page", PAGES)
def test_commands_settings_and_files_exist(page: str) -> None:
    text = _page(page)
    known = {f"HEADROOM_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"HEADROOM_[A-Z_]+", text)) - {"HEADROOM_API_KEY"} <= known
    for line in re.findall(r"-- headroom-farm (.+)$", text, re.MULTILINE):
        parse(line.replace('"answers look wrong"', "why").split())
    options = set(
        re.findall(r"^        (--[a-z-]+)", (ROOT / "deploy/deploy.sh").read_text(), re.M)
    )
    for line in re.findall(r"deploy/deploy\.sh (.+)$", text, re.MULTILINE):
        assert set(re.findall(r"(?<!\S)(--[a-z-]+)", line)) <= options, line


def test_the_documented_example_is_what_the_farm_answers(farm: Farm) -> None:
    asked, said = re.findall(r"```json\n(.*?)```", _page("integration"), re.DOTALL)
    answer = farm.post(json.loads(asked), user())
    assert answer.status == 200
    assert json.loads(said).items() <= answer.json.items()
