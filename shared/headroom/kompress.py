"""Headroom's Kompress rules around a model that the farm runs.

Headroom's ``KompressCompressor.compress`` does everything except inference: chunks, must-keep
words, ratio, marker. It takes model and tokenizer from ``_kompress_cache``; the object placed
there delegates to a :class:`Scorer`. The start of a chunk depends only on the tokens, never on
scores. So a first pass over the texts (:meth:`KompressEngine.collect`) collects every row of
tokens that will be needed, one batch scores them, and the second pass uses the scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from . import environment  # noqa: F401 - before headroom
from headroom.transforms import kompress_compressor as _kompress
from headroom.transforms.kompress_compressor import KompressCompressor, KompressConfig

from .sentences import best_sentences

Row = tuple[int, ...]
"""The token ids of one chunk: at most 512, special tokens included, no padding."""

MAX_TOKENS = 512
"""Tokens in the model's window; headroom's own constant (a seam test compares them)."""


class Scorer(Protocol):
    """Runs the model. ``broken`` means that it cannot score any more."""

    broken: bool

    @property
    def scoring_tokens(self) -> int:
        """How many tokens to score at once, by the measured speed."""
        ...

    def scores(self, rows: Sequence[Row]) -> list[list[float] | Exception]:
        """Return for each row one score per token, or the exception of a row without scores."""
        ...


class Encoding(Protocol):
    """The fields of a tokenized chunk that headroom reads: one row, no padding."""

    def __getitem__(self, name: str) -> list[list[int]]: ...

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return for each token the word it came from; None for special tokens."""
        ...


class Encode(Protocol):
    """A tokenizer with the interface that headroom calls."""

    def __call__(self, words: list[str], **options: Any) -> Encoding:
        """Tokenize one chunk given as words, cut at :data:`MAX_TOKENS`."""
        ...


class KompressEngine:
    """Headroom's Kompress on the farm's model: a text engine that keeps the best sentences."""

    name = "kompress"

    def __init__(self, scorer: Scorer, encode: Encode) -> None:
        self.scorer = scorer
        self._encode = encode
        self._encodings: dict[tuple[str, ...], Encoding] = {}
        self._known: dict[Row, list[float] | Exception] = {}
        self._noted: dict[Row, None] | None = None
        self.rows: list[Row] = []
        self._error: Exception | None = None
        self._seen_whole = 0
        self._word_ids: list[int | None] = []
        self._word_scores: list[float] = []
        self._id = f"farm-{id(self):x}"
        _kompress._kompress_cache[self._id] = (self, self._tokenize, "onnx_farm")

    def compress(self, text: str, context: str, target_ratio: float | None) -> str:
        """Return the result of headroom's Kompress for ``text``, without a marker.

        Raises any exception of the model, where headroom itself would silently return the text.
        """
        self._error = None
        # A new one each time, because three failures, of any texts, disable it.
        compressor = KompressCompressor(KompressConfig(model_id=self._id, enable_ccr=False))
        result = compressor.compress(
            text,
            context,
            target_ratio=target_ratio,
            allow_download=False,
        )
        if self._error is not None:
            raise self._error
        if compressor._inference_failures:
            raise RuntimeError("headroom's Kompress failed outside the model")
        compressed: str = result.compressed
        return compressed

    def kept(self, text: str, context: str, target_ratio: float | None) -> list[tuple[int, int]]:
        """Return the start and end of each kept part of ``text``: whole sentences, by score.

        Headroom's Kompress would keep single words, and so produce sentences that nobody wrote.
        """
        self._word_scores = []
        self.compress(text, context, target_ratio)
        return best_sentences(text, self._word_scores, target_ratio)

    @property
    def scoring_tokens(self) -> int:
        """How many tokens of text to :meth:`collect` before scoring them."""
        return self.scorer.scoring_tokens

    @property
    def broken(self) -> bool:
        """Whether the model cannot score any more in this process."""
        return self.scorer.broken

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Collect the rows of texts in this context: no model runs, and results are invalid."""
        self._noted = {}
        try:
            yield
        finally:
            self.rows, self._noted = list(self._noted), None

    def score(self) -> list[int]:
        """Score all rows that :meth:`collect` collected; return their lengths in tokens."""
        for row, scores in zip(self.rows, self.scorer.scores(self.rows), strict=True):
            self._known[row] = scores
        return [len(row) for row in self.rows]

    def forget(self) -> None:
        """Drop scores and encodings of the last batch, which may belong to other users."""
        self._known.clear()
        self._encodings.clear()
        self.rows = []

    # ── called by headroom ──────────────────────────────────────────────────────────

    def get_scores(self, input_ids: list[list[int]], attention_mask: Any) -> list[list[float]]:
        """Return the scores of the only row."""
        row = tuple(input_ids[0])
        if self._noted is not None:
            self._noted[row] = None
            return [[0.0] * len(row)]
        found = self._known.get(row)
        if found is None:
            found = self.scorer.scores([row])[0]
        if isinstance(found, Exception):
            self._error = found
            raise found
        best = [0.0] * self._seen_whole
        for place, score in zip(self._word_ids, found, strict=True):
            if place is not None and place < self._seen_whole:
                best[place] = max(best[place], score)
        self._word_scores += best
        return [found]

    def get_keep_mask(self, input_ids: list[list[int]], attention_mask: Any) -> list[list[bool]]:
        """Return which tokens score above headroom's threshold."""
        return [[s > 0.5 for s in self.get_scores(input_ids, attention_mask)[0]]]

    def _tokenize(self, words: list[str], **options: Any) -> Encoding:
        key = tuple(words)
        found = self._encodings.get(key)
        if found is None:
            try:
                found = self._encode(words, **options)
            except Exception as error:
                self._error = error
                raise
            if self._noted is not None:
                self._encodings[key] = found
        ids = found.word_ids(batch_index=0)
        self._word_ids = ids
        self._seen_whole = _kompress._words_seen_whole(ids, len(ids), len(words))
        if not self._seen_whole:  # one word fills the window: it is kept without a score
            self._word_scores.append(1.0)
        return found
