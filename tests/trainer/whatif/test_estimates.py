"""What a bundle says of logged questions is what the service said, or would have said: proved against the service itself."""

import asyncio
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.outcome import Outcome
from tests.parts import Parts, activate, auth, retry, routing, serving, soon
from tests.trainer.whatif.journals import Told as InMemory
from tests.trainer.whatif.journals import bundles, outcome, toml
from trainer.consistency.journal import Journal
from trainer.evaluate.bundle import open_bundle
from trainer.whatif.alternative import Alternative
from trainer.whatif.asking import Options, what_if
from trainer.whatif.decisions import Told, told_by
from trainer.whatif.estimates import as_logged, from_vectors

CLOSE = 2e-6
"""How far a kernel's probability may be from ONNX Runtime's, with what effects of processors make of that."""
KNOWN = ("atlas", "cobalt", "harbor", "meridian", "northpay")


def fields(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "payment_id": f"pay_{number}",
        "merchant_id": f"m{chance.randrange(4)}",
        "merchant_country": chance.choice(["DE", "GB", None]),
        "amount_minor": chance.choice([990, 4990, 20_000, chance.randrange(100, 60_000)]),
        "currency": chance.choice(["EUR", "GBP"]),
        "card_token": f"tok_{chance.randrange(30)}",
        "card_network": chance.choice(["visa", "mastercard", "amex"]),
        "card_funding": chance.choice(["credit", "debit", None]),
        "issuer_country": chance.choice(["DE", "FR", "US"]),
        "is_network_token": chance.choice([True, False, None]),
        "uses_3ds": chance.choice([True, False, None]),
        "initiator": chance.choice(["customer", "merchant"]),
        "channel": chance.choice(["web", "app", None]),
        "credentials": chance.choice([(), (), ("network_token", "card_number")]),
        # One that no bundle has seen.
        "processors": chance.choice([KNOWN, KNOWN[:3], (*KNOWN, "newcomer")]),
    }


async def story(parts: Parts, count: int, seed: int) -> None:
    """Payments that are asked about, settled, and now and then asked about again."""
    chance = random.Random(seed)
    for number in range(count):
        known = fields(chance, number)
        ask, make = (parts.decide.auth, auth) if chance.random() < 0.7 else (parts.decide.routing, routing)
        answer = await ask(make(**known), deadline=soon())
        if chance.random() < 0.1:
            await ask(make(**known), deadline=soon())
        if answer.processor is None:
            continue
        status = chance.choice(["approved", "approved", "declined", "timeout"])
        told = {"payment_id": known["payment_id"], "status": status, "processor": answer.processor, "latency_ms": 300}
        if status == "declined":
            told["response_code"] = "51"
        await parts.learn.report([Outcome(**told)])
        if status == "timeout":
            await parts.learn.report([Outcome(**{**told, "status": "approved"})])
        if status == "declined":
            await parts.decide.retry(retry(answer.processor, "51", **known), deadline=soon())


@pytest.fixture(scope="module")
def journal(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")

    async def tell() -> None:
        async with serving(fitted, folder / "journal") as parts:
            await story(parts, 220, 1)

    asyncio.run(tell())
    return folder / "journal"


def told(journal: Path) -> Told:
    return told_by(Journal(journal), None, None, 100_000)


def test_the_logged_bundle_says_of_the_vectors_what_it_said_then(journal: Path, fitted: Path) -> None:
    ready = open_bundle("active", fitted)
    decided = told(journal).decided
    assert len(decided) > 150
    again = from_vectors(ready, decided)
    ways = set()
    for each, said in zip(decided, again, strict=True):
        logged = as_logged(each)
        assert logged is not None
        assert said is not None
        ways.add(len(said.variants))
        # The service's kernels may round otherwise than ONNX Runtime, which the trainer asks.
        assert said.risk == pytest.approx(logged.risk, abs=CLOSE)
        for row, then in zip(said.approval, logged.approval, strict=True):
            assert row == pytest.approx(then, abs=CLOSE)
        assert said._replace(risk=logged.risk, approval=logged.approval) == logged
    assert ways == {1, 2}


@pytest.mark.parametrize("from_rows", [False, True])
def test_the_logged_policy_chooses_what_it_chose_then(journal: Path, fitted: Path, from_rows: bool) -> None:
    """With what its models said then, and with what they say of the logged vectors."""
    version, _ = bundles(fitted)
    decided = told(journal).decided
    if from_rows:
        decided = [replace(each, inputs=msgspec.structs.replace(each.inputs, approval=())) for each in decided]
        assert as_logged(decided[0]) is None
    for each, choice in zip(decided, Alternative.bundle(version, fitted).choices(decided), strict=True):
        assert choice is not None
        answer = each.answer
        assert (choice.action, choice.processor, choice.three_ds, choice.credential) == (
            answer.action,
            answer.processor,
            answer.three_ds,
            answer.credential,
        )
        if not from_rows:
            assert choice.ranking == answer.ranking
            continue
        assert [entry.processor for entry in choice.ranking] == [entry.processor for entry in answer.ranking]
        for entry, then in zip(choice.ranking, answer.ranking, strict=True):
            assert (entry.eligible, entry.reasons) == (then.eligible, then.reasons)
            for mode, before in zip(entry.modes, then.modes, strict=True):
                assert (mode.authentication, mode.credential) == (before.authentication, before.credential)
                assert mode.approval_probability == pytest.approx(before.approval_probability, abs=CLOSE)
            assert entry.approval_probability == pytest.approx(then.approval_probability, abs=CLOSE)
            assert entry.propensity == pytest.approx(then.propensity, abs=1e-4)


def test_a_journal_that_did_not_keep_what_the_policy_was_told_is_asked_by_its_vectors(
    journal: Path, fitted: Path
) -> None:
    version, _ = bundles(fitted)
    decided = [replace(each, inputs=None) for each in told(journal).decided]
    choices = Alternative.bundle(version, fitted).choices(decided)
    alike = [
        choice is not None and choice.processor == each.answer.processor
        for choice, each in zip(choices, decided, strict=True)
    ]
    # How processors were doing then is not known any more.
    assert 0.6 < sum(alike) / len(alike) <= 1


def test_over_the_service_s_own_journal_the_same_bundle_would_have_answered_nothing_otherwise(
    journal: Path, fitted: Path
) -> None:
    version, _ = bundles(fitted)
    report = what_if(Options(journal=journal, policy=f"bundle:{version}", bundles=fitted))
    assert report.otherwise == 0
    assert report.decisions == len(told(journal).decided)
    assert report.retries.count > 10
    assert report.retries.told == report.retries.count
    assert report.retries.otherwise == 0
    assert report.values[0].estimates[1].gain.value == pytest.approx(0.0)


def test_another_bundle_says_of_the_vectors_what_it_would_have_said_itself(fitted: Path, tmp_path: Path) -> None:
    """Both services are asked about payments of which nothing is known: their vectors differ in what each has learnt alone."""
    _, other = bundles(fitted)
    shelf = tmp_path / "shelf"
    shutil.copytree(fitted, shelf)
    activate(shelf, other)
    chance = random.Random(3)
    questions = [{**fields(chance, number), "card_token": f"tok_{number}"} for number in range(12)]
    for name, place in (("ours", fitted), ("theirs", shelf)):
        for number, known in enumerate(questions):

            async def ask(place: Path = place, name: str = name, number: int = number, known: Any = known) -> None:
                async with serving(place, tmp_path / name / str(number)) as parts:
                    await parts.decide.auth(auth(**known), deadline=soon())

            asyncio.run(ask())
    ready = open_bundle(other, fitted)
    compared = 0
    for number in range(len(questions)):
        mine, own = (_decided(tmp_path / name / str(number)) for name in ("ours", "theirs"))
        (said,) = from_vectors(ready, [mine])
        logged = as_logged(own)
        assert said is not None
        assert logged is not None
        assert own.answer.bundle_version == other
        assert said.variants == logged.variants
        # The moment is another one, and with it the hour: half a second moves no probability by more.
        assert said.risk == pytest.approx(logged.risk, abs=2e-3)
        for row, then in zip(said.approval, logged.approval, strict=True):
            assert row == pytest.approx(then, abs=2e-3)
            compared += len(row)
        # The two bundles say other things, or this would prove nothing.
        assert max(abs(p - q) for p, q in zip(said.approval[0], mine.inputs.approval[0], strict=True)) > 5e-3
    assert compared > 60


def _decided(folder: Path) -> Any:
    (event,) = Journal(folder).events()
    memory: Any = InMemory([event, outcome(event, "approved")] if event.answer.processor else [event])
    (found,) = told_by(memory, None, None, 10).decided
    return found


def test_another_bundle_is_judged_over_the_service_s_own_journal(journal: Path, fitted: Path) -> None:
    _, other = bundles(fitted)
    report = what_if(Options(journal=journal, policy=f"bundle:{other}", bundles=fitted))
    assert report.decisions == len(told(journal).decided)
    assert report.otherwise > 0
    assert report.retries.told == 0
    assert any("how processors were doing is what was concluded then" in note for note in report.notes)
    # Three approvals of payments that had timed out at first.
    statuses = {each.status for each in told(journal).decided}
    assert "timeout" not in statuses


def test_retries_that_would_not_have_been_made_are_counted(journal: Path, fitted: Path, tmp_path: Path) -> None:
    ready = open_bundle("active", fitted)
    planned = sum(event.answer.should_retry for event in told(journal).retries)
    assert planned > 5
    never = msgspec.structs.replace(ready.manifest.policy.retry, minimum_probability=1.0, minimum_value_minor=1e9)
    parameters = msgspec.structs.replace(ready.manifest.policy, retry=never)
    report = what_if(Options(journal=journal, parameters=toml(tmp_path, parameters), bundles=fitted))
    assert report.retries.told == report.retries.count
    assert report.retries.otherwise == planned
    assert f"{planned:,} of {report.retries.told:,} retries" in "\n".join(report.lines())
    assert report.otherwise == 0
