"""A decision made again from its record comes out the same, to the last bit; one that was tampered with is named."""

import asyncio
import base64
import json
import math
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.audit import AuditTrail
from contracts.bundle import Manifest
from contracts.event import DecisionMade, OutcomeSettled
from contracts.outcome import Outcome
from contracts.payment import Payment
from service.errors import StoreTimeout
from service.replay import DIFFERS, MISSING, SAME, bundle_of, main, replay
from service.store.base import Claim, Decided
from service.store.memory import MemoryStore
from tests.parts import (
    RULES,
    Parts,
    act,
    activate,
    add_bundle,
    auth,
    eager,
    let_answer,
    retry,
    routing,
    serving,
    soon,
    without,
)

NOW = datetime.now(UTC)
CODES = ("51", "05", "91", "1A", "54", "04", None, "65", "83")


@pytest.fixture(scope="module")
def shelf(bundle_shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf whose policy finds every permitted retry worth making, with a bundle beside it that has no models."""
    folder = tmp_path_factory.mktemp("shelf")
    add_bundle(folder, bundle_shelf, "eager", eager)
    add_bundle(folder, bundle_shelf, "bare", lambda manifest: without("approval", "routing", "retry")(eager(manifest)))
    activate(folder, "eager")
    return folder


def asked(number: int) -> Payment:
    """Return one of many different questions."""
    payment = {
        "payment_id": f"pay_{number}",
        "card_token": f"tok_{number % 7}",
        "merchant_id": f"shop_{number % 3}",
        "amount_minor": (1999, 12_990, 0, 250_000)[number % 4],
        "currency": ("EUR", "JPY", "KWD")[number % 3],
        "card_network": ("visa", "mastercard", "Amex", "orbit")[number % 4],
        "issuer_country": ("DE", "US", "BR")[number % 3],
        "merchant_country": (None, "DE")[number % 2],
        "initiator": (None, "customer", "merchant")[number % 3],
        "uses_3ds": (None, True, False)[number % 5 % 3],
        "fraud_score": (None, 0.0, 0.93)[number % 3],
        "credentials": ((), ("network_token", "card_number"))[number % 2],
        "processors": ((), ("atlas", "nobody", "cobalt"), ("harbor",))[number % 3],
        "occurred_at": NOW + timedelta(seconds=number - 200),
    }
    if number % 3 == 0:
        return auth(**payment)
    if number % 3 == 1:
        return routing(**payment)
    declined = NOW + timedelta(seconds=number - 230)
    return retry("atlas", CODES[number % len(CODES)], declined_at=declined, **payment)


async def answered(parts: Parts, question: Payment) -> Any:
    ask: dict[str, Any] = {
        "AuthRequest": parts.decide.auth,
        "RoutingRequest": parts.decide.routing,
        "RetryRequest": parts.decide.retry,
    }
    return await ask[type(question).__name__](question, deadline=soon())


async def live(parts: Parts, questions: int) -> list[DecisionMade]:
    """Ask many questions and report what became of them, so that state, standings and ledgers are in it."""
    for number in range(questions):
        answer = await answered(parts, asked(number))
        if answer.processor is not None:
            outcome = Outcome(
                payment_id=answer.payment_id,
                attempt=answer.attempt + (not hasattr(answer, "action")),
                status=("approved", "declined", "timeout", "declined", "error")[number % 5],  # type: ignore[arg-type]
                response_code=CODES[number % len(CODES)],
                latency_ms=300 + number,
                occurred_at=NOW + timedelta(seconds=number - 199),
            )
            await parts.learn.report([outcome])
    return [event for _, event in parts.journal.events(limit=10_000) if not isinstance(event, OutcomeSettled)]


def over_the_wire(event: DecisionMade) -> DecisionMade:
    """Return an event as it comes out of the JSON of its audit."""
    body = msgspec.json.encode(AuditTrail(decision=event, outcomes=[]))
    return msgspec.json.decode(body, type=AuditTrail).decision


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_hundred_decisions_of_all_kinds_are_made_again_bit_for_bit(
    store: str, shelf: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = "memory://" if store == "memory" else request.getfixturevalue("redis_url")

    async def story(parts: Parts) -> None:
        events = await live(parts, 150)
        assert len(events) == 150
        bundle = bundle_of(over_the_wire(events[0]), shelf, RULES)
        for event in events:
            assert replay(over_the_wire(event), bundle) == []
        # They were about something: standings and ledgers, several ways of sending, explanations, retries to come.
        inputs = [event.inputs for event in events]
        assert all(each is not None for each in inputs)
        assert any(standing.shift or standing.excess for each in inputs if each for standing in each.standings)
        assert any(each.ledger for each in inputs if each)
        assert any(len(each.variants) > 1 for each in inputs if each)
        assert any(each.moved for each in inputs if each)
        assert any(getattr(event.answer, "should_retry", False) for event in events)
        assert any("moved_by" in [reason.code for reason in event.answer.reasons] for event in events)
        assert all(len(event.answer.reasons) <= 5 for event in events)

    asyncio.run(act(story, shelf, tmp_path, url, timeout_ms=5000.0))


def test_decisions_without_models_are_made_again_too(shelf: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    add_bundle(own, shelf, "bare", lambda manifest: without("approval", "risk", "routing", "retry")(manifest))
    activate(own, "bare")

    async def story(parts: Parts) -> None:
        events = await live(parts, 30)
        bundle = bundle_of(events[0], own, RULES)
        assert [replay(over_the_wire(event), bundle) for event in events] == [[]] * 30

    asyncio.run(act(story, own, tmp_path))


class Unwell(MemoryStore):
    """A store that is late, or that finds every limit used up."""

    late = False

    async def decided(self, decided: Decided, *, deadline: float | None = None) -> Claim:
        if self.late:
            raise StoreTimeout(10.0)
        if decided.reservation is not None:
            return Claim(refused=True)
        return await super().decided(decided, deadline=deadline)


@pytest.mark.parametrize("late", [False, True], ids=["given up", "late"])
def test_what_came_of_the_store_is_taken_from_the_record(late: bool, shelf: Path, tmp_path: Path) -> None:
    store = Unwell()
    store.late = late

    async def story(parts: Parts) -> None:
        events = await live(parts, 30)
        codes = {reason.code for event in events for reason in event.answer.reasons}
        assert ("ledger_unknown" if late else "attempt_limit") in codes
        bundle = bundle_of(events[0], shelf, RULES)
        assert [replay(over_the_wire(event), bundle) for event in events] == [[]] * 30

    asyncio.run(act(story, shelf, tmp_path, store))


def test_a_model_that_failed_then_is_not_asked_now(shelf: Path, tmp_path: Path) -> None:
    async def story(parts: Parts) -> None:
        def run(_names: Any, _inputs: Any) -> Any:
            raise RuntimeError("a kernel failed")

        for name in ("approval", "retry"):
            let_answer(parts, name, run)
        events = await live(parts, 12)
        assert any(event.answer.degraded for event in events)
        bundle = bundle_of(events[0], shelf, RULES)
        assert [replay(over_the_wire(event), bundle) for event in events] == [[]] * 12

    asyncio.run(act(story, shelf, tmp_path))


# Tampered with


async def one_of_each(parts: Parts) -> list[DecisionMade]:
    for question in (auth(fraud_score=0.4), routing(), retry("atlas", "51")):
        await answered(parts, question)
    return [event for _, event in parts.journal.events()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def trails(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The audits of a decision of each kind, as plain JSON."""
    folder = tmp_path_factory.mktemp("trails")

    async def story() -> list[dict[str, Any]]:
        async with serving(shelf, folder / "journal") as parts:
            events = await one_of_each(parts)
            return [json.loads(msgspec.json.encode(AuditTrail(decision=event, outcomes=[]))) for event in events]

    return asyncio.run(story())


def differences(trail: dict[str, Any], shelf: Path) -> list[str]:
    event = msgspec.convert(json.loads(json.dumps(trail)), AuditTrail).decision
    return [line.partition(":")[0] for line in replay(event, bundle_of(event, shelf, RULES))]


def changed(trail: dict[str, Any], change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    copy = json.loads(json.dumps(trail))
    change(copy["decision"])
    return dict(copy)


def nudge(value: float) -> float:
    """Return the next float: one bit."""
    return math.nextafter(value, 2.0)


TAMPERED: list[tuple[int, str, Callable[[dict[str, Any]], None]]] = [
    (0, "risk_score", lambda d: d["answer"].update(risk_score=nudge(d["answer"]["risk_score"]))),
    (0, "action", lambda d: d["answer"].update(action="review")),
    (0, "reasons[0].detail", lambda d: d["answer"]["reasons"][0].update(detail="because")),
    (
        0,
        "ranking[1].approval_probability",
        lambda d: d["answer"]["ranking"][1].update(
            approval_probability=nudge(d["answer"]["ranking"][1]["approval_probability"])
        ),
    ),
    (0, "inputs.risk", lambda d: d["inputs"].update(risk=0.5)),
    (
        1,
        "processor",
        lambda d: d["answer"].update(processor="atlas" if d["answer"]["processor"] != "atlas" else "cobalt"),
    ),
    (1, "inputs.approval[0][2]", lambda d: d["inputs"]["approval"][0].__setitem__(2, 0.123)),
    (2, "wait_seconds", lambda d: d["answer"].update(wait_seconds=d["answer"]["wait_seconds"] + 1)),
    (2, "success_probability", lambda d: d["answer"].update(success_probability=0.99)),
    (2, "inputs.success[0][0]", lambda d: d["inputs"]["success"][0].__setitem__(0, 0.123)),
]


@pytest.mark.parametrize(("kind", "name", "change"), TAMPERED, ids=[name for _, name, _ in TAMPERED])
def test_what_was_tampered_with_is_named(
    kind: int, name: str, change: Callable[[dict[str, Any]], None], trails: list[dict[str, Any]], shelf: Path
) -> None:
    assert differences(trails[kind], shelf) == []
    assert differences(changed(trails[kind], change), shelf) == [name]


def test_tampered_vectors_and_standings_show_in_the_answer(trails: list[dict[str, Any]], shelf: Path) -> None:
    def vectors(decision: dict[str, Any]) -> None:
        rows = bytearray(base64.b64decode(decision["vectors"]["rows"]))
        rows[:400] = bytes(400)
        decision["vectors"]["rows"] = base64.b64encode(rows).decode()

    def standings(decision: dict[str, Any]) -> None:
        decision["inputs"]["standings"][0][3] = 1.25

    assert any(name.startswith("inputs.approval") for name in differences(changed(trails[0], vectors), shelf))
    assert any(name.startswith("ranking") for name in differences(changed(trails[0], standings), shelf))


# As a command


def written(trail: dict[str, Any], folder: Path) -> str:
    file = folder / "record.json"
    file.write_text(json.dumps(trail))
    return str(file)


def test_the_command_says_same_or_names_what_differs(
    trails: list[dict[str, Any]], shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for trail in trails:
        assert main([written(trail, tmp_path), "--shelf", str(shelf)]) == SAME
        assert capsys.readouterr().out == "same\n"
    _, _, change = TAMPERED[1]
    was = trails[0]["decision"]["answer"]["action"]
    assert main([written(changed(trails[0], change), tmp_path), "--shelf", str(shelf)]) == DIFFERS
    assert capsys.readouterr().out == f'action: on record "review", made again "{was}"\n'


def test_the_command_reads_standard_input_and_a_journal(
    shelf: Path, tmp_path: Path, trails: list[dict[str, Any]]
) -> None:
    async def story() -> list[DecisionMade]:
        async with serving(shelf, tmp_path / "journal") as parts:
            return await one_of_each(parts)

    events = asyncio.run(story())

    def run(*arguments: str, given: bytes = b"") -> tuple[int, bytes]:
        command = [sys.executable, "-m", "service", "replay", *arguments, "--shelf", str(shelf)]
        done = subprocess.run(command, input=given, capture_output=True, timeout=120, check=False)
        return done.returncode, done.stdout or done.stderr

    assert run("-", given=json.dumps(trails[2]).encode()) == (SAME, b"same\n")
    for event in events:
        assert run(event.answer.decision_id, "--journal", str(tmp_path / "journal")) == (SAME, b"same\n")
    code, said = run("d_nobody", "--journal", str(tmp_path / "journal"))
    assert code == MISSING
    assert said.startswith(b"pointsman: no record to replay with: the journal ")


def strict(manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, version="another"))


def test_what_is_missing_is_said(
    trails: list[dict[str, Any]], shelf: Path, bundle_shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(trail: dict[str, Any], *arguments: str) -> str:
        assert main([written(trail, tmp_path), *arguments]) == MISSING
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return captured.err

    here = ("--shelf", str(shelf))
    for version in ("gone", "../eager", ""):
        trail = changed(trails[0], lambda d, name=version: d["answer"].update(bundle_version=name))  # type: ignore[misc]
        assert said(trail, *here).startswith("pointsman: no bundle to replay with: expected ")
    damaged = add_bundle(tmp_path / "damaged", bundle_shelf, "eager")
    (damaged / "risk.onnx").write_bytes(b"")
    assert "risk.onnx was altered" in said(trails[0], "--shelf", str(tmp_path / "damaged"))
    add_bundle(tmp_path / "other", bundle_shelf, "eager", strict)
    assert said(trails[0], "--shelf", str(tmp_path / "other")).startswith(
        "pointsman: no policy to replay with: expected "
    )
    rules = tmp_path / "rules.toml"
    rules.write_text('[[region]]\nid = "nowhere"\nsource = "a test"\ncountries = ["AQ"]\n')
    assert said(trails[0], *here, "--rules", str(rules)).startswith("pointsman: no policy to replay with: expected ")
    none = changed(trails[0], lambda d: d.update(vectors=None))
    assert said(none, *here).startswith(
        "pointsman: no vectors to replay with: the decision was journalled without them"
    )
    other = changed(trails[0], lambda d: d["vectors"].update(fingerprint="0123"))
    assert "of the features 0123" in said(other, *here)
    short = changed(trails[0], lambda d: d["vectors"].update(rows=""))
    assert said(short, *here).startswith("pointsman: no vectors to replay with: expected ")
    repeat = changed(trails[0], lambda d: d.update(inputs=None))
    assert said(repeat, *here).startswith("pointsman: no record to replay with: it holds no inputs")
    (tmp_path / "record.json").write_text("{}")
    assert main([str(tmp_path / "record.json"), *here]) == MISSING
    assert capsys.readouterr().err.startswith("pointsman: no record to replay with: expected the JSON of GET")
    assert main([str(tmp_path / "nothing"), *here]) == MISSING
    assert main([str(tmp_path / "record.json"), *here, "--rules", str(tmp_path / "nothing")]) == MISSING
