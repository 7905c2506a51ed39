"""``headroom-farm bypass``: the emergency switch, from the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.bypass import Bypass, current, turn_off, turn_on
from shared.errors import SwitchError
from shared.redis_connection import BROKEN, connect
from shared.settings import Settings


def bypass(settings: Settings, action: str, reason: str | None, seconds: int | None) -> str:
    """Turn the switch ``on`` or ``off``, or read it (``status``); return its state in words.

    Raises:
        SwitchError: Redis did not answer, so it is unknown whether anything changed.
    """
    client = connect(settings)
    try:
        if action == "on":
            turn_on(client, reason, seconds)
        elif action == "off":
            turn_off(client)
        return _said(current(client))
    except BROKEN as error:
        raise SwitchError(f"Redis does not answer: {type(error).__name__}") from None
    finally:
        client.close()


def _said(state: Bypass | None) -> str:
    if state is None:
        return "off: conversations are compressed"
    until = f" until {_time(state.until)}" if state.until else ""
    return f"on since {_time(state.since)}{until}: nothing is compressed ({state.reason})"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") if at else "?"
