from pathlib import Path

import pytest

from trainer.errors import MappingError
from trainer.ingest.mapping_file import load

MAPPINGS = Path(__file__).parents[3] / "docs" / "mappings"


@pytest.mark.parametrize("path", sorted(MAPPINGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_mapping_is_sound(path):
    assert load(path).description


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("[time]", "[tine]", "unknown key 'tine' at the top; did you mean 'time'?"),
        ("time_zone =", "timezone =", "unknown key 'timezone' in [time]; did you mean 'time_zone'?"),
        (
            '{ constant = "shop" }',
            '{ constnt = "shop" }',
            "unknown key 'constnt' in [columns.merchant_id]; did you mean 'constant'?",
        ),
        ('unit = "major"', "", "Object missing required field `unit` - at `$.amount`"),
        ('unit = "major"', 'unit = "cents"', "Invalid enum value 'cents' - at `$.amount.unit`"),
        ('currency = "money"', "currency = 3", "Expected `str | object`, got `int` - at `$.columns[...]`"),
        ('currency = "money"', "", "columns.currency is missing: every attempt needs one (a column or a constant)"),
        ("currency =", "curency =", "columns: 'curency' is not a column of the history; did you mean 'currency'?"),
        ('currency = "money"', 'currency = "money"\nstatus = "x"', "status has a table of its own, [status]"),
        (
            'currency = "money"',
            'currency = { constant = "EURO" }',
            "columns.currency.constant: Expected `str` matching regex",
        ),
        (
            'currency = "money"',
            'currency = { constant = "EEE" }',
            "columns.currency.constant: expected an ISO 4217 code, got 'EEE'",
        ),
        (
            'currency = "money"',
            'currency = "money"\nip_country = { column = "c", map = { Britain = "UK" } }',
            "columns.ip_country.map.Britain: expected an ISO 3166-1 code, got 'UK'",
        ),
        (
            'currency = "money"',
            'currency = "money"\nuses_3ds = { column = "c", map = { y = "yes" } }',
            "columns.uses_3ds.map.y: Expected `bool | null`, got `str`",
        ),
        (
            'currency = "money"',
            'currency = { column = "a", constant = "EUR" }',
            "columns.currency: expected either a column or a constant",
        ),
        ('currency = "money"', 'currency = { constant = "EUR", case = "upper" }', "a constant takes no map"),
        (
            'currency = "money"',
            'currency = { column = "a", otherwise = "EUR" }',
            "columns.currency: otherwise needs a map",
        ),
        ('"UTC"', '"Mars/Base"', "time.time_zone: expected an IANA time zone such as Europe/Berlin, got 'Mars/Base'"),
        ('approved = ["ok"]', "", "status.approved is missing: the values that count as approved"),
        ('declined = ["no"]', 'declined = ["ok"]', "status: 'ok' is listed twice"),
        ('attempt = "try"', 'group_by = ["a"]', "payment: expected either column or group_by"),
        ('attempt = "try"', 'max_gap = "60s"', "payment: max_gap and approval_ends need group_by"),
        (
            'column = "order"\nattempt = "try"',
            'group_by = ["a"]\nmax_gap = "a minute"',
            "payment.max_gap: expected a duration such as",
        ),
        ('attempt = "try"', "attempt = 0", "payment.attempt: expected 1 to 1000, got 0"),
        ("[status]", '[chargeback]\ndelay = "7d"\n[status]', "chargeback.flag is missing"),
        ("[status]", '[chargeback]\nflag = "f"\n[status]', "chargeback: expected either delay or reported_at"),
        (
            "[status]",
            "[propensity]\nfirst = { a = 1.0 }\n[status]",
            "propensity: a table by processor needs columns.processor",
        ),
        (
            "[status]",
            '[numbers]\ndecimal = "."\nthousands = "."\n[status]',
            "'.' cannot be both the decimal and the thousands mark",
        ),
        ("[status]", '[csv]\nseparator = ";;"\n[status]', "csv.separator: expected one ASCII character, got ';;'"),
        ("[status]", "[status", "cannot be read:"),
    ],
)
def test_a_wrong_mapping_is_one_sentence_that_names_the_place(shop, old, new, sentence):
    shop.map((old, new))
    with pytest.raises(MappingError) as caught:
        load(shop.mapping)
    assert sentence in str(caught.value)
    assert str(shop.mapping) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probabilities_that_do_not_sum_to_one_are_refused(shop):
    shop.map(columns='processor = "p"', extra="[propensity]\nfirst = { a = 0.5, b = 0.3 }")
    with pytest.raises(MappingError, match=r"propensity.first: expected probabilities that sum to 1, got 0.8000"):
        load(shop.mapping)


def test_a_mapping_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(MappingError, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
