"""The address of a Redis: one server, the master that Sentinels name, or a Cluster.

| scheme | what |
|---|---|
| ``redis://``, ``unix://`` | one server, as redis-py reads it |
| ``redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/SERVICE/DB`` | the master of ``SERVICE`` |
| ``redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT`` | a Redis Cluster |

``rediss`` instead of ``redis`` means TLS. Names and passwords are percent-encoded where needed.
A password is never part of a representation or an error message.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

Kind = Literal["server", "sentinel", "cluster"]
_PORTS = {"sentinel": 26379, "cluster": 6379}
_SCHEMES = (
    "redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://, redis+cluster:// "
    "or rediss+cluster://"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One parsed URL. ``url`` is set for a plain server, the other fields for the other kinds."""

    kind: Kind
    tls: bool
    url: str = field(default="", repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    service: str = ""
    db: int = 0

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse ``url``.

        Raises:
            ValueError: ``url`` is none of the above; the message does not quote it.
        """
        scheme, _, rest = url.partition("://")
        base, _, kind = scheme.partition("+")
        if base == "unix" and not kind:
            return cls("server", False, url)
        if base not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster") or not rest:
            raise ValueError(f"a Redis URL must begin with {_SCHEMES}")
        tls = base == "rediss"
        if kind == "sentinel":
            return cls._of_many("sentinel", tls, rest)
        if kind == "cluster":
            return cls._of_many("cluster", tls, rest)
        try:
            urlsplit(url).port  # noqa: B018 (reading it checks it)
        except ValueError:
            raise ValueError("a Redis URL's port must be a number below 65536") from None
        return cls("server", tls, url)

    @classmethod
    def _of_many(cls, kind: Literal["sentinel", "cluster"], tls: bool, rest: str) -> Address:
        netloc, _, path = rest.partition("/")
        login, at, listed = netloc.rpartition("@")
        username, _, password = login.partition(":")
        hosts = tuple(_host(one.strip(), _PORTS[kind]) for one in listed.split(",") if one.strip())
        service, _, db = unquote(path).partition("/")
        if not hosts:
            raise ValueError(f"a {kind} URL must name at least one host")
        if kind == "sentinel" and (not service or not (db or "0").isdecimal()):
            raise ValueError("a sentinel URL must end with /SERVICE or /SERVICE/DB")
        if kind == "cluster" and path.strip("/") not in ("", "0"):
            raise ValueError("a cluster has only database 0")
        return cls(
            kind=kind,
            tls=tls,
            hosts=hosts,
            username=unquote(username) or None if at else None,
            password=unquote(password) or None if at else None,
            service=service if kind == "sentinel" else "",
            db=int(db or 0) if kind == "sentinel" else 0,
        )


def _host(text: str, default: int) -> tuple[str, int]:
    """Parse ``host``, ``host:port`` or ``[v6]:port``."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("a Redis URL's port must be a number below 65536") from None
    if not host:
        raise ValueError("a Redis URL must have a host between two commas")
    return host, port or default
