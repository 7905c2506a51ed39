"""Many open streams at once: how much later each piece comes than it was written, and how evenly.

The stand-in's play ``paced`` puts into each piece when it was written, by the clock that all
processes of a machine share. So the delay is known for each piece, directly and through a proxy.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from .first_byte import body_of
from .stand_in import BODY, END, PLAY, digest

_WRITTEN = re.compile(rb'"text_delta", "text": "([0-9.]+)"')
_TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass
class Seen:
    """What the streams' client saw; seconds.

    ``delays`` are those of the pieces, ``gaps`` the times between a stream's pieces, ``whole``
    how many streams came with every piece, in order and to the end.
    """

    delays: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    whole: int = 0


async def watch(
    url: str, streams: int, pieces: int, pause_ms: int, when_open: Callable[[], None]
) -> Seen:
    """Open ``streams`` at once and read them to their end.

    ``when_open`` is called once, when each has sent its first piece.
    """
    seen = Seen()
    waiting = streams

    def began() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            when_open()

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=_TIMEOUT
    ) as session:
        asked = [
            _read(session, url, number, pieces, pause_ms, seen, began) for number in range(streams)
        ]
        await asyncio.gather(*asked)
    return seen


async def _read(
    session: aiohttp.ClientSession,
    url: str,
    number: int,
    pieces: int,
    pause_ms: int,
    seen: Seen,
    began: Callable[[], None],
) -> None:
    body = body_of([{"role": "user", "content": f"Tell story {number}."}])
    headers = {
        PLAY: f"paced {pieces} {pause_ms}",
        "content-type": "application/json",
        "x-api-key": f"reader-{number}",
    }
    written: list[float] = []
    rest, last = b"", 0.0
    async with session.post(f"{url}/v1/messages", data=body, headers=headers) as answer:
        async for chunk in answer.content.iter_any():
            now = time.monotonic()
            whole, mark, rest = (rest + chunk).rpartition(b"\n\n")
            found = [float(text) for text in _WRITTEN.findall(whole + mark)]
            if found and not written:
                began()
            elif found:
                seen.gaps.append(now - last)
            last = now if found else last
            written += found
            seen.delays += [now - then for then in found]
            ended = whole.endswith(END.strip())
        untouched = answer.headers.get(BODY) == digest(body)
    seen.whole += ended and untouched and len(written) == pieces and written == sorted(written)
