"""What if: known truths are found over months with known odds, the same policy differs in nothing, and ignorance is said."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from contracts.bundle import Manifest
from contracts.terms import FeeSchedule
from features.clock import micros
from service.ledger import FAILED, Entry, attempt_id, pack
from service.policy.fees import Fees
from tests.journals import write
from tests.parts import RULES, add_bundle
from tests.trainer.whatif.journals import (
    START,
    TRUE,
    Month,
    Told,
    active,
    answered,
    bundles,
    exploring,
    month,
    outcome,
    quiet,
    request,
    toml,
    truth,
)
from trainer.__main__ import main
from trainer.errors import EvaluateError
from trainer.evaluate.bundle import Ready, compiled, open_bundle
from trainer.whatif import asking
from trainer.whatif.asking import Options, what_if
from trainer.whatif.report import WhatIf


@pytest.fixture(scope="module")
def ready(fitted: Path) -> Ready:
    """The active bundle, exploring far more than any shop would."""
    return exploring(active(fitted), 0.6, 0.15)


@pytest.fixture(scope="module")
def made(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> tuple[Month, Path]:
    told = month(ready, 2_500, 0)
    return told, write(tmp_path_factory.mktemp("journal"), told.events)


def dear(processor: str) -> Callable[[Manifest], Manifest]:
    """Return a change after which one processor is too dear to be sent to."""

    def change(manifest: Manifest) -> Manifest:
        fees = {**manifest.processors, processor: FeeSchedule(approved_fixed_minor=900, failed_fixed_minor=900)}
        policy = msgspec.structs.replace(manifest.policy, exploration=0.0)
        return msgspec.structs.replace(manifest, processors=fees, policy=policy)

    return change


def true_of(parameters: Any, ready: Ready, told: Month) -> float:
    """What a policy of other parameters is truly worth over a month's questions."""
    other = compiled(msgspec.structs.replace(ready.manifest, policy=parameters), {})
    choices = [
        answered(other, asked, said, number=number).choice
        for number, (asked, said) in enumerate(zip(told.asked, told.approval, strict=True))
    ]
    return truth(choices, told.asked)


def asked_in_memory(monkeypatch: pytest.MonkeyPatch, told: Month, path: Path, shelf: Path, seed: int) -> WhatIf:
    """Ask over events in memory: the file is tested elsewhere."""
    monkeypatch.setattr(asking, "Journal", lambda _: Told(told.events))
    return what_if(Options(journal=Path("none"), parameters=path, bundles=shelf, seed=seed, margin_share=0.1))


def test_a_month_of_exploration_tells_what_doing_without_would_have_been_worth(
    ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path
) -> None:
    told, journal = made
    parameters = quiet(ready)
    report = what_if(Options(journal=journal, parameters=toml(tmp_path, parameters), bundles=fitted))
    assert report.decisions == 2_500
    approval, margin = report.values
    logged, other = approval.estimates
    assert logged.policy == "logged"
    assert other.policy == "parameters:quiet-1"
    known = true_of(parameters, ready, told)
    assert other.snips.low <= known <= other.snips.high
    assert other.doubly_robust is not None
    assert other.doubly_robust.low <= known <= other.doubly_robust.high
    assert other.conclusive
    assert margin.unit == "margin a decision, minor units of EUR"
    # By hand: what was logged is what came back.
    won = [event.outcome.status == "approved" for event in told.events if hasattr(event, "outcome")]
    assert logged.snips.value == pytest.approx(np.mean(won))


def test_intervals_hold_the_truth_as_often_as_they_say(
    ready: Ready, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = quiet(ready)
    path = toml(tmp_path, parameters)
    seeds = 30
    held = dict.fromkeys(("snips", "doubly_robust", "margin"), 0)
    for seed in range(seeds):
        told = month(ready, 500, seed + 1)
        report = asked_in_memory(monkeypatch, told, path, fitted, seed)
        approval, margin = (values.estimates[1] for values in report.values)
        known = true_of(parameters, ready, told)
        held["snips"] += approval.snips.low <= known <= approval.snips.high
        assert approval.doubly_robust is not None
        held["doubly_robust"] += approval.doubly_robust.low <= known <= approval.doubly_robust.high
        worth = true_margin(parameters, ready, told)
        held["margin"] += margin.snips.low <= worth <= margin.snips.high
    # Of 30 intervals that hold the truth 95 times in 100 fewer than 25 do one time in a thousand.
    assert all(count >= 25 for count in held.values()), held


def true_margin(parameters: Any, ready: Ready, told: Month) -> float:
    other = compiled(msgspec.structs.replace(ready.manifest, policy=parameters), {})
    fees, total = Fees(ready.manifest.processors, RULES.network, RULES.countries("sca")), 0.0
    for number, (asked, said) in enumerate(zip(told.asked, told.approval, strict=True)):
        tariff = fees.tariff(asked.card_network, asked.issuer_country, asked.merchant_country)
        for entry in answered(other, asked, said, number=number).choice.ranking:
            fixed, share, lost = tariff.of(entry.processor)
            p = TRUE[asked.card_network][entry.processor]
            won = asked.amount_minor * (0.1 - share) - fixed
            total += entry.propensity * (p * won - (1 - p) * lost)
    return total / len(told.asked)


def test_the_same_policy_would_have_answered_nothing_otherwise(
    ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path
) -> None:
    report = what_if(Options(journal=made[1], parameters=toml(tmp_path, ready.manifest.policy), bundles=fitted))
    assert (report.otherwise, report.changes, report.segments) == (0, (), ())
    logged, other = report.values[0].estimates
    # It has the same odds: every question weighs one.
    assert other.snips.value == pytest.approx(logged.snips.value)
    assert other.gain.value == pytest.approx(0.0)
    assert other.effective == pytest.approx(2_500)
    assert other.reading == "no difference from whoever decided can be told"


def test_another_bundle_is_asked_with_its_own_fees_and_it_is_said_where_it_differs(
    ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path
) -> None:
    version, _ = bundles(fitted)
    folder = add_bundle(fitted, fitted, f"{version}-dear", dear("atlas"))
    try:
        # The journal has no vectors: of another bundle nothing could be told, of the same version with other fees all.
        with pytest.raises(EvaluateError) as refused:
            what_if(Options(journal=made[1], policy=f"bundle:{version}-dear", bundles=fitted))
        assert "cannot be asked about any of 2,500 decisions" in str(refused.value)
        assert "without vectors of this catalog" in str(refused.value)
    finally:
        shutil.rmtree(folder)


def test_what_would_have_been_otherwise_is_named_by_segment(
    ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path
) -> None:
    told, journal = made
    parameters = quiet(ready)
    report = what_if(Options(journal=journal, parameters=toml(tmp_path, parameters), bundles=fitted))
    other = compiled(msgspec.structs.replace(ready.manifest, policy=parameters), {})
    decided = [event for event in told.events if not hasattr(event, "outcome")]
    changed = {}
    for number, (event, said) in enumerate(zip(decided, told.approval, strict=True)):
        after = answered(other, event.request, said, number=number).choice.processor  # type: ignore[union-attr]
        if after != event.answer.processor:  # type: ignore[union-attr]
            key = f"{event.answer.processor} to {after}"  # type: ignore[union-attr]
            changed[key] = changed.get(key, 0) + 1
    assert report.otherwise == sum(changed.values())
    assert report.changes[0].count == max(changed.values())
    assert {change.words: change.count for change in report.changes}.items() <= changed.items()
    shares = [segment.share for segment in report.segments]
    assert shares == sorted(shares, reverse=True)
    by_processor = [segment for segment in report.segments if segment.dimension == "processor"]
    assert by_processor
    for segment in by_processor:
        sent = [event for event in decided if event.answer.processor == segment.value]  # type: ignore[union-attr]
        assert segment.rows == len(sent)
        assert segment.change.startswith(f"{segment.value} to ")


def test_a_policy_that_declines_is_known_to_approve_nothing(
    ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path
) -> None:
    told, journal = made
    parameters = quiet(ready, minimum_approval=0.99)
    report = what_if(Options(journal=journal, parameters=toml(tmp_path, parameters), bundles=fitted))
    other = report.values[0].estimates[1]
    assert other.nothing == 1.0
    assert other.snips.value == 0.0
    assert report.otherwise == 2_500
    assert report.changes[0].words.endswith(" to declined")
    half = quiet(ready, minimum_approval=0.838)
    found = what_if(Options(journal=journal, parameters=toml(tmp_path, half), bundles=fitted)).values[0].estimates[1]
    assert 0.2 < found.nothing < 0.8
    assert found.conclusive
    known = true_of(half, ready, told)
    assert found.snips.low <= known <= found.snips.high
    assert found.ips.low <= known <= found.ips.high


def test_without_exploration_there_is_no_conclusion(fitted: Path, tmp_path: Path) -> None:
    still = exploring(active(fitted), 0.0, 0.0)
    told = month(still, 400, 5)
    parameters = quiet(still, exploration=0.9, exploration_floor=0.3)
    path = write(tmp_path / "journal", told.events)
    found = what_if(Options(journal=path, parameters=toml(tmp_path, parameters), bundles=fitted)).values[0].estimates[1]
    assert not found.conclusive
    assert "% of what the policy would do was never tried, more than 5%" in found.reading


def test_outcomes_of_a_challenge_say_nothing_of_sending_without(fitted: Path, tmp_path: Path) -> None:
    """Logged with a challenge where risk is high; the other policy sends those without."""
    ready = exploring(active(fitted), 0.6, 0.15)
    chance = np.random.default_rng(6)
    events: list[Any] = []
    for number in range(600):
        # Where the law wants no authentication the risk alone decides.
        asked = request(number, chance, uses_3ds=False, issuer_country="US", merchant_country="US")
        risk = 0.55 if number % 3 == 0 else 0.0
        made = answered(ready, asked, [0.85] * 4, risk=risk, number=number)
        assert (made.choice.three_ds == "challenge") == (risk > 0)
        events += [made.event, outcome(made.event, "approved" if chance.random() < 0.8 else "declined")]
    bold = msgspec.structs.replace(
        ready.manifest.policy,
        challenge_from=0.9,
        challenge_fraud_stopped=1.0,
        review_from=0.95,
        decline_from=0.99,
        chargeback_fee_minor=0,
        margin_share=0.99,
    )
    path = write(tmp_path / "journal", events)
    report = what_if(Options(journal=path, parameters=toml(tmp_path, bold), bundles=fitted))
    found = report.values[0].estimates[1]
    changed = [change.words for change in report.changes]
    assert any("three_ds" in words for words in changed), changed
    assert found.lost == pytest.approx(1 / 3, abs=0.02)
    assert not found.conclusive
    assert found.snips.value == pytest.approx(0.8, abs=0.05)


def test_a_challenge_costs_its_fee_and_a_chargeback_the_amount(fitted: Path, tmp_path: Path) -> None:
    plain = active(fitted)
    fees = {
        name: msgspec.structs.replace(fee, three_ds_minor=7, lines=())
        for name, fee in plain.manifest.processors.items()
    }
    fees["free"] = FeeSchedule()
    version, _ = bundles(fitted)
    folder = add_bundle(
        fitted, fitted, f"{version}-secure", lambda manifest: msgspec.structs.replace(manifest, processors=fees)
    )
    try:
        ready = open_bundle(folder.name, fitted)
        chance = np.random.default_rng(7)
        ways = (
            ("approved", 0.6, ()),
            ("declined", 0.6, ()),
            (None, 0.6, ()),
            ("approved", 0.01, ("chargeback",)),
            ("approved", 0.999, ()),
        )
        events: list[Any] = []
        expected = []
        for number, (status, risk, more) in enumerate(ways):
            asked = request(number, chance, uses_3ds=risk < 0.1, amount_minor=10_000)
            made = answered(ready, asked, [0.85, 0.8, 0.8, 0.8], risk=risk, number=number)
            events.append(made.event)
            name = made.choice.processor
            if name is not None and status is not None:
                events.append(outcome(made.event, status))
                events += [outcome(made.event, "approved", kind=kind) for kind in more]
            fee = fees[name] if name is not None else FeeSchedule()
            secure = 7 if made.choice.three_ds == "challenge" else 0
            won = 10_000 * (0.2 - fee.approved_share) - fee.approved_fixed_minor
            if name is None:
                expected.append(0.0)
            elif status is None:
                expected.append(-secure)
            else:
                expected.append((won if status == "approved" else -fee.failed_fixed_minor) - secure)
            if more and made.choice.liability == "merchant":
                expected[-1] -= 10_000 + ready.manifest.policy.chargeback_fee_minor
        assert expected[2] == -7
        assert expected[4] == 0.0
        path = write(tmp_path / "journal", events)
        report = what_if(
            Options(journal=path, parameters=toml(tmp_path, ready.manifest.policy), bundles=fitted, margin_share=0.2)
        )
        logged = report.values[1].estimates[0]
        assert logged.snips.value == pytest.approx(float(np.mean(expected)))
        assert any(
            "count as not approved" in note and note.startswith("1 decisions challenged") for note in report.notes
        )
        assert any("declined by the policy itself" in note for note in report.notes)
    finally:
        shutil.rmtree(folder)


def test_decisions_of_a_bundle_that_is_not_there_are_left_out_and_all_of_them_refused(
    ready: Ready, fitted: Path, tmp_path: Path, made: tuple[Month, Path]
) -> None:
    told = month(ready, 200, 8)
    gone = msgspec.structs.replace
    events = [
        gone(event, answer=gone(event.answer, bundle_version="gone"))  # type: ignore[union-attr,arg-type]
        if not hasattr(event, "outcome") and place % 4 == 0
        else event
        for place, event in enumerate(told.events)
    ]
    path = toml(tmp_path, quiet(ready))
    report = what_if(Options(journal=write(tmp_path / "some", events), parameters=path, bundles=fitted))
    assert report.decisions == 100
    assert "100 decisions left out: their bundle was not found (--bundles)" in report.notes
    with pytest.raises(EvaluateError, match="cannot be asked about any of 2,500 decisions"):
        what_if(Options(journal=made[1], parameters=path, bundles=tmp_path))


def test_a_journal_without_inputs_and_without_vectors_is_refused(ready: Ready, fitted: Path, tmp_path: Path) -> None:
    chance = np.random.default_rng(9)
    events: list[Any] = []
    for number in range(20):
        made = answered(ready, request(number, chance), [0.8] * 4, number=number, keep=False)
        events += [made.event, outcome(made.event, "approved")]
    with pytest.raises(
        EvaluateError, match="20 left out: logged without what the policy was told, and without vectors"
    ):
        what_if(Options(journal=write(tmp_path, events), policy="bundle:active", bundles=fitted))


def test_odds_that_cannot_be_right_are_doubted(ready: Ready, fitted: Path, tmp_path: Path) -> None:
    told = month(ready, 1_500, 10)
    replace = msgspec.structs.replace

    def wrong(event: Any) -> Any:
        if hasattr(event, "outcome"):
            return event
        ranking = tuple(replace(entry, propensity=entry.propensity * 0.4) for entry in event.answer.ranking)
        return replace(event, answer=replace(event.answer, ranking=ranking))

    path = write(tmp_path / "journal", [wrong(event) for event in told.events])
    found = (
        what_if(Options(journal=path, parameters=toml(tmp_path, quiet(ready)), bundles=fitted)).values[0].estimates[1]
    )
    assert not found.conclusive
    assert "they are too low" in found.reading


def test_the_command_prints_the_report_and_writes_it(
    ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    told = ["--journal", str(made[1]), "--parameters", str(toml(tmp_path, quiet(ready))), "--bundles", str(fitted)]
    assert main(["whatif", *told, "--html", str(page), "--json", str(data)]) == 0
    out = capsys.readouterr().out
    report = msgspec.json.decode(data.read_bytes(), type=WhatIf)
    assert "\n".join(report.lines()) + "\n" == out
    for words in (
        "would have been answered otherwise",
        "where it differs most",
        "approvals a decision",
        "parameters:quiet-1",
    ):
        assert words in out
    written = page.read_text()
    assert "<script" not in written
    assert "Where it differs most" in written
    assert written.count("<svg") >= 4
    for change in report.changes:
        assert change.words in written


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (("--policy", "uniform"), "expected a policy as bundle:VERSION, got 'uniform'"),
        (("--policy", "bundle:none"), "expected a bundle 'none' in"),
        (("--parameters", "/nowhere.toml"), "the policy file /nowhere.toml cannot be read"),
        (("--policy", "bundle:active", "--from", "2030-01-01"), "can be judged by: it holds none"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    made: tuple[Month, Path], fitted: Path, told: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whatif", "--journal", str(made[1]), "--bundles", str(fitted), *told]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1
    assert said in lines[0]


def test_a_journal_that_is_not_there_is_refused(fitted: Path, tmp_path: Path) -> None:
    assert main(["whatif", "--journal", str(tmp_path), "--policy", "bundle:active", "--bundles", str(fitted)]) == 2


def test_the_window_is_kept_to(ready: Ready, made: tuple[Month, Path], fitted: Path, tmp_path: Path) -> None:
    report = what_if(
        Options(
            journal=made[1],
            parameters=toml(tmp_path, quiet(ready)),
            bundles=fitted,
            since=START + timedelta(minutes=100),
            until=START + timedelta(minutes=700),
        )
    )
    assert report.decisions == 600
    assert report.since == START + timedelta(minutes=100)
    assert report.until == START + timedelta(minutes=699)


def test_a_timeout_is_no_approval(ready: Ready, fitted: Path, tmp_path: Path) -> None:
    chance = np.random.default_rng(11)
    events: list[Any] = []
    for number, status in enumerate(("approved", "timeout", "error", "declined")):
        made = answered(ready, request(number, chance), [0.85] * 4, number=number)
        events += [made.event, outcome(made.event, status)]
    path = write(tmp_path / "journal", events)
    report = what_if(Options(journal=path, parameters=toml(tmp_path, quiet(ready)), bundles=fitted))
    assert report.values[0].estimates[0].snips.value == pytest.approx(1 / 4)


def test_the_other_policy_is_told_what_the_estimates_had_to_do_without(
    ready: Ready, fitted: Path, tmp_path: Path
) -> None:
    """Without the state nothing is compared: neither policy draws."""
    chance = np.random.default_rng(12)
    events: list[Any] = []
    for number in range(60):
        blind = ("features:store_timeout", "journal")
        made = answered(ready, request(number, chance), [0.85, 0.84, 0.83, 0.82], number=number, degraded=blind)
        assert made.choice.ranking[0].propensity == 1.0
        events += [made.event, outcome(made.event, "approved")]
    path = write(tmp_path / "journal", events)
    report = what_if(Options(journal=path, parameters=toml(tmp_path, ready.manifest.policy), bundles=fitted))
    assert report.otherwise == 0
    assert report.values[0].estimates[1].effective == pytest.approx(60)


def test_the_other_policy_is_told_of_the_attempts_of_the_card(ready: Ready, fitted: Path, tmp_path: Path) -> None:
    """A limit of the network that was used up then is used up for any policy."""
    chance = np.random.default_rng(13)
    events: list[Any] = []
    declined = 0
    for number in range(40):
        asked = request(number, chance, card_network="visa")
        at = micros(START + timedelta(seconds=60 * number))
        many = pack(
            Entry(at - 1_000_000 * (1 + past), attempt_id("other", past + 1), 100, FAILED) for past in range(30)
        )
        made = answered(ready, asked, [0.85] * 4, number=number, ledger=many if number % 2 else None)
        declined += made.choice.processor is None
        events.append(made.event)
        if made.choice.processor is not None:
            events.append(outcome(made.event, "approved"))
    assert declined == 20
    path = write(tmp_path / "journal", events)
    report = what_if(Options(journal=path, parameters=toml(tmp_path, ready.manifest.policy), bundles=fitted))
    assert report.otherwise == 0
    assert report.values[0].estimates[1].nothing == pytest.approx(0.5)
