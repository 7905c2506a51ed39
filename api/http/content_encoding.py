"""Content codings of request bodies: gzip, zstd and deflate, decoded in pieces.

A body may grow a thousandfold when decoded, so it is never decoded in one go: the decoder yields
pieces of at most :data:`PIECE_BYTES`, and the caller counts them and can stop.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from shared.errors import BrokenCoding, UnsupportedCoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE_BYTES = 1 << 20
"""Decoding a piece takes 1 to 3 ms, during which other requests wait."""
_ZSTD_WINDOW_LOG = 23
"""8 MiB, which RFC 8878 recommends that decoders support; frames that need more are refused."""


class Decoder(Protocol):
    """A decoder: call :meth:`feed` for each chunk, then :meth:`finish`."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield ``data`` decoded, in pieces of at most :data:`PIECE_BYTES`.

        Raises:
            BrokenCoding: The data is not in the declared encoding.
        """
        ...

    def finish(self) -> None:
        """End the body.

        Raises:
            BrokenCoding: The body is incomplete.
        """
        ...


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Zlib:
    """Consecutive gzip or zlib members (RFC 1952 allows several)."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._member = zlib.decompressobj(window)
        self._touched = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            self._touched = True
            try:
                piece = self._member.decompress(data, PIECE_BYTES)
            except zlib.error:
                raise BrokenCoding("the body is not in its content encoding") from None
            if piece:
                yield piece
            data = self._member.unconsumed_tail
            if self._member.eof:
                data = self._member.unused_data
                self._member = zlib.decompressobj(self._window)
                self._touched = False

    def finish(self) -> None:
        if self._touched:
            raise BrokenCoding("the encoded body ends early")


class _Zstd:
    """Consecutive Zstandard frames."""

    def __init__(self) -> None:
        self._frame = self._new()
        self._touched = False

    @staticmethod
    def _new() -> Any:
        bounded: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return zstd.ZstdDecompressor(options=bounded)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or not (self._frame.needs_input or self._frame.eof):
            self._touched = True
            try:
                piece = self._frame.decompress(data, PIECE_BYTES)
            except zstd.ZstdError:
                raise BrokenCoding("the body is not in its content encoding") from None
            if piece:
                yield piece
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data
                self._frame = self._new()
                self._touched = False

    def finish(self) -> None:
        if self._touched:
            raise BrokenCoding("the encoded body ends early")


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "": _Plain,
    "identity": _Plain,
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "zstd": _Zstd,
}
ACCEPTED = "gzip, zstd, deflate"


def decoder_for(coding: str | None) -> Decoder:
    """Return the decoder for this ``content-encoding``.

    Raises:
        UnsupportedCoding: there is none.
    """
    found = _DECODERS.get((coding or "").strip().lower())
    if found is None:
        raise UnsupportedCoding(f"the content encoding must be one of {ACCEPTED}, or none")
    return found()
