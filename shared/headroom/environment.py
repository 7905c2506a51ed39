"""Headroom's environment, pinned: every module here imports this before headroom."""

from __future__ import annotations

import os

_PINNED = {
    # One detector in every process: a farm whose processes disagree misroutes blocks.
    "HEADROOM_DETECT_BACKEND": "python",
    # Write nothing to disk, learn nothing across users, send nothing anywhere.
    "HEADROOM_CCR_BACKEND": "memory",
    "HEADROOM_TOIN_BACKEND": "none",
    "HEADROOM_BEACON": "off",
    "HEADROOM_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    # ONNX Runtime 1.32 writes a device id and a telemetry database to ~/.cache when imported.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # A worker runs one block at a time under its own timeout.
    "HEADROOM_COMPRESSION_DEADLINE_MS": "0",
    "HEADROOM_COMPRESS_WORKERS": "1",
    "HEADROOM_KOMPRESS_TIME_BUDGET_SECONDS": "0",
}
_CLEARED = (
    "HEADROOM_DEDUPE",
    "HEADROOM_DIAGNOSTICS",
    "HEADROOM_EXPERIMENTAL_READ_KEEP_RATIO",
    "HEADROOM_FREEZE_BLOCK_DECISION",
    "HEADROOM_KOMPRESS_MAX_CONCURRENT",
    "HEADROOM_KOMPRESS_MUST_KEEP",
    "HEADROOM_LOSSLESS_THEN_LOSSY",
    "HEADROOM_NET_COST_POLICY",
    "HEADROOM_PROTECT_READS",
    "HEADROOM_TEXT_CRUSHER",
)
os.environ.update(_PINNED)
for _name in _CLEARED:
    os.environ.pop(_name, None)

import logging

from headroom import __version__ as HEADROOM_VERSION

for _logger in ("headroom", "LiteLLM"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL + 1)  # they quote content

ENGINE_REVISION = 41
"""Increased whenever this package changes an engine's result for a text."""
ENGINE_VERSION = f"headroom-{HEADROOM_VERSION}+farm-{ENGINE_REVISION}"
