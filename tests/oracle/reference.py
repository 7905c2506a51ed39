"""The oracle: ``headroom.compress()`` in a process without any of the farm's code.

Reads conversations as JSON from standard input and writes one result per conversation. Only the
environment is set as in the farm (one detector, nothing on disk, no network).
"""

from __future__ import annotations

import json
import os
import sys

os.environ.update(
    HEADROOM_DETECT_BACKEND="python",
    HEADROOM_CCR_BACKEND="memory",
    HEADROOM_TOIN_BACKEND="none",
    HEADROOM_BEACON="off",
    HEADROOM_OFFLINE="1",
    DO_NOT_TRACK="1",
    HF_HUB_OFFLINE="1",
    LITELLM_LOCAL_MODEL_COST_MAP="True",
)


import tiktoken.load
from headroom.compress import _get_pipeline, compress
from headroom.tokenizers.tiktoken_counter import TiktokenLoadError


def _refuse(blobpath: str) -> bytes:
    raise TiktokenLoadError("no network")


def main() -> None:
    """Compress every conversation in a fresh session, so that no result is reused."""
    tiktoken.load.read_file = _refuse
    router = _get_pipeline().transforms[-1]
    for line in sys.stdin:
        case = json.loads(line)
        router._cache.clear()
        result = compress(
            case["messages"],
            model=case["model"],
            compress_system_messages=False,
            **case["options"],
        )
        answer = {
            "messages": result.messages,
            "tokens_before": result.tokens_before,
            "tokens_after": result.tokens_after,
            "transforms": result.transforms_applied,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
