import pytest

from contracts.history import COLUMNS
from trainer.history import SCHEMA
from trainer.ingest.contract import RULES

EXTRA = """
merchant_country = "country"
card_token = "token"
card_network = { column = "brand", case = "lower", map = { visa = "visa", mc = "mastercard" } }
channel = { column = "channel", map = { w = "web" }, otherwise = "other", default = "unknown" }
uses_3ds = "secure"
initiator = "who"
fraud_score = "score"
latency_ms = "ms"
processor = "via"
propensity = "share"
"""
CELLS = {
    "country": "DE",
    "token": "t1",
    "brand": "VISA",
    "channel": "w",
    "secure": "1",
    "who": "customer",
    "score": "0.5",
    "ms": "120",
    "via": "acme",
    "share": "0.5",
    "settled": "2026-01-02T03:04:06Z",
    "charged": "",
}
TABLES = '[settled]\ncolumn = "settled"\n[chargeback]\nreported_at = { column = "charged" }\n'


@pytest.fixture
def wide(shop):
    shop.map(columns=EXTRA, extra=TABLES)
    return shop


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"order": ""}, "missing:payment_id"),
        ({"when": ""}, "missing:occurred_at"),
        ({"total": ""}, "missing:amount_minor"),
        ({"money": ""}, "missing:currency"),
        ({"result": ""}, "missing:status"),
        ({"try": ""}, "missing:attempt"),
        ({"when": "soon"}, "unparsable:occurred_at"),
        ({"when": "1970-01-02"}, "out_of_range:occurred_at"),
        ({"total": "12,34"}, "unparsable:amount_minor"),
        ({"total": "NaN"}, "not_finite:amount_minor"),
        ({"total": "-inf"}, "not_finite:amount_minor"),
        ({"total": "-0.01"}, "negative:amount_minor"),
        ({"total": "1.001"}, "too_many_decimals:amount_minor"),
        ({"total": "10000000000.01"}, "out_of_range:amount_minor"),
        ({"total": "123456789012345678901"}, "out_of_range:amount_minor"),
        ({"money": "ZZZ"}, "unknown_currency:currency"),
        ({"money": "eur"}, "unknown_currency:currency"),
        ({"result": "maybe"}, "unmapped:status"),
        ({"try": "0"}, "out_of_range:attempt"),
        ({"try": "1.5"}, "unparsable:attempt"),
        ({"country": "UK"}, "bad_country:merchant_country"),
        ({"country": "Germany"}, "bad_country:merchant_country"),
        ({"token": "x" * 129}, "too_long:card_token"),
        ({"token": "4111111111111111"}, "pan_detected:card_token"),
        ({"order": "no 5555 5555 5555 4444"}, "pan_detected:payment_id"),
        ({"brand": "amex"}, "unmapped:card_network"),
        ({"secure": "perhaps"}, "unparsable:uses_3ds"),
        ({"who": "robot"}, "unknown_value:initiator"),
        ({"score": "1.01"}, "out_of_range:fraud_score"),
        ({"score": "NaN"}, "not_finite:fraud_score"),
        ({"score": "high"}, "unparsable:fraud_score"),
        ({"share": "-0.1"}, "out_of_range:propensity"),
        ({"ms": "-1"}, "out_of_range:latency_ms"),
        ({"ms": "12.5"}, "unparsable:latency_ms"),
        ({"via": "two words"}, "bad_format:processor"),
        ({"settled": "2026-01-02T03:04:04Z"}, "settled_before_occurred"),
        ({"charged": "2026-01-01"}, "chargeback_before_occurred"),
        ({"charged": "later"}, "unparsable:chargeback_at"),
    ],
)
def test_a_row_that_breaks_the_contract_is_refused_for_that_one_reason(wide, cells, reason):
    wide.rows({**CELLS, "order": "good"}, {**CELLS, **cells})
    report = wide.ingest()
    assert wide.quarantine["reasons"].to_list() == [[reason]]
    assert (report.rows_read, report.rows_written, report.rows_quarantined) == (2, 1, 1)


def test_a_row_with_three_faults_has_three_reasons(wide):
    wide.rows({**CELLS, "order": "good"}, {**CELLS, "total": "-1", "country": "XX", "via": "?"})
    wide.ingest()
    reasons = wide.quarantine["reasons"].to_list()[0]
    assert sorted(reasons) == ["bad_country:merchant_country", "bad_format:processor", "negative:amount_minor"]


def test_a_good_row_becomes_what_the_mapping_says(wide):
    wide.rows({**CELLS, "charged": "2026-02-01T00:00:00+01:00"})
    wide.ingest()
    row = wide.history.row(0, named=True)
    assert {name: row[name] for name in ("payment_id", "attempt", "merchant_id", "amount_minor", "status")} == {
        "payment_id": "o1",
        "attempt": 1,
        "merchant_id": "shop",
        "amount_minor": 1234,
        "status": "approved",
    }
    assert (row["card_network"], row["channel"], row["uses_3ds"], row["latency_ms"]) == ("visa", "web", True, 120)
    assert row["chargeback_at"].isoformat() == "2026-01-31T23:00:00+00:00"


def test_empty_cells_are_absent_and_only_given_defaults_are_filled(wide):
    empty = dict.fromkeys(CELLS, "")
    wide.rows({**CELLS, **empty}, {**CELLS, "channel": "tv", "try": "2"})
    report = wide.ingest()
    assert wide.history["channel"].to_list() == ["unknown", "other"]
    row = wide.history.row(0, named=True)
    assert all(row[name] is None for name in ("card_token", "card_network", "uses_3ds", "fraud_score", "settled_at"))
    assert "cvv_result" in report.columns_absent
    assert "channel" in report.columns_present


def test_the_history_has_exactly_the_canonical_columns_and_types(shop):
    shop.rows({})
    shop.ingest()
    assert shop.history.schema == SCHEMA
    assert set(RULES) == set(COLUMNS)


def test_null_values_of_the_mapping_are_absent(shop):
    shop.map(("[time]", 'null_values = ["n/a", "-"]\n[time]'), columns='card_token = "token"')
    shop.rows({"token": "n/a"}, {"token": "-", "try": "2"}, {"token": "x", "try": "3"})
    shop.ingest()
    assert shop.history["card_token"].to_list() == [None, None, "x"]


def test_customers_and_devices_are_identifiers_like_any_other(shop):
    shop.map(columns='customer_id = { column = "account", prefix = "c-" }\ndevice_id = "device"')
    good = {"account": "77", "device": "d1"}
    shop.rows(
        good,
        {**good, "try": "2", "account": "", "device": ""},
        {**good, "try": "3", "account": "4111111111111111"},
        {**good, "try": "4", "device": "x" * 200},
    )
    shop.ingest()
    assert shop.history.select("customer_id", "device_id").rows() == [("c-77", "d1"), (None, None)]
    assert shop.quarantine["reasons"].to_list() == [["pan_detected:customer_id"], ["too_long:device_id"]]


def test_an_exempt_column_may_hold_bare_digits(shop):
    shop.rows({"order": "4111111111111111"}, {})
    shop.ingest()
    assert shop.quarantine["reasons"].to_list() == [["pan_detected:payment_id"]]
    shop.map(("[time]", 'pan_exempt = ["payment_id"]\n[time]'))
    shop.ingest(force=True)
    assert shop.history["payment_id"].to_list() == ["4111111111111111", "o1"]


@pytest.mark.parametrize(
    ("unit", "money", "total", "minor"),
    [
        ("major", "JPY", "500", 500),
        ("major", "KWD", "1.234", 1234),
        ("major", "CLF", "1.2345", 12345),
        ("major", "EUR", "0.1", 10),
        ("major", "EUR", "1.1000", 110),
        ("minor", "EUR", "1299", 1299),
        ("minor", "KWD", "1299.0", 1299),
    ],
)
def test_amounts_become_minor_units_of_their_own_currency(shop, unit, money, total, minor):
    shop.map(('unit = "major"', f'unit = "{unit}"'))
    shop.rows({"money": money, "total": total})
    shop.ingest()
    assert shop.history["amount_minor"].to_list() == [minor]


def test_more_decimals_than_the_currency_has_may_be_rounded(shop):
    shop.map(('unit = "major"', 'unit = "major"\ndecimals = "round"'))
    shop.rows({"total": "1.005"}, {"total": "1.0049", "try": "2"}, {"total": "85.64999999999999", "try": "3"})
    shop.ingest()
    assert shop.history["amount_minor"].to_list() == [101, 100, 8565]


def test_a_chargeback_is_set_only_where_the_flag_says_so(shop):
    shop.map(extra='[chargeback]\nflag = "fraud"\nyes = ["Y"]\nno = ["N"]\ndelay = "7d"')
    shop.rows({"fraud": "Y"}, {"fraud": "N", "try": "2"}, {"fraud": "", "try": "3"}, {"fraud": "?", "try": "4"})
    report = shop.ingest()
    assert [str(at) for at in shop.history["chargeback_at"]] == ["2026-01-09 03:04:05+00:00", "None", "None"]
    assert shop.quarantine["reasons"].to_list() == [["unmapped:chargeback_at"]]
    assert report.chargebacks == 1


def test_a_flag_with_a_report_time_needs_the_time(shop):
    shop.map(extra='[chargeback]\nflag = "fraud"\nreported_at = { column = "told" }')
    told = "2026-02-01T00:00:00Z"
    shop.rows(
        {"fraud": "1", "told": told}, {"fraud": "0", "told": told, "try": "2"}, {"fraud": "1", "told": "", "try": "3"}
    )
    shop.ingest()
    assert shop.history["chargeback_at"].is_null().to_list() == [False, True]
    assert shop.quarantine["reasons"].to_list() == [["missing:chargeback_at"]]
