import pytest

from contracts.terms import FeeLine, FeeSchedule
from service.policy.fees import Fees

LINES = (
    FeeLine(region="domestic", approved_fixed_minor=1),
    FeeLine(network="amex", approved_fixed_minor=2, approved_share=0.03),
    FeeLine(network="amex", region="domestic", approved_fixed_minor=3, failed_fixed_minor=9),
    FeeLine(region="domestic", approved_fixed_minor=4),
    FeeLine(region="intra", approved_fixed_minor=5),
    FeeLine(network="Visa", region="cross_border", approved_fixed_minor=6),
)
SCHEDULES = {
    "a": FeeSchedule(
        approved_fixed_minor=100, approved_share=0.01, failed_fixed_minor=7, three_ds_minor=2, lines=LINES
    ),
    "b": FeeSchedule(approved_fixed_minor=50, approved_share=0.02, three_ds_minor=8),
}
EUROPE = frozenset({"DE", "FR", "GB"})


@pytest.fixture(scope="module")
def fees(rules):
    return Fees(SCHEDULES, rules.network, EUROPE)


@pytest.mark.parametrize(
    ("network", "issuer", "merchant", "fee"),
    [
        ("mastercard", "DE", "US", (100, 0.01, 7)),
        ("mastercard", "DE", "DE", (1, 0.0, 0)),
        ("amex", "DE", "US", (2, 0.03, 0)),
        ("amex", "DE", "DE", (3, 0.0, 9)),
        ("mastercard", "DE", "FR", (5, 0.0, 0)),
        # As much is named by both lines: the first.
        ("amex", "DE", "FR", (2, 0.03, 0)),
        ("visa", "US", "DE", (6, 0.0, 0)),
        ("visa", "US", None, (100, 0.01, 7)),
        ("amex", "US", None, (2, 0.03, 0)),
    ],
)
def test_the_line_that_names_more_holds(fees, network, issuer, merchant, fee):
    assert fees.tariff(network, issuer, merchant).of("a") == fee


def test_without_a_line_the_schedule_itself_holds(fees):
    assert fees.tariff("amex", "DE", "DE").of("b") == (50, 0.02, 0)


@pytest.mark.parametrize(
    ("issuer", "merchant", "region"),
    [("US", "US", "domestic"), ("DE", "DE", "domestic"), ("DE", "GB", "intra"), ("DE", "US", "cross_border")],
)
def test_how_far_apart_card_and_merchant_are(fees, issuer, merchant, region):
    assert fees.region(issuer, merchant) == region


def test_one_without_a_schedule_pays_the_dearest_of_each_part(fees):
    assert fees.tariff("mastercard", "DE", "US").of("z") == (100, 0.02, 7)
    assert fees.tariff("mastercard", "DE", "DE").of("z") == (50, 0.02, 0)
    assert fees.three_ds("z") == 8
    assert not fees.knows("z")


def test_without_any_schedule_everything_is_free():
    empty = Fees({})
    assert empty.tariff("visa", "US", "US").of("z") == (0, 0.0, 0)
    assert empty.three_ds("z") == 0


def test_a_choice_pays_by_network_and_region(compiled, payment, now):
    policy = compiled(
        fees={"a": FeeSchedule(lines=(FeeLine(network="mc", region="domestic", approved_fixed_minor=40),))}
    )

    def cost(network, merchant_country):
        request = payment(card_network=network, merchant_country=merchant_country)
        return policy.choose(request, ("a",), [[1.0]], 0.0, kind="auth", now=now).ranking[0].cost_minor

    assert cost("MasterCard", "US") == 40
    assert cost("MasterCard", "CA") == 0
    assert cost("visa", "US") == 0
