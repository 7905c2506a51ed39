"""Computes a block's form: envelope, kind, candidates, check, marker.

The form is a pure function of the block's text, the call it answers, the question and the
options, so the same block gives the same bytes in every process.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.content import Content, Envelope, Kind, classify, unwrap
from shared.headroom import LineEngines, TextEngine, is_excluded
from shared.jobs import Block, Form, Job, Original, is_tool_output
from shared.originals_in_redis import digest_of
from shared.settings import PoolName

from .fidelity import Chosen, Lossy, choose, extract_of_spans
from .fidelity.page_text import text_of_page
from .fidelity.progress_bars import last_states

_ENGINE: dict[Kind, str] = {
    "log": "log", "test_run": "log", "search": "search", "diff": "diff", "html": "html",
    "markdown": "text", "prose": "text", "code": "code_aware",
}  # fmt: skip
"""Headroom's engine that selects lines, by kind of text; ``farm_extract`` for other kinds."""
_FREE_TEXT = ("markdown", "prose", "html")
_POINTER = " Retrieve original: hash={}]"
"""End of every marker; removed if nothing can be retrieved, so that only the note remains."""
_CHARS_A_TOKEN = 4
_MOST_UNFAITHFUL = 200


class Engines:
    """A process's engines; ``text_engine`` is None where its pool reads no free text."""

    def __init__(self, pool: PoolName, text_engine: TextEngine | None) -> None:
        self.pool = pool
        self.text_engine = text_engine
        self.line_engines = LineEngines()


class Made(NamedTuple):
    """A block's form, and the originals that its markers refer to."""

    form: Form
    originals: list[Original]


class _Work(NamedTuple):
    """A block, the classification of its text, the engines, and its job."""

    block: Block
    content: Content
    envelope: Envelope
    engines: Engines
    job: Job


def faithful_form(job: Job, block: Block, engines: Engines) -> Made:
    """Return the best form of the block that passes the check; engines' exceptions propagate."""
    work = _work_of(job, block, engines)
    digest = digest_of(block.text)
    lossy = _lossy(work, digest)
    without = frozenset(block.without)
    content = work.content
    chosen = choose(work.envelope.body, content.kind, lossy, without, coloured=content.coloured)
    unfaithful = _first_failure(chosen)
    failed: tuple[str, ...] = ("farm:verbatim:unfaithful",) if chosen.failed else ()
    if chosen.text is None:
        return Made(Form(None, failed, unfaithful=unfaithful), [])
    text = work.envelope.around(chosen.text)
    transforms: tuple[str, ...] = (_transform(block, chosen.engine, len(text)),)
    if chosen.engine == "text" and engines.text_engine is not None:
        transforms += (f"farm:text:{engines.text_engine.name}",)
    if chosen.lossy and job.options.marker_mode == "lossy_inline":
        text = text.replace(_POINTER.format(digest), "]")
        return Made(
            Form(text, transforms, (), (), "compressed", unfaithful=unfaithful, lossy=True), []
        )
    if not chosen.lossy:
        return Made(Form(text, transforms, (), (), "compressed", unfaithful=unfaithful), [])
    original = Original(
        hash=digest,
        content=block.text,
        tokens=len(block.text) // _CHARS_A_TOKEN,
        items=block.text.count("\n") + 1,
        compressed_items=text.count("\n") + 1,
        tool_name=block.call.name if block.call else None,
        strategy=chosen.engine,
    )
    form = Form(text, transforms, (digest,), (digest,), "compressed", 0.0, unfaithful, lossy=True)
    return Made(form, [original])


def read_free_text(job: Job, block: Block, engines: Engines) -> None:
    """Run the text engine on the block's free text and drop the result, to collect a batch."""
    work = _work_of(job, block, engines)
    if work.content.pool == "gpu" and _may_lose(work):
        _kept(work, work.envelope.body)


def _work_of(job: Job, block: Block, engines: Engines) -> _Work:
    envelope = unwrap(block.text)
    content = classify(envelope, block.call, job.options.press)
    return _Work(block, content, envelope, engines, job)


def _may_lose(work: _Work) -> bool:
    options, content = work.job.options, work.content
    if work.block.reversible_only:
        return False
    call = work.block.call
    if call is not None and is_excluded(call.name):
        return False
    if content.kind in _FREE_TEXT and not is_tool_output(work.block.shape, work.block.role):
        return False
    if content.pool == "gpu" and work.engines.text_engine is None:
        return False
    return content.may_lose(options.marker_mode, code_aware=options.code_aware)


def _lossy(work: _Work, digest: str) -> Lossy | None:
    """Return how lines of the block may be removed; None if none may be."""
    if not _may_lose(work):
        return None
    if work.content.redrawn:
        return Lossy("farm_extract", lambda body: last_states(body, digest), digest, "exact")
    kind = work.content.kind
    name = _ENGINE.get(kind, "farm_extract")
    if kind == "html":
        return Lossy(name, lambda body: _page(body, digest), digest, "free")
    if work.content.pool != "gpu":
        return Lossy(name, lambda body: _selected(work, name, body), digest)
    return Lossy(name, lambda body: _sentences_of(work, body, digest), digest, "exact")


def _selected(work: _Work, name: str, body: str) -> str | None:
    """Return the result of headroom's engine for the body; only its selection of lines is used."""
    if name not in LineEngines.NAMES:
        return None
    made = work.engines.line_engines.run(name, body, work.job.context)
    return made if made != body else None


def _page(body: str, digest: str) -> str | None:
    text = text_of_page(body)
    if not text:
        return None
    return f"{text}\n[HTML page reduced to its text. Retrieve original: hash={digest}]"


def _sentences_of(work: _Work, body: str, digest: str) -> str | None:
    return extract_of_spans(body, _kept(work, body), digest)


def _kept(work: _Work, body: str) -> list[tuple[int, int]]:
    """Return the start and end of each part of free text that the text engine keeps."""
    engine, job = work.engines.text_engine, work.job
    if engine is None:
        return [(0, len(body))]
    return engine.kept(body, job.context, job.options.target_ratio)


def _transform(block: Block, engine: str, size: int) -> str:
    """Return headroom's name for the transform, which depends on the block's shape."""
    if block.shape == "tool_result":
        return f"router:tool_result:{engine}"
    if block.shape == "text":
        return f"router:text_block:{engine}"
    return f"router:{engine}:{size / max(1, len(block.text)):.2f}"


def _first_failure(chosen: Chosen) -> str:
    """Return engine, reason and line of the first candidate that did not pass."""
    if not chosen.failed:
        return ""
    engine, reason, line = chosen.failed[0]
    return f"{engine}: {reason}: {line}"[:_MOST_UNFAITHFUL]
