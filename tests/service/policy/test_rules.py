from datetime import date, timedelta
from pathlib import Path

import pytest

from service.policy.errors import PolicyError, RuleError
from service.policy.rule import DeclineRule, LimitRule, RiskAnalysisRule, Rule
from service.policy.rulebook import GRACE_US
from service.policy.rules import FOLDER, Rules

LIMIT = """
[[limit]]
id = "{id}"
network = "visa"
limit = 5
window_seconds = 3600
effective_from = 2020-01-01
source = "test"
confidence = "S"
"""


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "rules.toml").write_text(text)
    return tmp_path


def visa_limits(rules: Rules, day: date) -> list[int]:
    return [limit.limit for limit in rules.at(day).limits("visa")]


def test_the_visa_limit_changes_from_15_to_20_in_may_2025(rules):
    assert visa_limits(rules, date(2025, 5, 1)) == [15]
    assert visa_limits(rules, date(2025, 5, 24)) == [15]
    assert visa_limits(rules, date(2025, 5, 25)) == [20]
    assert visa_limits(rules, date(2026, 11, 1)) == [20]


def test_the_other_date_of_the_visa_limit_is_carried_but_not_followed(rules):
    other = next(rule for rule in rules.of(LimitRule) if rule.id == "visa.reattempts_20_from_19_may")
    assert not other.enabled
    assert other.effective_from == date(2025, 5, 19)


def test_before_visa_had_categories_no_visa_limit_binds(rules):
    assert visa_limits(rules, date(2021, 4, 16)) == []


def test_the_mastercard_daily_limit_tightens_and_the_monthly_one_joins(rules):
    def limits(day):
        return [(limit.limit, limit.window_seconds) for limit in rules.at(day).limits("mastercard")]

    assert limits(date(2022, 9, 30)) == [(20, 86_400)]
    assert limits(date(2022, 10, 1)) == [(10, 86_400)]
    assert limits(date(2024, 4, 1)) == [(10, 86_400), (35, 2_592_000), (7, 2_592_000)]


def test_the_mastercard_monthly_limits_are_of_one_amount_and_brazils_is_stricter(rules):
    book = rules.at(date(2026, 1, 1))
    at_home = book.binding("mastercard", "DE", "customer")
    in_brazil = book.binding("mastercard", "BR", "customer")
    assert [(limit.limit, limit.same_amount) for limit in at_home] == [(10, False), (35, True)]
    assert [(limit.limit, limit.same_amount) for limit in in_brazil] == [(10, False), (35, True), (7, True)]
    assert [limit.of(700).amount_minor for limit in in_brazil] == [None, 700, 700]


def test_a_limit_is_counted_with_ten_minutes_of_grace(rules):
    for limit in rules.at(date(2026, 1, 1)).limits("mastercard"):
        assert limit.counted.window_us == limit.window_seconds * 1_000_000 + GRACE_US == limit.of(1).window_us


def test_a_limit_of_one_sides_attempts_binds_that_side_alone(override):
    book = override(LIMIT.format(id="own.limit") + 'initiator = "merchant"\n').at(date(2026, 1, 1))
    assert [limit.limit for limit in book.binding("visa", "DE", "merchant")] == [20, 5]
    assert [limit.limit for limit in book.binding("visa", "DE", "customer")] == [20]


@pytest.mark.parametrize(
    ("rule", "fees"),
    [
        ("visa.reattempts_20", {("us", False): 10, ("us", True): 15, ("br", False): 10, ("br", True): 25}),
        ("mastercard.declines_10_a_day", {(None, None): 50, ("eea", None): 55}),
        ("mastercard.attempts_35_a_month", {(None, None): 50, ("eea", None): 55}),
    ],
)
def test_fees_of_an_excess_attempt_are_carried_with_region_and_source(rules, rule, fees):
    (limit,) = [limit for limit in rules.of(LimitRule) if limit.id == rule]
    assert {(fee.region, fee.cross_border): fee.fee_minor for fee in limit.fees} == fees
    assert all(fee.source and fee.confidence == "S" for fee in limit.fees)


@pytest.mark.parametrize(
    ("rule", "against"),
    [
        ("visa.reattempts_20_from_19_may", "visa.reattempts_15"),
        ("visa.reattempts_20_by_amount", "visa.reattempts_20"),
        ("visa.category_3_account_number.14", "visa.category_1.14"),
        ("visa.57_redefined.57", "visa.category_1.57"),
        ("visa.15_phased_out.15", "visa.category_1.15"),
        ("visa.category_2_83_in_the_table.83", "visa.category_4_83.83"),
        ("visa.category_2_83_from_october.83", "visa.category_2_83.83"),
        ("mastercard.declines_10_a_day_until_2024", "mastercard.declines_10_a_day"),
    ],
)
def test_both_sides_of_a_conflict_are_carried_and_one_is_followed(rules, rule, against):
    known = {entry.id: entry for entry in rules.of(Rule)}
    assert not known[rule].enabled
    assert known[against].enabled
    assert against.removesuffix("." + against.rpartition(".")[2]) in known[rule].note or against in known[rule].note


def test_46_is_described_anew_in_april_2026_and_stays_forbidden(rules):
    def read(day):
        asked = {"processor": "a", "advice": None, "reason": None, "country": "US", "initiator": "customer"}
        reading = rules.at(day).read("visa", code="46", **asked)
        return reading.decline_class, reading.category, reading.rules[0].id

    assert read(date(2026, 4, 24)) == ("never", 1, "visa.category_1_closed_account.46")
    assert read(date(2026, 4, 25)) == ("never", 1, "visa.category_1_46_described_anew.46")


def test_books_to_come_are_named_with_their_first_day(rules):
    (change,) = rules.between(date(2025, 5, 20), date(2025, 6, 1))
    assert change == (date(2025, 5, 25), rules.at(date(2025, 6, 1)))
    assert rules.between(date(2025, 5, 25), date(2025, 6, 1)) == ()


@pytest.mark.parametrize("network", ["amex", "discover", "elo"])
def test_a_limit_that_is_only_an_orchestrators_default_says_so(rules, network):
    (limit,) = [rule for rule in rules.of(LimitRule) if rule.network == network]
    assert limit.default
    assert (limit.limit, limit.window_seconds, limit.confidence) == (20, 30 * 86_400, "V")


def test_83_joins_visa_category_2_in_july_2026(rules):
    def category(day):
        read = rules.at(day).read(
            "visa", processor="a", code="83", advice=None, reason=None, country="US", initiator="customer"
        )
        return read.category, read.rules[0].id

    assert category(date(2026, 7, 24)) == (4, "visa.category_4_83.83")
    assert category(date(2026, 7, 25)) == (2, "visa.category_2_83.83")
    assert category(date(2026, 12, 1)) == (2, "visa.category_2_83.83")


def test_every_rule_names_its_source_and_holds_on_some_day(rules):
    for rule in rules.of(Rule):
        assert rule.source
        assert rule.effective_to is None or rule.effective_to > rule.effective_from


def test_risk_analysis_bands_are_carried(rules):
    bands = [
        (rule.fraud_rate_basis_points, rule.up_to_minor)
        for rule in rules.of(RiskAnalysisRule)
        if rule.currency == "EUR"
    ]
    assert bands == [(13.0, 10_000), (6.0, 25_000), (1.0, 50_000)]


def test_days_between_two_changes_share_one_book(rules):
    assert rules.at(date(2026, 3, 1)) is rules.at(date(2026, 3, 2))
    assert rules.at(date(2025, 5, 24)) is not rules.at(date(2025, 5, 25))


def test_every_day_of_ten_years_has_a_book(rules):
    first = date(2018, 1, 1)
    books = {id(rules.at(first + timedelta(days=day))) for day in range(3650)}
    assert 5 < len(books) < 20


def test_the_fingerprint_depends_on_what_rules_say_and_not_on_where(override, rules):
    assert Rules.load().fingerprint == rules.fingerprint
    assert len(rules.fingerprint) == 12
    assert override(LIMIT.format(id="own.limit")).fingerprint != rules.fingerprint


def test_a_shop_adds_a_rule(override):
    assert visa_limits(override(LIMIT.format(id="own.limit")), date(2026, 1, 1)) == [20, 5]


def test_a_shop_replaces_a_rule_by_its_id(override):
    assert visa_limits(override(LIMIT.format(id="visa.reattempts_20")), date(2026, 1, 1)) == [5]


def test_a_shop_replaces_one_code_out_of_a_list(override):
    own = override("""
[[decline]]
id = "visa.category_4"
network = "visa"
codes = ["05"]
class = "never"
effective_from = 2021-04-17
source = "the shop's own experience"
confidence = "S"
""")
    classes = {
        rule.codes[0]: rule.decline_class for rule in own.of(DeclineRule) if rule.id.startswith("visa.category_4.")
    }
    assert classes == {"01": "later", "05": "never", "13": "later", "63": "later", "*": "later"}


def test_a_shop_lowers_and_raises_a_limit_and_the_rest_stays(override):
    for limit in (3, 40):
        own = override(LIMIT.format(id="visa.reattempts_20").replace("limit = 5", f"limit = {limit}"))
        assert visa_limits(own, date(2026, 1, 1)) == [limit]
        assert [one.limit for one in own.at(date(2026, 1, 1)).limits("mastercard")] == [10, 35, 7]


SWITCH = """
[[switch]]
id = "{id}"
enabled = {enabled}
source = "our acquirer says otherwise"
"""


def test_a_shop_switches_a_rule_off(override, rules):
    own = override(SWITCH.format(id="visa.reattempts_20", enabled="false"))
    assert visa_limits(own, date(2026, 1, 1)) == []
    assert own.fingerprint != rules.fingerprint


def test_a_shop_switches_one_code_or_a_whole_table_off(override):
    def classes(own):
        asked = {"processor": "a", "advice": None, "reason": None, "country": "US", "initiator": "customer"}
        return [own.at(date(2026, 1, 1)).read("visa", code=code, **asked).rules[0].id for code in ("15", "57")]

    assert classes(override(SWITCH.format(id="visa.category_1.15", enabled="false"))) == [
        "iso.never.15",
        "visa.category_1.57",
    ]
    assert classes(override(SWITCH.format(id="visa.category_1", enabled="false"))) == ["iso.never.15", "iso.later.57"]


def test_a_shop_follows_the_other_reading(override):
    own = override(
        SWITCH.format(id="visa.reattempts_20", enabled="false")
        + SWITCH.format(id="visa.reattempts_20_by_amount", enabled="true")
    )
    assert [limit.same_amount for limit in own.at(date(2026, 1, 1)).limits("visa")] == [True]


def test_following_both_readings_of_one_decline_is_refused_with_file_and_both(override):
    with pytest.raises(RuleError, match=r"^visa.toml: visa.*14: visa.*14 speaks of the same decline on the same days"):
        override(SWITCH.format(id="visa.category_3_account_number", enabled="true"))


def test_a_switch_of_nothing_is_refused(override):
    with pytest.raises(RuleError, match=r"own.toml: \[\[switch\]\] 1 \(visa.reattempts\): expected the id of a rule"):
        override(SWITCH.format(id="visa.reattempts", enabled="false"))


def test_a_switch_among_the_shipped_rules_is_refused(tmp_path):
    with pytest.raises(RuleError, match=r"rules.toml: \[\[switch\]\] 1 \(a.b\): expected a switch in a shop's own"):
        Rules.load(folder(tmp_path, SWITCH.format(id="a.b", enabled="false")))


def test_an_unknown_key_is_refused_with_file_table_and_id(tmp_path):
    with pytest.raises(RuleError, match=r"rules.toml: \[\[limit\]\] 1 \(a.b\): .*unknown field `limt`"):
        Rules.load(folder(tmp_path, LIMIT.format(id="a.b") + "limt = 3\n"))


def test_a_number_in_quotes_is_refused(tmp_path):
    text = LIMIT.format(id="a.b").replace("limit = 5", 'limit = "5"')
    with pytest.raises(RuleError, match=r"Expected `int`, got `str`"):
        Rules.load(folder(tmp_path, text))


def test_an_id_that_comes_twice_is_refused(tmp_path):
    with pytest.raises(RuleError, match=r"the id 'a.b' is taken already"):
        Rules.load(folder(tmp_path, LIMIT.format(id="a.b") * 2))


def test_an_id_that_comes_twice_in_the_shops_own_file_is_refused(override):
    with pytest.raises(RuleError, match=r"own.toml: the id 'a.b' is taken already"):
        override(LIMIT.format(id="a.b") * 2)


@pytest.mark.parametrize("end", ["2019-12-31", "2020-01-01"])
def test_a_rule_that_ends_before_it_starts_is_refused(tmp_path, end):
    with pytest.raises(RuleError, match=rf"expected effective_to after 2020-01-01, got {end}"):
        Rules.load(folder(tmp_path, LIMIT.format(id="a.b") + f"effective_to = {end}\n"))


def test_an_unknown_table_is_refused(tmp_path):
    with pytest.raises(RuleError, match=r"got 'limits'"):
        Rules.load(folder(tmp_path, LIMIT.format(id="a.b").replace("[[limit]]", "[[limits]]")))


def test_an_unknown_region_is_refused(override):
    with pytest.raises(RuleError, match=r"^own.toml: a.b: expected one of the regions .* got 'mars'"):
        override(LIMIT.format(id="a.b") + 'region = "mars"\n')


def test_an_unknown_region_of_a_fee_is_refused(override):
    fee = 'fees = [{ fee_minor = 10, currency = "USD", region = "mars", source = "test", confidence = "S" }]\n'
    with pytest.raises(RuleError, match=r"^own.toml: a.b: expected one of the regions .* got 'mars'"):
        override(LIMIT.format(id="a.b") + fee)


def test_an_unreadable_file_is_refused(tmp_path):
    with pytest.raises(RuleError, match=r"rules.toml: expected a readable TOML file"):
        Rules.load(folder(tmp_path, "[[limit"))


def test_a_folder_without_rules_is_refused(tmp_path):
    with pytest.raises(PolicyError, match=r"found none"):
        Rules.load(tmp_path)


def test_two_rules_on_the_same_decline_and_day_are_refused(override):
    with pytest.raises(RuleError, match=r"own.fives.05.*|visa.category_4.05"):
        override("""
[[decline]]
id = "own.fives"
network = "visa"
codes = ["05"]
class = "never"
effective_from = 2026-01-01
source = "test"
confidence = "S"
""")


def test_a_decline_rule_about_nothing_is_refused(override):
    with pytest.raises(RuleError, match=r"expected one of codes and advices"):
        override("""
[[decline]]
id = "own.nothing"
network = "visa"
class = "never"
effective_from = 2026-01-01
source = "test"
confidence = "S"
""")


def test_a_class_without_a_treatment_is_refused(override):
    with pytest.raises(RuleError, match=r"treatment.later.merchant: expected a treatment in force"):
        override("""
[[treatment]]
id = "treatment.later.merchant"
class = "later"
initiator = "merchant"
verdict = "stop"
wait_seconds = 0
cascade = false
effective_from = 2027-01-01
source = "test"
confidence = "S"
""")


def test_the_shipped_folder_is_the_default():
    assert {path.name for path in FOLDER.glob("*.toml")} == {
        "amex.toml",
        "discover.toml",
        "elo.toml",
        "generic.toml",
        "mastercard.toml",
        "regions.toml",
        "sca.toml",
        "visa.toml",
    }


def test_the_page_about_rules_names_every_limit_and_every_reading_that_is_not_followed(rules):
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    known = [
        rule for rule in rules.of(Rule) if not rule.enabled or (isinstance(rule, LimitRule) and not rule.effective_to)
    ]
    tables = {rule.id if isinstance(rule, LimitRule) else ".".join(rule.id.split(".")[:2]) for rule in known}
    assert sorted(table for table in tables if f"`{table}`" not in page) == []


def test_the_example_on_the_page_about_rules_is_a_file_that_loads(override):
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    own = override(page.split("```toml\n")[1].split("```")[0])
    assert visa_limits(own, date(2026, 1, 1)) == [8]
    switched = {rule.id: rule.enabled for rule in own.of(Rule)}
    assert (switched["mastercard.no_advice"], switched["visa.category_1.15"]) == (True, False)
