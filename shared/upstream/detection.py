"""Content detection by headroom, once for each text that is at hand."""

from __future__ import annotations

from typing import Any

from shared.jobs import Detection

from . import environment  # noqa: F401 - before headroom
from headroom.transforms import content_router as _router

_detections: dict[str, Detection] = {}
_DETECTIONS_KEPT = 16
_upstream_detect = _router._detect_content
_upstream_mixed = _router.is_mixed_content


def detect(text: str) -> Detection:
    """Return headroom's detection of ``text``, computed once while the text is at hand."""
    known = _detections.get(text)
    if known is None:
        found = _upstream_detect(text)
        known = Detection(
            found.content_type.value, found.confidence, found.metadata, _upstream_mixed(text)
        )
        remember_detection(text, known)
    return known


def remember_detection(text: str, detection: Detection) -> None:
    """Let :func:`detect` answer ``detection`` for ``text`` without looking again."""
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


_router._detect_content = detection_result
_router.is_mixed_content = _mixed_once
