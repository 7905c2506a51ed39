"""Selects the provider for a request, and the URL at the provider."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.settings import Settings

from ..provider.api_shapes import CHAT, MESSAGES, RESPONSES, Shape
from .errors import ProviderName

_OURS = ("compress", "playground", "retrieve", "usage")
"""First parts of the paths under ``/v1/`` that are the farm's own."""
_VARIABLES: dict[ProviderName, str] = {
    "anthropic": "ANTHROPIC_TARGET_API_URL",
    "openai": "OPENAI_TARGET_API_URL",
}
_SEPARATORS = re.compile(r"[/\\]")
"""Slashes, and the backslashes that some servers read as such."""
MODEL_CALLS: dict[str, Shape] = {
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
}
"""The paths whose requests are compressed; the OpenAPI document describes them."""
COUNT_TOKENS = "/v1/messages/count_tokens"


@dataclass(frozen=True, slots=True)
class Route:
    """The destination of a request. ``shape`` is None if it is forwarded unchanged.

    ``url`` is empty if the provider's address is not configured; ``variable`` names its setting.
    """

    provider: ProviderName
    path: str
    url: str
    variable: str
    shape: Shape | None


def is_ours(path: str) -> bool:
    """Return whether a path under ``/v1/`` belongs to the farm."""
    return path.removeprefix("/v1/").split("/", 1)[0] in _OURS


def ambiguous(path: str, raw_path: str) -> bool:
    """Return whether the provider might read a path differently from the farm.

    ``path`` is decoded, ``raw_path`` is as received. Dot segments, also encoded ones, would leave
    the provider's configured address; an encoded ``/v1/`` is not where the farm expects it.
    """
    if any(part in (".", "..") for part in _SEPARATORS.split(path)):
        return True
    return not raw_path.startswith("/v1/") if path.startswith("/v1/") else raw_path != path


class Routes:
    """Finds the route of a request."""

    def __init__(self, settings: Settings) -> None:
        self._bases: dict[ProviderName, str] = {
            "anthropic": settings.anthropic_target_api_url or "",
            "openai": settings.openai_target_api_url or "",
        }

    def find(self, method: str, path: str, raw_path: str, query: str, anthropic: bool) -> Route:
        """Return the destination of a request.

        ``path`` is decoded, ``raw_path`` is as received. ``anthropic`` says whether the headers are
        those of an Anthropic client, which decides for paths that both providers have.
        """
        path = path if path.startswith("/v1/") else f"/v1{path}"
        raw_path = raw_path if raw_path.startswith("/v1/") else f"/v1{raw_path}"
        shape = MODEL_CALLS.get(path) if method == "POST" else None
        provider: ProviderName = "anthropic" if anthropic else "openai"
        if path.startswith("/v1/messages"):
            provider = "anthropic"
        elif path in MODEL_CALLS:
            provider = "openai"
        base = self._bases[provider].rstrip("/")
        url = base.removesuffix("/v1") + raw_path + (f"?{query}" if query else "") if base else ""
        return Route(provider, path, url, _VARIABLES[provider], shape)
