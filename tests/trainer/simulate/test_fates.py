"""The same payment, processor and attempt always meet the same fate."""

from dataclasses import fields

import numpy as np
import pytest

from trainer.simulate.approval import first_attempt
from trainer.simulate.draws import keys, uniform
from trainer.simulate.facts import APPROVED, DAY_US, FIRST_PROCESSOR_CAUSE, NONE, PROCESSORS, TIMED_OUT
from trainer.simulate.fates import Fate, settle
from trainer.simulate.gateway import Gateway
from trainer.simulate.payments import Payments, generate
from trainer.simulate.policies import oracle, score, without
from trainer.simulate.world import MARGIN_SHARE, World

COUNT = 20_000


@pytest.fixture(scope="module")
def payments(world: World) -> Payments:
    return generate(world, (1, 0), COUNT, 0, 30 * DAY_US)


def through(world: World, payments: Payments, k: int) -> Fate:
    issuer, passing = first_attempt(world, payments)
    nothing = np.full(len(payments), NONE, dtype=np.int8)
    processor = np.full(len(payments), k)
    return settle(world, payments, 1, processor, issuer, passing[:, k], payments.at_us, nothing)


def test_a_fate_does_not_depend_on_the_company_it_is_drawn_in(world: World, payments: Payments) -> None:
    whole = through(world, payments, 2)
    rows = np.array([17, 4, 9_000, 123])
    some = through(world, payments.take(rows), 2)
    for field in fields(Fate):
        assert np.array_equal(getattr(whole, field.name)[rows], getattr(some, field.name))


def test_an_issuers_no_is_a_no_through_every_processor(world: World, payments: Payments) -> None:
    causes = np.stack([through(world, payments, k).cause for k in range(len(PROCESSORS))])
    by_issuer = (causes != NONE) & (causes < FIRST_PROCESSOR_CAUSE)
    assert np.array_equal(by_issuer.any(axis=0), by_issuer.all(axis=0))
    refused = causes[:, by_issuer.all(axis=0)]
    assert (refused == refused[0]).all()


def test_a_better_processor_never_turns_a_yes_into_a_no(world: World, payments: Payments) -> None:
    _, passing = first_attempt(world, payments)
    best, worst = passing.argmax(axis=1), passing.argmin(axis=1)
    rows = np.arange(COUNT)
    approved = np.stack([through(world, payments, k).status == APPROVED for k in range(len(PROCESSORS))], axis=1)
    assert not (approved[rows, worst] & ~approved[rows, best]).any()


def test_live_answers_agree_with_the_batch(world: World, payments: Payments) -> None:
    some = payments.take(np.arange(200))
    gateway = Gateway(world, some)
    fate = through(world, some, 3)
    for row in range(200):
        assert gateway.send(row, PROCESSORS[3]).cause == fate.cause[row]


def test_the_same_retry_has_the_same_fate_and_an_outage_is_left_by_another_processor(world: World) -> None:
    down = np.flatnonzero(world.processors.outage[: 30 * 144].any(axis=1))[0]
    k = int(np.flatnonzero(world.processors.outage[down])[0])
    other = next(j for j in range(len(PROCESSORS)) if not world.processors.outage[down, j])
    payments = generate(world, (9, 9), 4_000, int(down) * 600_000_000, int(down + 1) * 600_000_000)
    gateway = Gateway(world, payments)
    first = [gateway.send(row, PROCESSORS[k]) for row in range(1_000)]
    failed = [attempt for attempt in first if attempt.cause >= FIRST_PROCESSOR_CAUSE and attempt.cause != TIMED_OUT]
    assert len(failed) > 300
    again = [gateway.send_again(attempt, PROCESSORS[other], 1.0) for attempt in failed]
    assert again == [gateway.send_again(attempt, PROCESSORS[other], 1.0) for attempt in failed]
    stays = [gateway.send_again(attempt, PROCESSORS[k], 1.0) for attempt in failed]
    assert sum(attempt.approved for attempt in again) > 3 * sum(attempt.approved for attempt in stays)


def test_the_oracle_earns_more_than_the_shop_alone_on_the_same_payments(world: World, payments: Payments) -> None:
    alone = score(world, payments, without(world, payments), MARGIN_SHARE)
    best = score(world, payments, oracle(world, payments, MARGIN_SHARE), MARGIN_SHARE)
    assert best.margin_minor > alone.margin_minor
    assert 0.0 < best.honest_approval - alone.honest_approval < 0.08
    assert best.fraud_approved < alone.fraud_approved


def test_a_world_is_the_same_for_the_same_seed_and_a_longer_one_begins_alike() -> None:
    one, same, longer = (World.build(3, merchants=20, cards=1_000, days=days) for days in (10, 10, 20))
    assert one.home == same.home
    assert np.array_equal(one.cards.token, same.cards.token)
    assert len(np.unique(one.cards.token, axis=0)) == len(one.cards.token)
    shared = len(one.processors.outage)
    assert np.array_equal(longer.processors.outage[:shared], one.processors.outage)
    assert np.array_equal(longer.calendar.attack_at[:shared], one.calendar.attack_at)
    assert np.array_equal(longer.incidents[: len(one.incidents)], one.incidents)


def test_hashed_draws_are_uniform_and_independent_of_each_other() -> None:
    key = keys(7, np.arange(100_000))
    draws = [uniform(key, attempt, purpose) for attempt in (1, 2) for purpose in (1, 2)]
    for draw in draws:
        assert draw.min() >= 0
        assert draw.max() < 1
        assert np.histogram(draw, bins=20, range=(0, 1))[0] == pytest.approx(5_000, abs=350)
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.015
    assert np.array_equal(uniform(key, np.full(100_000, 2), 1), draws[2])
