"""What stands between a client and its provider: each turns a request into what is sent.

A system that cannot take a client's dialect raises :class:`NotTaken` for it.
"""

from __future__ import annotations

import http.client
import json
from typing import Any, Protocol
from urllib.parse import urlsplit

from loadtest.peers.library_process import LibraryEnded, LibraryProcess

from .provider import Provider

Body = dict[str, Any]
_TIMEOUT_SECONDS = 120.0
_FORWARDED = {"x-api-key": "sk-none", "authorization": "Bearer sk-none"}


class NotTaken(Exception):
    """This system does not take this client's requests."""


class SystemFailed(Exception):
    """The system did not answer as it should."""


class System(Protocol):
    """One of what is compared; ``name`` is its column."""

    name: str

    def begin(self, session: str) -> None:
        """Begin a session that it has not seen."""
        ...

    def turn(self, body: Body) -> Body:
        """Return the body that the provider is sent for ``body``."""
        ...

    def close(self) -> None:
        """End what it started."""
        ...


class Nothing:
    """The client talks to its provider."""

    name = "none"

    def begin(self, session: str) -> None:
        """Nothing is kept."""

    def turn(self, body: Body) -> Body:
        """Return the body as it is."""
        return body

    def close(self) -> None:
        """Nothing was started."""


class Compress:
    """A service with ``POST /v1/compress``: the farm, or the inline peer.

    ``responses`` says that it takes Responses items under ``input``.
    """

    def __init__(self, name: str, url: str, *, responses: bool) -> None:
        self.name = name
        self._responses = responses
        self._url = url
        self._user = ""

    def begin(self, session: str) -> None:
        """Each session is another user's, so no cache has seen it."""
        self._user = session

    def turn(self, body: Body) -> Body:
        """Return the body with the messages that the service answers.

        Raises:
            NotTaken: it is a Responses request and the service takes none.
            SystemFailed: no answer, or one that is no conversation.
        """
        key = "messages" if "messages" in body else "input"
        if key == "input" and not self._responses:
            raise NotTaken(self.name)
        asked = {key: body[key], "model": body["model"]}
        headers = {"x-maas-username": self._user}
        answer = json.loads(post(self._url, "/v1/compress", asked, headers))
        if not isinstance(answer.get(key), list) or len(answer[key]) != len(body[key]):
            raise SystemFailed(f"{self.name}: the answer is no conversation of this length")
        return {**body, key: answer[key]}

    def close(self) -> None:
        """The service is its starter's."""


class Library:
    """``headroom.compress()`` as a program would call it, with environment variables."""

    def __init__(self, name: str, **environment: str) -> None:
        self.name = name
        self._process = LibraryProcess(**environment)

    def begin(self, session: str) -> None:
        """Each call stands alone."""

    def turn(self, body: Body) -> Body:
        """Return the body with compressed messages.

        Raises:
            NotTaken: it is a Responses request.
            SystemFailed: the process ended.
        """
        if "messages" not in body:
            raise NotTaken(self.name)
        try:
            return {**body, "messages": self._process.ask(body)["messages"]}
        except LibraryEnded as error:
            raise SystemFailed(f"{self.name}: {error}") from None

    def close(self) -> None:
        """End the process."""
        self._process.close()


class Proxy:
    """``headroom proxy`` as a client is pointed at it; what it forwards is what is sent."""

    def __init__(self, name: str, url: str, provider: Provider) -> None:
        self.name = name
        self._url = url
        self._provider = provider
        self._session = ""

    def begin(self, session: str) -> None:
        """The provider begins with an empty cache, the proxy with another session's id."""
        self._provider.forget()
        self._session = session

    def turn(self, body: Body) -> Body:
        """Send the request through the proxy and return what the provider got.

        Raises:
            SystemFailed: it forwarded nothing.
        """
        path = "/v1/messages" if "messages" in body else "/v1/responses"
        before = len(self._provider.bodies)
        headers = {
            **_FORWARDED,
            "anthropic-version": "2023-06-01",
            "x-claude-code-session-id": self._session,
            "session-id": self._session,
        }
        post(self._url, path, body, headers)
        if len(self._provider.bodies) <= before:
            raise SystemFailed(f"{self.name}: it forwarded nothing")
        return self._provider.bodies[-1]

    def close(self) -> None:
        """The proxy is its starter's."""


def post(url: str, path: str, body: Body, headers: dict[str, str]) -> bytes:
    """Post JSON and return the answer's body.

    Raises:
        SystemFailed: the status is not 200, or there is no answer.
    """
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_SECONDS)
    try:
        given = {"content-type": "application/json", **headers}
        connection.request("POST", path, json.dumps(body).encode(), given)
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise SystemFailed(f"{url}{path}: {type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise SystemFailed(f"{url}{path}: {answer.status} {data[:200].decode(errors='replace')}")
    return data
