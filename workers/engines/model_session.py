"""A Kompress graph in ONNX Runtime: opened on a provider, checked, and run in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import structlog

from shared.errors import ModelError
from shared.headroom import MAX_TOKENS, Row

from ..runtime.pool_pace import Pace

_log = structlog.get_logger(__name__)
CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
OUTPUT = "final_scores"
_INPUTS = {"input_ids": "tensor(int64)", "attention_mask": "tensor(int64)"}
# Rows for testing and warming up a provider, from a start token and one word to the longest.
PROBE: tuple[Row, ...] = tuple(
    tuple(1 + (7 * n + i) % 13 for i in range(length))
    for n, length in enumerate((2, 17, 64, 200, MAX_TOKENS))
)
_DEVICE = {CPU: "cpu", CUDA: "cuda"}
_MOST_TOKENS = {CPU: 1024}
"""Maximum tokens of a pass by provider: on CPU, wider passes are slower (docs/performance.md)."""
_SCORING_SECONDS = 0.25
"""Target time for scoring a batch, in seconds, so that no text waits long for the others."""
_PACE_KEEPS = 0.5
"""Weight of earlier measurements of the speed when a batch adds one."""
_CUDA_OPTIONS = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}


class ModelSession:
    """One graph on one provider. There is one per process, created after any fork.

    ``batch_tokens`` limits a pass's padded cost, ``longest row x (rows + 1)``. ``broken`` means
    that it can no longer score, for example after an error from which a GPU does not recover.
    """

    def __init__(self, path: Path, provider: str, *, threads: int, batch_tokens: int) -> None:
        self.path = path
        self.provider = provider
        self.batch_tokens = batch_tokens
        self.pass_tokens = min(batch_tokens, _MOST_TOKENS.get(provider, batch_tokens))
        self.passes = 0
        self.broken = False
        self._pace = Pace(_PACE_KEEPS)
        self._session = _open(path, provider, threads)

    @property
    def scoring_tokens(self) -> int:
        """How many tokens to score before any of their texts is delivered.

        As many as take :data:`_SCORING_SECONDS` at the recent speed, at most ``batch_tokens``, so
        that a text does not wait for many others if the model is slow.
        """
        tokens = self._pace.a_second
        if tokens is None:
            return self.batch_tokens
        return min(self.batch_tokens, int(tokens * _SCORING_SECONDS))

    def scores(self, rows: Sequence[Row]) -> list[list[float] | Exception]:
        """Return for each row one score per token, or an exception if the row fails on its own."""
        started = time.perf_counter()
        done: list[list[float] | Exception] = [[] for _ in rows]
        for part in batches([len(row) for row in rows], self.pass_tokens):
            batch = [rows[i] for i in part]
            for i, scores in zip(part, self._guarded(batch), strict=True):
                done[i] = scores
        self._pace.note(sum(map(len, rows)), time.perf_counter() - started)
        return done

    def _guarded(self, rows: list[Row]) -> Sequence[list[float] | Exception]:
        """Run one pass; if it fails, run each of its rows separately."""
        try:
            return self.forward(rows)
        except Exception as error:  # whatever ONNX Runtime raises
            if len(rows) == 1:
                self.broken = self.broken or not self._works()
                return [error]
            return [self._guarded([row])[0] for row in rows]

    def _works(self) -> bool:
        """Return whether the shortest row of :data:`PROBE` still runs."""
        try:
            self.forward(PROBE[:1])
        except Exception as error:  # whatever ONNX Runtime raises
            _log.error("model_broken", provider=self.provider, error=type(error).__name__)
            return False
        return True

    def forward(self, rows: Sequence[Row]) -> list[list[float]]:
        """Run one padded pass and return the scores without the padding.

        Raises ``ModelError`` if the graph does not return one finite number per token.
        """
        longest = max(len(row) for row in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = 1
        found = self._run(ids, mask)
        self.passes += 1
        if found.shape != ids.shape:
            raise ModelError(f"{OUTPUT} has shape {found.shape}, not {ids.shape}")
        if not np.isfinite(found[mask == 1]).all():
            raise ModelError(f"{OUTPUT} is not finite")
        return [found[i, : len(row)].tolist() for i, row in enumerate(rows)]

    def _run(self, ids: Any, mask: Any) -> Any:
        device = _DEVICE[self.provider]
        binding = self._session.io_binding()
        for name, value in (("input_ids", ids), ("attention_mask", mask)):
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, device, 0))
        binding.bind_output(OUTPUT, device, 0)
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield indices of ``lengths`` in passes, longest first, each within the padded ``budget``.

    A single row is always a pass, whatever its cost. The cost is computed as in
    text-embeddings-inference.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    part: list[int] = []
    for i in order:
        if part and lengths[part[0]] * (len(part) + 2) > budget:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


def _open(path: Path, provider: str, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A worker's threads must not spin on cores that other workers need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [(CUDA, _CUDA_OPTIONS), CPU] if provider == CUDA else [CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise ModelError(f"{path.name} does not load: {type(error).__name__}") from error
    inputs = {i.name: i.type for i in session.get_inputs()}
    outputs = [o.name for o in session.get_outputs()]
    if inputs != _INPUTS or OUTPUT not in outputs:
        raise ModelError(
            f"{path.name} is a model for another contract: {sorted(inputs)} -> {sorted(outputs)}, "
            f"not {sorted(_INPUTS)} (int64) -> {OUTPUT}"
        )
    if session.get_providers()[0] != provider:
        raise ModelError(f"ONNX Runtime fell back to {session.get_providers()[0]}")
    return session
