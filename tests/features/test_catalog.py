"""The catalog and its plan: names, fingerprint, absence, and what a bundle must bring."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from contracts.payment import Payment
from features import catalog
from features.assemble import RETRY_WIDTH, UNITS, WIDTH, Plan, open_view
from features.catalog import CATALOG, NAMES, POSITION
from features.clock import DAY, HOUR, SECOND
from features.encoding import neutral
from features.increment import attempt_increment, result_increment
from features.layout import LAYOUTS
from features.spec import ABSENT, count, rate
from features.state import add
from trainer.features_command import describe

NOON = 1_780_012_800 * SECOND
ENCODINGS = {spec.name: neutral(0.5) for spec in CATALOG if spec.target is not None}
BARE = Payment(
    payment_id="p",
    merchant_id="m",
    amount_minor=1250,
    currency="EUR",
    card_token="c",
    card_network="visa",
    issuer_country="DE",
)


def test_names_are_unique_and_plain() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(CATALOG)
    assert all(name.replace("_", "").isalnum() and name == name.lower() for name in NAMES)


def test_the_fingerprint_changes_with_any_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {catalog.fingerprint()}
    for change in ({"default": -2.0}, {"inputs": ("currency",)}, {"name": "other"}):
        altered = (dataclasses.replace(CATALOG[0], **change), *CATALOG[1:])
        monkeypatch.setattr(catalog, "CATALOG", altered)
        seen.add(catalog.fingerprint())
    monkeypatch.setattr(catalog, "CATALOG", (CATALOG[1], CATALOG[0], *CATALOG[2:]))
    seen.add(catalog.fingerprint())
    assert len(seen) == 5


def test_a_window_is_served_by_the_finest_ring_that_reaches_far_enough() -> None:
    assert count("card", "attempts", HOUR).hop == LAYOUTS["card"].rings[0].hop
    assert count("card", "attempts", DAY).hop == LAYOUTS["card"].rings[1].hop
    with pytest.raises(ValueError, match="expected one of the measures"):
        rate("card", "approved", "nonsense", HOUR)


def test_every_absent_field_has_the_absent_value_and_none_is_invented() -> None:
    row = Plan(ENCODINGS).rows(BARE, NOON, {}, [("north", None)])[0]
    absent = {NAMES[position] for position in np.flatnonzero(row == ABSENT)}
    assert {"is_network_token", "uses_3ds", "fraud_score", "initiator_is_merchant", "card_attempts_24h"} <= absent
    assert {"amount_minor_major", "attempt", "at_hour", "cvv_result_present", "currency_approval_prior"}.isdisjoint(
        absent
    )
    assert row[POSITION["amount_minor_major"]] == np.float32(12.5)


def test_seen_without_anything_in_the_window_is_not_never_seen() -> None:
    name = "card_attempts_1h"
    blob = add(LAYOUTS["card"], None, attempt_increment(NOON - 3 * DAY, 10))
    plan = Plan(ENCODINGS)
    never, idle = (
        plan.rows(BARE, NOON, {"card": view}, [])[0][POSITION[name]] for view in (None, open_view("card", blob))
    )
    assert (never, idle) == (ABSENT, 0.0)
    long_ago = open_view("card", add(LAYOUTS["card"], None, attempt_increment(NOON - 40 * DAY, 10)))
    assert plan.rows(BARE, NOON, {"card": long_ago}, [])[0][POSITION[name]] == ABSENT


def test_a_rate_without_results_is_absent_and_with_results_is_their_share() -> None:
    card = LAYOUTS["card"]
    blob = add(card, None, attempt_increment(NOON - HOUR, 10))
    name = POSITION["card_approved_per_results_24h"]
    plan = Plan(ENCODINGS)
    assert plan.rows(BARE, NOON, {"card": open_view("card", blob)}, [])[0][name] == ABSENT
    for status in ("approved", "declined", "declined"):
        blob = add(card, blob, result_increment(NOON - 10, status))
    assert plan.rows(BARE, NOON, {"card": open_view("card", blob)}, [])[0][name] == np.float32(1 / 3)


def test_rows_follow_the_candidates_and_one_stands_for_none() -> None:
    plan = Plan(ENCODINGS)
    assert plan.rows(BARE, NOON, {}, []).shape == (1, WIDTH)
    three = plan.rows(BARE, NOON, {}, [("a", None), ("b", None), ("c", None)])
    assert three.shape == (3, WIDTH)
    assert three.dtype == np.float32
    assert len(CATALOG) == RETRY_WIDTH


def test_a_plan_without_an_encoding_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="currency_approval_prior"):
        Plan({name: encoding for name, encoding in ENCODINGS.items() if name != "currency_approval_prior"})


def test_currencies_keep_their_own_minor_units() -> None:
    assert (UNITS["EUR"], UNITS["JPY"], UNITS["KWD"]) == (100.0, 1.0, 1000.0)


def test_the_page_of_features_is_not_stale() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "features.md"
    assert page.read_text(encoding="utf-8") == describe() + "\n", (
        "run: python -m trainer features --write docs/features.md"
    )
