"""One request while it is worked on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from shared.deadline import Deadline
from shared.jobs import Detection, Original
from shared.upstream import Counter

from ..runtime.admission import Admission
from .message import Candidate, Message, Plan, decode
from .options import RequestOptions
from .session_memory import Session
from .split import Split
from .trace import Trace


@dataclass(slots=True)
class RequestContext:
    """One request while it is worked on. ``trace`` is there where somebody asked to see its way."""

    session: Session
    split: Split
    messages: list[Message]
    counter: Counter
    options: RequestOptions
    deadline: Deadline
    place: Admission
    decoded: dict[int, dict[str, Any]] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    query: str = ""
    originals: dict[str, Original] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    detections: dict[str, Detection] = field(default_factory=dict)
    degraded: set[str] = field(default_factory=set)
    hits: int = 0
    misses: int = 0
    fresh: set[str] = field(default_factory=set)
    trace: Trace | None = None

    def raw(self, index: int) -> bytes:
        """Return message ``index`` as it came."""
        start, end = self.split.spans[index]
        return self.split.body[start:end]

    def message(self, index: int) -> dict[str, Any]:
        """Return message ``index`` decoded (once)."""
        if index not in self.decoded:
            self.decoded[index] = decode(self.raw(index))
        return self.decoded[index]

    def text(self, index: int, candidate: Candidate) -> str:
        """Return the text of message ``index`` that ``candidate`` stands for."""
        text = self.texts.get(candidate.key)
        return text if text is not None else _inside(self.message(index), candidate)

    def mark(self, stage: str, ended: float | None = None) -> None:
        """Note that ``stage`` ends here, or ended at that ``time.perf_counter()``."""
        if self.trace is not None:
            self.trace.mark(stage, ended)


def _inside(message: dict[str, Any], candidate: Candidate) -> str:
    """Return a candidate's text from its message, as headroom's router reads it."""
    content = message["content"]
    if candidate.index is None:
        return str(content)
    inner = content[candidate.index]["text" if candidate.shape == "text" else "content"]
    if candidate.parts:
        return "".join([part.get("text", "") for part in inner])
    return str(inner)
