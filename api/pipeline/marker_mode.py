"""Whether omitted text gets a marker: by the request, its tools, the settings and the policy."""

from __future__ import annotations

from typing import Any

from shared.policy.rules import Markers

MODES = {
    "ccr": "ccr",
    "marker-free": "marker-free",
    "lossy_inline": "lossy_inline",
    "lossless_then_lossy": "lossy_inline",
}
"""The modes that a request may name, and their internal names. ``lossy_inline`` omits the same text
as ``ccr``, but without a marker, so that it cannot be retrieved."""


def marker_mode(asked: str | None, usual: str, redeems: bool | None) -> str:
    """Return a request's mode: the one it asks for, else the ``usual`` one.

    A caller that cannot retrieve originals (``redeems`` is False) gets no markers.
    """
    if asked is not None:
        return MODES[asked]
    return usual if redeems is not False else "marker-free"


def mode_under(markers: Markers | None, mode: str, asked: Any, redeems: bool | None) -> str:
    """Return ``mode`` as restricted by the policy's ``markers``; ``asked`` is the caller's own."""
    if markers == "ccr" and asked is None:
        mode = "ccr"
    forbidden = markers == "none" or (markers == "if_redeemable" and redeems is False)
    return "marker-free" if mode == "ccr" and forbidden else mode
