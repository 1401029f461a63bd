"""Live mode against a tiny service."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from trainer.__main__ import main
from trainer.simulate import batch, command
from trainer.simulate.errors import SimulateError, UnreachableError
from trainer.simulate.live import LiveReport, drive
from trainer.simulate.world import World

Serve = Callable[[Any], AbstractAsyncContextManager[str]]


def driven(serve: Serve, service: Any, world: World, payments: int = 300, rate: float = 400.0) -> LiveReport:
    async def scenario() -> LiveReport:
        async with serve(service) as url:
            return await drive(url, world=world, payments=payments, rate=rate)

    return asyncio.run(scenario())


def test_every_payment_is_asked_reported_and_retried_as_told(serve: Serve, service: Any, world: World) -> None:
    report = driven(serve, service, world)
    assert report.errors == {}
    assert report.payments == len(service.asked) == 300
    assert report.requests == len(service.asked) + len(service.outcomes) + len(service.declines)
    assert report.degraded == 1
    assert 0 < report.latency_ms.p50 <= report.latency_ms.p95 <= report.latency_ms.p99
    assert len({asked.payment_id for asked in service.asked}) == 300
    again = [outcome for outcome in service.outcomes if outcome.attempt == 2]
    assert again
    assert all(outcome.decision_id == f"r-{outcome.payment_id}-1" for outcome in again)
    firsts = [outcome for outcome in service.outcomes if outcome.attempt == 1]
    assert all(outcome.decision_id == f"d-{outcome.payment_id}" for outcome in firsts)
    assert {decline.attempt for decline in service.declines} <= {1, 2}
    assert all(len(decline.previous_attempts) == decline.attempt - 1 for decline in service.declines)


def test_the_three_policies_are_compared_on_the_same_payments(serve: Serve, service: Any, world: World) -> None:
    report = driven(serve, service, world)
    assert list(report.policies) == ["without", "pointsman", "oracle"]
    assert report.policies["oracle"].margin_minor > report.policies["pointsman"].margin_minor
    last_preference = report.policies["pointsman"].first_approval
    assert last_preference <= report.policies["without"].first_approval + 0.02


def test_payments_follow_the_history_in_order_of_time(serve: Serve, service: Any, world: World) -> None:
    driven(serve, service, world, payments=50)
    times = sorted(asked.occurred_at for asked in service.asked)
    assert (times[0] - world.start).days == world.days


def test_a_declined_payment_is_not_sent(serve: Serve, service: Any, world: World) -> None:
    service.action = "decline"
    report = driven(serve, service, world, payments=40)
    assert report.declined_unsent == 40
    assert service.outcomes == []
    assert report.policies["pointsman"].approval == 0.0


def test_some_payers_leave_at_a_challenge(serve: Serve, service: Any, world: World) -> None:
    service.action = "challenge"
    report = driven(serve, service, world, payments=200)
    assert report.challenges == 200
    firsts = [outcome for outcome in service.outcomes if outcome.attempt == 1]
    assert 150 < len(firsts) < 200


def test_errors_are_counted_and_the_gateway_goes_its_own_way(serve: Serve, service: Any, world: World) -> None:
    service.status = 503
    report = driven(serve, service, world, payments=60)
    assert report.http_5xx == 60
    assert report.errors == {"auth: HTTP 503": 60}
    assert report.policies["pointsman"].first_approval == report.policies["without"].first_approval


def test_nobody_at_the_url_is_one_clear_sentence(world: World) -> None:
    with pytest.raises(UnreachableError, match="nobody answers"):
        asyncio.run(drive("http://127.0.0.1:9", world=world, payments=1, rate=1.0))


def test_a_rate_of_nothing_is_refused(world: World) -> None:
    with pytest.raises(SimulateError, match="positive rate"):
        asyncio.run(drive("http://127.0.0.1:9", world=world, payments=1, rate=0.0))


def test_the_command_prints_the_comparison(
    serve: Serve, service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["--days", "3", "--merchants", "10", "--cards", "600"]
    assert main(["simulate", "--out", str(tmp_path / "out"), "--payments", "300", *tiny]) == 0
    real = command.live.drive

    async def against_tiny(_url: str, **options: Any) -> LiveReport:
        async with serve(service) as url:
            return await real(url, **options)

    monkeypatch.setattr(command.live, "drive", against_tiny)
    report = tmp_path / "report.json"
    live = ["--live", "tiny", "--world", str(tmp_path / "out"), "--rate", "200", "--seconds", "0.2"]
    assert main(["simulate", *live, "--report", str(report)]) == 0
    assert "oracle" in capsys.readouterr().out
    assert json.loads(report.read_bytes())["payments"] == 40
    assert batch.read_plan(tmp_path / "out").merchants == 10
