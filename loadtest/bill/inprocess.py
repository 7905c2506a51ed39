"""``headroom.compress()`` in a process of its own: a request body a line in, messages out.

Its switches (``HEADROOM_DEDUPE`` and others) are environment variables that it reads once, so each
setting of them needs a process. Started by :mod:`loadtest.bill.systems`.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.update(
    HEADROOM_DETECT_BACKEND="python",
    HEADROOM_TOIN_BACKEND="none",
    HEADROOM_CCR_BACKEND="memory",
    HEADROOM_BEACON="off",
    DO_NOT_TRACK="1",
)


def main() -> None:
    """Answer each line of stdin until it ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the library prints is no answer
    from headroom import compress

    for line in sys.stdin:
        body = json.loads(line)
        result = compress(body["messages"], model=body["model"])
        out.write(json.dumps(result.messages) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
