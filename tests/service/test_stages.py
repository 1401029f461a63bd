"""The clock of one request: nothing between two stages is left out, and a request that is not timed leaves no trace."""

import asyncio
import re
from typing import get_args

import pytest

from service import stages


def test_the_stages_are_those_of_the_type() -> None:
    assert get_args(stages.Stage) == stages.STAGES


def test_each_stage_gets_the_time_since_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((1_000, 1_500, 4_500, 4_700, 9_700))
    monkeypatch.setattr(stages, "perf_counter_ns", lambda: next(moments))
    clock = stages.Clock()
    for stage in ("decode", "read", "assemble", "read"):
        clock.done(stage)
    assert clock.spent == {"decode": 500, "read": 8_000, "assemble": 200}
    assert clock.server_timing() == b"decode;dur=0.001, read;dur=0.008, assemble;dur=0.000, total;dur=0.009"


def test_a_request_that_is_not_timed_has_a_clock_that_keeps_nothing() -> None:
    assert stages.current() is stages.OFF
    stages.current().done("score")
    assert stages.OFF.spent == {}


def test_each_task_has_its_own_clock_and_the_tasks_it_starts_share_it() -> None:
    async def behind() -> None:
        stages.current().done("journal")

    async def request(timed: bool) -> stages.Clock:
        if not timed:
            await asyncio.sleep(0)
            await asyncio.create_task(behind())
            return stages.current()
        clock, token = stages.start()
        await asyncio.sleep(0)
        await asyncio.create_task(behind())
        assert stages.current() is clock
        stages.stop(token)
        assert stages.current() is stages.OFF
        return clock

    async def both() -> list[stages.Clock]:
        return await asyncio.gather(request(True), request(False), request(True))

    first, untimed, second = asyncio.run(both())
    assert untimed is stages.OFF
    assert first is not second
    assert list(first.spent) == list(second.spent) == ["journal"]


def test_the_header_is_one_that_a_browser_reads() -> None:
    clock = stages.Clock()
    for stage in stages.STAGES:
        clock.done(stage)
    metric = rb"[a-z]+;dur=[0-9]+\.[0-9]{3}"
    assert re.fullmatch(rb"%b(, %b){%d}" % (metric, metric, len(stages.STAGES)), clock.server_timing())
