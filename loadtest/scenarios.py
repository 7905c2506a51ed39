"""The scenarios of the load tests, each a function of a target.

* `growth`: one user's session turn by turn, each turn posted twice: new, and repeated.
* `turn60`: one user; the whole conversation of turn 60 posted repeatedly.
* `growing`: users in a closed loop, each playing its own session turn by turn.
* `nothing_new`: users in a closed loop, each posting its turn 60 repeatedly.
* `fresh_block`: one unseen block at a time, compared with `headroom.compress()` in this process.

Bodies are encoded before a measurement starts, and answers are decoded after it ends. User names
and seeds should be new for every call: targets cache by user, and some by content for the whole
process.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadtest.http import Connection
from loadtest.sessions import MESSAGES_PER_TURN, session
from loadtest.target import Spent, Target, spent

MODEL = "claude-sonnet-4-5-20250929"
LIGHT_KINDS = ("grep", "diff", "grep", "json")
"""Kinds of fresh blocks whose engines take 5 ms per turn on average, as the performance goals
assume."""

TURNS = 60
FRESH_MINIMUM = 8000
"""Minimum size, in characters, of a tool result that is worth timing."""

_PATH = "/v1/compress"
_HEAD = b'{"model":"' + MODEL.encode() + b'","messages":['

Message = dict[str, Any]


class Conversation:
    """The request bodies of one session, encoded once.

    The messages of turn t are a prefix of those of turn t+1, so one buffer holds all of them, and
    a body is a slice of it between a head and a tail.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._ends = [0]
        encoded = bytearray()
        for message in messages:
            if encoded:
                encoded += b","
            encoded += json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
            self._ends.append(len(encoded))
        self._bytes = memoryview(encoded)

    def size(self, count: int) -> int:
        """Return the size in bytes of the first `count` messages, including the head."""
        return len(_HEAD) + self._ends[count]

    def post(self, connection: Connection, user: str, count: int, tail: bytes = b"]}") -> bytes:
        """Post the first `count` messages as `user`; return the body of the answer."""
        head = connection.head(_PATH, user, self.size(count) + len(tail))
        return connection.exchange((head, _HEAD, self._bytes[: self._ends[count]], tail))


@dataclass(frozen=True)
class Load:
    """The result of a closed loop; times in seconds, `driver_cpu` in processor seconds.

    `kept` is the answers' bytes divided by the requests' bytes. Two targets did the same work only
    if it agrees, whatever savings they report.
    """

    seconds: float
    latencies: list[float]
    kept: float
    driver_cpu: float
    spent: Spent

    def figures(self) -> dict[str, float]:
        """Return the figures of the table; latencies in ms."""
        requests = len(self.latencies)
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        found = {
            "req/s": requests / self.seconds,
            "p50 ms": cuts[49] * 1e3,
            "p95 ms": cuts[94] * 1e3,
            "p99 ms": cuts[98] * 1e3,
            "kept %": self.kept * 100,
            "driver cpu ms/req": self.driver_cpu / requests * 1e3,
        }
        for part, cpu in sorted(self.spent.cpu.items()):
            found[f"{part} cpu ms/req"] = cpu / requests * 1e3
        if self.spent.cpu:
            found["cpu ms/req"] = sum(self.spent.cpu.values()) / requests * 1e3
        traffic = self.spent.traffic
        if traffic.commands:
            found["redis commands/req"] = traffic.commands / requests
            found["redis KB in/req"] = traffic.bytes_in / requests / 1e3
            found["redis KB out/req"] = traffic.bytes_out / requests / 1e3
        return found


@dataclass(frozen=True)
class Fresh:
    """One unseen block: seconds by the target, and by `headroom.compress()` in this process."""

    target: float
    inline: float


class Step(NamedTuple):
    """One turn of a growing session: bytes of its body, seconds when new and when repeated."""

    turn: int
    size: int
    first: float
    again: float


def growth(
    target: Target, user: str, turns: Sequence[int], *, repeats: int = 0, seed: int = 0
) -> tuple[list[Step], list[float]]:
    """Post a session's `turns` in order, each twice, and the last one `repeats` more times.

    Returns:
        The turns, and the latency of each repeat in seconds, all on one keep-alive connection.
    """
    conversation = Conversation(session(seed, TURNS))
    tail = target.tail(user)
    steps, latencies = [], []

    def timed(connection: Connection, count: int) -> float:
        start = time.perf_counter()
        answer = conversation.post(connection, user, count, tail)
        seconds = time.perf_counter() - start
        if count == last:
            _verify(answer, count)
        return seconds

    last = turns[-1] * MESSAGES_PER_TURN
    with Connection(target.url) as connection:
        for turn in turns:
            count = turn * MESSAGES_PER_TURN
            first, again = timed(connection, count), timed(connection, count)
            steps.append(Step(turn, conversation.size(count), first, again))
        latencies = [timed(connection, last) for _ in range(repeats)]
    return steps, latencies


def turn60(target: Target, user: str, repeats: int, *, seed: int = 0) -> list[float]:
    """Post every fifth turn of a session up to turn 60, then turn 60 `repeats` times."""
    return growth(target, user, range(5, TURNS + 1, 5), repeats=repeats, seed=seed)[1]


def growing(
    target: Target,
    users: int = 8,
    *,
    seed: int = 0,
    prefix: str = "",
    kinds: Sequence[str] | None = None,
    first: int = 21,
    last: int = TURNS,
    warm: bool = True,
) -> Load:
    """Let each user play its own session, turns `first` to `last`, in a closed loop.

    Args:
        target: The target; its processor time and Redis traffic are counted.
        users: Number of concurrent closed loops, each with one connection.
        seed: User i plays `session(seed + i)`.
        kinds: Kinds of the fresh blocks; by default all.
        prefix: Prefix of all user names.
        first: The first turn that is timed.
        last: The last turn.
        warm: First post every fifth turn before `first`, and the last of them, untimed.
    """
    before = (*range(5, first - 1, 5), first - 1) if warm and first > 1 else ()
    return _closed_loop(target, users, seed, prefix, before, range(first, last + 1), kinds=kinds)


def nothing_new(
    target: Target,
    users: int = 8,
    seconds: float = 5.0,
    *,
    seed: int = 0,
    prefix: str = "",
) -> Load:
    """Let each user post its turn 60 repeatedly for `seconds`, in a closed loop.

    The other arguments are those of `growing`. Beforehand, every fifth turn up to 60 is posted
    untimed, and turn 60 twice.
    """
    before = (*range(5, TURNS + 1, 5), TURNS)
    return _closed_loop(target, users, seed, prefix, before, None, seconds)


def fresh_block(target: Target, samples: int, *, seed: int = 0, prefix: str = "") -> list[Fresh]:
    """Post conversations of one unseen block each, one after the other.

    The time that the target adds to the engine's own is `target - inline` of a sample. Only
    blocks that `headroom.compress()` made smaller count, so there may be fewer samples than
    requested; the first two conversations are a warm-up for both sides and do not count.
    """
    # Imported here, because it imports headroom, which takes a second and is not needed elsewhere.
    from loadtest.peers.inline import compress

    found = []
    with Connection(target.url) as connection:
        for at, messages in enumerate(single_blocks(seed, samples + 2)):
            conversation = Conversation(messages)
            start = time.perf_counter()
            conversation.post(connection, f"{prefix}fresh", len(messages))
            middle = time.perf_counter()
            result = compress(messages, model=MODEL)
            end = time.perf_counter()
            if at >= 2 and result.tokens_saved > 0:
                found.append(Fresh(middle - start, end - middle))
    return found


def _closed_loop(
    target: Target,
    users: int,
    seed: int,
    prefix: str,
    before: Sequence[int],
    turns: Sequence[int] | None,
    seconds: float = 0.0,
    kinds: Sequence[str] | None = None,
) -> Load:
    """Post `before` untimed, then `turns`; if that is None, the last turn for `seconds`."""
    conversations = [
        Conversation(session(seed + user, TURNS, kinds=kinds)) for user in range(users)
    ]
    sent, got = [0] * users, [0] * users
    latencies: list[list[float]] = [[] for _ in range(users)]
    errors: list[BaseException] = []
    line = threading.Barrier(users + 1)

    def counts(end: float) -> Iterator[int]:
        if turns is not None:
            yield from (turn * MESSAGES_PER_TURN for turn in turns)
            return
        while time.perf_counter() < end:
            yield TURNS * MESSAGES_PER_TURN

    def play(user: int) -> None:
        conversation, name = conversations[user], f"{prefix}u{user}"
        tail = target.tail(name)
        with Connection(target.url) as connection:
            for turn in before:
                conversation.post(connection, name, turn * MESSAGES_PER_TURN, tail)
            line.wait()
            line.wait()  # the clocks are read between the two
            for count in counts(time.perf_counter() + seconds):
                start = time.perf_counter()
                answer = conversation.post(connection, name, count, tail)
                latencies[user].append(time.perf_counter() - start)
                sent[user] += conversation.size(count)
                got[user] += len(answer)
            line.wait()
        _verify(answer, count)

    def guarded(user: int) -> None:
        try:
            play(user)
        except BaseException as error:
            errors.append(error)
            line.abort()

    threads = [threading.Thread(target=guarded, args=(user,)) for user in range(users)]
    for thread in threads:
        thread.start()
    try:
        line.wait()
        used, driver_cpu, start = spent(target), time.process_time(), time.perf_counter()
        line.wait()
        line.wait()
        elapsed = time.perf_counter() - start
        driver_cpu = time.process_time() - driver_cpu
        used = spent(target).since(used)
    except threading.BrokenBarrierError:
        pass  # a user's thread failed; its exception is raised below
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    flat = [latency for own in latencies for latency in own]
    kept = sum(got) / sum(sent)
    return Load(elapsed, flat, kept, driver_cpu, used)


def single_blocks(
    seed: int, wanted: int, kinds: Sequence[str] | None = None
) -> Iterator[list[Message]]:
    """Yield conversations with one large tool result each; no result occurs twice."""
    found = 0
    while True:
        messages = session(seed, TURNS, kinds=kinds)
        seed += 1
        for at in range(1, len(messages)):
            if _result_size(messages[at]) < FRESH_MINIMUM:
                continue
            yield [
                {"role": "user", "content": "Run it and say what you see."},
                messages[at - 1],
                messages[at],
                {"role": "assistant", "content": "Seen."},
                {"role": "user", "content": "Go on with the next step."},
            ]
            found += 1
            if found == wanted:
                return


def _result_size(message: Message) -> int:
    """Return the size of a message's tool results, in characters."""
    if message["role"] == "tool":
        return len(str(message["content"]))
    content = message["content"]
    if not isinstance(content, list):
        return 0
    return sum(len(str(b.get("content"))) for b in content if b.get("type") == "tool_result")


def _verify(answer: bytes, count: int) -> None:
    """Raise ValueError unless an answer has `count` messages."""
    got = len(json.loads(answer)["messages"])
    if got != count:
        raise ValueError(f"sent {count} messages, got {got}")
