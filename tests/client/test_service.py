"""The clients ask a real service: what it takes, refuses, keeps and repeats."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.processes import running
from client import AlreadyAsked, AsyncClient, Client, NotAllowed, NotFound, Refused, Unavailable
from contracts.outcome import Outcome
from contracts.payment import AuthRequest, Decline, RetryRequest, RoutingRequest
from tests.client.conftest import Ask
from tests.parts import PAYMENT


@pytest.fixture(scope="module")
def url(bundle_shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    settings = {
        "POINTSMAN_BUNDLES": str(bundle_shelf),
        "POINTSMAN_JOURNAL": str(folder / "journal"),
        "POINTSMAN_BUDGET_MS": "5000",
    }
    with running(settings, log=folder / "log") as (served, _):
        yield served


def auth(name: str, **fields: object) -> AuthRequest:
    return msgspec.convert({**PAYMENT, "payment_id": name, "card_token": name, **fields}, AuthRequest)


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_a_payment_is_decided_declined_retried_and_read_back(
    ask: Ask, url: str, form: str, request: pytest.FixtureRequest
) -> None:
    name = request.node.name
    decided = ask(url, "auth", auth(name), form=form)
    assert (decided.payment_id, decided.degraded) == (name, ())
    assert decided.processor in {ranked.processor for ranked in decided.ranking}
    assert ask(url, "auth", auth(name), form=form) == decided
    outcome = Outcome(payment_id=name, processor=decided.processor, status="declined", response_code="51")
    assert ask(url, "report", outcome, form=form).results == ("applied",)
    assert ask(url, "report", [outcome], form=form).results == ("repeated",)
    decline = Decline(processor=decided.processor, response_code="51")
    asked = {**msgspec.structs.asdict(auth(name)), "decline": decline}
    again = ask(url, "retry", RetryRequest(**asked), form=form)
    assert (again.payment_id, again.verdict) == (name, "retry_later")
    trail = ask(url, "decision", decided.decision_id)
    assert trail.decision.answer == decided
    assert [settled.result for settled in trail.outcomes] == ["applied", "repeated"]


def test_routing_and_the_bundle_and_how_the_service_is(ask: Ask, url: str) -> None:
    name = f"routed {ask}"
    routed = ask(url, "routing", msgspec.convert({**PAYMENT, "payment_id": name}, RoutingRequest))
    assert ask(url, "models").version == routed.bundle_version
    assert ask(url, "ready").ready


def test_what_the_service_refuses_is_told_with_code_and_path(ask: Ask, url: str) -> None:
    ask(url, "auth", auth("refused"))
    with pytest.raises(AlreadyAsked) as again:
        ask(url, "auth", auth("refused", amount_minor=1))
    assert again.value.code == "already_asked"
    with pytest.raises(Refused) as wrong:
        ask(url, "auth", msgspec.structs.replace(auth("refused"), attempt=0))
    assert (wrong.value.status, wrong.value.code, wrong.value.path) == (422, "out_of_range", "$.attempt")
    with pytest.raises(Refused) as carrier:
        ask(url, "auth", auth("4111111111111111"))
    assert carrier.value.code == "pan_detected"
    with pytest.raises(NotFound):
        ask(url, "decision", "d_nobody/../knows")


def test_a_service_that_stops_and_comes_back_is_found_again(bundle_shelf: Path, tmp_path: Path) -> None:
    settings = {
        "POINTSMAN_BUNDLES": str(bundle_shelf),
        "POINTSMAN_JOURNAL": str(tmp_path / "journal"),
        "POINTSMAN_BUDGET_MS": "5000",
    }
    with running(settings, log=tmp_path / "log") as (first, process):
        port = int(first.rsplit(":", 1)[1])
        client = Client(first, timeout_seconds=30.0, try_seconds=20.0)
        before = client.auth(auth("kept"))
        os.kill(process, signal.SIGKILL)
        with pytest.raises(Unavailable):
            client.auth(auth("lost"))
    with client, running(settings, log=tmp_path / "log", port=port):
        # From the journal: the answer was durable before it was sent.
        assert client.decision(before.decision_id).decision.answer == before
        assert client.auth(auth("lost")).degraded == ()


def test_many_questions_at_once_over_few_connections(url: str) -> None:
    async def ask_all() -> set[str]:
        async with AsyncClient(url, connections=4, timeout_seconds=60.0, try_seconds=50.0) as client:
            answers = await asyncio.gather(*(client.auth(auth(f"many_{number}")) for number in range(200)))
        return {answer.decision_id for answer in answers}

    assert len(asyncio.run(ask_all())) == 200


def test_where_a_key_is_asked_for_it_opens_what_its_scope_says(ask: Ask, bundle_shelf: Path, tmp_path: Path) -> None:
    keys = {"POINTSMAN_KEYS": str(tmp_path / "keys.json")}
    made = subprocess.run(
        [sys.executable, "-m", "service", "keys", "add", "--name", "gateway", "--scope", "decide"],
        env={**os.environ, **keys},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    settings = {
        **keys,
        "POINTSMAN_BUNDLES": str(bundle_shelf),
        "POINTSMAN_JOURNAL": str(tmp_path / "journal"),
        "POINTSMAN_BUDGET_MS": "5000",
    }
    with running(settings, log=tmp_path / "log") as (url, _):
        assert ask(url, "auth", auth("opened"), key=made.stdout.strip()).degraded == ()
        for key in (None, "pm_nobody_nothing"):
            with pytest.raises(NotAllowed) as refused:
                ask(url, "auth", auth("closed"), key=key)
            assert refused.value.status == 401
        with pytest.raises(NotAllowed) as narrow:
            ask(url, "report", Outcome(payment_id="opened", status="approved"), key=made.stdout.strip())
        assert narrow.value.status == 403
