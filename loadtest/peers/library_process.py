"""Starts and asks :mod:`loadtest.peers.library`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class LibraryEnded(Exception):
    """The process has ended; what it was asked is not answered."""


class LibraryProcess:
    """``headroom.compress()`` as a program would call it, with environment variables."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "loadtest.peers.library"],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it says for each text that it has no model
            text=True,
        )

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return ``messages``, ``transforms``, and ``originals`` by the markers' hashes.

        Raises:
            LibraryEnded: the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"messages": body["messages"], "model": body["model"]}
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise LibraryEnded("headroom.compress() has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
