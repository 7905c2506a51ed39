"""Token counts: headroom's counter for a model, never from a download."""

from __future__ import annotations

from typing import Any

import tiktoken.load

from . import environment  # noqa: F401 - before headroom
from headroom.tokenizers import TokenizerRegistry, get_tokenizer
from headroom.tokenizers.estimator import EstimatingTokenCounter
from headroom.tokenizers.tiktoken_counter import TiktokenLoadError


def _refuse_download(blobpath: str) -> bytes:
    """Replaces tiktoken's downloader: a vocabulary that is not on disk is not fetched."""
    raise TiktokenLoadError("tiktoken vocabularies are used from disk, never downloaded")


tiktoken.load.read_file = _refuse_download


class Counter:
    """A model family's token counter, chosen for ``model``. Equal ``id`` means equal counts."""

    def __init__(self, name: str, tokenizer: Any, model: str) -> None:
        self.id = name
        self._tokenizer = tokenizer
        self._model = model

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """Pickle as the model's name."""
        return counter_for, (self._model,)

    def message(self, message: dict[str, Any]) -> int:
        """Tokens of one message; the sum over messages plus :attr:`overhead` is headroom's."""
        count: int = self._tokenizer.count_messages([message]) - self.overhead
        return count

    @property
    def overhead(self) -> int:
        """Tokens headroom adds once per conversation."""
        overhead: int = self._tokenizer.REPLY_OVERHEAD
        return overhead

    def count_text(self, text: str) -> int:
        """Tokens of one text (the interface that headroom's router expects)."""
        count: int = self._tokenizer.count_text(text)
        return count


class NoCount:
    """Counts nothing, for calls whose counts are not used."""

    def count_text(self, text: str) -> int:
        return 0


NO_COUNT = NoCount()
_MODELS = 1024
_counters: dict[str, Counter] = {}
_known: dict[str, Counter] = {}


def known_counter(model: str) -> Counter | None:
    """Return the result of an earlier :func:`counter_for` for ``model``; None if there is none."""
    return _known.get(model)


def counter_for(model: str) -> Counter:
    """Return the counter headroom chooses for ``model``; families share one.

    If that counter needs something that is not installed or not on disk, headroom fails on the
    first count and leaves the conversation uncompressed; here its estimator is used instead.
    Choosing takes seconds if a library (transformers) or a vocabulary has to be loaded.
    """
    found = known_counter(model)
    if found is None:
        found = _choose(model)
        if len(_known) >= _MODELS:
            del _known[next(iter(_known))]
        _known[model] = found
    return found


def _choose(model: str) -> Counter:
    tokenizer = get_tokenizer(model)
    try:
        tokenizer.count_text("a probe")
    except Exception:
        tokenizer = EstimatingTokenCounter()
    TokenizerRegistry.clear_cache()  # unbounded upstream; ours is not
    parts = (getattr(tokenizer, "_fixed_ratio", None), getattr(tokenizer, "encoding_name", None))
    name = f"{type(tokenizer).__name__}:{parts[0]}:{parts[1]}"
    return _counters.setdefault(name, Counter(name, tokenizer, model))
