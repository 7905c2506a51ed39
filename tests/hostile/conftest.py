"""One farm for all hostile input; its processes must be the same afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import keys

from ..farm import Farm, user
from ..texts import conversation, events, ran

READ_SECONDS = 2.0
MAX_CONNECTIONS = 150


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with short timeouts, which must still be intact at the end."""
    farm = Farm(
        tmp_path_factory.mktemp("hostile"),
        read_timeout_seconds=READ_SECONDS,
        max_connections=MAX_CONNECTIONS,
    )
    try:
        farm.start()
        before = processes(farm)
        yield farm
        assert processes(farm) == before, "a process was started again"
        answer = farm.post(conversation(ran(events(user()))), user())
        assert answer.status == 200
        assert answer.json["tokens_saved"] > 0
        assert answer.json["degraded"] == []
    finally:
        farm.stop()


def processes(farm: Farm) -> dict[str, list[int]]:
    """Return the ids of all the farm's processes by part, without the front end's child process.

    That one may be killed by work that is too heavy (api/pipeline/offload.py).
    """
    return {part.log.name: [part.pid, *part.children()] for part in farm.parts}


def front_end(farm: Farm) -> int:
    """Return the id of the serving process."""
    (api,) = (part for part in farm.parts if part.log.name.startswith("api"))
    (serving,) = api.children()
    return serving


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def connections(farm: Farm) -> int:
    """Return the number of connections to the front end's port, from the kernel's table."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = f":{farm.port:04X}"
    return sum(1 for line in lines if line.split()[1].endswith(local) and line.split()[3] == "01")


def enqueued(farm: Farm) -> int:
    """Return the number of jobs, waiting or in progress."""
    return sum(1 for _ in farm.redis.scan_iter("rq:job:*")) + sum(
        int(farm.redis.llen(keys.queue(pool))) for pool in ("cpu", "gpu")
    )
