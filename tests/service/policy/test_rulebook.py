from datetime import date

import pytest

DAY = date(2026, 3, 1)


@pytest.fixture(scope="module")
def read(rules):
    book = rules.at(DAY)

    def read_decline(network, code=None, advice=None, reason=None, country="US", initiator="customer", processor="a"):
        return book.read(
            book.network(network),
            processor=processor,
            code=code,
            advice=advice,
            reason=reason,
            country=country,
            initiator=initiator,
        )

    return read_decline


def ids(reading):
    return [rule.id for rule in reading.rules]


@pytest.mark.parametrize(
    ("code", "visa", "mastercard"),
    [
        ("63", "later", "later"),
        ("70", "authenticate", "later"),
        ("78", "later", "fix_data"),
        ("79", "later", "fix_data"),
        ("82", "fix_data", "later"),
        ("83", "later", "authenticate"),
        ("89", "later", "fix_data"),
    ],
)
def test_a_code_means_what_its_network_says(read, code, visa, mastercard):
    assert read("visa", code).decline_class == visa
    assert read("mastercard", code).decline_class == mastercard
    assert ids(read("visa", code))[0].startswith("visa.")
    assert ids(read("mastercard", code))[0].startswith("mastercard.")


@pytest.mark.parametrize("code", ["04", "07", "12", "14", "15", "41", "43", "46", "57", "R0", "R1", "R3"])
def test_visa_category_1_is_never(read, code):
    reading = read("visa", code)
    assert (reading.decline_class, reading.category) == ("never", 1)


@pytest.mark.parametrize(
    "code",
    [
        "03",
        "19",
        "39",
        "51",
        "52",
        "53",
        "59",
        "61",
        "62",
        "65",
        "75",
        "78",
        "86",
        "91",
        "93",
        "96",
        "5C",
        "9G",
        "N3",
        "N4",
        "Z5",
    ],
)
def test_visa_category_2_may_be_sent_again(read, code):
    reading = read("visa", code)
    assert reading.category == 2
    assert reading.decline_class in ("later", "technical")


@pytest.mark.parametrize("code", ["54", "55", "82", "6P", "N7"])
def test_visa_category_3_wants_better_data(read, code):
    reading = read("visa", code)
    assert (reading.decline_class, reading.category) == ("fix_data", 3)


@pytest.mark.parametrize("code", ["70", "1A"])
@pytest.mark.parametrize(("country", "category"), [("US", 4), ("FR", 3), ("GB", 3), ("AE", 3)])
def test_visa_authentication_codes_are_category_3_in_europe_and_cemea(read, code, country, category):
    reading = read("visa", code, country=country)
    assert (reading.decline_class, reading.category) == ("authenticate", category)


def test_every_other_visa_code_is_category_4(read):
    reading = read("visa", "ZZ")
    assert (reading.decline_class, reading.category, ids(reading)) == ("later", 4, ["visa.category_4.*"])


def test_an_own_rule_wins_over_a_general_one(read):
    assert ids(read("visa", "12")) == ["visa.category_1.12"]
    assert ids(read("discover", "12")) == ["iso.merchant.12"]


def test_a_general_code_wins_over_the_networks_rule_for_unlisted_codes(read):
    assert ids(read("visa", "06")) == ["iso.technical.06"]


def test_mastercard_65_asks_for_authentication_only_where_it_is_law(read):
    assert read("mastercard", "65", country="DE").decline_class == "authenticate"
    assert read("mastercard", "65", country="US").decline_class == "later"


@pytest.mark.parametrize(
    ("advice", "hours"),
    [("02", 72), ("24", 1), ("25", 24), ("26", 48), ("27", 96), ("28", 144), ("29", 192), ("30", 240)],
)
def test_a_mastercard_advice_binds_the_wait(read, advice, hours):
    reading = read("mastercard", "51", advice)
    assert (reading.decline_class, reading.wait_seconds) == ("later", hours * 3600)
    assert len(reading.rules) == 2


@pytest.mark.parametrize("advice", ["03", "05", "21", "22", "41", "42"])
def test_a_mastercard_advice_forbids(read, advice):
    assert read("mastercard", "51", advice).decline_class == "never"


def test_a_mastercard_advice_alone_is_enough(read):
    assert read("mastercard", advice="21").decline_class == "never"


def test_an_advice_does_not_lift_what_a_code_forbids(read):
    reading = read("mastercard", "41", "24")
    assert reading.decline_class == "never"
    assert ids(reading) == ["iso.never.41", "mastercard.mac_1_hour.24"]


def test_code_and_advice_together_mean_more_than_either(read):
    assert read("mastercard", "83", "01").decline_class == "authenticate"
    assert read("mastercard", "79", "01").decline_class == "fix_data"
    assert read("mastercard", "83", "03").decline_class == "never"


@pytest.mark.parametrize("advice", ["40", "43"])
def test_an_advisory_advice_is_named_but_the_code_decides(read, advice):
    reading = read("mastercard", "91", advice)
    assert reading.decline_class == "technical"
    assert ids(reading) == ["iso.technical.91", f"mastercard.mac_advisory.{advice}"]


def test_a_mastercard_advice_means_nothing_at_visa(read):
    assert read("visa", "51", "03").decline_class == "later"


def test_no_advice_forbids_only_where_a_shop_enables_that_default(read, override):
    assert read("mastercard", "51").decline_class == "later"
    own = override("""
[[switch]]
id = "mastercard.no_advice"
enabled = true
source = "One large gateway's default"
""").at(DAY)
    asked = {"processor": "a", "code": "51", "reason": None, "country": "US", "initiator": "customer"}
    assert own.read("mastercard", advice=None, **asked).decline_class == "never"
    assert own.read("mastercard", advice="24", **asked).decline_class == "later"


def test_a_processor_that_renumbers_advice_codes_is_translated(override):
    book = override("""
[[advice_mapping]]
id = "own.acquirer_x"
processor = "x"
advice = "01"
means = "03"
source = "the acquirer's manual"
""").at(DAY)
    asked = {"code": "51", "advice": "01", "reason": None, "country": "US", "initiator": "customer"}
    assert book.read("mastercard", processor="x", **asked).decline_class == "never"
    assert book.read("mastercard", processor="y", **asked).decline_class == "fix_data"


def test_a_rule_for_one_initiator_wins_over_the_one_for_both(override):
    book = override("""
[[decline]]
id = "own.do_not_honor"
network = "visa"
codes = ["05"]
initiator = "merchant"
class = "never"
effective_from = 2026-01-01
source = "test"
confidence = "S"
""").at(DAY)
    asked = {"processor": "a", "code": "05", "advice": None, "reason": None, "country": "US"}
    assert book.read("visa", initiator="merchant", **asked).decline_class == "never"
    assert book.read("visa", initiator="customer", **asked).decline_class == "later"


@pytest.mark.parametrize("reason", ["timeout", "TIMEOUT"])
@pytest.mark.parametrize("code", [None, "91", "51"])
def test_a_timeout_is_an_unknown_outcome_whatever_the_code(read, reason, code):
    assert read("visa", code, reason=reason).decline_class == "unknown_outcome"


@pytest.mark.parametrize("reason", ["error", "connection"])
def test_an_error_without_a_code_is_an_unknown_outcome(read, reason):
    assert read("visa", reason=reason).decline_class == "unknown_outcome"
    assert read("visa", "91", reason=reason).decline_class == "technical"


@pytest.mark.parametrize(
    ("reason", "meant"),
    [
        ("insufficient_funds", "later"),
        ("expired_card", "fix_data"),
        ("lost_card", "never"),
        ("authentication_required", "authenticate"),
        ("issuer_unavailable", "technical"),
    ],
)
def test_a_stated_reason_is_read_where_there_is_no_code(read, reason, meant):
    assert read("visa", reason=reason).decline_class == meant


@pytest.mark.parametrize("network", ["visa", "mastercard", "discover"])
@pytest.mark.parametrize("code", [None, "05", "82"])
def test_a_token_refused_as_such_may_go_as_the_card_number(read, network, code):
    reading = read(network, code, reason="invalid_cryptogram")
    assert (reading.decline_class, reading.send_as, reading.blame) == ("fix_data", "card_number", "merchant")


def test_a_refused_token_does_not_lift_what_a_code_or_an_advice_forbids(read):
    assert read("visa", "41", reason="invalid_cryptogram").decline_class == "never"
    assert read("mastercard", "05", "03", reason="invalid_cryptogram").decline_class == "never"


def test_mastercard_04_may_go_as_the_card_number_unless_the_code_forbids(read):
    assert read("mastercard", "05", "04").send_as == "card_number"
    assert read("mastercard", "41", "04").send_as is None


def test_an_advice_does_not_lift_doubt_about_the_outcome(read):
    reading = read("mastercard", "68", "24")
    assert reading.decline_class == "unknown_outcome"
    assert ids(reading) == ["iso.unknown_outcome.68", "mastercard.mac_1_hour.24"]


@pytest.mark.parametrize(("code", "meant"), [("79", "never"), ("82", "never"), ("83", "never"), ("51", "later")])
def test_no_advice_may_forbid_for_some_codes_alone(override, code, meant):
    book = override("""
[[switch]]
id = "mastercard.no_advice_on"
enabled = true
source = "our gateway's default"
""").at(DAY)
    asked = {"processor": "a", "code": code, "reason": None, "country": "US", "initiator": "customer"}
    assert book.read("mastercard", advice=None, **asked).decline_class == meant
    assert book.read("mastercard", advice="24", **asked).decline_class == "later"


def test_a_decline_that_states_nothing_is_later(read):
    assert read("discover").decline_class == "later"
    assert ids(read("discover")) == ["iso.unlisted.*"]


@pytest.mark.parametrize("name", ["MasterCard", "MC", "master_card", "mastercard"])
def test_a_network_is_known_by_its_other_names(read, name):
    assert ids(read(name, "82")) == ["mastercard.policy.82"]


def test_blame_says_whose_decline_it_was(read):
    assert read("visa", "05").blame == "issuer"
    assert read("visa", "03").blame == "processor"
    assert read("visa", "54").blame == "customer"
    assert read("visa", "91").blame == "network"
    assert read("visa", reason="timeout").blame == "processor"
