"""Upstream's own `headroom proxy`, as it ships, with its network and its telemetry off.

Only its surroundings are set here: a separate HOME, no beacon, no downloads, no rate limit. Its
`/v1/compress` is stateless, or session-aware if a body's config has a session_id.
It needs the `peers` extra; without it `headroom proxy` says what is missing and ends.

Run it with `python -m loadtest.peers.upstream --port 8098 --data-dir /tmp/upstream`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_SET = {
    "HEADROOM_OFFLINE": "1",
    "HEADROOM_BEACON": "off",
    "HEADROOM_TELEMETRY": "off",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
_OPTIONS = ("--stateless", "--no-telemetry", "--no-rate-limit", "--no-subscription-tracking")


def environment(home: Path, provider: str | None = None) -> dict[str, str]:
    """Return the proxy's whole environment; nothing of ours but what a process needs.

    ``provider`` is the URL that it forwards to instead of the providers' own.
    """
    kept = {k: os.environ[k] for k in _KEPT if k in os.environ}
    names = ("ANTHROPIC_TARGET_API_URL", "OPENAI_TARGET_API_URL")
    targets = dict.fromkeys(names, provider) if provider else {}
    return kept | _SET | targets | {"HOME": str(home)}


def command(port: int, mode: str | None = None) -> list[str]:
    """Return the command line that serves on ``port`` of loopback; ``mode``: cache or token."""
    start = "from headroom.cli import main; main()"
    chosen = ["--mode", mode] if mode else []
    return [sys.executable, "-c", start, "proxy", "--port", str(port), *_OPTIONS, *chosen]


def main() -> None:
    """Become the proxy."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers.upstream", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="its HOME; made when missing")
    parser.add_argument("--mode", choices=("cache", "token"), help="its default is cache")
    parser.add_argument("--provider", help="the URL to forward requests to")
    options = parser.parse_args()
    options.data_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(options.data_dir)  # it looks for a project where it is started
    home = environment(options.data_dir.resolve(), options.provider)
    os.execve(sys.executable, command(options.port, options.mode), home)


if __name__ == "__main__":
    main()
