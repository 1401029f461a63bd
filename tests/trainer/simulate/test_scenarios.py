"""Scenarios: each changes what it says, in its stretch, and nothing else."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trainer.__main__ import main
from trainer.simulate import batch, facts
from trainer.simulate.approval import first_attempt
from trainer.simulate.changes import NEWCOMER, Stretch, best_share
from trainer.simulate.errors import SimulateError
from trainer.simulate.facts import DAY_US, HOUR_US, PROCESSORS, Array
from trainer.simulate.gateway import Gateway
from trainer.simulate.payments import Payments, generate
from trainer.simulate.scenarios import SCENARIOS, Staged, stage
from trainer.simulate.world import World

BEGIN = 30 * DAY_US + 12 * HOUR_US
DAYS = Stretch(BEGIN, BEGIN + 3 * DAY_US)
COUNT = 6_000


def drawn(world: World, stretch: Stretch = DAYS) -> Payments:
    return generate(world, (9,), COUNT, stretch.begins_us, stretch.ends_us)


def passing(staged: Staged, payments: Payments) -> Array:
    return first_attempt(staged.world, payments)[1]


def differing(one: Payments, other: Payments) -> set[str]:
    return {
        field.name
        for field in fields(Payments)
        if not np.array_equal(getattr(one, field.name), getattr(other, field.name), equal_nan=True)
    }


@pytest.fixture(scope="module")
def calm(world: World) -> Staged:
    return stage(world, "calm", DAYS)


@pytest.fixture(scope="module")
def usual(calm: Staged) -> Payments:
    return drawn(calm.world)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_tells_the_same_story(world: World, name: str) -> None:
    one, same = stage(world, name, DAYS, 3), stage(world, name, DAYS, 3)
    assert one.marks == same.marks
    assert not differing(drawn(one.world), drawn(same.world))
    assert np.array_equal(passing(one, drawn(one.world)), passing(same, drawn(same.world)))


def test_another_seed_hits_another_one(world: World) -> None:
    hit = {stage(world, "processor_outage", DAYS, seed).marks[0].subject for seed in range(20)}
    assert len(hit) > 1


@pytest.mark.parametrize("name", SCENARIOS)
def test_before_the_stretch_the_world_is_what_it_was(world: World, name: str) -> None:
    staged = stage(world, name, DAYS, 1)
    earlier = Stretch(20 * DAY_US, BEGIN)
    before, as_it_was = drawn(staged.world, earlier), drawn(world, earlier)
    assert not differing(before, as_it_was)
    count = len(PROCESSORS)
    issuer, passed = first_attempt(staged.world, before)
    was_issuer, was_passed = first_attempt(world, as_it_was)
    assert np.array_equal(issuer, was_issuer)
    assert np.array_equal(passed[:, :count], was_passed)
    assert (passed[:, count:] == 0).all()
    assert np.array_equal(_value(staged.world, before)[:, :count], _value(world, before))


def _value(world: World, payments: Payments) -> Array:
    approval = np.full((len(payments), len(world.processors)), 0.8)
    return world.processors.tariffs.value(
        approval, payments.amount, payments.network, payments.abroad, payments.at_us, 0.25
    )


def test_in_the_calm_nothing_is_out_of_the_ordinary(calm: Staged) -> None:
    first = BEGIN // facts.BIN_US
    assert not calm.world.processors.outage[first:].any()
    assert (calm.world.incidents[BEGIN // HOUR_US :] == 0).all()
    assert (calm.world.calendar.attack_share[first:] == 0).all()
    pressure = calm.world.processors.pressure[first:]
    assert np.array_equal(pressure[:144], pressure[144:288])
    assert not calm.marks


def test_drift_turns_the_order_of_the_processors_round_and_nothing_else(
    world: World, calm: Staged, usual: Payments
) -> None:
    drifted = stage(world, "drift", DAYS)
    assert not differing(drawn(drifted.world), usual)
    change = (1 - passing(drifted, usual)) / (1 - passing(calm, usual))
    best, worst = int(best_share(calm.world, DAYS).argmax()), int(best_share(calm.world, DAYS).argmin())
    assert drifted.marks[0].subject == best
    assert change[:100, best].mean() == pytest.approx(1.0, abs=0.05)
    assert change[-100:, best].min() > 1.5
    assert change[-100:, worst].max() < 0.6
    assert (np.diff(change[:, worst]) <= 1e-9).all()


@pytest.mark.parametrize(("name", "share"), [("processor_outage", 0.98), ("brown_out", 0.25)])
def test_a_faulty_processor_is_the_only_one_hit_and_only_for_its_time(
    world: World, calm: Staged, usual: Payments, name: str, share: float
) -> None:
    staged = stage(world, name, DAYS, 2)
    assert not differing(drawn(staged.world), usual)
    (mark,) = staged.marks
    meanwhile = (usual.at_us >= mark.begins_us) & (usual.at_us < mark.ends_us)
    assert 0.3 < meanwhile.mean() < 0.7
    before, now = passing(calm, usual), passing(staged, usual)
    others = [k for k in range(len(PROCESSORS)) if k != mark.subject]
    assert np.array_equal(now[:, others], before[:, others])
    assert np.array_equal(now[~meanwhile], before[~meanwhile])
    assert np.allclose(now[meanwhile, mark.subject], before[meanwhile, mark.subject] * (1 - share))


def test_what_an_outage_takes_looks_like_an_outage_and_a_brown_out_is_slow(world: World) -> None:
    for name, slower in (("processor_outage", 1), ("brown_out", 6)):
        staged = stage(world, name, DAYS, 2)
        (mark,) = staged.marks
        payments = generate(staged.world, (9,), COUNT, mark.begins_us, mark.ends_us)
        gateway = Gateway(staged.world, payments)
        there = [gateway.send(row, PROCESSORS[mark.subject]) for row in range(COUNT)]
        lost = [attempt for attempt in there if attempt.cause >= facts.FIRST_PROCESSOR_CAUSE]
        technical = [a for a in lost if a.cause in (facts.TECHNICAL, facts.TIMED_OUT)]
        assert len(technical) > 0.8 * len(lost)
        answered = [attempt.latency_ms for attempt in there if attempt.latency_ms < 29_999]
        usual_ms = staged.world.processors.latency_ms[mark.subject]
        assert np.median(answered) == pytest.approx(usual_ms * slower, rel=0.05)


def test_an_issuer_that_is_down_refuses_through_every_processor_and_says_so(
    world: World, calm: Staged, usual: Payments
) -> None:
    staged = stage(world, "issuer_outage", DAYS, 1)
    payments = drawn(staged.world)
    assert differing(payments, usual) == {"other"}
    assert np.array_equal(passing(staged, payments), passing(calm, usual))
    begins_us, ends_us = staged.marks[0].begins_us, staged.marks[0].ends_us
    down = np.isin(world.cards.issuer[usual.card], [mark.subject for mark in staged.marks])
    down &= (usual.at_us >= begins_us) & (usual.at_us < ends_us)
    assert np.array_equal(payments.other[~down], usual.other[~down])
    assert payments.other[down].mean() > 0.8
    gateway = Gateway(staged.world, payments)
    declined = [a for row in np.flatnonzero(down) if not (a := gateway.send(int(row), PROCESSORS[0])).approved]
    said = [attempt for attempt in declined if attempt.cause == facts.UNAVAILABLE]
    assert len(said) > 0.5 * len(declined)
    assert {attempt.code for attempt in said} == {"91", "96"}


def test_an_attack_is_at_one_merchant_and_leaves_every_other_payment_as_it_is(world: World, usual: Payments) -> None:
    staged = stage(world, "fraud_attack", DAYS, 1)
    payments = drawn(staged.world)
    (mark,) = staged.marks
    attacked = payments.is_attack
    assert 0.05 < attacked.mean() < 0.25
    assert set(payments.merchant[attacked]) == {mark.subject}
    assert payments.at_us[attacked].min() >= mark.begins_us
    assert payments.at_us[attacked].max() < mark.ends_us
    # A card that is tested has been used a moment ago: the limit on quick repeats is all that others may feel.
    assert differing(payments.take(~attacked), usual.take(~attacked)) <= {"limit"}


def test_before_the_payday_money_is_short_and_afterwards_it_is_not(world: World, calm: Staged, usual: Payments) -> None:
    staged = stage(world, "payday", DAYS)
    payments = drawn(staged.world)
    assert differing(payments, usual) == {"funds"}
    (mark,) = staged.marks
    assert mark.begins_us % DAY_US == 0
    before = payments.at_us < mark.begins_us
    assert payments.funds[before].mean() > 2.5 * usual.funds[before].mean()
    assert (payments.funds[~before] < usual.funds[~before]).all()


def test_a_decline_for_want_of_funds_recovers_over_the_common_payday(world: World) -> None:
    staged, calm = stage(world, "payday", DAYS), stage(world, "calm", DAYS)
    (mark,) = staged.marks
    payments = drawn(staged.world)
    gateways = [Gateway(each.world, payments) for each in (staged, calm)]
    rows = [row for row in range(COUNT) if gateways[0].send(row, PROCESSORS[0]).cause == facts.FUNDS]
    late = [row for row in rows if mark.begins_us - DAY_US < payments.at_us[row] < mark.begins_us]
    chances = [
        [g.send_again(g.send(row, PROCESSORS[0]), PROCESSORS[0], 172_800.0).chance for row in late] for g in gateways
    ]
    assert len(late) > 20
    assert np.mean(chances[0]) > 1.4 * np.mean(chances[1])


def test_a_processor_joins_for_everybody_at_once_and_the_others_stay_as_they_are(
    world: World, calm: Staged, usual: Payments
) -> None:
    staged = stage(world, "new_processor", DAYS, 4)
    payments = drawn(staged.world)
    assert not differing(payments, usual)
    (mark,) = staged.marks
    now = passing(staged, payments)
    assert np.array_equal(now[:, :-1], passing(calm, usual))
    there = payments.at_us >= mark.begins_us
    assert (now[~there, -1] == 0).all()
    assert now[there, -1].mean() > passing(calm, usual)[there].mean()
    gateway = Gateway(staged.world, payments)
    for row in range(0, COUNT, 97):
        candidates = gateway.auth_request(row).processors
        assert set(candidates) == {*PROCESSORS, *([NEWCOMER] if there[row] else [])}
        assert not there[row] or candidates[-1] == NEWCOMER
    fees = batch.fees(staged.world, BEGIN)
    assert fees[NEWCOMER] in [fees[name] for name in PROCESSORS]


def test_cards_of_a_new_bin_are_refused_more_and_all_others_are_not(world: World, usual: Payments) -> None:
    staged = stage(world, "new_bin", DAYS, 1)
    payments = drawn(staged.world)
    assert differing(payments, usual) == {"other"}
    (mark,) = staged.marks
    bins = staged.world.cards.bin_at(payments.card, payments.at_us)
    new = bins == mark.subject
    assert new[payments.at_us < mark.begins_us].sum() == 0
    visa = payments.network == facts.VISA
    assert new[(payments.at_us >= mark.begins_us) & visa].mean() == pytest.approx(0.25, abs=0.05)
    assert not new[~visa].any()
    assert np.array_equal(payments.other[~new], usual.other[~new])
    assert (payments.other[new] >= usual.other[new]).all()
    request = Gateway(staged.world, payments).auth_request(int(np.flatnonzero(new)[0]))
    assert request.card_bin not in world.cards.bins


def test_a_price_changes_at_its_moment_and_the_contract_says_so(world: World, calm: Staged, usual: Payments) -> None:
    staged = stage(world, "price_change", DAYS, 1)
    assert not differing(drawn(staged.world), usual)
    assert np.array_equal(passing(staged, usual), passing(calm, usual))
    (mark,) = staged.marks
    dearer = _value(calm.world, usual) - _value(staged.world, usual)
    later = usual.at_us >= mark.begins_us
    assert np.allclose(dearer[later, mark.subject], 0.8 * 0.015 * usual.amount[later])
    dearer[later, mark.subject] = 0
    assert (dearer == 0).all()
    name = PROCESSORS[mark.subject]
    before, after = batch.fees(staged.world, mark.begins_us - 1)[name], batch.fees(staged.world, mark.begins_us)[name]
    assert after.approved_share - before.approved_share == pytest.approx(0.015)
    assert all(a.approved_share > b.approved_share for a, b in zip(after.lines, before.lines, strict=True))


def test_a_contract_states_what_is_charged(world: World, usual: Payments) -> None:
    """Of the lines that fit, the one that names more holds; the fees so read are the true ones."""
    stated = batch.fees(world, BEGIN)
    gateway = Gateway(world, usual)
    rows = np.arange(0, COUNT, 31)
    for k, name in enumerate(PROCESSORS):
        some = usual.take(rows)
        fixed, share, failed = world.processors.tariffs.of(some.at_us, np.full(len(rows), k), some.network, some.abroad)
        for place, row in enumerate(rows):
            request = gateway.auth_request(int(row))
            regions = {"intra", "cross_border"} if request.issuer_country != request.merchant_country else {"domestic"}
            fits = [
                line
                for line in stated[name].lines
                if line.network in (None, request.card_network) and (line.region is None or line.region in regions)
            ]
            held = max(fits, key=lambda line: (line.network is not None) + (line.region is not None), default=None)
            fee = held or stated[name]
            assert fee.approved_share == pytest.approx(share[place])
            assert (fee.approved_fixed_minor, fee.failed_fixed_minor) == (fixed[place], failed[place])


def test_an_unknown_scenario_or_an_impossible_stretch_is_refused(world: World) -> None:
    with pytest.raises(SimulateError, match="expected a scenario of calm, drift"):
        stage(world, "storm", DAYS)
    for stretch in (Stretch(BEGIN, BEGIN), Stretch(0, DAY_US), Stretch(BEGIN, 400 * DAY_US)):
        with pytest.raises(SimulateError, match="expected a stretch"):
            stage(world, "calm", stretch)


def test_a_history_with_a_scenario_differs_at_its_end_alone(tmp_path: Path) -> None:
    small = ["--payments", "3000", "--days", "20", "--cards", "2000", "--merchants", "30"]
    for name in ("calm", "fraud_attack", "new_processor"):
        assert main(["simulate", "--out", str(tmp_path / name), *small, "--scenario", name]) == 0
    assert main(["simulate", "--out", str(tmp_path / "none"), *small]) == 0
    histories = {path.name: pl.read_parquet(path / "history" / "*.parquet") for path in tmp_path.iterdir()}
    end = histories["none"]["occurred_at"].dt.truncate("1d").min() + pl.duration(days=16)
    for history in histories.values():
        known = [frame.filter(pl.col("settled_at") < end) for frame in (history, histories["none"])]
        assert known[0].equals(known[1])
    assert not histories["calm"].equals(histories["none"])
    joined = histories["new_processor"].filter(pl.col("processor") == NEWCOMER)
    assert 0 < joined.height < 0.02 * 3000
    assert batch.read_plan(tmp_path / "calm").scenario == "calm"
    assert NEWCOMER in (tmp_path / "new_processor" / "fees.toml").read_text()


def test_the_command_knows_scenarios_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--out", str(tmp_path / "out"), "--scenario", "storm"])
    assert "invalid choice: 'storm'" in capsys.readouterr().err
