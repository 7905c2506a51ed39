"""Content detection by headroom, computed on demand and once for each text in memory."""

from __future__ import annotations

from typing import Any

from shared.jobs import Detection

from . import environment  # noqa: F401 - before headroom
from headroom.transforms import content_router as _router
from headroom.transforms import mixed_content as _mixed

_detections: dict[str, Detection] = {}
_DETECTIONS_KEPT = 64
_upstream_detect = _router._detect_content
_upstream_mixed = _router.is_mixed_content
_SCAN_STEPS = 300_000
"""Most lines (about 0.1 s) that headroom's search for JSON blocks may scan in one text without
finding one. From each line that opens a block it scans to the end of the text if the block never
closes, so 50 KB of ``{`` lines took 6 s. Real texts stay far below the limit, and their result
does not change."""
_STEPS_KEY = (-1, False, False)
_upstream_extract = _mixed._extract_json_block


def detect(text: str) -> Detection:
    """Return headroom's detection of ``text``, computed once while the text is in memory."""
    known = _detections.get(text)
    if known is None:
        found = _upstream_detect(text)
        known = Detection(
            found.content_type.value, found.confidence, found.metadata, _upstream_mixed(text)
        )
        remember_detection(text, known)
    return known


def detected(text: str) -> Detection | None:
    """Return headroom's detection of ``text`` if it has been computed."""
    return _detections.get(text)


def remember_detection(text: str, detection: Detection) -> None:
    """Make :func:`detect` return ``detection`` for ``text`` without computing it."""
    if len(_detections) >= _DETECTIONS_KEPT:
        _detections.pop(next(iter(_detections)))
    _detections[text] = detection


def detection_result(content: str) -> Any:
    found = detect(content)
    return _router.DetectionResult(
        _router.ContentType(found.content_type), found.confidence, found.metadata
    )


def _mixed_once(content: str) -> bool:
    known = _detections.get(content)
    return known.mixed if known is not None else bool(_upstream_mixed(content))


def _extract_within_bounds(
    lines: list[str], start: int, *, cache: dict[Any, Any] | None = None
) -> tuple[str | None, int]:
    """Find no further blocks in a text after :data:`_SCAN_STEPS` lines were scanned in vain.

    After the first failure, headroom passes one ``cache`` through all calls for a text.
    """
    walked = cache.get(_STEPS_KEY, (0,))[0] if cache is not None else 0
    if walked > _SCAN_STEPS:
        return None, start
    found: tuple[str | None, int] = _upstream_extract(lines, start, cache=cache)
    if found[0] is None and cache is not None:
        cache[_STEPS_KEY] = (walked + len(lines) - start,)
    return found


_router._detect_content = detection_result
_mixed._extract_json_block = _extract_within_bounds
_router.is_mixed_content = _mixed_once
