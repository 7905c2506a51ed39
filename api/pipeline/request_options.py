"""The request's options: read from the body, checked, with headroom's defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidField
from shared.jobs import Options
from shared.policy.control_group import Arm
from shared.policy.rules import Quota
from shared.policy.ruling import Ruling
from shared.settings import Settings

from .marker_mode import MODES, marker_mode, mode_under
from .plan_options import PlanOptions
from .session_identity import Filed
from .split_body import Envelope

_MODEL_CHARS = 256
_SESSION_CHARS = 256
_MOST_TOKENS = 1_000_000_000
_WARNED_NAMES, _WARNED_CHARS = 16, 64


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """A request's options; the defaults are ``headroom.CompressConfig``'s.

    ``protect_recent`` is in messages, ``min_tokens_to_compress`` in tokens;
    ``target_ratio`` is the share of a text to keep, 0 < ratio <= 1. ``session_id`` identifies the
    conversation (empty: its first messages do), ``frozen_message_count`` is the number of leading
    messages that are sent as received or as last sent, ``limit`` the number of tokens in which the
    conversation should fit. ``fold_reads`` allows the output of file reads to refer to earlier
    text, ``fold`` that of any tool. ``warnings`` are for the caller. The policy sets ``tools`` (its
    rules for tools), ``quota``, and ``filed``, its record of the request (None without a policy).
    """

    model: str
    protect_recent: int = 4
    min_tokens_to_compress: int = 250
    target_ratio: float | None = None
    compress_user_messages: bool = False
    mode: str = "ccr"
    session_id: str = ""
    frozen_message_count: int = 0
    limit: int | None = None
    protect_analysis_context: bool = True
    compress_system_messages: bool = False
    fold_reads: bool = False
    fold: bool = True
    tools: str = ""
    warnings: tuple[str, ...] = ()
    quota: Quota | None = None
    filed: Filed | None = None

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
        for name, rule in _RULES.items():
            own = getattr(envelope, name)
            value = config.get(name) if own is msgspec.UNSET else own
            if value is None:
                continue
            if not rule.holds(value):
                raise InvalidField(f"'{name}' must be {rule.wanted}")
            given[name] = value
        if "target_ratio" in given:
            given["target_ratio"] = float(given["target_ratio"])
        model = envelope.model
        if model is not None and not isinstance(model, str):
            raise InvalidField("'model' must be a string")
        given.setdefault("fold_reads", settings.fold_reads)
        given["fold"] = not envelope.forgets
        window = given.pop("model_limit", None)
        options = cls(
            model=as_text(model or "default")[:_MODEL_CHARS],
            limit=given.pop("token_budget", window),
            warnings=_unknown(config),
            **given,
        )
        mode = marker_mode(given.get("mode"), settings.marker_mode, envelope.redeems)
        return replace(options, mode=mode)

    def under(self, ruling: Ruling, envelope: Envelope, filed: Filed) -> RequestOptions:
        """Return these options as restricted by the policy: a caller may only ask for less."""
        config = envelope.config if isinstance(envelope.config, dict) else {}
        asked = envelope.mode if envelope.mode is not msgspec.UNSET else config.get("mode")
        return replace(
            self,
            mode=mode_under(ruling.markers, self.mode, asked, envelope.redeems),
            tools=ruling.tools,
            quota=ruling.quota,
            filed=filed,
        )

    @property
    def arm(self) -> Arm:
        """The treatment that the policy assigns to the conversation."""
        return "on" if self.filed is None else self.filed.arm

    @property
    def seed(self) -> object:
        """The options that distinguish conversations with equal messages.

        An audit has a conversation of its own, because its result was not sent.
        """
        return (self.mode, self.fold, self.arm == "audit")

    def plan_options(self, settings: Settings) -> PlanOptions:
        """Return the options that planning needs."""
        return PlanOptions(
            self.mode,
            settings.code_aware,
            self.target_ratio,
            self.protect_recent,
            self.min_tokens_to_compress,
            self.compress_user_messages,
            self.tools,
            self.protect_analysis_context,
            self.compress_system_messages,
            self.limit,
            fold_reads=self.fold_reads,
        )

    def engine_options(self, settings: Settings, ratio: float | None, press: int) -> Options:
        """Return the options that an engine needs, with ``ratio`` of a text to keep."""
        return Options(self.mode, ratio, settings.code_aware, self.model, press)


def as_text(value: str) -> str:
    """Return ``value`` without lone surrogates, which cannot be encoded as UTF-8."""
    return value.encode("utf-8", "replace").decode()


class _Rule(NamedTuple):
    """The check of an option's value, and the description of valid values for the error."""

    holds: Callable[[Any], bool]
    wanted: str


def _whole(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _MOST_TOKENS


def _is_ratio(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 < value <= 1


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= _SESSION_CHARS


_COUNT = _Rule(_whole, f"a whole number from 0 to {_MOST_TOKENS}")
_TOKENS = _Rule(lambda value: _whole(value, 1), f"a whole number from 1 to {_MOST_TOKENS}")
_SWITCH = _Rule(lambda value: isinstance(value, bool), "true or false")
_RULES = {
    "protect_recent": _COUNT,
    "min_tokens_to_compress": _COUNT,
    "target_ratio": _Rule(_is_ratio, "a number above 0 and at most 1"),
    "compress_user_messages": _SWITCH,
    "mode": _Rule(
        lambda value: isinstance(value, str) and value in MODES, "one of " + ", ".join(MODES)
    ),
    "session_id": _Rule(_is_name, f"a non-empty string of at most {_SESSION_CHARS} characters"),
    "frozen_message_count": _COUNT,
    "token_budget": _TOKENS,
    "model_limit": _TOKENS,
    "protect_analysis_context": _SWITCH,
    "compress_system_messages": _SWITCH,
    "fold_reads": _SWITCH,
}


def _unknown(config: dict[str, Any]) -> tuple[str, ...]:
    """Return a warning for each unknown option of ``config``."""
    names = [as_text(name)[:_WARNED_CHARS] for name in config if name not in _RULES]
    told = [f"unknown option: config.{name}" for name in names[:_WARNED_NAMES]]
    if len(names) > _WARNED_NAMES:
        told.append(f"unknown options: {len(names) - _WARNED_NAMES} more")
    return tuple(told)
