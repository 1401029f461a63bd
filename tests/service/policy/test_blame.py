"""Whose fault a result is, and that only the processor's own speaks against it."""

from datetime import date
from typing import Any

import pytest

from features.clock import SECOND
from service.policy.blame import judge
from service.policy.rule import Blame, DeclineRule
from service.policy.rules import Rules
from service.policy.standings import standings_of
from service.standing import Note, add

DAY = date(2026, 3, 1)
START = 1_780_000_000 * SECOND


def blamed(
    rules: Rules, status: Any, code: str | None = None, advice: str | None = None, network: str = "visa", **changes: Any
) -> Blame:
    asked: dict[str, Any] = {"processor": "a", "country": "DE", "initiator": "customer", **changes}
    return judge(rules.at(DAY), network, status=status, response_code=code, advice_code=advice, **asked)


@pytest.mark.parametrize("network", ["visa", "mastercard", "amex", "jcb", "nobody"])
@pytest.mark.parametrize("status", ["error", "timeout"])
def test_no_answer_is_the_processors_fault(rules: Rules, network: str, status: str) -> None:
    assert blamed(rules, status, network=network) == "processor"
    assert blamed(rules, status, "ZZ", network=network) == "processor"


@pytest.mark.parametrize("network", ["visa", "mastercard", "jcb"])
@pytest.mark.parametrize("status", ["declined", "error", "timeout"])
def test_an_issuer_that_does_not_answer_is_not(rules: Rules, network: str, status: str) -> None:
    assert blamed(rules, status, "91", network=network) not in {"processor", "unknown"}
    assert blamed(rules, status, "912", network="amex") not in {"processor", "unknown"}


@pytest.mark.parametrize(
    ("code", "whose"),
    [
        ("51", "issuer"),
        ("05", "issuer"),
        ("59", "issuer"),
        ("54", "customer"),
        ("03", "processor"),
        ("ZZ", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_decline_is_read_by_the_rules(rules: Rules, code: str | None, whose: Blame) -> None:
    assert blamed(rules, "declined", code, network="jcb") == whose


@pytest.mark.parametrize("code", ["51", "05", "54"])
def test_an_issuers_code_on_an_error_clears_the_processor(rules: Rules, code: str) -> None:
    assert blamed(rules, "error", code) in {"issuer", "customer"}


@pytest.mark.parametrize("status", ["approved", None])
def test_an_approval_is_nobodys_fault(rules: Rules, status: str | None) -> None:
    assert blamed(rules, status, "96") == "unknown"


def test_networks_come_under_any_name(rules: Rules) -> None:
    assert blamed(rules, "declined", "54", network="VISA") == blamed(rules, "declined", "54", network="visa")


def test_an_unnamed_initiator_is_the_customer(rules: Rules) -> None:
    for code in ("51", "96", "65"):
        assert blamed(rules, "declined", code, initiator=None) == blamed(rules, "declined", code, initiator="customer")


def test_a_shop_may_see_it_otherwise(rules: Rules, override: Any) -> None:
    assert blamed(rules, "declined", "96", network="jcb") == "network"
    own = override(
        """
        [[decline]]
        id = "own.malfunction"
        network = "jcb"
        codes = ["96"]
        class = "technical"
        blame = "processor"
        effective_from = 2026-01-01
        source = "what this shop has seen"
        confidence = "S"
        """
    )
    assert blamed(own, "declined", "96", network="jcb") == "processor"


def test_no_number_of_issuers_declines_makes_a_processor_down(rules: Rules) -> None:
    codes = {
        code
        for rule in rules.of(DeclineRule)
        for code in rule.codes
        if code != "*" and blamed(rules, "declined", code) not in {"processor", "unknown"}
    }
    assert len(codes) > 30
    blob: bytes | None = None
    at = START
    for number in range(3000):
        at += SECOND // 20
        code = sorted(codes)[number % len(codes)]
        blob = add(blob, Note(at, fault=blamed(rules, "declined", code) == "processor", approved=False, expected=0.9))
    (found,) = standings_of(("a",), (blob, blob, blob), at)
    assert found.health == "up"
    assert found.excess == 0.0
    # It shows where it belongs: in what is expected of the next payment.
    assert found.shift < -1.0
