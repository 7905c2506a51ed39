"""The best faithful form of a body: a candidate is checked before it is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import Literal, NamedTuple

from shared.content import SHORTENED_EXACTLY, Kind

from . import omission_notes as notes
from .extract import extract, lines_in
from .git_blame import shortened_blame
from .go_runs import without_runs
from .headings import with_headings, with_sections
from .json_cut import shortened_cut
from .json_form import parsed, shortened
from .json_lines import holds_lines, shortened_lines
from .json_list_extract import shortened_rows
from .json_parts import shortened_parts
from .json_rows import rows_of_tables
from .line_kinds import Kinds
from .lines_as_rows import ROWS, rows_of_records
from .mixed_kinds import alternate, rows_of_kinds
from .must_see import must_see, whole_entries
from .padded_columns import rows_of_columns
from .reversible import ReversibleForm, folded_prefixes, folded_repeats, grouped_matches
from .stack_traces import with_frames
from .token_alignment import cost
from .verify_form import ANSI, Verdict, check, plain

_LEAST_SAVED = 0.08
_LEAST_BARE = 0.02
"""The same for a text without its colours and blanks: it is read as it was."""
_LEAST_LOST = 0.2
"""What an extract must save of a body: less is not worth a marker."""
_ENOUGH = 0.6
"""A reversible form is taken where it saves this share of what the best lossy one saves."""
_ENOUGH_ROWS = 0.8
"""The same for rows: who reads them has to look at the lines above them, too."""
_ENOUGH_ROWS_OF_TESTS = 0.55
"""The same for rows of a test run: the model is likely to be asked about tests that passed."""
_PLAIN = "farm_plain"
_ENOUGH_UNNAMED = 0.8
"""Rows with names are taken where other forms save less than this share of what they save."""
_MOST_UNNAMED = 0.5
"""The share of a text that others must save for none with names to be looked for."""
_ENOUGH_NAMED = 0.25
"""The share of a log's text that rows with names must save for no others to be looked for."""
_SMALLEST = 300
_MOST_LINES = 100_000
"""Lines that can be judged in time, at about ten microseconds each; output with more stays whole.
Two megabytes of a log have a fifth of that."""
_LONGEST_LINE = 250_000
"""Characters of a line that one search of a pattern reads in time: nothing can interrupt it."""
_ENDS = 2
"""First and last lines that are never a row's values; of blocks, the whole first one."""
_BEGUN = re.compile(r"=== (?:RUN|PAUSE|CONT|NAME) ")
_COUNTED = frozenset({"log", "table", "listing", "other", "test_run"})

Engine = Callable[[str], str | None]
"""Runs an engine on a body; None where it leaves it as it is."""


class Chosen(NamedTuple):
    """What became of a body: None for ``text`` where it stays.

    ``lossy`` says that ``text`` carries a marker. ``failed`` names engine, reason and line of each
    candidate that did not pass the check.
    """

    text: str | None
    engine: str = ""
    lossy: bool = False
    failed: tuple[tuple[str, str, str], ...] = ()


class Lossy(NamedTuple):
    """How lines of a body may go: ``engine`` by ``name``, the marker's ``digest``.

    ``rendered`` says how free the engine's result is, as in :func:`check`: ``exact`` where it is an
    extract already, empty where lines are to be taken from it.
    """

    name: str
    engine: Engine
    digest: str
    rendered: Literal["", "exact", "ordered", "free"] = ""


class _Candidate:
    """A form by its engine's ``name``; it is measured and checked once, when that is asked for."""

    def __init__(self, text: str, name: str, lossy: bool, judge: Callable[[], Verdict]) -> None:
        self.text = text
        self.name = name
        self.lossy = lossy
        self._judge = judge
        self.verdict: Verdict | None = None

    @cached_property
    def cost(self) -> int:
        """Return the form's length, as its kind of characters counts."""
        return cost(self.text)

    def passes(self) -> bool:
        """Return whether a model may see the form."""
        if self.verdict is None:
            self.verdict = self._judge()
        return self.verdict.passes


def choose(
    body: str,
    kind: Kind,
    lossy: Lossy | None,
    without: frozenset[str] = frozenset(),
    *,
    coloured: bool = False,
) -> Chosen:
    """Return the form of ``body`` that saves most and passes the check.

    Engines ``without`` make none. ``coloured`` text loses its colour codes, whatever its kind.
    ``lossy``'s engine is not run where nothing it may leave out would be worth it.
    """
    if len(body) < _SMALLEST or body.count("\n") > _MOST_LINES or notes.holds_notes(body):
        return Chosen(None)
    if kind != "json" and _holds_huge_line(body):
        return Chosen(None)
    size = cost(body)
    if kind == "json":
        found = [c for c in _of_json(body, size, lossy, without) if c.name not in without]
    else:
        kinds = Kinds(plain(body).split("\n"))
        found = list(_without_colours(body)) if coloured else []
        mixed = kind == "log" and alternate(kinds.of_lines)
        named = list(_by_name(body, size, kind, without, found)) if mixed else []
        # Rows without names save less of lines that alternate; to look for them takes longest.
        enough = any(c.passes() and size - c.cost >= _ENOUGH_NAMED * size for c in named)
        found += [*named, *_reversible(body, kind, without, rows=not enough)]
        found = [c for c in found if c.name not in without]
        tests = kind == "test_run"
        if not (tests or mixed):
            found += _by_name(body, size, kind, without, found)
        if lossy is not None and lossy.name not in without:  # no stand-in: it would lose more
            found += _of_engine(body, size, kind, lossy, _best(found, size, kind), kinds)
        # Tests are read by what failed: where passed ones may go, that saves more than names do,
        # but for a build among them.
        if tests:
            found += _by_name(body, size, kind, without, found)
    best = _best(found, size, kind)
    failed = tuple(
        (c.name, c.verdict.reason, c.verdict.line)
        for c in found
        if c.verdict is not None and not c.verdict.passes
    )
    if best is None:
        return Chosen(None, failed=failed)
    return Chosen(best.text, best.name, best.lossy, failed)


def _holds_huge_line(body: str) -> bool:
    """Return whether a line is too long to be judged; of progress bars only some states count."""
    return len(body) > _LONGEST_LINE and len(max(plain(body).split("\n"), key=len)) > _LONGEST_LINE


def _best(found: list[_Candidate], size: int, kind: Kind) -> _Candidate | None:
    """Return the one to take of those that pass their check, for a body whose cost is ``size``."""
    by_cost = sorted(found, key=lambda c: c.cost)
    exact = next((c for c in by_cost if not c.lossy and c.passes()), None)
    short = next((c for c in by_cost if c.lossy and c.passes()), None)
    if exact is not None:
        least = _LEAST_BARE if exact.name == _PLAIN else _LEAST_SAVED
        exact = exact if size - exact.cost >= least * size else None
    if short is None or not _worth_losing(short.cost, size, exact, kind):
        return exact
    return short


def _worth_losing(left: int, size: int, exact: _Candidate | None, kind: Kind) -> bool:
    """Return whether to take a lossy form that costs ``left`` rather than ``exact``, or none."""
    if size - left < _LEAST_LOST * size:
        return False
    if exact is None:
        return True
    enough = _ENOUGH
    if exact.name == ROWS:
        enough = _ENOUGH_ROWS_OF_TESTS if kind == "test_run" else _ENOUGH_ROWS
    return size - exact.cost < enough * (size - left)


def _of_engine(
    body: str, size: int, kind: Kind, lossy: Lossy, exact: _Candidate | None, kinds: Kinds
) -> Iterable[_Candidate]:
    """Make the lossy form of a body whose cost is ``size``; ``exact`` is the best of the others."""
    if lossy.rendered:
        result = lossy.engine(body)
        if result is not None:
            free = "" if lossy.rendered == "exact" else lossy.rendered
            judge = partial(check, body, result, digest=lossy.digest, rendered=free)
            yield _Candidate(result, lossy.name, True, judge)
        return
    lines = kinds.lines
    needed = must_see(lines, kind, kinds)
    if needed is None:
        return
    least = sum(cost(lines[place]) + 1 for place in needed)
    if not _worth_losing(least, size, exact, kind):
        return
    result = lossy.engine(body)
    chosen = lines_in(result, lines) if result is not None else set()
    if kind == "test_run":  # that a test began says nothing where it passed
        chosen = {place for place in chosen if not _BEGUN.match(lines[place])}
    if kind in ("markdown", "prose", "code") and not chosen:
        return  # neither the engine nor the rules chose lines
    shown = with_frames(lines, chosen | needed)
    if kind == "log":
        shown = whole_entries(lines, shown)
    elif kind in ("listing", "other"):
        shown = with_headings(lines, shown)
    if kind in ("log", "listing", "other", "table"):
        shown = with_sections(lines, shown)
    made = extract(lines, shown, lossy.digest, kinds=kinds if kind in _COUNTED else None)
    if made is not None:
        name = lossy.name if result is not None else "farm_extract"
        yield _Candidate(made, name, True, partial(check, body, made, digest=lossy.digest))


def _of_json(
    body: str, size: int, lossy: Lossy | None, without: frozenset[str]
) -> Iterable[_Candidate]:
    """JSON is read once, as it is or one object a line, for all of its forms."""
    text = plain(body)
    tree = parsed(text)
    lines = tree is None and holds_lines(text)
    forms: list[ReversibleForm | None] = []
    if "farm_json" in without:  # no rows of its tables either
        pass
    elif lines:
        forms = _with_rows(shortened_lines(text))
    elif tree is not None:
        forms = _with_rows(shortened(text, tree))
    else:
        forms = [*_with_rows(shortened_cut(text)), *_with_rows(shortened_parts(text))]
    exact = list(_exact(body, text, forms))
    if not lines and not exact:  # no JSON, or JSON in a layout of its own
        exact = list(_reversible(body, "other", without))
        exact += _by_name(body, size, "other", without, exact)
    yield from exact
    if lossy is None:
        return
    if lines:
        by_rules = lossy._replace(engine=lambda _: None)
        best = _best([c for c in exact if c.name not in without], size, "log")
        yield from _of_engine(body, size, "log", by_rules, best, Kinds(text.split("\n")))
        return
    some = shortened_rows(tree, lossy.digest)
    if some is not None:
        judge = partial(check, body, some, digest=lossy.digest, rendered="free")
        yield _Candidate(some, "farm_rows", True, judge)


def _reversible(
    body: str, kind: Kind, without: frozenset[str], *, rows: bool = True
) -> Iterable[_Candidate]:
    """Make the forms that can be undone, without ``rows`` only those that are found at once.

    Rows that begin with a name are not among them.
    """
    if kind not in SHORTENED_EXACTLY:
        return
    text = plain(body)
    if kind == "blame":
        yield from _exact(body, text, [shortened_blame(text)])
        return
    repeats = None if "farm_repeats" in without else folded_repeats(text)
    once = repeats.text if repeats else text
    forms: list[ReversibleForm | None] = [repeats, _both(repeats, folded_prefixes(once))]
    if rows:
        forms.append(_both(repeats, _rows_between_ends(once, kind)))
        forms.append(_both(repeats, _columns_between_ends(once, kind)))
    runs = _both(repeats, without_runs(once))
    if runs is not None:
        forms += [runs, _both(runs, _rows_between_ends(runs.text, kind))]
    if "farm_json" not in without:
        forms += _with_rows(shortened_parts(text))
    grouped = grouped_matches(text) if kind == "search" else None
    if grouped is not None:
        forms.append(grouped)
    yield from _exact(body, text, forms)


def _by_name(
    body: str, size: int, kind: Kind, without: frozenset[str], found: list[_Candidate]
) -> Iterable[_Candidate]:
    """Make rows that begin with a name, where they save enough more than what was ``found``."""
    best = _best(found, size, kind)
    saved = size - best.cost if best is not None else 0
    if ROWS in without or kind not in SHORTENED_EXACTLY or saved >= _MOST_UNNAMED * size:
        return
    text = plain(body)
    repeats = None if "farm_repeats" in without else folded_repeats(text)
    once = repeats.text if repeats else text
    inside = _inside(once.split("\n"))
    named = _both(repeats, rows_of_kinds(once, kind, *inside)) if inside is not None else None
    if named is not None and saved < _ENOUGH_UNNAMED * (size - cost(named.text)):
        yield _checked(body, named)


def _without_colours(body: str) -> Iterable[_Candidate]:
    """Return ``body`` as it is but for colour codes: blanks at lines' ends may mean something."""
    bare = ANSI.sub("", body)
    if bare != body:
        yield _Candidate(bare, _PLAIN, False, partial(check, body, bare, inverse=plain))


def _inside(lines: list[str]) -> tuple[int, int] | None:
    """Return where the first and the last lines end and begin; None where there are no others."""
    full = [place for place, line in enumerate(lines) if line.strip()]
    return (full[_ENDS - 1] + 1, full[-_ENDS]) if len(full) > 2 * _ENDS else None


def _columns_between_ends(text: str, kind: Kind) -> ReversibleForm | None:
    """Return ``text`` with its tables' lines as rows, but for its first and its last lines."""
    inside = _inside(text.split("\n"))
    return rows_of_columns(text, kind, *inside) if inside is not None else None


def _rows_between_ends(text: str, kind: Kind) -> ReversibleForm | None:
    """Return ``text`` with rows, but for its first and its last lines, which stay in sight."""
    lines = text.split("\n")
    inside = _inside(lines)
    if inside is None:
        return None
    start, end = inside
    made = rows_of_records("\n".join(lines[:end]), kind, first=start)
    return (
        ReversibleForm("\n".join([made.text, *lines[end:]]), made.inverse, made.name)
        if made
        else None
    )


def _exact(body: str, text: str, forms: list[ReversibleForm | None]) -> Iterable[_Candidate]:
    """Check the forms of ``text``, which is ``body`` without colours and trailing blanks."""
    if len(text) < len(body):
        forms.append(ReversibleForm(text, str, _PLAIN))
    for form in forms:
        if form is not None:
            yield _checked(body, form)


def _checked(body: str, form: ReversibleForm) -> _Candidate:
    judge = partial(check, body, form.text, inverse=form.inverse)
    return _Candidate(form.text, form.name, False, judge)


def _with_rows(form: ReversibleForm | None) -> list[ReversibleForm | None]:
    """Return a form of JSON, and the same with its tables' rows as rows of values."""
    return [form, _both(form, rows_of_tables(form.text))] if form is not None else []


def _both(first: ReversibleForm | None, second: ReversibleForm | None) -> ReversibleForm | None:
    """Return ``second``, made of what ``first`` made, with both ways back."""
    if first is None or second is None:
        return second
    return ReversibleForm(
        second.text, lambda text: first.inverse(second.inverse(text)), second.name
    )
