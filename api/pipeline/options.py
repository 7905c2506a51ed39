"""The request's options: read from the body, checked, with headroom's defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, get_args

import msgspec

from shared.errors import InvalidField
from shared.jobs import Options
from shared.policy import Ruling
from shared.settings import MarkerMode, Settings

from .plan import PlanOptions
from .split import Envelope

_MODES = get_args(MarkerMode)
_FIELDS = (
    "protect_recent",
    "min_tokens_to_compress",
    "target_ratio",
    "compress_user_messages",
    "mode",
)
_MODEL_CHARS = 256


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """A request's options; the defaults are ``headroom.CompressConfig``'s.

    ``protect_recent`` counts messages, ``min_tokens_to_compress`` tokens;
    ``target_ratio`` is the share of a text to keep, 0 < ratio <= 1.
    """

    model: str
    protect_recent: int = 4
    min_tokens_to_compress: int = 250
    target_ratio: float | None = None
    compress_user_messages: bool = False
    mode: str = "ccr"
    fold: bool = True
    tools: str = ""

    @classmethod
    def read(cls, envelope: Envelope, settings: Settings) -> RequestOptions:
        """Read the options of a body; the body's own fields win over its ``config``.

        Raises:
            InvalidField: a value has the wrong type or is out of range.
        """
        config = envelope.config if envelope.config is not None else {}
        if not isinstance(config, dict):
            raise InvalidField("'config' must be an object")
        given: dict[str, Any] = {}
        for name in _FIELDS:
            own = getattr(envelope, name)
            value = config.get(name) if own is msgspec.UNSET else own
            if value is not None:
                given[name] = value
        model = envelope.model
        if model is not None and not isinstance(model, str):
            raise InvalidField("'model' must be a string")
        options = cls(model=as_text(model or "default")[:_MODEL_CHARS], **_checked(given))
        if "mode" not in given:
            mode = settings.marker_mode if envelope.redeems is not False else "marker-free"
            return replace(options, mode=mode)
        return options

    def under(self, ruling: Ruling, envelope: Envelope) -> RequestOptions:
        """Return these options within what the policy allows: a caller may ask for less only."""
        mode = self.mode
        config = envelope.config if isinstance(envelope.config, dict) else {}
        asked = envelope.mode if envelope.mode is not msgspec.UNSET else config.get("mode")
        if ruling.markers == "ccr" and asked is None:
            mode = "ccr"
        no_markers = ruling.markers == "none" or (
            ruling.markers == "if_redeemable" and envelope.redeems is False
        )
        if mode == "ccr" and no_markers:
            mode = "marker-free"
        return replace(self, mode=mode, tools=ruling.tools)

    @property
    def seed(self) -> object:
        """What makes a conversation another one although its messages are the same."""
        return (self.mode, self.fold)

    def plan_options(self, settings: Settings) -> PlanOptions:
        """Return what planning needs of these options."""
        return PlanOptions(
            self.mode,
            settings.code_aware,
            self.target_ratio,
            self.protect_recent,
            self.min_tokens_to_compress,
            self.compress_user_messages,
            self.tools,
        )

    def engine_options(self, settings: Settings) -> Options:
        """Return what an engine needs of these options."""
        return Options(self.mode, self.target_ratio, settings.code_aware, self.model)


def as_text(value: str) -> str:
    """Return ``value`` without lone surrogates, which no JSON we write may hold."""
    return value.encode("utf-8", "replace").decode()


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    for name in ("protect_recent", "min_tokens_to_compress"):
        value = given.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise InvalidField(f"'{name}' must be a whole number, 0 or more")
    if "target_ratio" in given:
        ratio = given["target_ratio"]
        if not isinstance(ratio, int | float) or isinstance(ratio, bool):
            raise InvalidField("'target_ratio' must be a number")
        if not math.isfinite(ratio) or not 0 < ratio <= 1:
            raise InvalidField("'target_ratio' must be above 0 and at most 1")
        given["target_ratio"] = float(ratio)
    if not isinstance(given.get("compress_user_messages", False), bool):
        raise InvalidField("'compress_user_messages' must be true or false")
    if "mode" in given and given["mode"] not in _MODES:
        raise InvalidField(f"'mode' must be one of {', '.join(_MODES)}")
    return given
