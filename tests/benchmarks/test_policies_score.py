"""What is made of what was played: expectations, parts that add up, an oracle that is never beaten."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks.policies import __main__ as command
from benchmarks.policies import chart, report
from benchmarks.policies.baselines import BASELINES, Random, Static, Window
from benchmarks.policies.material import Material
from benchmarks.policies.oracle import AllKnowing, Oracle
from benchmarks.policies.play import Played, play
from benchmarks.policies.policy import Send
from benchmarks.policies.run import POINTS, Outcome, Result, run
from benchmarks.policies.score import GROUPS, loss, score
from benchmarks.policies.stage import Stage, begins_us
from benchmarks.policies.suspicion import suspicion
from benchmarks.policies.worth import at_risk, euro_cents, gains, supposing, worths
from tests.benchmarks.policies_parts import small
from trainer.simulate.changes import Stretch
from trainer.simulate.facts import CAUSES, DAY_US, HOUR_US
from trainer.simulate.payments import generate
from trainer.simulate.scenarios import SCENARIOS, stage
from trainer.simulate.world import World

LAST_LINE = re.compile(r"gap_closed=(-?\d+\.\d\d) worst_scenario=([a-z_]+) violations=(\d+)")


def test_no_policy_beats_the_one_that_is_told_everything(played_with: Material, calm: Stage) -> None:
    """Payment by payment: what it sends first is worth at least what anybody sends first."""
    best = score(calm, play(calm, AllKnowing(calm)))
    for make in BASELINES:
        other = score(calm, play(calm, make(calm, played_with.tail)))
        assert (best.first >= other.first - 1e-9).all()
        assert best.margin.mean() > other.margin.mean()


def test_no_retry_of_a_baseline_beats_what_the_told_one_would_do_there(played_with: Material, calm: Stage) -> None:
    oracle = AllKnowing(calm)
    compared = 0
    for chain in play(calm, Random(calm, played_with.tail)).chains:
        if len(chain) < 2:
            continue
        compared += 1
        again = oracle.retry(chain[:1], chain[0].settled_us)
        mine = worths(calm, [chain[1]], np.array([False]))[0]
        best = 0.0
        if again is not None:
            sent = calm.gateway.send_again(chain[0], again.processor, again.wait_s, authenticate=again.authenticate)
            best = worths(calm, [sent], np.array([False]))[0]
        assert best >= min(mine, 0.0)
        assert best >= mine - 1e-6
    assert compared > 20


def test_expected_margins_are_the_mean_of_what_is_realised(played_with: Material) -> None:
    """Within four standard errors, over everything that is random: approvals, retries, who leaves a challenge."""
    expected, realised = [], []
    for name in ("calm", "fraud_attack"):
        for seed in range(2):
            on = small(played_with, name, seed)
            played = play(on, Random(on, played_with.tail))
            played = played._replace(chains=[chain[:1] for chain in played.chains])
            attempts = [chain[0] for chain in played.chains]
            payments = on.payments
            place = np.arange(len(on)), np.array([attempt.processor for attempt in attempts])
            approved, failed = gains(on.world, payments, payments.at_us)
            risk = at_risk(payments, payments.is_fraud, payments.with_3ds)
            came = np.array([attempt.approved for attempt in attempts])
            realised.append(np.where(came, approved[place] - risk, failed[place]) * euro_cents(payments))
            expected.append(score(on, played).margin)
    off = np.concatenate(realised) - np.concatenate(expected)
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off))
    assert off.std() > 100


def test_the_parts_of_a_loss_add_up_to_it(played_with: Material) -> None:
    on = small(played_with, "fraud_attack")
    fraud = suspicion(on.world, on.payments, played_with.strangers)
    oracle, window = play(on, Oracle(on, fraud)), play(on, Window(on, played_with.tail))
    held = [Window(on, played_with.tail).order(row, request.processors)[0] for row, request in enumerate(on.requests)]
    parts = loss(on, oracle, window, held)
    assert sum(parts) == pytest.approx(score(on, oracle).margin.mean() - score(on, window).margin.mean())
    assert parts.sending > 0
    assert loss(on, oracle, oracle, [send.processor if send else None for send in oracle.sent]) == (0, 0, 0, 0, 0)


def test_every_cause_of_a_decline_is_in_one_group() -> None:
    grouped = [cause for causes in GROUPS.values() for cause in causes]
    assert sorted(grouped) == list(range(1, len(CAUSES)))


def test_a_payer_who_left_counts_as_one_who_may_have_stayed(calm: Stage) -> None:
    rows = np.flatnonzero(~(calm.payments.with_3ds | calm.payments.merchant_initiated | calm.payments.is_fraud))[:40]
    attempts = [calm.gateway.send(int(row), calm.gateway.names[0], challenge=True) for row in rows]
    whole = worths(calm, attempts, np.zeros(len(rows), dtype=bool))
    assert worths(calm, attempts, np.ones(len(rows), dtype=bool)) == pytest.approx(0.93 * whole)
    chains = [[attempt for attempt in attempts if attempt.row == row] for row in range(len(calm))]
    played = Played([Send(calm.gateway.names[0], True)] * len(calm), chains, set())
    made = score(calm, played)
    assert made.first_approval.sum() == pytest.approx(0.93 * sum(attempt.chance for attempt in attempts))
    assert np.array_equal(made.first_approval, made.approval)


def test_supposing_fraud_an_issuer_refuses_more_and_supposing_what_is_true_changes_nothing(calm: Stage) -> None:
    honest, fraud = supposing(calm.payments, is_fraud=False), supposing(calm.payments, is_fraud=True)
    assert (fraud.other >= honest.other).all()
    assert fraud.other.mean() > 1.5 * honest.other.mean()
    truth = calm.payments.is_fraud
    assert np.allclose(np.where(truth, fraud.other, honest.other), calm.payments.other, atol=1e-6)


@pytest.fixture(scope="module")
def attacked() -> World:
    world = World.build(5, merchants=40, cards=20_000, days=30)
    begin = begins_us(world)
    return stage(world, "fraud_attack", Stretch(begin, begin + DAY_US), 1).world


def test_suspicion_is_calibrated_and_tells_fraud_from_the_rest(attacked: World) -> None:
    begin = begins_us(attacked)
    payments = generate(attacked, (9,), 60_000, begin, begin + DAY_US)
    chance = suspicion(attacked, payments, frozenset())
    fraud = payments.is_fraud
    assert chance[payments.is_attack].mean() > 0.9
    for low, high in ((0.0, 0.01), (0.01, 0.1), (0.1, 0.5), (0.5, 0.95), (0.95, 1.01)):
        rows = (chance >= low) & (chance < high)
        if rows.sum() < 20:
            continue
        error = np.sqrt(max(chance[rows].mean() * (1 - chance[rows].mean()), 1e-4) / rows.sum())
        assert fraud[rows].mean() == pytest.approx(chance[rows].mean(), abs=5 * error + 0.02)
    ranks = chance.argsort().argsort()
    area = (ranks[fraud].mean() - (fraud.sum() - 1) / 2) / (~fraud).sum()
    assert area > 0.97


def test_suspicion_does_not_look_at_the_truth(attacked: World) -> None:
    """Two payments that show the same are suspected alike, whatever they are."""
    begin = begins_us(attacked)
    payments = generate(attacked, (9,), 5_000, begin, begin + HOUR_US)
    turned = replace(payments, is_fraud=~payments.is_fraud, is_attack=~payments.is_attack)
    assert np.array_equal(suspicion(attacked, payments, frozenset()), suspicion(attacked, turned, frozenset()))


def result(policy: str, margin: float, violations: tuple[str, ...] = ()) -> Result:
    return Result(
        policy=policy,
        margin=margin,
        first=margin,
        approval=0.9,
        first_approval=0.9,
        retries=0.1,
        recovered=0.02,
        unsent=0.0,
        challenged=0.0,
        by_cause=(0.0,) * len(GROUPS),
        violations=violations,
        regret=(0.0,) * POINTS,
    )


def outcomes(scenario: str, pointsman: list[float], broken: tuple[str, ...] = ()) -> list[Outcome]:
    return [
        Outcome(
            scenario,
            seed,
            10,
            (
                result("window", 100.0 + seed, ("not mine",)),
                result("pointsman", margin + seed, broken),
                result("oracle", 110.0 + seed),
            ),
        )
        for seed, margin in enumerate(pointsman)
    ]


def test_the_gap_is_closed_as_far_as_margins_say() -> None:
    calm, drift = outcomes("calm", [108.0, 108.0]), outcomes("drift", [101.0, 103.0], ("calm 0: broken",))
    line = report.last_line([calm, drift])
    found = LAST_LINE.fullmatch(line)
    assert found is not None
    assert found.groups() == ("0.50", "drift", "2")
    value, low, high = report.gap_closed([report.by_policy(drift, lambda each: each.margin)])
    assert (value, low, high) == (pytest.approx(0.2), pytest.approx(0.1), pytest.approx(0.3))
    assert report.broken([calm, drift]) == ["calm 0: broken"] * 2


def test_a_curve_is_drawn_for_each_policy() -> None:
    drawing = chart.curves("a & b", "payments", "cents", {"one": [1.0, 2.0], "<two>": [-0.5, 2.0]}, 2_400)
    root = ET.fromstring(drawing)
    space = {"svg": "http://www.w3.org/2000/svg"}
    lines = root.findall("svg:polyline", space)
    assert len(lines) == 2
    assert all(len((line.get("points") or "").split()) == 3 for line in lines)
    texts = {text.text: float(text.get("y") or 0) for text in root.findall("svg:text", space)}
    assert {"a & b", "one", "<two>", "2,000", "0.5", "2"} <= set(texts)
    assert max(texts["one"], texts["<two>"]) < texts["2,000"]
    assert abs(texts["one"] - texts["<two>"]) >= 14
    flat = ET.fromstring(chart.curves("t", "x", "y", {"one": [0.0, 0.0]}, 1))
    assert flat.findall("svg:polyline", space)


def test_one_stage_has_all_policies_on_it(played_with: Material) -> None:
    done = run(played_with, "issuer_outage", 0, quick=True)
    names = [each.policy for each in done.results]
    assert names == [
        *(make(small(played_with, "calm"), played_with.tail).name for make in BASELINES),
        AllKnowing.name,
        "pointsman",
        Oracle.name,
    ]
    margins = {each.policy: each.margin for each in done.results}
    assert margins["random"] < margins["pointsman"] < margins[AllKnowing.name]
    assert done.results[-1].regret == (0.0,) * POINTS
    static = next(each for each in done.results if each.policy == Static.name)
    assert static.regret[-1] == pytest.approx(margins["oracle"] - margins["static order"])


def test_the_command_plays_prints_draws_and_ends_with_one_line(
    policies_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "kept", lambda: (policies_home, 0.0))
    asked = ["--quick", "--seeds", "1", "--scenario", "calm", "--workers", "1", "--out", str(tmp_path / "curves")]
    assert command.main(asked) == 0
    printed = capsys.readouterr().out
    found = LAST_LINE.fullmatch(printed.splitlines()[-1])
    assert found is not None
    assert found[2] == "calm"
    for name in (*[make.name for make in BASELINES], "pointsman", "oracle"):
        assert f"\n  {name} " in printed
    ET.fromstring((tmp_path / "curves" / "calm.svg").read_text())
    with pytest.raises(SystemExit):
        command.main(["--scenario", "storm"])
    assert set(SCENARIOS) >= {"calm"}


def test_a_worker_that_is_lost_ends_the_command_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "kept", lambda: (tmp_path, 0.0))
    assert command.main(["--quick", "--seeds", "1", "--scenario", "calm", "--out", str(tmp_path / "curves")]) == 2
    assert "policies: a worker process ended before its stage did" in capfd.readouterr().err
    assert not (tmp_path / "curves").exists()


def test_a_payment_that_is_not_sent_earns_and_costs_nothing(calm: Stage) -> None:
    class Nothing(AllKnowing):
        def decide(self, row: int, at_us: int) -> Send | None:
            return None if row else super().decide(row, at_us)

    made = score(calm, play(calm, Nothing(calm)))
    assert (made.margin[1:] == 0).all()
    assert made.unsent == pytest.approx((len(calm) - 1) / len(calm))
