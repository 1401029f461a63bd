"""Fees and terms as a shop writes them down."""

from pathlib import Path

import pytest

from trainer.errors import FitError
from trainer.fit.parameters import read_fees, read_terms

FEES = """
[processors.north]
approved_fixed_minor = 10
approved_share = 0.012
three_ds_minor = 4

[[processors.north.lines]]
network = "amex"
approved_share = 0.025

[[processors.north.lines]]
region = "cross_border"
approved_share = 0.02
failed_fixed_minor = 3
"""

TERMS = """
[processors.north]
networks = ["visa", "mastercard"]
network_token = false
outages = [{ begins = 2026-12-01T02:00:00Z, ends = 2026-12-01T04:00:00Z, note = "maintenance" }]

[merchants.m_1]
tier_high = 0.6
acquirer_fraud_basis_points = 5.5

[merchants.m_1.volumes.north]
commit_minor = 5_000_000
shortfall_share = 0.004
cap_minor = 20_000_000
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "file.toml"
    file.write_text(text)
    return file


def test_fees_have_lines_for_networks_and_regions(tmp_path: Path) -> None:
    north = read_fees(written(tmp_path, FEES))["north"]
    assert (north.approved_fixed_minor, north.three_ds_minor) == (10, 4)
    assert [(line.network, line.region, line.approved_share) for line in north.lines] == [
        ("amex", None, 0.025),
        (None, "cross_border", 0.02),
    ]


def test_terms_say_what_is_supported_and_what_was_agreed(tmp_path: Path) -> None:
    terms = read_terms(written(tmp_path, TERMS))
    north = terms.processors["north"]
    assert north.networks == ("visa", "mastercard")
    assert not north.network_token
    assert north.outages[0].ends.hour == 4
    merchant = terms.merchants["m_1"]
    assert merchant.tier_high == 0.6
    assert merchant.volumes["north"].cap_minor == 20_000_000


def test_without_a_file_nothing_is_agreed() -> None:
    assert read_fees(None) == {}
    assert read_terms(None).merchants == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[processors.north]\nnetwork = ['visa']", "unknown processors.north.network, expected one of networks"),
        ("[merchants.m_1]\ntier_high = 1.5", "merchants.m_1.tier_high to be a share of 0 to 1, got 1.5"),
        ("[merchants.m_1]\nmargin_share = -0.1", "merchants.m_1.margin_share to be 0 or more"),
        ("[merchants.m_1.volumes.north]\ncap = 1", "unknown merchants.m_1.volumes.north.cap"),
        (
            "[processors.north]\noutages = [{ begins = 2026-12-01T02:00:00Z, ends = 2026-12-01T01:00:00Z }]",
            "outages[0] to end after",
        ),
        ("[processors.north]\noutages = [{ begins = 2026-12-01T02:00:00, ends = 2026-12-01T03:00:00 }]", "offset"),
        ("[processor.north]\nnetworks = []", "unknown processor"),
    ],
)
def test_terms_that_make_no_sense_are_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FitError) as caught:
        read_terms(written(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FEES.replace("approved_share = 0.025", "approved_shares = 0.025"), "unknown processors.north.lines[0]."),
        (FEES.replace("failed_fixed_minor = 3", "failed_fixed_minor = -3"), "processors.north.lines[1].failed_fixed"),
        (FEES.replace('"cross_border"', '"abroad"'), "Invalid enum value"),
    ],
)
def test_fees_that_make_no_sense_are_refused_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(FitError) as caught:
        read_fees(written(tmp_path, text))
    assert said in str(caught.value)
