"""Content detection by headroom, computed on demand and once for each text in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import environment  # noqa: F401 - before headroom
from headroom.transforms import content_router as _router


class Detection(NamedTuple):
    """The result of headroom's detector for a text."""

    content_type: str
    confidence: float
    metadata: dict[str, Any]


_detections: dict[str, Detection] = {}
_DETECTIONS_KEPT = 64
_upstream_detect = _router._detect_content


def detect(text: str) -> Detection:
    """Return headroom's detection of ``text``, computed once while the text is in memory."""
    known = _detections.get(text)
    if known is None:
        found = _upstream_detect(text)
        known = Detection(found.content_type.value, found.confidence, found.metadata)
        if len(_detections) >= _DETECTIONS_KEPT:
            _detections.pop(next(iter(_detections)))
        _detections[text] = known
    return known


def _result(content: str) -> Any:
    found = detect(content)
    return _router.DetectionResult(
        _router.ContentType(found.content_type), found.confidence, found.metadata
    )


_router._detect_content = _result
