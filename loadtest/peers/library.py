"""``headroom.compress()`` in a process of its own: a request a line in; messages, originals out.

Its switches (``HEADROOM_DEDUPE`` and others) are environment variables that it reads once, so each
setting of them needs a process. Started by :mod:`loadtest.peers.library_process`. Not a line of
the farm runs in it.
"""

from __future__ import annotations

import json
import os
import re
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.update(
    HEADROOM_DETECT_BACKEND="python",
    HEADROOM_TOIN_BACKEND="none",
    HEADROOM_CCR_BACKEND="memory",
    HEADROOM_BEACON="off",
    DO_NOT_TRACK="1",
)
_HASH = re.compile(r"(?:<<ccr:|hash=)([a-f0-9]{12,24})")


def main() -> None:
    """Answer each line of stdin until it ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer
    from headroom import compress
    from headroom.cache.compression_store import get_compression_store

    for line in sys.stdin:
        body = json.loads(line)
        result = compress(body["messages"], model=body["model"])
        originals = {}
        for digest in _HASH.findall(json.dumps(result.messages)):
            entry = get_compression_store().retrieve(digest)
            if entry is not None:
                originals[digest] = entry.original_content
        answer = {
            "messages": result.messages,
            "transforms": result.transforms_applied,
            "originals": originals,
        }
        out.write(json.dumps(answer) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
