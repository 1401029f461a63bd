"""Ways of sending: what must be alike for one outcome to speak for another policy."""

from typing import Any

import msgspec
import pytest

from contracts.decision import Decision, Mode, RankedProcessor
from tests.parts import auth
from trainer.whatif.ways import Way, way_of, ways

ASKED = auth(uses_3ds=False)
SECURE = auth(uses_3ds=True)


def mode(authentication: Any, credential: Any = None) -> Mode:
    return Mode(
        authentication=authentication, credential=credential, approval_probability=0.8, expected_value_minor=1.0
    )


def ranked(processor: str, propensity: float, *modes: Mode) -> RankedProcessor:
    return RankedProcessor(
        processor=processor,
        approval_probability=0.8,
        cost_minor=1,
        expected_value_minor=1.0,
        propensity=propensity,
        eligible=True,
        modes=modes,
    )


def answer(*ranking: RankedProcessor, **fields: Any) -> Decision:
    known: dict[str, Any] = {
        "decision_id": "d",
        "payment_id": "pay_1",
        "attempt": 1,
        "action": "approve",
        "approval_probability": 0.8,
        "risk_score": 0.1,
        "risk_tier": "LOW",
        "processor": "north",
        "ranking": ranking,
        "three_ds": "none",
        "exemption": None,
        "reasons": (),
        "degraded": (),
        "bundle_version": "b",
        "policy_version": "p",
        "latency_us": 1,
    }
    return Decision(**{**known, **fields})


@pytest.mark.parametrize(
    ("request_", "fields", "way"),
    [
        (ASKED, {}, Way("none", None, False)),
        (ASKED, {"three_ds": "challenge", "action": "challenge"}, Way("three_ds", None, False)),
        (ASKED, {"exemption": "low_value"}, Way("exemption", None, False)),
        (ASKED, {"action": "review"}, Way("none", None, True)),
        (ASKED, {"credential": "network_token"}, Way("none", "network_token", False)),
        (SECURE, {}, Way("three_ds", None, False)),
    ],
)
def test_the_way_of_an_answer(request_: Any, fields: dict[str, Any], way: Way) -> None:
    assert way_of(request_, answer(**fields)) == way


def test_every_candidate_that_may_have_been_drawn_has_its_odds_and_its_best_way() -> None:
    told = answer(
        ranked("north", 0.7, mode("none"), mode("three_ds")),
        ranked("atlas", 0.2, mode("three_ds"), mode("none")),
        ranked("harbor", 0.1, mode("none", "card_number"), mode("none")),
        ranked("never", 0.0, mode("none"), mode("three_ds")),
    )
    assert ways(ASKED, told) == {
        "north": (0.7, Way("none", None, False)),
        "atlas": (0.2, Way("three_ds", None, False)),
        "harbor": (0.1, Way("none", "card_number", False)),
    }


def test_where_there_was_but_one_way_it_was_the_same_for_all() -> None:
    told = answer(ranked("north", 0.8), ranked("atlas", 0.2), three_ds="challenge", action="challenge")
    assert {name: way for name, (_, way) in ways(ASKED, told).items()} == {
        "north": Way("three_ds", None, False),
        "atlas": Way("three_ds", None, False),
    }


def test_a_candidate_that_can_do_less_than_the_chosen_one_is_sent_as_asked() -> None:
    told = answer(
        ranked("north", 0.8, mode("three_ds"), mode("none")),
        ranked("atlas", 0.2),
        three_ds="challenge",
        action="challenge",
    )
    assert ways(ASKED, told)["atlas"] == (0.2, Way("none", None, False))
    assert ways(SECURE, told)["atlas"] == (0.2, Way("three_ds", None, False))


def test_a_review_is_a_review_of_all() -> None:
    told = answer(ranked("north", 0.8, mode("none"), mode("three_ds")), ranked("atlas", 0.2), action="review")
    assert all(way.reviewed for _, way in ways(ASKED, told).values())


def test_nothing_is_sent_in_no_way() -> None:
    assert ways(ASKED, answer(ranked("north", 1.0), processor=None, action="decline")) == {}


def test_a_processor_named_twice_is_drawn_as_often_as_both() -> None:
    told = answer(ranked("north", 0.6), ranked("north", 0.3), ranked("atlas", 0.1))
    assert ways(ASKED, told)["north"][0] == pytest.approx(0.9)
    assert msgspec.json.encode(told)
