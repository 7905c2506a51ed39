"""What a request gets of its blocks' results, and that nothing is left of it afterwards."""

from __future__ import annotations

import asyncio

from api.runtime.redis_guard import RedisGuard
from api.runtime.result_inbox import Awaited, ResultInbox
from shared.jobs import Form
from shared.redis_connection import connect_async
from shared.settings import Settings


def test_first_form_of_a_block_counts_and_ends_the_wait() -> None:
    async def play() -> None:
        awaited = Awaited()
        awaited.note("k", Form("first"))
        await awaited.wait(["k"], 3600)
        awaited.note("k", Form("second"))
        assert awaited.forms == {"k": Form("first")}

    asyncio.run(asyncio.wait_for(play(), 10))


def test_form_reaches_each_request_that_waits_and_no_later_one() -> None:
    async def play() -> None:
        settings = Settings()
        inbox = ResultInbox(settings, RedisGuard(connect_async(settings), settings))
        with inbox.awaited("u", ["k", "l"]) as one:
            with inbox.awaited("u", ["k"]) as two:
                inbox.hand_over("u", "k", Form("done"))
                inbox.hand_over("other", "l", Form("done"))
            inbox.hand_over("u", "l", Form("done"))
        assert (sorted(one.forms), sorted(two.forms)) == (["k", "l"], ["k"])
        assert not inbox._waiting
        await inbox.stop()

    asyncio.run(play())
