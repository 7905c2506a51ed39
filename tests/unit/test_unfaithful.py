"""A result that fails the check is dropped, named, and counted."""

from __future__ import annotations

from typing import Any

import pytest

from shared.jobs import Block, Job, Options, ToolCall
from workers import block_form
from workers.block_form import Engines, faithful_form

from ..texts import page


def test_page_with_invented_words_stays_verbatim(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines("cpu", None)
    monkeypatch.setattr(block_form, "text_of_page", lambda text: "Nobodywrote this line")
    call = ToolCall("Bash", "curl x", "curl x")
    block = Block("k", page(), "tool_result", "user", call)
    job: Any = Job("u", "r", Options(), "what", "id", [block])
    form = faithful_form(job, block, engines).form
    assert form.text is None
    assert form.transforms == ("farm:verbatim:unfaithful",)
    assert form.unfaithful == "html: a word that is not there: Nobodywrote: Nobodywrote this line"
