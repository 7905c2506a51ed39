"""Replays sessions of coding agents and says what their provider bills with each system.

    python -m loadtest.bill                     everything that can be measured here, and the page
    python -m loadtest.bill --generated --no-peers --scenario review

Sessions of the real clients are recorded on the spot where npm is at hand, generated ones of
the same shape are taken where it is not; ``--sessions DIR`` takes recorded ones from files
``CLIENT-SCENARIO.json``. Ends with status 1 where a session is dearer with the farm than without.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from loadtest.bench.servers import Servers, StartError

from .gather import gather, parser_of, say
from .provider import Provider
from .replay import Bills, replay_all
from .report import AS_PROXY, draw, table, verdicts, write
from .scenarios import REPOSITORY
from .systems import Compress, Library, Nothing, Proxy, System

PAGE = REPOSITORY / "docs" / "bill.md"
PLOT = REPOSITORY / "docs" / "bill" / "bill.svg"


def systems(options: argparse.Namespace, servers: Servers, stack: ExitStack) -> list[System]:
    """Start what is compared; what does not start is said and left out."""
    found: list[System] = [Nothing()]
    url = options.farm
    if not url:
        before = stack.enter_context(Provider())
        targets = [f"{name}_target_api_url" for name in ("anthropic", "openai")]
        url = servers.farm("farm", cpu=1, settings=dict.fromkeys(targets, before.url)).url
        found.append(Proxy(AS_PROXY, url, before))
    found.append(Compress("farm", url, responses=True))
    if options.no_peers:
        return found
    for name, given in (("compress()", {}), ("compress() dedupe", {"HEADROOM_DEDUPE": "1"})):
        library = Library(name, **given)
        stack.callback(library.close)
        found.append(library)
    for mode in ("cache", "token"):
        provider = stack.enter_context(Provider())
        try:
            proxy = servers.proxy(mode, provider.url)
        except StartError as error:
            say(f"!!! NOT MEASURED: headroom proxy, {mode} mode: {error}")
            continue
        found.append(Proxy(f"proxy {mode}", proxy.url, provider))
    try:
        found.append(Compress("inline", servers.inline().url, responses=False))
    except StartError as error:
        say(f"!!! NOT MEASURED: the inline peer: {error}")
    return found


def page_of(bills: Bills, names: list[str], recorded: list[str]) -> str:
    """Return what was measured, in Markdown."""
    made = [name for name in bills.bills if name not in recorded]
    sources = [f"{len(recorded)} recorded from the real clients"] if recorded else []
    sources += [f"{len(made)} generated"] if made else []
    day = datetime.now(UTC).date().isoformat()
    lines = [
        f"`make bill`, {day}, headroom-ai {version('headroom-ai')}; sessions: "
        f"{' and '.join(sources)}. Change of the provider's bill against none:",
        "",
        table(bills, names),
        "",
        "![the same as a plot](bill/bill.svg)",
        "",
        *(f"* {'met' if met else '**MISSED**'}: {text}" for text, met in verdicts(bills, recorded)),
        *(f"* not measured: {failure}" for failure in bills.failures),
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print and write; return the exit status."""
    parser = parser_of("python -m loadtest.bill", __doc__)
    parser.add_argument("--farm", help="the URL of a running farm; else one is started")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-page", action="store_true", help="print, and leave docs/ alone")
    options = parser.parse_args()
    sessions, recorded = gather(options)
    with (
        tempfile.TemporaryDirectory(prefix="bill-") as folder,
        ExitStack() as stack,
        Servers(Path(folder)) as servers,
    ):
        compared = systems(options, servers, stack)
        bills = replay_all(sessions, compared)
    for failure in bills.failures:
        say(f"!!! NOT MEASURED: {failure}")
    names = [system.name for system in compared]
    measured = page_of(bills, names, recorded)
    print(measured)
    if not options.no_page:
        draw(bills, names, PLOT)
        write(PAGE, measured)
    missing = any("farm" not in row for row in bills.bills.values())
    dearer = bills.dearer("farm") or bills.dearer(AS_PROXY)
    return int(bool(dearer) or missing)


if __name__ == "__main__":
    raise SystemExit(main())
