"""Plants facts in real documents, and counts how many each text engine loses and what it saves.

    python -m loadtest.needles [--model DIR]

The documents are the long descriptions of installed packages. Eight made-up facts of four kinds
are planted in each. A fact is lost if its identifying text is missing from the compressed text,
even though the original can still be retrieved. The farm takes a result only where it saves a fifth
of the text. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import random
import re
from pathlib import Path
from typing import NamedTuple

from shared.content import classify
from shared.headroom import TextEngine, counter_for
from shared.jobs import ToolCall
from shared.settings import load_settings
from workers.engines import TEXT_ENGINES

from .graphs import documents

_PATTERNS = {
    "headings": ("## Recovery of shard {n}", r"Recovery of shard {n}\b"),
    "numbers": ("The retry window of the ledger is {n} seconds.", r"\b{n}\b"),
    "identifiers": ("Each run calls flush_ledger_{n} when it ends.", r"\bflush_ledger_{n}\b"),
    "negations": (
        "Do not restart the node kestrel-{n} while a backup runs.",
        r"\bnot\b[^\n]*kestrel-{n}\b",
    ),
}


_CALL = ToolCall("Bash", "man harbour", "man harbour")
"""The call that the documents answer: its output may be free text."""


class Needle(NamedTuple):
    """A planted fact: its kind, its text, and a pattern that matches if it was kept."""

    kind: str
    text: str
    kept: re.Pattern[str]


def plant(document: str, seed: int) -> tuple[str, list[Needle]]:
    """Return ``document`` with two facts of each kind between its paragraphs."""
    chance = random.Random(seed)
    paragraphs = document.split("\n\n")
    needles = []
    for kind, (text, kept) in _PATTERNS.items():
        for _ in range(2):
            number = chance.randrange(100_000, 999_999)
            needle = Needle(kind, text.format(n=number), re.compile(kept.format(n=number)))
            needles.append(needle)
            paragraphs.insert(chance.randrange(1, len(paragraphs) + 1), needle.text)
    return "\n\n".join(paragraphs), needles


def prose() -> list[str]:
    """Return the long descriptions of at least 400 words."""
    bodies = [text.partition("\n\n")[2] for text in documents()]
    return [body for body in bodies if len(body.split()) >= 400]


def measure(engine: TextEngine, texts: list[str]) -> str:
    """Return the engine's row of the table."""
    counter = counter_for("claude-x")
    before = after = reached = 0
    planted = dict.fromkeys(_PATTERNS, 0)
    lost = dict.fromkeys(_PATTERNS, 0)
    for seed, text in enumerate(texts):
        marked, needles = plant(text, seed)
        if classify(marked, _CALL).pool != "gpu":
            continue  # no free text
        kept = "\n".join(marked[a:b] for a, b in engine.kept(marked, "", None))
        reached += 1
        before += counter.count_text(marked)
        after += counter.count_text(kept)
        for needle in needles:
            planted[needle.kind] += 1
            lost[needle.kind] += not needle.kept.search(kept)
    cells = [f"{lost[kind]} of {planted[kind]}" for kind in _PATTERNS]
    share = f"{1 - after / before:.0%}" if before else "-"
    return f"| {engine.name} | {reached} of {len(texts)} | {share} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a Kompress model; default: only TextCrusher")
    options = parser.parse_args()
    texts = prose()
    print(f"| engine | documents read | saved | {' lost | '.join(_PATTERNS)} lost |")
    print("|---" * (3 + len(_PATTERNS)) + "|")
    settings = load_settings().model_copy(update={"model_dir": options.model})
    names = ["text_crusher", *(["kompress"] if options.model else [])]
    for name in names:
        print(measure(TEXT_ENGINES[name](settings).engine, texts))


if __name__ == "__main__":
    main()
