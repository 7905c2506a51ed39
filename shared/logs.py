"""Structured logs: JSON for machines, a console format for people. Never message content."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

from .settings import Settings


def configure(settings: Settings) -> None:
    """Set up logging for this process, to standard error."""
    level = getattr(logging, settings.log_level.upper())
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, force=True)
    last = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def frames(error: BaseException) -> list[str]:
    """Return the frames of ``error``, innermost last, but not its text, which may quote content."""
    return [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-6:]
    ]
