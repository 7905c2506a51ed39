"""One browser and one farm with real traffic for all tests of the dashboard."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from deploy.ports import free_port
from shared.settings import POOLS

from ..farm import Farm, Process, request, until
from ..proxy.scripted import ScriptedProvider
from ..texts import call, conversation, events, page, ran, result, rows
from .chromium import ARGUMENTS, chromium

EVIL = "<img src=x onerror=\"document.title='owned'\">"
TOKEN = "books-token-0123456789"
ALL = "everything-token-0123456789"


class Dashboard:
    """The farm whose dashboard is tested, and further front ends with other settings."""

    def __init__(self, farm: Farm, provider: ScriptedProvider) -> None:
        self.farm = farm
        self.provider = provider
        self.url = farm.url
        self.extra: list[Process] = []
        self.portal = ""
        self.other = ""
        self.guarded = ""

    def front_end(self, port: int, **settings: Any) -> str:
        """Start another front end on the same Redis and return its URL."""
        given = {f"HEADROOM_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**self.farm.environment, "HEADROOM_PORT": str(port), **given}
        log = self.farm.directory / f"api-{port}.log"
        self.extra.append(Process.forked(["api"], environment, log))
        self.farm.parts.append(self.extra[-1])
        return f"http://127.0.0.1:{port}"


class _Portal(BaseHTTPRequestHandler):
    """A page of another origin with the dashboard in a frame."""

    page = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture(scope="module")
def program() -> str:
    """Return chromium's path; without it, all tests are skipped, with a message."""
    found, missing = chromium()
    if not found:
        pytest.skip(f"NO BROWSER TEST RUNS: {missing}")
    return found


@pytest.fixture(scope="module")
def dashboard(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A farm with a front end that shows another one's numbers, and one that requires tokens."""
    folder = tmp_path_factory.mktemp("dashboard")
    port, guarded = free_port(), free_port()
    other = f"http://127.0.0.1:{port}"
    portal = ThreadingHTTPServer(("127.0.0.1", 0), _Portal)
    origin = f"http://127.0.0.1:{portal.server_port}"
    policy = folder / "policy.toml"
    policy.write_text("[[rule]]\nname = 'everybody'\n")
    provider = ScriptedProvider()
    farm = Farm(
        folder,
        dashboard_origins=other,
        frame_ancestors=origin,
        policy_file=policy,
        anthropic_target_api_url=provider.url,
        # A page must see no error because this machine is slow; a stopped Redis refuses at once.
        redis_connect_timeout=20,
        redis_timeout=20,
    )
    _Portal.page = f'<!DOCTYPE html><iframe src="{farm.url}/dashboard"></iframe>'.encode()
    threading.Thread(target=portal.serve_forever, daemon=True).start()
    found = Dashboard(farm, provider)
    try:
        farm.start_redis()
        for pool in POOLS:
            farm.start_worker(pool)
        found.portal = origin
        found.other = found.front_end(port, cors_origins=farm.url, data_dir=folder / "other")
        tokens = folder / "tokens.json"
        entries = [("books", TOKEN, ["books"]), ("all", ALL, ["books", "compress", "retrieve"])]
        tokens.write_text(
            json.dumps([{"tenant": t, "token": v, "scopes": s} for t, v, s in entries])
        )
        found.guarded = found.front_end(guarded, tokens_file=tokens, data_dir=folder / "guarded")
        farm.start_api()
        farm.until_ready()
        _traffic(farm)
        for url in (found.other, found.guarded):
            until(f"{url} answers", lambda url=url: _answers(farm, url))
        yield found
    finally:
        for part in found.extra:  # all front ends stop at once
            part.signal(signal.SIGTERM)
        farm.stop()
        provider.close()
        portal.shutdown()
        portal.server_close()


def _answers(farm: Farm, url: str) -> bool:
    try:
        return request(url, "GET", "/health").status == 200
    except OSError:
        return False


PARTS = ("the storage", "a worker", "the front end", "the queue", "a browser")


def _guide() -> str:
    """Return free text that is long enough for the text engine."""
    return "\n\n".join(
        f"When {PARTS[n % 5]} is asked about order {n}, it looks at {PARTS[(n + 2) % 5]} first. "
        "People who see this for the first time are often surprised, and that is fine. "
        f"After {n * 3} minutes the answer comes, and nobody has to wait for it any longer."
        for n in range(40)
    )


def _traffic(farm: Farm) -> None:
    read = [call("Bash", {"command": "cat docs/guide.txt"}, "a3"), result(_guide(), "a3")]
    outputs = [ran(rows(), "a0"), ran(events(), "a1"), ran(page(), "a2"), read]
    for number, output in enumerate(outputs):
        body = conversation(output)
        body["model"] = ("claude-sonnet-4-20250514", "gpt-4o")[number % 2]
        assert farm.post(body, f"user-{number % 3}").json["tokens_saved"] > 0
        farm.post(body, f"user-{number % 3}")
    farm.post(conversation(ran(rows("evil"))), EVIL)
    for number in range(40):
        farm.post(
            {"messages": [{"role": "user", "content": "hello"}], "model": "gpt-4o"},
            f"idle-{number}",
        )


@pytest.fixture(scope="module")
def browser(dashboard: Dashboard, program: str) -> Iterator[Browser]:
    """Debian's chromium; closed before the farm, which would wait for its connections."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield launched
        launched.close()


class Visit:
    """Records what a page must not do: log an error, or send a request to another origin."""

    def __init__(self, page: Page, allowed: set[str]) -> None:
        self.page = page
        self.allowed = allowed
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        if not any(request.url.startswith(origin) for origin in (*self.allowed, "blob:", "data:")):
            self.complaints.append(f"asked {request.url}")


@pytest.fixture
def visit(browser: Browser, dashboard: Dashboard) -> Iterator[Callable[..., Page]]:
    """Open the dashboard at a fragment; the test fails if the page logs an error."""
    visits: list[tuple[Visit, bool]] = []

    def open_at(
        fragment: str = "savings",
        *,
        url: str = "",
        query: str = "",
        quiet: bool = True,
        **context: Any,
    ) -> Page:
        made = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
        made.set_default_timeout(60_000)
        home = url or dashboard.url
        one = Visit(made.new_page(), {home, dashboard.other} if query else {home})
        visits.append((one, quiet))
        one.page.goto(f"{home}/dashboard{query}#{fragment}")
        return one.page

    yield open_at
    complaints = [line for one, quiet in visits if quiet for line in one.complaints]
    for one, _ in visits:
        one.page.context.close()
    assert complaints == []
