"""What moves an estimate: the groups of features that did most of it, as the estimate without them."""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.bundle import Manifest
from contracts.decision import Reason
from contracts.event import DecisionMade
from features.assemble import WIDTH
from features.effects import shifted
from service import answer as answers
from service.estimate import in_every_way
from service.explain import reason_of, words_of
from tests.parts import Parts, Tell, act, activate, add_bundle, auth, let_answer, retry, routing, soon, with_model
from trainer.fit.calibration import apply


async def event_of(parts: Parts, question: Any, seconds: float = 5.0) -> DecisionMade:
    kind = type(question).__name__.removesuffix("Request").lower()
    answer = await getattr(parts.decide, kind)(question, deadline=soon(seconds))
    # With little time the answer does not wait for the disk.
    until = soon()
    while (event := await parts.journal.find(answer.decision_id)) is None:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    return event


def moved_by(event: DecisionMade) -> list[Reason]:
    return [reason for reason in event.answer.reasons if reason.code == "moved_by"]


@pytest.mark.parametrize("question", [auth(fraud_score=0.9), routing(uses_3ds=True)], ids=["auth", "routing"])
def test_the_largest_moves_are_told_as_the_estimate_without_them(question: Any, tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        event = await event_of(parts, question)
        inputs, vectors, bundle = event.inputs, event.vectors, parts.bundle
        assert inputs is not None
        assert vectors is not None
        model = "approval" if isinstance(question, type(auth())) else "routing"
        entry = bundle.manifest.models[model]
        assert entry.attribution is not None
        assert entry.calibration is not None
        place = inputs.processors.index(str(event.answer.processor))
        way = answers.way(question, inputs.variants, event.answer)  # type: ignore[arg-type]
        rows = np.frombuffer(vectors.rows, dtype="<f4").reshape(-1, WIDTH)
        row = in_every_way(rows[place : place + 1], question, inputs.variants[way : way + 1])
        (offset,) = bundle.effects[model].offsets(question, (inputs.processors[place],))
        (answer,), moves = bundle.scorer.score(model, row)
        estimate = inputs.approval[way][place]
        assert estimate == pytest.approx(shifted(answer, offset), abs=1e-6)
        assert moves is not None
        steps = dict(zip(entry.attribution.groups, moves.row(0).tolist(), strict=True))
        largest = sorted(steps, key=lambda group: -abs(steps[group]))[:3]
        assert list(inputs.moved) == largest
        whole = entry.attribution.base + sum(steps.values())
        for group in largest:
            alone = apply(entry.calibration, np.array([whole - steps[group]]))[0]
            assert inputs.moved[group] == pytest.approx(shifted(float(alone), offset), abs=1e-6)
        # All moves taken back one after the other lead from the answer to the base.
        assert answer == pytest.approx(float(apply(entry.calibration, np.array([whole]))[0]), abs=1e-5)
        (reason,) = moved_by(event)
        assert event.answer.reasons[-1] == reason
        assert len(event.answer.reasons) <= 5
        for group in largest:
            move = estimate - inputs.moved[group]
            assert abs(move) < 0.001 or f"{group} {move:+.4f}" in reason.detail

    tell(story)


def test_a_planned_retry_is_explained_and_one_that_is_not_planned_is_not(tell: Tell) -> None:
    async def story(parts: Parts) -> None:
        planned = await event_of(parts, retry("atlas", "51"))
        assert planned.inputs is not None
        attribution = parts.bundle.manifest.models["retry"].attribution
        assert attribution is not None
        assert attribution.unit == "log_odds"
        assert len(planned.inputs.moved) == 3
        assert set(planned.inputs.moved) <= set(attribution.groups)
        place = answers.wait(planned.inputs, planned.answer)  # type: ignore[arg-type]
        assert place is not None
        column = planned.inputs.processors.index(str(planned.answer.processor))
        # A small history teaches little of retries: where no group moves anything there is nothing to tell.
        reason = reason_of(planned.inputs.success[place][column], planned.inputs.moved)
        assert moved_by(planned) == ([] if reason is None else [reason])
        stopped = await event_of(parts, retry("atlas", "04", payment_id="pay_2"))
        assert moved_by(stopped) == []

    tell(story)


def test_there_is_no_explanation_where_it_would_explain_nothing(tell_memory: Tell) -> None:
    async def story(parts: Parts) -> None:
        unknown = await event_of(parts, auth(processors=("nobody",)))
        old = await event_of(parts, auth(payment_id="pay_3", occurred_at="1990-01-01T00:00:00Z"))
        assert old.answer.degraded == ("clock:occurred_long_ago",)
        for event in (unknown, old):
            assert moved_by(event) == []
            assert event.inputs is not None
            assert event.inputs.moved == {}

        def run(_names: Any, _inputs: Any) -> Any:
            raise RuntimeError("a kernel failed")

        let_answer(parts, "approval", run)
        failed = await event_of(parts, auth(payment_id="pay_4"))
        assert failed.answer.degraded == ("model:approval_failed",)
        assert moved_by(failed) == []

    tell_memory(story)


def test_a_bundle_whose_models_do_not_tell_explains_nothing(bundle_shelf: Path, tmp_path: Path) -> None:
    def change(manifest: Manifest) -> Manifest:
        return with_model(with_model(manifest, "approval", attribution=None), "retry", attribution=None)

    add_bundle(tmp_path / "shelf", bundle_shelf, "old", change)
    activate(tmp_path / "shelf", "old")

    async def story(parts: Parts) -> None:
        assert moved_by(await event_of(parts, auth())) == []
        assert moved_by(await event_of(parts, retry("atlas", "51"))) == []
        assert moved_by(await event_of(parts, routing())) != []

    asyncio.run(act(story, tmp_path / "shelf", tmp_path))


def test_the_kernel_says_the_same_words() -> None:
    native = pytest.importorskip("service.explain_native", reason="the kernels were not built: no C compiler here")
    chance = random.Random(3)
    for _ in range(2_000):
        estimate = chance.choice([0.0, 1.0, chance.random()])
        without = {
            group: chance.choice([0.0, 1.0, estimate, estimate + 0.001, estimate - 0.25, chance.random()])
            for group in chance.sample(["card", "time", "merchant", "bin", "é", ""], chance.randrange(7))
        }
        least, most = chance.choice([0.0, 0.001, 0.3]), chance.randrange(5)
        assert native.words_of(estimate, without, least, most) == words_of(estimate, without, least, most)
