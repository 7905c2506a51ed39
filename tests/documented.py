"""What the documents show as code, for tests that hold it against the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def page(name: str) -> str:
    """Return the text of a document; ``name`` is its path."""
    return (ROOT / name).read_text()


def examples(name: str) -> dict[str, str]:
    """Return a document's marked code blocks: ``<!-- NAME -->`` stands on the line before each."""
    marked = r"^<!-- ([a-z -]+) -->\n```\w+\n(.*?)^```$"
    return dict(re.findall(marked, page(name), re.DOTALL | re.MULTILINE))
