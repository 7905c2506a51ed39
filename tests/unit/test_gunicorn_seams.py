"""Every private name of gunicorn that ``api/server`` uses, so that an upgrade fails here first."""

from __future__ import annotations

import ast
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.asgi.lifespan import LifespanManager
from gunicorn.asgi.parser import PythonProtocol
from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver
from gunicorn.workers.gasgi import ASGIWorker

ROOT = Path(__file__).parents[2]
METHODS: dict[type, dict[str, list[str]]] = {
    ASGIProtocol: {
        "connection_made": ["transport"],
        "connection_lost": ["exc"],
        "data_received": ["data"],
        "pause_writing": [],
        "resume_writing": [],
        "_build_http_scope": ["request", "sockname", "peername"],
        "_close_transport": [],
        "_feed_callback_parser": ["data"],
        "_is_websocket_upgrade": ["request"],
        "_keepalive_timeout": [],
        "_on_headers_complete": [],
        "_on_message_complete": [],
        "_pause_reading": [],
        "_safe_write": ["data"],
        "_send_error_response": ["status", "message", "extra_headers"],
        "_send_response_start": ["status", "headers", "request", "close"],
        "_will_close": ["request", "response_requires_close"],
    },
    BodyReceiver: {"signal_disconnect": []},
    ASGIWorker: {
        "init_process": [],
        "handle_exit_signal": [],
        "notify": [],
        "_serve": [],
        "_shutdown": [],
    },
    LifespanManager: {"startup": [], "shutdown": []},
    Arbiter: {
        "spawn_worker": [],
        "start": [],
        "signal": ["sig", "frame"],
        "reload": [],
        "manage_workers": [],
        "reap_workers": [],
        "kill_workers": ["sig"],
    },
}
ATTRIBUTES: dict[type, list[str]] = {
    ASGIProtocol: [
        "_awaiting_request",
        "_body_receiver",
        "_callback_parser",
        "_closed",
        "_reading_paused",
        "_request_ready",
        "req_count",
        "transport",
        "worker",
    ],
    ASGIWorker: [
        "_quick_shutdown",
        "alive",
        "app",
        "asgi",
        "lifespan",
        "loop",
        "nr_conns",
        "ppid",
        "servers",
        "sockets",
        "state",
    ],
    Arbiter: ["LISTENERS", "address", "cfg"],
}


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(owner, name, ps) for owner, names in METHODS.items() for name, ps in names.items()],
    ids=lambda v: getattr(v, "__name__", v) if not isinstance(v, list) else "",
)
def test_method_has_the_parameters_we_use(owner: type, name: str, parameters: list[str]) -> None:
    found = getattr(owner, name, None)
    assert callable(found), f"{owner.__name__}.{name} has gone"
    assert list(inspect.signature(found).parameters)[1:] == parameters


def assigned(owner: type) -> set[str]:
    """Return the attributes that the classes of ``owner`` set on ``self`` or define."""
    names: set[str] = set()
    for each in owner.__mro__[:-1]:
        tree = ast.parse(inspect.getsource(inspect.getmodule(each) or each))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == each.__name__:
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
                        names.add(inner.attr)
                    elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                        names.add(inner.id)
    return names


@pytest.mark.parametrize(
    ("owner", "name"),
    [(owner, name) for owner, names in ATTRIBUTES.items() for name in names],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_attribute_we_read_is_still_set(owner: type, name: str) -> None:
    assert name in assigned(owner)


def test_parser_tells_when_a_request_is_complete() -> None:
    assert "is_complete" in assigned(PythonProtocol) | set(dir(PythonProtocol))


def test_boot_error_ends_the_master() -> None:
    assert Arbiter.WORKER_BOOT_ERROR == 3


def test_installed_version_is_the_pinned_one() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert f"gunicorn=={version('gunicorn')}" in project["project"]["dependencies"]


def test_every_private_name_we_use_is_listed() -> None:
    known = {name for names in METHODS.values() for name in names}
    known |= {name for names in ATTRIBUTES.values() for name in names}
    for module in ("connection", "drain", "server"):
        tree = ast.parse((ROOT / f"api/server/{module}.py").read_text())
        ours = {
            n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        ours |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and _set(n)}
        ours |= {n.target.id for n in ast.walk(tree) if _annotated(n)}  # type: ignore[attr-defined]
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        overridden = {
            n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and _of_super(n)
        }
        private = {name for name in used - ours | overridden if name[0] == "_" != name[1]}
        assert private - {"_exit"} <= known, module


def _set(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def _annotated(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def _of_super(node: ast.Attribute) -> bool:
    value = node.value
    return isinstance(value, ast.Call) and getattr(value.func, "id", "") == "super"
