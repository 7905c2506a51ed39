"""The HTTP client for the providers: one pool of connections per front-end process.

It uses aiohttp, which needs a fifth of httpx's CPU time for a stream of small chunks
(docs/proxy.md), and HTTP/1.1. Redirects are not followed, bodies are not decoded, and the
environment is ignored, so that requests go to the configured addresses only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from shared.errors import BrokenCoding, UnsupportedCoding
from shared.settings import Settings

from ..http.content_encoding import Decoder, decoder_for
from ..provider.sse import begins_json
from .errors import UpstreamFailed
from .headers import Headers

_KEEPALIVE_SECONDS = 30.0
_STALE_SECONDS = 0.5
"""Seconds within which a reused connection that the provider had already closed fails: a round
trip and some delay. A provider that closes it later may have worked on the request."""
_END_SECONDS = 0.5
"""Seconds to wait for the end of an answer after its last event."""
_HEADER_BYTES = 64 * 1024
_SKIPPED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""Headers that aiohttp would add if the client did not send them."""


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Turn errors of reading a body into :class:`UpstreamFailed`."""
    try:
        yield
    except TimeoutError:
        message = "the provider sent no more data within the idle timeout"
        raise UpstreamFailed(504, "upstream_timeout", message) from None
    except (aiohttp.ClientError, OSError):
        message = "the provider's answer is incomplete: the connection was lost"
        raise UpstreamFailed(502, "upstream_cut", message) from None
    except BrokenCoding:
        message = "the provider's answer is not in its content encoding"
        raise UpstreamFailed(502, "upstream_garbled", message) from None


class UpstreamAnswer:
    """A provider's answer whose body has not been read yet.

    ``is_stream`` says whether the body is server-sent events.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._decoder: Decoder | None = None
        self._begun = b""
        self.status = response.status
        raw = response.raw_headers
        self.headers: Headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in raw]
        kind = self.header("content-type").strip().lower()
        self.is_stream = kind.startswith("text/event-stream")

    def header(self, name: str) -> str:
        """Return a header's value, empty if it is absent."""
        return self._response.headers.get(name, "")

    def decoder(self) -> Decoder | None:
        """Return a decoder of the body's content encoding; None if it has none, or an unknown one.

        The farm asks for none, but not every server or gateway before it complies.
        """
        coding = self.header("content-encoding").strip().lower()
        try:
            return decoder_for(coding) if coding not in ("", "identity") else None
        except UnsupportedCoding:
            return None

    @property
    def coded(self) -> bool:
        """Whether the chunks are in a content encoding."""
        return self._decoder is None and bool(self.header("content-encoding"))

    def decode(self) -> None:
        """Decode the body, if it has a known content encoding."""
        self._decoder = self.decoder()
        if self._decoder is not None:
            gone = ("content-encoding", "content-length")
            self.headers = [(n, v) for n, v in self.headers if n.lower() not in gone]

    async def find_stream(self) -> None:
        """Set ``is_stream`` by the body's first bytes, as its type does not say it.

        Raises:
            UpstreamFailed: as :meth:`chunks`.
        """
        with _failures():
            while not self._begun.strip() and (chunk := await self._response.content.readany()):
                pieces = [chunk] if self._decoder is None else self._decoder.feed(chunk)
                self._begun += b"".join(pieces)
        self.is_stream = bool(self._begun.strip()) and not begins_json(self._begun)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body's chunks as they arrive.

        Raises:
            UpstreamFailed: the body is incomplete, or no data arrived within the idle timeout.
        """
        if self._begun:
            yield self._begun
        decoder = self._decoder
        with _failures():
            async for chunk in self._response.content.iter_any():
                if decoder is None:
                    yield chunk
                    continue
                for piece in decoder.feed(chunk):
                    yield piece
            if decoder is not None:
                decoder.finish()

    async def finish(self) -> None:
        """Return the connection to the pool if the answer ends within a short time."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(_END_SECONDS):
                await self._response.content.wait_eof()
        self._response.release()

    def close(self) -> None:
        """End the answer; the connection is closed if the answer was not read completely."""
        self._response.close()


@dataclass(slots=True)
class _Attempt:
    """One request on a connection. ``reused`` is when the pool gave it; None for a new one."""

    reused: float | None = None

    def was_not_read(self, error: aiohttp.ClientError) -> bool:
        """Return whether the connection had been closed before the provider got the request."""
        if self.reused is None or time.monotonic() - self.reused > _STALE_SECONDS:
            return False
        # The error of an answer that has begun holds the answer's head.
        return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(
            error.message, str
        )


async def _note_reuse(
    session: aiohttp.ClientSession, context: Any, given: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.reused = time.monotonic()


def _reuse_trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    return trace


class UpstreamClient:
    """Sends requests to the providers; a part of the process's lifespan."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the pool."""
        if not self._settings.proxies:
            return
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.upstream_ca_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, ssl=context, keepalive_timeout=_KEEPALIVE_SECONDS
            ),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.upstream_connect_seconds,
                sock_read=settings.upstream_idle_seconds,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_SKIPPED,
            trust_env=False,
            trace_configs=[_reuse_trace()],
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )

    async def stop(self) -> None:
        """Close the pool and its connections."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # transports close in the next round of the loop
            self._session = None

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes | AsyncIterator[bytes] | None
    ) -> UpstreamAnswer:
        """Send a request and return the answer as soon as its headers have arrived.

        A provider may close an idle connection just as it is reused. So a request on a connection
        of the pool that fails at once is sent once more, if its body is still available. No other
        is, because the provider may have worked on it. aiohttp itself repeats idempotent methods.

        Raises:
            UpstreamFailed: the connection failed, or no answer arrived in time.
        """
        if self._session is None:
            raise UpstreamFailed(502, "upstream_unreachable", "the proxy is not running")
        session, attempt = self._session, _Attempt()
        try:
            try:
                response = await self._request(session, method, url, headers, body, attempt)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not isinstance(body, bytes) or not attempt.was_not_read(error):
                    raise
                response = await self._request(session, method, url, headers, body, attempt)
        except aiohttp.ConnectionTimeoutError:
            message = "connecting to the provider timed out"
            raise UpstreamFailed(504, "upstream_timeout", message) from None
        except TimeoutError:
            message = "the provider did not answer in time"
            raise UpstreamFailed(504, "upstream_timeout", message) from None
        except aiohttp.ClientConnectorError:
            message = "the provider cannot be reached"
            raise UpstreamFailed(502, "upstream_unreachable", message) from None
        except (aiohttp.ClientError, OSError, ValueError):
            message = "the provider closed the connection without an answer"
            raise UpstreamFailed(502, "upstream_cut", message) from None
        return UpstreamAnswer(response)

    async def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Headers,
        body: bytes | AsyncIterator[bytes] | None,
        attempt: _Attempt,
    ) -> aiohttp.ClientResponse:
        return await session.request(
            method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            proxy=self._settings.upstream_proxy,
            trace_request_ctx=attempt,
        )
