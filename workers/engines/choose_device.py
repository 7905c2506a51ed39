"""Chooses graph and provider by running a batch at start; a provider's claims are not trusted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort

from shared.errors import ModelError
from shared.headroom import MAX_TOKENS
from shared.model_files import Model, verify

from .model_session import CPU, CUDA, PROBE, ModelSession

# The int8 file's 8-bit kernels are verified on CPU only, where it is the fastest and smallest.
_ORDER = {
    CUDA: ("kompress-fp16.onnx", "kompress-fp32.onnx", "kompress-int8-wo.onnx"),
    CPU: ("kompress-int8-wo.onnx", "kompress-fp32.onnx", "kompress-fp16.onnx"),
}
_TOLERANCE = 0.02
"""Largest accepted difference of a score (0 to 1) between CUDA and CPU: half precision's."""


def choose(model: Model, *, threads: int, batch_tokens: int) -> tuple[ModelSession, str]:
    """Return the session to use, warmed up, and why it is not on CUDA ("" if it is).

    Raises:
        ModelError: No graph of the model runs anywhere.
    """
    reasons = []
    if CUDA in ort.get_available_providers():
        ort.preload_dlls()
        for name in _present(model, CUDA):
            try:
                verify(model.graphs[name])
                return _on_cuda(model, name, threads, batch_tokens), ""
            except ModelError as error:
                reasons.append(str(error))
    else:
        reasons.append("this onnxruntime has no CUDA")
    broken = []
    for name in _present(model, CPU):
        try:
            verify(model.graphs[name])
            return _opened(model, name, CPU, threads, batch_tokens), "; ".join(reasons)
        except ModelError as error:
            broken.append(str(error))
    raise ModelError("; ".join(broken))


def _present(model: Model, provider: str) -> Iterator[str]:
    return (name for name in _ORDER[provider] if name in model.graphs)


def _on_cuda(model: Model, name: str, threads: int, batch_tokens: int) -> ModelSession:
    """Open ``name`` on CUDA and compare its scores with the same graph's on CPU."""
    session = _opened(model, name, CUDA, threads, batch_tokens)
    reference = _opened(model, name, CPU, threads, batch_tokens)
    ours, theirs = session.forward(PROBE), reference.forward(PROBE)
    worst = max(float(np.abs(np.subtract(a, b)).max()) for a, b in zip(ours, theirs, strict=True))
    if worst > _TOLERANCE:
        raise ModelError(f"{name} on CUDA differs from CPU by {worst:.3f}")
    return session


def _opened(
    model: Model, name: str, provider: str, threads: int, batch_tokens: int
) -> ModelSession:
    path = model.graphs[name]
    session = ModelSession(path, provider, threads=threads, batch_tokens=batch_tokens)
    what = name
    try:
        for row in PROBE:
            session.forward([row])
        session.forward(PROBE)
        # Run the widest pass, so that it fails now if the GPU's memory is too small.
        what = f"{name} with {session.pass_tokens} tokens a pass (HEADROOM_BATCH_TOKENS)"
        session.forward(PROBE[-1:] * max(1, session.pass_tokens // MAX_TOKENS - 1))
    except ModelError:
        raise
    except Exception as error:  # whatever ONNX Runtime raises
        raise ModelError(f"{what} does not run: {type(error).__name__}") from error
    return session
