"""What headroom reads from messages: calls, the question, and which file reads are stale."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from shared.jobs import Original, ToolCall

from . import environment  # noqa: F401 - before headroom
from headroom.config import ReadLifecycleConfig
from headroom.transforms.content_router import ContentRouter
from headroom.transforms.read_lifecycle import ReadClassification, ReadLifecycleManager
from headroom.utils import extract_user_query

from .originals import JobStore
from .routers import router_config


class FileCall(NamedTuple):
    """A tool call on a file: what headroom's read lifecycle looks at."""

    name: str
    path: str
    offset: Any
    limit: Any


def tool_calls(message: dict[str, Any]) -> dict[str, ToolCall]:
    """Return the tool calls that an assistant message makes, by id."""
    reader = _call_reader()
    names = reader._build_tool_name_map([message])
    return {
        i: ToolCall(name, reader._tool_call_args.get(i, ""), reader._tool_call_commands.get(i, ""))
        for i, name in names.items()
    }


@lru_cache(maxsize=1)
def _call_reader() -> ContentRouter:
    return ContentRouter(router_config(marker_mode="ccr", code_aware=False))


def user_query(message: dict[str, Any]) -> str:
    """Return the user's question in this message, empty where it holds none."""
    query: str = extract_user_query([message])
    return query


def analysis_intent(message: dict[str, Any]) -> bool:
    """Say whether this message, the user's last one, asks about code."""
    return bool(_call_reader()._detect_analysis_intent([message]))


class Lifecycle(ReadLifecycleManager):
    """Headroom's read lifecycle over facts of messages instead of the messages.

    ``classify`` takes ``(message index, calls)`` of the assistant messages in order.
    """

    def __init__(self) -> None:
        super().__init__(ReadLifecycleConfig())
        self._index: dict[str, int] = {}

    def file_calls(self, message: dict[str, Any]) -> dict[str, FileCall]:
        """Return the message's calls that read or change a file, by id."""
        try:
            made = self._build_tool_metadata([message])
        except (AttributeError, TypeError):  # arguments that are JSON but no object
            made = {}
        found = {
            i: call
            for i, call in made.items()
            if isinstance(call[1], str) and all(n is None or isinstance(n, int) for n in call[2:])
        }
        self._index = dict.fromkeys(found, 0)
        known = self._build_file_operation_index([], found)
        kept = {op.tool_call_id for ops in known.values() for op in ops}
        return {i: FileCall(*found[i]) for i in found if i in kept}

    def classify(
        self, messages: Iterable[tuple[int, dict[str, FileCall]]]
    ) -> dict[str, ReadClassification]:
        """Return the reads that are no longer fresh, by call id."""
        calls: dict[str, FileCall] = {}
        self._index = {}
        for index, made in messages:
            calls.update(made)
            for call in made:
                self._index.setdefault(call, index)
        reads = self._classify_reads(self._build_file_operation_index([], calls))
        return {r.tool_call_id: r for r in reads if r.state.value != "fresh"}

    def replace(
        self, message: dict[str, Any], reads: list[ReadClassification]
    ) -> tuple[dict[str, Any], list[Original], tuple[str, ...]]:
        """Return the message with those reads' contents replaced by markers, and the originals."""
        store = JobStore()
        self.store: JobStore | None = store
        try:
            result = self._apply_lifecycle([message], reads)
        finally:
            self.store = None
        return result.messages[0], store.originals(), tuple(result.transforms_applied)

    def _find_tool_call_msg_index(
        self, messages: list[dict[str, Any]], tool_call_id: str
    ) -> int | None:
        return self._index.get(tool_call_id)
