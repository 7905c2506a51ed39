"""The original's design, rebuilt from its description: the peer to measure against.

One FastAPI process. `POST /v1/compress` parses the body, takes the user's
`CompressionCache` (headroom's own session cache), runs `headroom.compress()` inline and
writes one row to SQLite. Nothing is queued and nothing is shared with another process.

It is given the better of every choice that its description leaves open: uvloop and
httptools, orjson, no response model, no access log, one SQLite connection in WAL mode
without a sync per commit, and an engine that is warm before the first request. Whether
`headroom.compress()` runs on the event loop or in a thread is `--threads`.

Run it with `python -m loadtest.peers.inline --port 8099 --data-dir /tmp/peer`.
"""

from __future__ import annotations

import os

# Read by headroom while it is imported and on first use, so set before its import.
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no model is fetched while it is measured
os.environ.update(
    HEADROOM_DETECT_BACKEND="python",
    HEADROOM_TOIN_BACKEND="none",
    HEADROOM_CCR_BACKEND="memory",
    HEADROOM_BEACON="off",
    DO_NOT_TRACK="1",
)

import argparse
import asyncio
import sqlite3
import threading
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from headroom import compress as compress  # for the driver too: the environment is set
from headroom.cache.compression_cache import CompressionCache

SESSION_TTL = 7200.0
"""Seconds that an idle user's cache is kept."""

MAX_SESSIONS = 500
"""Users kept at once; the least recently seen one leaves first."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    request_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    model TEXT NOT NULL,
    tokens_before INTEGER NOT NULL,
    tokens_after INTEGER NOT NULL,
    tokens_saved INTEGER NOT NULL,
    created_at REAL NOT NULL
)
"""


class Sessions:
    """Each user's `CompressionCache`, least recently used out first."""

    def __init__(self, limit: int = MAX_SESSIONS, ttl: float = SESSION_TTL) -> None:
        self._limit = limit
        self._ttl = ttl
        self._lock = threading.Lock()
        self._caches: OrderedDict[str, tuple[float, CompressionCache]] = OrderedDict()

    def get(self, user: str) -> CompressionCache:
        """Return the user's cache, a new one for an unknown or long idle user."""
        now = time.monotonic()
        with self._lock:
            seen, cache = self._caches.pop(user, (now, None))
            if cache is None or now - seen > self._ttl:
                cache = CompressionCache()
            self._caches[user] = (now, cache)
            if len(self._caches) > self._limit:
                self._caches.popitem(last=False)
            return cache


class Savings:
    """One SQLite row per request."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_SCHEMA)

    def record(self, user: str, model: str, before: int, after: int, saved: int) -> None:
        """Write one request's token counts."""
        row = (uuid.uuid4().hex, user, model, before, after, saved, time.time())
        with self._lock:
            self._db.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)", row)


@dataclass(frozen=True)
class Inline:
    """The whole of a request's work, from body to body."""

    sessions: Sessions
    savings: Savings

    def answer(self, body: bytes, user: str) -> bytes:
        """Compress one request body and return the response body.

        Raises:
            orjson.JSONDecodeError: the body is not JSON.
        """
        request: dict[str, Any] = orjson.loads(body)
        messages: list[dict[str, Any]] = request["messages"]
        model = request.get("model") or "default"
        cache = self.sessions.get(user)
        result = compress(cache.apply_cached(messages), model=model)
        cache.update_from_result(messages, result.messages)
        self.savings.record(
            user, model, result.tokens_before, result.tokens_after, result.tokens_saved
        )
        return orjson.dumps(
            {
                "messages": result.messages,
                "tokens_before": result.tokens_before,
                "tokens_after": result.tokens_after,
                "tokens_saved": result.tokens_saved,
                "compression_ratio": result.compression_ratio,
                "transforms_applied": result.transforms_applied,
                "ccr_hashes": [],
            }
        )


def create_app(data_dir: Path, threads: bool = False) -> FastAPI:
    """Build the service.

    Args:
        data_dir: Where the SQLite file goes; made when missing.
        threads: Compress in the thread pool, as FastAPI does for a plain `def`
            endpoint, instead of on the event loop.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    inline = Inline(Sessions(), Savings(data_dir / "inline.db"))
    app = FastAPI(openapi_url=None)

    @app.post("/v1/compress", response_model=None)
    async def compress_endpoint(request: Request) -> Response:
        headers = request.headers
        user = headers.get("x-maas-username") or headers.get("x-headroom-user-id") or "anonymous"
        body = await request.body()
        if threads:
            answer = await run_in_threadpool(inline.answer, body, user)
        else:
            answer = inline.answer(body, user)
        return Response(answer, media_type="application/json")

    return app


class _Server(uvicorn.Server):
    """A server that says on stdout where it listens, once it does."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            print(f"ready http://{host}:{port}", flush=True)


def main() -> None:
    """Serve on 127.0.0.1 until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers.inline", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--threads", action="store_true", help="compress in the thread pool")
    options = parser.parse_args()
    app = create_app(options.data_dir, options.threads)
    compress([{"role": "user", "content": "warm"}, {"role": "tool", "content": "x " * 4000}])
    config = uvicorn.Config(
        app, host="127.0.0.1", port=options.port, access_log=False, log_level="warning"
    )
    asyncio.run(_Server(config).serve())


if __name__ == "__main__":
    main()
