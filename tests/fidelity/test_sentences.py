"""Text engines select whole sentences; headings, items, tables and code are kept whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtest.graphs import build_model
from shared.headroom.sentences import best_sentences, sentences
from shared.jobs import Block, Job, Options, ToolCall
from shared.settings import Settings
from workers.block_form import Engines, Made, faithful_form
from workers.compress_block import warm_up, warm_up_texts
from workers.engines import TEXT_ENGINES

from ..texts import plain_prose

NOTE = re.compile(r"\[(?:\.\.\. )?\d+ words? omitted")
REPORT = """# Report 1.

The kiln was lit e.g. in the evening. Dr. Moss came at noon. The crew went home and slept.

1. Do not open the valve.
2. Rinse it
   with warm water.

| what | how many |
|---|---|
| valves | 12 |

```sh
make clean
```

Everybody liked the view from the tower. The band played old songs until the lamps went out.
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["kompress", "text_crusher"])
def engines(request: pytest.FixtureRequest, model: Path) -> Engines:
    return Engines("gpu", TEXT_ENGINES[request.param](Settings(model_dir=model)).engine)


def _form(text: str, engines: Engines, ratio: float | None) -> Made:
    call = ToolCall("Bash", "man harbour", "man harbour")
    block = Block("k", text, "tool_result", "user", call)
    options = Options(target_ratio=ratio)
    return faithful_form(Job("u", "r", options, "what", "id", [block]), block, engines)


@pytest.mark.parametrize("ratio", [None, 0.3])
def test_engine_keeps_sentences_whole_and_in_order(engines: Engines, ratio: float | None) -> None:
    text = "\n\n".join([REPORT, *[plain_prose(f"part {n}") for n in range(3)]])
    made = _form(text, engines, ratio)
    if ratio is not None:
        assert made.form.text is not None
    shown = made.form.text or text
    for line in REPORT.split("\n")[4:16]:
        assert line in shown, "a list, a table or code is gone or cut"
    left = " ".join(" ".join(x for x in shown.split("\n") if not NOTE.match(x)).split())
    for span in sentences(text):
        left = left.removeprefix(" ".join(text[span.start : span.end].split())).lstrip()
    assert left == "", "not whole sentences in their order"


def test_warm_up_text_reaches_the_text_engine(engines: Engines) -> None:
    assert engines.text_engine is not None
    asked: list[int] = []
    kept = engines.text_engine.kept
    engines.text_engine.kept = lambda text, *rest: (  # type: ignore[method-assign]
        asked.append(len(text)) or kept(text, *rest)
    )
    warm_up(engines)
    assert asked.count(len(warm_up_texts()[-1])) >= 2


def test_best_sentences_are_those_with_the_best_words() -> None:
    text = "The old gate is green. The young cow sleeps well. Ships sail past the pier."
    scores = [*[0.1] * 5, *[0.9] * 5, *[0.2] * 5]
    assert [text[a:b] for a, b in best_sentences(text, scores, None)] == [
        "The young cow sleeps well."
    ]
    assert best_sentences(text, scores[:10], None) == [(23, len(text))]


def test_closing_quotes_and_brackets_belong_to_their_sentence() -> None:
    text = 'She said "Come in." (Nobody did so at once.) Then the lamp went out.'
    assert [text[s.start : s.end] for s in sentences(text)] == [
        'She said "Come in."',
        "(Nobody did so at once.)",
        "Then the lamp went out.",
    ]
