"""A page is replaced by all that it shows: nothing that a reader of the page sees is hidden."""

from __future__ import annotations

import random
import re
from functools import cache

from shared.jobs import Block, Job, Options, ToolCall
from workers.block_form import Engines, faithful_form
from workers.fidelity.page_text import text_of_page


@cache
def _engines() -> Engines:
    return Engines("cpu", None)


def _shown(page: str) -> str:
    """Return what a model gets of a page that ``curl`` printed."""
    block = Block("k", page, "tool_result", "user", ToolCall("Bash", "curl x", "curl x"))
    job = Job("u", "r", Options("ccr"), "what", "id", [block])
    return faithful_form(job, block, _engines()).form.text or page


def _settings_page() -> str:
    fields = "".join(
        f'<div class="form-row form-row--wide"><label for="f{n}">Field {n}</label>'
        f'<input id="f{n}" name="f{n}" value="{n * 7}"><span class="message message--error">'
        f"{'Value too large' if n == 12 else ''}</span></div>"
        for n in range(60)
    )
    return (
        "<!DOCTYPE html><html><head><title>Limits</title><style>p{margin:0}</style></head><body>"
        f'<nav><a href="/home">Home</a></nav><h1>Settings</h1>{fields}<h2>Notes</h2>'
        "<p>They do <b>not</b> apply to x<sub>2</sub>.</p><script>var hidden = 1;</script></body>"
    )


def test_all_that_a_page_shows_is_in_sight() -> None:
    page = _settings_page()
    shown = _shown(page)

    assert len(shown) < len(page) / 2
    for words in ("Limits", "[Home](/home)", "# Settings", "## Notes", "Value too large"):
        assert words in shown
    assert "They do not apply to x2." in shown
    assert all(f"Field {n}\n[name=f{n} value={n * 7}]" in shown for n in range(60))
    assert "hidden" not in shown
    assert re.search(
        r"\n\[HTML page reduced to its text\. Retrieve original: hash=\w{24}\]$", shown
    )


def test_headings_and_rows_of_a_status_page_are_in_sight() -> None:
    rng = random.Random(1)
    rows = "".join(
        f"<tr class='row'><td><p>svc-{n}</p></td><td class='s'>{rng.choice(['up', 'down'])}</td>"
        f"<td>{n}h</td></tr>"
        for n in range(90)
    )
    page = (
        "<!DOCTYPE html><html><body><h1>Status</h1><table><thead><tr><th>Service</th><th>State</th>"
        f"<th>Uptime</th></tr></thead><tbody>{rows}</tbody></table><h2>Notes</h2><p>None.</p></body>"
    )
    lines = _shown(page).split("\n")

    assert lines[:2] == ["# Status", "| Service | State | Uptime |"]
    assert [line for line in lines if re.fullmatch(r"\| svc-\d+ \| (?:up|down) \| \d+h \|", line)][
        89
    ]
    assert "## Notes" in lines


def test_lists_code_and_links_keep_their_form() -> None:
    page = (
        "<!DOCTYPE html><html><body><ul><li>one<ul><li>inner <a href='#x'>here</a></li></ul></li>"
        "<li><a href='/two'>two</a></li></ul><pre><code>if x:\n    y = 1\n\n# no\n</code></pre>"
        "<table><tr><td>a</td><td><pre>b\n  c</pre></td></tr></table><img alt='Plan' "
        "src='data:image/png;base64,AAAA'></body></html>"
    )

    assert text_of_page(page) == (
        "- one\n  - inner here\n- [two](/two)\nif x:\n    y = 1\n\n# no\n\n| a |\nb\n  c\n"
        "![Plan](data:image/png;base64)"
    )


def test_states_of_a_form_without_a_value_are_shown() -> None:
    page = (
        "<!DOCTYPE html><html><body><form><select name='zone'><option>Zone 7</option>"
        "<option selected>Zone 8</option></select><button disabled>Pay</button>"
        "<button type='submit'>Send</button><textarea disabled>Note</textarea></form></body></html>"
    )

    assert text_of_page(page).split("\n") == [
        "Zone 7", "[selected] Zone 8", "[disabled] Pay", "Send", "[disabled] Note",
    ]  # fmt: skip


def test_page_that_cannot_be_read_whole_stays() -> None:
    page = _settings_page().replace("<h2>", "\0<h2>")

    assert text_of_page(page) == ""
    assert _shown(page) == page
