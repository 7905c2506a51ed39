"""What is compared: each gives a tool result another form, and the originals of its markers."""

from __future__ import annotations

import http.client
import json
import random
import re
import secrets
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from loadtest.peers.library_process import LibraryEnded, LibraryProcess

from .sample import Sample

_TIMEOUT_SECONDS = 60.0
_HASH = re.compile(r"(?:<<ccr:|hash=)([a-f0-9]{12,24})")
_ATTEMPTS = 6
_LATER = [
    {"role": role, "content": text}
    for text in ("Noted.", "That is done.", "So is this.")
    for role, text in (("assistant", text), ("user", "Go on with the next step."))
]


class Result(NamedTuple):
    """A tool result as a model gets it; ``engine`` as the system names what it did."""

    text: str
    originals: dict[str, str]
    engine: str


class SystemFailed(Exception):
    """The system did not answer as it should."""


class System(Protocol):
    """One of what is compared; ``name`` is its column."""

    name: str

    def shown(self, sample: Sample, size: int) -> Result:
        """Return what becomes of the sample; ``size`` is what the farm made of it, characters."""
        ...


def request_of(sample: Sample) -> dict[str, Any]:
    """Return the request in which the sample is the result of its command."""
    call = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": sample.command}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": sample.text}
    return {
        "model": "claude-sonnet-4-5",
        "messages": [
            {"role": "user", "content": "What is going on here?"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
            # Headroom leaves what is recent alone.
            *_LATER,
        ],
    }


def _text_of(messages: list[dict[str, Any]]) -> str:
    content = messages[2]["content"][0]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def _engine_of(transforms: list[str]) -> str:
    """Return the engine's word in ``router:tool_result:ENGINE``; the whole where it has none."""
    named = [t.split(":")[2] for t in transforms if t.startswith("router:tool_result:")]
    return named[0] if named else (transforms[0] if transforms else "")


class Farm:
    """A running farm; every sample is another user's."""

    name = "farm"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port

    def shown(self, sample: Sample, size: int = 0) -> Result:
        """Post the sample, and fetch what its markers lead to."""
        user = f"fidelity-{secrets.token_hex(6)}"
        body = json.dumps(request_of(sample)).encode("utf-8", "surrogatepass")
        for _ in range(_ATTEMPTS):
            status, answer = self._asked("POST", "/v1/compress", user, body)
            if status != 200:
                raise SystemFailed(f"{sample.name}: status {status}")
            if not answer["degraded"]:
                break
        else:
            raise SystemFailed(f"{sample.name}: degraded {answer['degraded']}")
        text = _text_of(answer["messages"])
        originals = {}
        for digest in answer["ccr_hashes"]:
            status, kept = self._asked("GET", f"/v1/retrieve/{digest}", user)
            if status == 200:
                originals[digest] = kept["original_content"]
        if set(originals) != set(_HASH.findall(text)) - set(_HASH.findall(sample.text)):
            raise SystemFailed(f"{sample.name}: markers and originals are not the same")
        return Result(text, originals, _engine_of(answer["transforms_applied"]))

    def _asked(self, method: str, path: str, user: str, body: bytes | None = None) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        try:
            headers = {"content-type": "application/json", "x-maas-username": user}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()


class Library:
    """``headroom.compress()`` itself, in a process of its own."""

    name = "compress()"

    def __init__(self) -> None:
        self._process = LibraryProcess()

    def shown(self, sample: Sample, size: int) -> Result:
        """Ask the process."""
        try:
            answer = self._process.ask(request_of(sample))
        except LibraryEnded as error:
            raise SystemFailed(str(error)) from None
        text = _text_of(answer["messages"])
        return Result(text, answer["originals"], _engine_of(answer["transforms"]))

    def close(self) -> None:
        """End the process."""
        self._process.close()


class MiddleOut:
    """Cuts the middle out, to what the farm used: what harnesses do with long output."""

    name = "middle out"

    def shown(self, sample: Sample, size: int) -> Result:
        """Return the first and the last lines, and how many are gone."""
        if size >= len(sample.text):
            return Result(sample.text, {}, "")
        half = size // 2
        head = sample.text[:half].rpartition("\n")[0]
        tail = sample.text[-half:].partition("\n")[2]
        gone = sample.text.count("\n") - head.count("\n") - tail.count("\n") - 1
        return Result(f"{head}\n[... {gone} lines omitted ...]\n{tail}", {}, self.name)


class RandomLines:
    """Keeps random lines, as many as fit into what the farm used."""

    name = "random lines"

    def shown(self, sample: Sample, size: int) -> Result:
        """Return the lines in their order; the choice is the same for the same sample."""
        if size >= len(sample.text):
            return Result(sample.text, {}, "")
        lines = sample.text.split("\n")
        places = list(range(len(lines)))
        random.Random(sample.name).shuffle(places)
        left, kept = size, set()
        for place in places:
            left -= len(lines[place]) + 1
            if left < 0:
                break
            kept.add(place)
        return Result("\n".join(lines[p] for p in sorted(kept)), {}, self.name)
