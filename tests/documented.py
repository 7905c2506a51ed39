"""Reads examples and names from the documents, for tests that compare them with the code."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import AliasChoices

from shared.settings import Settings

ROOT = Path(__file__).parents[1]


def page(name: str) -> str:
    """Return the text of a document; ``name`` is its path."""
    return (ROOT / name).read_text()


def examples(name: str) -> dict[str, str]:
    """Return a document's marked code blocks, each preceded by a line ``<!-- NAME -->``."""
    marked = r"^<!-- ([a-z -]+) -->\n```\w+\n(.*?)^```$"
    return dict(re.findall(marked, page(name), re.DOTALL | re.MULTILINE))


def setting_names() -> set[str]:
    """Return the settings by their names in the documents; two have headroom's own names."""
    return {
        str(field.validation_alias.choices[0])
        if isinstance(field.validation_alias, AliasChoices)
        else f"HEADROOM_{name.upper()}"
        for name, field in Settings.model_fields.items()
    }
