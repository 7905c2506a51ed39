"""A trimmed diff is never longer than the result of headroom's own fold."""

from __future__ import annotations

import json
from pathlib import Path

from shared.jobs import Block, Options
from shared.upstream import EngineRouter, counter_for


def _deletion(source: list[str]) -> str:
    """Return a diff that only deletes: trimming it saves nothing, its markers cost."""
    head = "diff --git a/t.py b/t.py\ndeleted file mode 100644\nindex 5a988c7..0000000\n"
    gone = "".join(f"-{line}\n" for line in source)
    return f"{head}--- a/t.py\n+++ /dev/null\n@@ -1,{len(source)} +0,0 @@\n{gone}"


def test_trimmed_diff_is_never_longer() -> None:
    router = EngineRouter(marker_mode="ccr", code_aware=False, text_engine=None)
    counter = counter_for("claude-x")
    folder = Path(json.__file__).parent.parent
    sources = [folder / "encodings" / f"cp{n}.py" for n in (437, 737, 775, 850, 852, 1250, 1252)]
    for source in sources:
        lines = source.read_text().splitlines()
        for count in range(20, min(len(lines), 200), 4):
            text = _deletion(lines[:count])
            block = Block("k", text, "tool_result", "user")
            made = router.run(block, "what changed", Options(model="claude-x"), counter).text
            assert made is None or len(made) < len(text), (source.name, count)
