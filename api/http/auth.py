"""Authentication and authorisation: bearer tokens, user headers, trusted peers.

The tokens file is a JSON list with one object per token: ``{"tenant": "...", "token": "..."}`` or
``"sha256"`` (hex) instead of ``"token"``, ``"scopes"`` (of ``compress``, ``retrieve``,
``books``) and ``"trusted": true`` for a service that acts for users, or ``"user": "..."`` for
a user's own token; it is the same user that trusted services refer to by this name. The file is
read again when it changes. While it does not parse, its last valid tenants apply; without any, or
while it cannot be read, every request is refused.

A request to a provider carries the provider's key in ``Authorization`` or ``x-api-key``. So the
farm's token may instead be in ``x-headroom-token`` or at the start of the path,
``/t/TOKEN/v1/...``; these places take precedence.

A browser's preflight request comes without a token; the farm answers it itself.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

import falcon.asgi
import msgspec
import structlog

from shared.errors import Forbidden, InvalidPath, InvalidUser, Unauthorized
from shared.settings import Settings

_log = structlog.get_logger(__name__)
Scope = Literal["compress", "retrieve", "books"]
ANONYMOUS = "anonymous"
FARM_TOKEN = "x-headroom-token"  # noqa: S105 - names of places, as the next
TOKEN_PATH = "/t/"  # noqa: S105
"""Path prefix that is followed by a token."""
_OPEN = frozenset({"/health", "/livez", "/readyz", "/openapi.json", "/", "/dashboard"})
_OPEN_BELOW = "/static/"
"""Paths that need no token: probes, the OpenAPI document, the dashboard's files (no user data)."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_USER_CHARS = 256


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # No slash, so that "tenant/user" is unambiguous.
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,128}\Z")]
    scopes: list[Scope]
    token: Annotated[str, msgspec.Meta(min_length=16)] | None = None
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[A-Fa-f0-9]{64}\Z")] | None = None
    trusted: bool = False
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """The tenant or user of a token, and its scopes."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]
    trusted: bool
    user: str | None = None


class Tokens:
    """The tokens file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._tenants: tuple[Tenant, ...] | None = None

    def find(self, token: str) -> Tenant | None:
        """Return the tenant of ``token``, in a time that does not depend on any known token."""
        self._refresh()
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = None
        for tenant in self._tenants or ():
            if hmac.compare_digest(tenant.digest, digest):
                found = tenant
        return found

    def knows(self, tenant: str) -> bool:
        """Return whether a tenant has this name."""
        return any(known.name == tenant for known in self._tenants or ())

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            seen: tuple[int, ...] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            tenants = _read(self._path)
        except OSError as error:
            # Deleting the file may have been meant to revoke its tokens: reject every token until
            # the file is back; the next request checks again.
            if self._seen is not None or self._tenants is None:
                _log.error("tokens_file_missing", error=type(error).__name__)
            self._seen, self._tenants = None, ()
        except ValueError as error:
            # Only the type: a parser's message may quote the file.
            _log.error("tokens_file_refused", error=type(error).__name__)
            self._seen = seen
        else:
            self._seen, self._tenants = seen, tenants


def _read(path: Path) -> tuple[Tenant, ...]:
    tenants = []
    for entry in msgspec.json.decode(path.read_bytes(), type=list[_Entry]):
        if (entry.token is None) == (entry.sha256 is None):
            raise ValueError("one of token and sha256")
        digest = (
            sha256(entry.token.encode()).digest()
            if entry.token is not None
            else bytes.fromhex(entry.sha256 or "")
        )
        scopes = frozenset(entry.scopes)
        tenants.append(Tenant(entry.tenant, digest, scopes, entry.trusted, entry.user))
    return tuple(tenants)


class Authenticator:
    """Middleware: admits or refuses a request, and records its user for the resources."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = Tokens(settings.tokens_file) if settings.tokens_file else None
        self._peers = settings.trusted_peers

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Set ``req.context.user``, and whether ``Authorization`` held the farm's token.

        A token in the path is removed from ``req.path`` and ``req.context.raw_path``.

        Raises:
            InvalidPath: the path's start is encoded in a way that hides where a token in it ends.
            Unauthorized: a token is required and there is no valid one.
            Forbidden: the token lacks this endpoint's scope.
            InvalidUser: the user's name is too long or holds control characters.
        """
        req.context.spent_authorization = False
        own = _farm_token(req)
        if is_preflight(req) or req.path in _OPEN or req.path.startswith(_OPEN_BELOW):
            req.context.user = ANONYMOUS
            return
        named = _named(req)
        token = own or _token(req.get_header("authorization"))
        if self._tokens is None:
            token = token or req.get_header("x-api-key") or ""
            req.context.user = self._by_header(req, named, token)
            return
        tenant = self._tokens.find(token) if token else None
        req.context.spent_authorization = not own or self._is_ours(req.get_header("authorization"))
        if tenant is None:
            raise Unauthorized("a valid bearer token is required")
        scope = _scope(req.path)
        if scope not in tenant.scopes:
            raise Forbidden(f"this token does not have the scope '{scope}'")
        if tenant.user is not None:
            req.context.user = self._separate(tenant.user)
        elif tenant.trusted and named:
            req.context.user = self._separate(named)
        else:
            req.context.user = f"{tenant.name}/{named}" if named else tenant.name

    def _is_ours(self, header: str | None) -> bool:
        """Return whether an ``Authorization`` holds a token of the farm."""
        token = _token(header)
        return bool(token and self._tokens and self._tokens.find(token))

    def _separate(self, named: str) -> str:
        """Return a trusted service's user, renamed if it could be mistaken for a tenant's."""
        known = self._tokens is not None and self._tokens.knows(named)
        return f"/{named}" if known or "/" in named else named

    def _by_header(self, req: falcon.asgi.Request, named: str, token: str) -> str:
        if named and self._trusts(req.remote_addr):
            return named
        if token:
            return "token-" + sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return ANONYMOUS

    def _trusts(self, peer: str) -> bool:
        if not self._peers:
            return True
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._peers)


def is_preflight(req: falcon.asgi.Request) -> bool:
    """Return whether a browser asks whether a page of another origin may send a request."""
    asks = req.get_header("origin") and req.get_header("access-control-request-method")
    return req.method == "OPTIONS" and bool(asks)


def _farm_token(req: falcon.asgi.Request) -> str:
    """Return the token in the farm's own header, or in the path, from which it is removed.

    Raises:
        InvalidPath: as :meth:`Authenticator.process_request`.
    """
    given = req.get_header(FARM_TOKEN) or ""
    if req.path.startswith(TOKEN_PATH):
        in_path, _, rest = req.path.removeprefix(TOKEN_PATH).partition("/")
        raw = req.context.raw_path
        raw_token, _, raw_rest = raw.removeprefix(TOKEN_PATH).partition("/")
        if not raw.startswith(TOKEN_PATH) or unquote(raw_token) != in_path:
            raise InvalidPath("a path with a token must begin with /t/TOKEN/, not encoded")
        req.path, req.context.raw_path = f"/{rest}", f"/{raw_rest}"
        given = given or in_path
    return given.strip()


def _named(req: falcon.asgi.Request) -> str:
    """Return the user name in the headers, empty if there is none.

    Names are used as sent: case, Unicode form and percent-encoding are not normalised, so
    different spellings are always different users.

    Raises:
        InvalidUser: as :meth:`Authenticator.process_request`.
    """
    given = req.get_header("x-maas-username") or req.get_header("x-headroom-user-id") or ""
    try:
        named = given.encode("latin-1").decode()  # ASGI servers pass header bytes as latin-1
    except UnicodeError:
        raise InvalidUser("a user's name must be UTF-8") from None
    if len(named) > _USER_CHARS or _CONTROL.search(named):
        raise InvalidUser(f"a user's name must be at most {_USER_CHARS} printable characters")
    return named


def _scope(path: str) -> Scope:
    if path in ("/v1/compress", "/v1/playground", "/v1/usage") or path.startswith("/v1/compress/"):
        return "compress"
    if path == "/v1/retrieve" or path.startswith("/v1/retrieve/"):
        return "retrieve"
    if path.startswith("/v1/") or path in ("/responses", "/chat/completions"):
        return "compress"
    return "books"


def _token(header: str | None) -> str:
    """Return the bearer token, or Basic's password.

    HTTP clients send the latter for an address ``http://name:token@host``, which is the only way
    to give headroom's MCP server a token; the name is ignored.
    """
    kind, _, given = (header or "").partition(" ")
    if kind.lower() == "bearer":
        return given.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return b64decode(given.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # includes binascii.Error and UnicodeError
        return ""
