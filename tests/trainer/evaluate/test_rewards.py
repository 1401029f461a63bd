"""Rewards: approvals, and margins to the minor unit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.terms import FeeLine, FeeSchedule, MerchantTerms
from service.policy.defaults import default_parameters
from trainer.errors import EvaluateError
from trainer.evaluate.rewards import Yardstick, approvals, in_currency, margins

SCHEDULES = {
    "north": FeeSchedule(
        approved_fixed_minor=10,
        approved_share=0.02,
        failed_fixed_minor=4,
        lines=(FeeLine(network="amex", approved_fixed_minor=30, approved_share=0.03, failed_fixed_minor=9),),
    ),
    "atlas": FeeSchedule(
        approved_fixed_minor=20,
        failed_fixed_minor=1,
        lines=(FeeLine(region="cross_border", approved_fixed_minor=50, failed_fixed_minor=2),),
    ),
}


def yardstick(merchants: Mapping[str, MerchantTerms] = {}, share: float | None = 0.1) -> Yardstick:
    return Yardstick.of(SCHEDULES, default_parameters(), merchants, share)


def frame(**columns: list[Any]) -> pl.DataFrame:
    count = len(next(iter(columns.values())))
    common: dict[str, list[Any]] = {
        "merchant_id": ["m1"] * count,
        "merchant_country": ["DE"] * count,
        "card_network": ["visa"] * count,
        "issuer_country": ["DE"] * count,
        "amount_minor": [1_000] * count,
        "label": [True] * count,
        "rate": [1.0] * count,
        "currency": ["EUR"] * count,
    }
    return pl.DataFrame({**common, **columns})


NONE = np.zeros(2, dtype=bool)


def test_an_approval_is_worth_one_whatever_comes_later() -> None:
    found = approvals(np.array([True, False]), 3)
    assert found.realised.tolist() == [1.0, 0.0]
    p = np.array([[0.2, 0.5, 0.7], [0.1, 0.0, 1.0]])
    assert (found.expected(p) == p).all()


def test_a_margin_is_what_an_approval_leaves_and_a_failure_costs() -> None:
    some = frame(label=[True, False], amount_minor=[1_000, 5_000])
    found = margins(some, ("north", "atlas"), np.array([0, 1]), NONE, yardstick())
    assert found.approved.tolist() == [[100 - 20 - 10, 100 - 20], [500 - 100 - 10, 500 - 20]]
    assert found.failed.tolist() == [[-4.0, -1.0], [-4.0, -1.0]]
    assert found.realised.tolist() == [70.0, -1.0]
    assert found.expected(np.array([[0.5, 0.25]] * 2))[0].tolist() == [0.5 * 70 - 0.5 * 4, 0.25 * 80 - 0.75 * 1]


def test_fees_are_those_of_the_network_and_the_region() -> None:
    some = frame(card_network=["amex", "visa"], issuer_country=["DE", "US"])
    found = margins(some, ("north", "atlas"), np.array([0, 1]), NONE, yardstick())
    assert found.approved.tolist() == [[100 - 30 - 30, 80.0], [70.0, 100 - 50]]
    assert found.failed.tolist() == [[-9.0, -1.0], [-4.0, -2.0]]


def test_what_is_not_known_of_a_payment_fits_no_line() -> None:
    some = frame(card_network=[None, "visa"], issuer_country=["US", None], merchant_country=[None, "DE"])
    found = margins(some, ("north", "atlas"), np.array([0, 1]), NONE, yardstick())
    assert found.approved.tolist() == [[70.0, 80.0], [70.0, 80.0]]


def test_a_chargeback_takes_the_amount_and_a_fee() -> None:
    fee = default_parameters().chargeback_fee_minor
    some = frame(label=[True, True])
    found = margins(some, ("north", "atlas"), np.array([0, 0]), np.array([True, False]), yardstick())
    assert found.realised.tolist() == [70.0 - 1_000 - fee, 70.0]


def test_a_merchant_has_its_own_margin_unless_told_otherwise() -> None:
    merchants = {"m2": MerchantTerms(margin_share=0.5), "m3": MerchantTerms()}
    some = frame(merchant_id=["m1", "m2"])
    own = margins(some, ("atlas",), np.array([0, 0]), NONE, yardstick(merchants, None))
    general = default_parameters().margin_share
    assert own.realised.tolist() == pytest.approx([1_000 * general - 20, 500 - 20])
    told = margins(some, ("atlas",), np.array([0, 0]), NONE, yardstick(merchants, 0.2))
    assert told.realised.tolist() == [180.0, 180.0]


def test_money_of_other_currencies_is_left_out_and_said_without_a_rate() -> None:
    some = frame(currency=["EUR", "EUR", "GBP", "JPY"])
    kept, into, notes = in_currency(some, None, {})
    assert (len(kept), into) == (2, "EUR")
    assert notes == ["left out, for want of a rate into EUR: 1 in GBP, 1 in JPY"]


def test_a_rate_is_of_whole_units_whatever_their_decimals() -> None:
    some = frame(currency=["EUR", "GBP", "JPY", "KWD"], amount_minor=[100, 100, 100, 1_000])
    kept, _, notes = in_currency(some, "EUR", {"GBP": 1.2, "JPY": 0.006, "KWD": 3.0})
    assert notes == []
    # A penny is 1.2 cents, a yen 0.6 of a cent, a fils (a thousandth) 0.3.
    assert kept["rate"].to_list() == pytest.approx([1.0, 1.2, 0.6, 0.3])
    found = margins(kept, ("atlas",), np.zeros(4, dtype=np.int64), np.zeros(4, dtype=bool), yardstick())
    assert found.realised.tolist() == pytest.approx([10 - 20, 1.2 * (10 - 20), 0.6 * (10 - 20), 0.3 * (100 - 20)])


def test_the_order_of_rows_is_kept() -> None:
    some = frame(currency=["JPY", "EUR", "EUR"], amount_minor=[1, 2, 3])
    assert in_currency(some, "EUR", {})[0]["amount_minor"].to_list() == [2, 3]


def test_a_currency_nobody_paid_in_is_refused() -> None:
    with pytest.raises(EvaluateError, match="expected payments in USD, or in a currency with a rate; there are EUR"):
        in_currency(frame(currency=["EUR"]), "USD", {})
