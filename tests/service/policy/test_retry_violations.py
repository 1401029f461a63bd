"""Decisions that race for the same cards break no rule, and the checker finds every rule that is switched off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.racing import Mix, World, weighted
from benchmarks.violations import eager_policy, judge, main
from service.policy.rules import FOLDER, Rules
from tests.service.policy.violations import DAY, HOUR, MINUTE, SECOND, Answer, Attempt, check, meaning

DECISIONS = 50_000
CARDS = 40
VISA = Mix(networks=weighted(visa=1))
MASTERCARD = Mix(networks=weighted(mastercard=1))
DISCOVER = Mix(networks=weighted(discover=1))
GERMAN = Mix(networks=weighted(mastercard=1), countries=weighted(DE=1), codes=weighted(_65=3, _05=1))
BRAZILIAN = Mix(networks=weighted(mastercard=1), countries=weighted(BR=1))
STUBBORN = Mix(
    networks=weighted(mastercard=1), codes=weighted(_05=1), advices=weighted(none=1), payments=90, approved=0.0
)

SWITCH = '[[switch]]\nid = "{}"\nenabled = false\nsource = "a mutation"\n'
TREATMENT = """
[[treatment]]
id = "treatment.{name}"
class = "{name_of_class}"
initiator = "{initiator}"
verdict = "{verdict}"
wait_seconds = 0
cascade = true
effective_from = 1987-01-01
source = "a mutation"
confidence = "S"
"""


def off(*rules: str) -> str:
    return "".join(SWITCH.format(rule) for rule in rules)


def treated(decline_class: str, initiator: str, verdict: str = "retry") -> str:
    name = f"{decline_class}.{initiator}"
    return TREATMENT.format(name=name, name_of_class=decline_class, initiator=initiator, verdict=verdict)


@pytest.fixture
def mutated(tmp_path: Path) -> Callable[..., set[str]]:
    """Return which rules are broken under an override of the rules, looking at no more cards than needed."""

    def broken(override: str, mix: Mix, wanted: str, horizon_seconds: int | None = None, **world: Any) -> set[str]:
        file = tmp_path / "own.toml"
        file.write_text(override)
        policy = eager_policy(Rules.load(FOLDER, file), horizon_seconds)
        found: set[str] = set()
        for seed in range(CARDS):
            judged = judge(lambda seed: World(policy, mix, seed, **world), seed, 1)
            found |= {violation.rule for violation in judged.violations}
            if wanted in found:
                break
        return found

    return broken


def test_no_decision_breaks_a_rule() -> None:
    policy = eager_policy()
    mix = Mix()
    decisions = seed = 0
    verdicts: set[str] = set()
    while decisions < DECISIONS:
        world = World(policy, mix, seed)
        world.run()
        assert check(world.attempts, world.answers) == []
        decisions += world.decisions
        verdicts |= {answer.verdict for answer in world.answers}
        seed += 1
    assert verdicts == {"retry_now", "retry_later", "fix_data", "authenticate", "verify_first", "stop"}


@pytest.mark.parametrize(
    ("override", "mix", "wanted"),
    [
        (off("visa.reattempts_20", "visa.reattempts_15"), VISA, "visa_30_days"),
        (off("mastercard.declines_10_a_day"), MASTERCARD, "mastercard_24_hours"),
        (off("mastercard.attempts_35_a_month"), STUBBORN, "mastercard_30_days"),
        (off("mastercard.attempts_7_a_month_in_brazil"), BRAZILIAN, "mastercard_brazil"),
        (off("discover.attempts_20"), DISCOVER, "discover_30_days"),
        (off("visa.category_1"), VISA, "never"),
        (off("iso.never"), DISCOVER, "never"),
        (off("mastercard.mac_never"), MASTERCARD, "never"),
        (off("mastercard.mac_configuration"), MASTERCARD, "never"),
        (off("mastercard.mac_single_use"), MASTERCARD, "never"),
        (off("mastercard.mac_sanctions"), MASTERCARD, "never"),
        (off("mastercard.mac_later"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_1_hour"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_24_hours"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_2_days"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_4_days"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_6_days"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_8_days"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac_10_days"), MASTERCARD, "advised_wait"),
        (off("mastercard.mac", "mastercard.mac_authenticate"), MASTERCARD, "fix_data"),
        (off("mastercard.mac_token"), MASTERCARD, "fix_data"),
        (off("visa.category_3"), VISA, "fix_data"),
        (off("iso.fix_data"), DISCOVER, "fix_data"),
        (
            off("visa.category_3_europe", "visa.category_3_cemea", "visa.category_4_authenticate"),
            VISA,
            "unauthenticated",
        ),
        (off("mastercard.soft_decline"), GERMAN, "unauthenticated"),
        (off("mastercard.soft_decline"), GERMAN, "customer_absent"),
        (off("reason.timeout"), VISA, "unverified"),
        (treated("never", "customer"), VISA, "never"),
        (treated("never", "merchant"), VISA, "never"),
        (treated("fix_data", "customer"), VISA, "fix_data"),
        (treated("fix_data", "merchant"), VISA, "fix_data"),
        (treated("authenticate", "customer"), VISA, "unauthenticated"),
        (treated("authenticate", "merchant"), VISA, "customer_absent"),
        (treated("unknown_outcome", "customer"), VISA, "unverified"),
        (treated("unknown_outcome", "merchant"), VISA, "unverified"),
        (treated("later", "customer"), VISA, "scheduled"),
        (treated("later", "merchant"), VISA, "scheduled"),
        (treated("authenticate", "customer", "fix_data"), VISA, "verdict"),
    ],
)
def test_a_rule_that_is_switched_off_or_turned_round_is_found_broken(mutated, override, mix, wanted) -> None:
    assert wanted in mutated(override, mix, wanted)


def test_a_ledger_that_is_not_taken_from_in_one_step_is_found_out(mutated) -> None:
    slow = msgspec.structs.replace(VISA, think_us=20 * MINUTE, payments=90)
    assert mutated("", slow, "visa_30_days") == set()
    assert "visa_30_days" in mutated("", slow, "visa_30_days", atomic=False)


def test_a_ledger_in_two_halves_is_found_out(mutated) -> None:
    assert "visa_30_days" in mutated("", VISA, "visa_30_days", apart=False)


def test_a_longer_horizon_is_found_out(mutated) -> None:
    assert "horizon" in mutated("", VISA, "horizon", horizon_seconds=90 * 86_400)


def test_the_command_says_how_many_decisions_and_violations(capsys) -> None:
    assert main(["--decisions", "1", "--processes", "1", "--seed", "7"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = dict(pair.split("=") for pair in line.split())
    assert int(said["decisions"]) > 1000
    assert said["violations"] == "0"


FIRST = Attempt(1_750_000_000 * SECOND, "c", "m", "visa", "customer", "US", 100, "p", 1, "declined", "51")


def failed(number: int, after: int, **changes: Any) -> Attempt:
    """The first attempt of another payment, some time after the first."""
    return FIRST._replace(moment=FIRST.moment + after, payment=f"q{number}", **changes)


def rules(attempts: list[Attempt]) -> list[str]:
    return [violation.rule for violation in check(attempts)]


def test_the_checker_counts_to_the_limit_in_the_window_and_no_further() -> None:
    twenty = [failed(number, number * HOUR) for number in range(20)]
    assert rules(twenty) == []
    assert rules([*twenty, failed(20, 30 * DAY - 1)]) == ["visa_30_days"]
    assert rules([*twenty, failed(20, 30 * DAY)]) == []


def test_the_checker_counts_sides_cards_merchants_and_networks_apart() -> None:
    twenty = [failed(number, number * HOUR) for number in range(20)]
    for other in ({"side": "merchant"}, {"card": "d"}, {"merchant": "n"}, {"network": "discover"}):
        assert rules([*twenty, failed(20, DAY, **other)]) == []


def test_an_approval_resets_the_checkers_count_of_visa_and_not_of_mastercard() -> None:
    approval = failed(99, 10 * HOUR - 1, ended="approved")
    assert rules([*[failed(number, number * HOUR) for number in range(25)], approval]) == []
    ten = [failed(number, number * HOUR, network="mastercard") for number in range(11)]
    assert rules([*ten, approval._replace(network="mastercard")]) == ["mastercard_24_hours"]


def test_the_checker_counts_mastercards_month_by_amount() -> None:
    month = [failed(number, number * 18 * HOUR, network="mastercard") for number in range(35)]
    assert rules([*month, failed(35, 29 * DAY, network="mastercard", amount=200)]) == []
    assert rules([*month, failed(35, 29 * DAY, network="mastercard")]) == ["mastercard_30_days"]


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        ({"code": "41"}, {}, "never"),
        ({"code": "12"}, {}, "never"),
        ({"network": "mastercard", "advice": "03"}, {}, "never"),
        ({"code": "54"}, {}, "fix_data"),
        ({"network": "mastercard", "advice": "04"}, {}, "fix_data"),
        ({"code": "1A"}, {}, "unauthenticated"),
        ({"code": "1A", "side": "merchant"}, {"three_ds": True}, "customer_absent"),
        ({"ended": "unknown", "code": None}, {}, "unverified"),
        ({"ended": "unknown", "code": None, "verified_at": FIRST.moment + 3 * HOUR}, {}, "unverified"),
        ({"ended": "approved", "code": None}, {}, "approved_already"),
        ({"network": "mastercard", "advice": "25"}, {"moment": FIRST.moment + DAY - 1}, "advised_wait"),
        ({"code": "05"}, {"moment": FIRST.moment + 5 * SECOND}, "scheduled"),
        ({}, {"moment": FIRST.moment + 30 * DAY + 1}, "horizon"),
        ({}, {"number": 1}, "sent_twice"),
    ],
)
def test_the_checker_finds_each_broken_rule(first, second, rule) -> None:
    before = FIRST._replace(**first)
    after = before._replace(
        **{"number": 2, "moment": FIRST.moment + 2 * HOUR, "ended": "declined", "code": "51", "advice": None, **second}
    )
    assert rules([before, after]) == [rule]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"code": "1A"}, {"three_ds": True}),
        ({"network": "mastercard", "advice": "04"}, {"card_number": True}),
        ({"network": "mastercard", "advice": "25"}, {"moment": FIRST.moment + DAY}),
        ({"code": "91"}, {"moment": FIRST.moment + SECOND}),
        ({"ended": "unknown", "code": None, "verified_at": FIRST.moment + HOUR}, {}),
    ],
)
def test_the_checker_passes_what_is_allowed(first, second) -> None:
    before = FIRST._replace(**first)
    after = before._replace(
        **{"number": 2, "moment": FIRST.moment + 2 * HOUR, "ended": "declined", "code": "51", "advice": None, **second}
    )
    assert rules([before, after]) == []


@pytest.mark.parametrize(
    ("attempt", "verdict", "retries", "fits"),
    [
        ({}, "retry_later", True, True),
        ({}, "retry_later", False, False),
        ({"code": "41"}, "retry_later", True, False),
        ({"code": "54"}, "fix_data", False, True),
        ({"code": "54", "side": "merchant"}, "fix_data", False, False),
        ({"code": "1A"}, "authenticate", True, True),
        ({"code": "1A", "side": "merchant"}, "authenticate", True, False),
        ({"ended": "unknown"}, "verify_first", False, True),
        ({"ended": "unknown"}, "retry_now", True, False),
    ],
)
def test_the_checker_reads_verdicts(attempt, verdict, retries, fits) -> None:
    answer = Answer(FIRST.moment, FIRST._replace(**attempt), verdict, retries)
    assert (check([], [answer]) == []) == fits


def test_the_checkers_classes_are_those_of_the_network() -> None:
    assert meaning(FIRST._replace(code="82"))[0] == "fix_data"
    assert meaning(FIRST._replace(code="82", network="mastercard"))[0] == "later"
    assert meaning(FIRST._replace(code="65", network="mastercard", country="FR"))[0] == "authenticate"
    assert meaning(FIRST._replace(code="65", network="mastercard"))[0] == "later"
    assert meaning(FIRST._replace(code="83", network="mastercard", advice="01"))[0] == "authenticate"
